//! Archives, unpacked to memory.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Component;

use flate2::read::MultiGzDecoder;
use gitops_core::manifest::{Tree, TreeEntry, check_path};
use gitops_core::{Error, Result};
use tar::{Archive, EntryType};

/// How much an archive may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnpackLimits {
    /// Bytes after decompression, headers included; 100 MiB, as `pkg/tar` 0.16 has it.
    pub bytes: u64,
    /// Entries; 100,000.
    pub entries: usize,
}

impl Default for UnpackLimits {
    fn default() -> Self {
        Self {
            bytes: 100 << 20,
            entries: 100_000,
        }
    }
}

/// What an archive held.
#[derive(Clone, Debug, Default)]
pub struct Unpacked {
    /// The files. `hash` is empty.
    pub tree: Tree,
    /// Symbolic links, which are left out, and what belongs to a `.git`.
    pub left_out: Vec<String>,
}

/// Unpacks a `.tar.gz` to memory, by the rules of `pkg/tar` 0.16 as `pkg/http/fetch` uses it:
///
/// - regular files and directories only; symbolic links are left out, and anything else (devices, FIFOs, hard links, sparse files) is
///   refused. Flux itself makes an empty file of a hard link.
/// - of several entries with one name, the last one wins; names that differ in case are different names.
/// - a name that is absolute or that climbs is refused; so is one with a backslash, or one that is no UTF-8.
///
/// Nothing is written anywhere, so that nothing can be overwritten.
///
/// # Errors
/// `Integrity` for what is no such archive, holds what is refused, ends too early, or passes a limit.
pub fn unpack(packed: impl Read, limits: &UnpackLimits) -> Result<Unpacked> {
    let bounded = Bounded {
        inner: MultiGzDecoder::new(packed),
        left: limits.bytes,
    };
    let mut archive = Archive::new(bounded);
    let mut files: BTreeMap<String, TreeEntry> = BTreeMap::new();
    let mut left_out = Vec::new();
    let mut count = 0;
    for entry in archive.entries().map_err(bad)? {
        let mut entry = entry.map_err(bad)?;
        count += 1;
        if count > limits.entries {
            return Err(Error::integrity(format!(
                "the archive has more than {} entries",
                limits.entries
            )));
        }
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            continue;
        }
        let name = name(&entry.path_bytes())?;
        match kind {
            EntryType::Directory => {}
            EntryType::Symlink => left_out.push(name),
            EntryType::Regular | EntryType::Continuous => {
                if in_git(&name) {
                    left_out.push(name);
                    continue;
                }
                check_path(&name).map_err(|_| refused(&name, "is no name of a file"))?;
                let executable = entry.header().mode().map_err(bad)? & 0o111 != 0;
                let size = entry.size();
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).map_err(bad)?;
                if bytes.len() as u64 != size {
                    return Err(refused(&name, "ends too early"));
                }
                let bytes = bytes.into();
                let file = match executable {
                    true => TreeEntry::Executable(bytes),
                    false => TreeEntry::File(bytes),
                };
                files.insert(name, file);
            }
            other => return Err(refused(&name, &format!("is a {}", kind_name(other)))),
        }
    }
    let mut tree = Tree::default();
    for (name, file) in files {
        // A file cannot have others below it.
        let mut above = name.as_str();
        while let Some((parent, _)) = above.rsplit_once('/') {
            if tree.get(parent).is_some() {
                return Err(refused(parent, "is a file and a directory"));
            }
            above = parent;
        }
        tree.insert(name, file)?;
    }
    Ok(Unpacked { tree, left_out })
}

/// A name, without what means nothing in it.
fn name(bytes: &[u8]) -> Result<String> {
    let shown = || {
        String::from_utf8_lossy(bytes)
            .chars()
            .take(200)
            .collect::<String>()
    };
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Err(refused(&shown(), "is no UTF-8"));
    };
    if text.is_empty() || text.contains(['\\', '\0']) {
        return Err(refused(&shown(), "is no name"));
    }
    let mut parts = Vec::new();
    for part in std::path::Path::new(text).components() {
        match part {
            Component::CurDir => {}
            Component::Normal(part) => parts.extend(part.to_str()),
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err(refused(&shown(), "leads out of the archive"));
            }
        }
    }
    Ok(parts.join("/"))
}

fn in_git(name: &str) -> bool {
    name.split('/')
        .any(|part| part.eq_ignore_ascii_case(".git"))
}

fn refused(name: &str, why: &str) -> Error {
    Error::integrity(format!("{name:?} in the archive {why}"))
}

fn bad(error: io::Error) -> Error {
    if is_too_much(&error) {
        return Error::integrity("the archive holds more than the limit");
    }
    Error::integrity("the file is no sound .tar.gz archive").with_source(error)
}

/// Whether the limit is at the bottom of an error: the crate `tar` wraps some.
fn is_too_much(error: &(dyn std::error::Error + 'static)) -> bool {
    let inner = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref)
        .map(|inner| inner as &(dyn std::error::Error + 'static));
    error.is::<TooMuch>() || inner.or(error.source()).is_some_and(is_too_much)
}

fn kind_name(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Link => "hard link",
        EntryType::Char | EntryType::Block => "device",
        EntryType::Fifo => "FIFO",
        EntryType::GNUSparse => "sparse file",
        _ => "thing that is no file",
    }
}

/// The limit is passed.
#[derive(Debug)]
struct TooMuch;

impl std::fmt::Display for TooMuch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("more than the limit")
    }
}

impl std::error::Error for TooMuch {}

/// Reads up to a limit, then fails.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self
            .left
            .checked_sub(read as u64)
            .ok_or_else(|| io::Error::other(TooMuch))?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
