//! The hash chain over the lines of a log.
//!
//! A line is `{"hash":"H","previous":"P","sequence":N,` and the record's fields. `H` is the SHA-256, or with a key the HMAC-SHA-256, of
//! the line's bytes behind the hash's comma; `P` is the `H` of the line before, 64 zeros at the very beginning. Whoever changes, removes or adds a line
//! in the middle breaks the link to the next one. Whoever cuts off the end, or writes the whole log anew without a key being used, is
//! found by the [`ChainHead`] that was kept elsewhere.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::record::AuditRecord;
use crate::error::{Error, Result};
use crate::secret::SecretString;

/// No line is longer: a record names objects, and ten thousand of them take some two million bytes.
const MAX_LINE: usize = 64 << 20;
const OPENING: &str = r#"{"hash":""#;
const HASH: usize = 64;
/// How often a log is begun to be read whose files change meanwhile.
const ATTEMPTS: usize = 16;

/// Where a chain ends: keep it elsewhere, and [`Proof::contains`] tells later whether the log still goes through it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainHead {
    /// How many records were ever written.
    pub sequence: u64,
    /// The hash of the last one; 64 zeros when there is none.
    pub hash: String,
}

impl Default for ChainHead {
    fn default() -> Self {
        Self {
            sequence: 0,
            hash: "0".repeat(HASH),
        }
    }
}

/// What [`verify`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// How many records there are, in all files.
    pub records: u64,
    /// What the first record that is still there follows; older files may have been removed.
    pub first: ChainHead,
    /// The last record.
    pub head: ChainHead,
    /// Whether the last line is torn: a writer died in its middle, or is there. The record was never acknowledged, and the next writer removes it.
    pub torn: bool,
    /// As bytes: there is one for each record.
    hashes: Vec<[u8; HASH / 2]>,
}

impl Proof {
    /// Of no record yet, behind `first`.
    fn following(first: ChainHead) -> Self {
        Self {
            records: 0,
            head: first.clone(),
            first,
            torn: false,
            hashes: Vec::new(),
        }
    }

    /// Whether the log still goes through `head`, which was seen before: `false` when its end was cut off or it was written anew. A head older
    /// than the first file is not found.
    pub fn contains(&self, head: &ChainHead) -> bool {
        if *head == self.first {
            return true;
        }
        head.sequence
            .checked_sub(self.first.sequence + 1)
            .and_then(|at| self.hashes.get(usize::try_from(at).ok()?))
            .is_some_and(|hash| bytes_of(&head.hash) == Some(*hash))
    }
}

fn bytes_of(hash: &str) -> Option<[u8; HASH / 2]> {
    let mut bytes = [0; HASH / 2];
    hex::decode_to_slice(hash, &mut bytes).ok()?;
    Some(bytes)
}

/// What stands in a line besides its hash.
#[derive(Serialize, Deserialize)]
pub(super) struct Body<R> {
    pub(super) previous: String,
    pub(super) sequence: u64,
    #[serde(flatten)]
    pub(super) record: R,
}

/// The next line, and where the chain ends with it.
pub(super) fn line(
    record: &AuditRecord,
    head: &ChainHead,
    key: Option<&SecretString>,
) -> Result<(String, ChainHead)> {
    let body = Body {
        previous: head.hash.clone(),
        sequence: head.sequence + 1,
        record,
    };
    let json = serde_json::to_string(&body)
        .map_err(|error| Error::internal("an audit record cannot be written").with_source(error))?;
    let rest = json.get(1..).unwrap_or_default();
    let hash = hash(rest.as_bytes(), key)?;
    let line = format!("{OPENING}{hash}\",{rest}\n");
    let head = ChainHead {
        sequence: body.sequence,
        hash,
    };
    Ok((line, head))
}

/// Reads a whole line, its break left out, and checks its hash; the link to the line before is the caller's.
pub(super) fn read_line(
    line: &[u8],
    key: Option<&SecretString>,
) -> Result<(Body<AuditRecord>, ChainHead)> {
    let unreadable = || Error::integrity("the line is no audit record");
    let text = std::str::from_utf8(line).map_err(|_| unreadable())?;
    let (found, rest) = text
        .strip_prefix(OPENING)
        .and_then(|text| text.split_at_checked(HASH))
        .and_then(|(found, rest)| Some((found, rest.strip_prefix("\",")?)))
        .ok_or_else(unreadable)?;
    if !same(rest.as_bytes(), found, key)? {
        return Err(Error::integrity("its hash is not that of its content"));
    }
    let body: Body<AuditRecord> = serde_json::from_str(&format!("{{{rest}"))
        .map_err(|error| unreadable().with_source(error))?;
    let head = ChainHead {
        sequence: body.sequence,
        hash: found.to_owned(),
    };
    Ok((body, head))
}

fn mac(key: &SecretString) -> Result<Hmac<Sha256>> {
    Hmac::new_from_slice(key.expose().as_bytes())
        .map_err(|error| Error::invalid("the audit key cannot be used").with_source(error))
}

fn hash(bytes: &[u8], key: Option<&SecretString>) -> Result<String> {
    Ok(match key {
        None => hex::encode(Sha256::digest(bytes)),
        Some(key) => hex::encode(mac(key)?.chain_update(bytes).finalize().into_bytes()),
    })
}

fn same(bytes: &[u8], found: &str, key: Option<&SecretString>) -> Result<bool> {
    Ok(match (key, hex::decode(found)) {
        (_, Err(_)) => false,
        (None, Ok(found)) => Sha256::digest(bytes)[..] == found[..],
        // In constant time: who may not know the key may be asking.
        (Some(key), Ok(found)) => mac(key)?.chain_update(bytes).verify_slice(&found).is_ok(),
    })
}

/// Checks the log at `path` with all its older files ([`FileSink`](super::FileSink)), line by line, also while it is written. Blocking; call it off the async threads for large logs.
///
/// # Errors
/// `Integrity` for the first line that is not what was written there, naming file and line; `NotFound` when there is no log; `Unavailable` when files are moved away
/// faster than they are read.
pub fn verify(path: &Path, key: Option<&SecretString>) -> Result<Proof> {
    for _ in 0..ATTEMPTS {
        if let Some(proof) = verify_now(path, key)? {
            return Ok(proof);
        }
    }
    Err(Error::unavailable(format!(
        "the files of the audit log {} change faster than they are read",
        path.display()
    )))
}

/// The proof; none when files were moved or removed, so that what was read is no whole.
fn verify_now(path: &Path, key: Option<&SecretString>) -> Result<Option<Proof>> {
    let older = older_files(path)?;
    // Open, it stays the one that follows the older files, also when it is moved away while they are read.
    let newest = open(path)?;
    if older_files(path)? != older {
        return Ok(None);
    }
    if older.is_empty() && newest.is_none() {
        return Err(Error::not_found(format!(
            "there is no audit log {}",
            path.display()
        )));
    }
    let mut proof = None;
    for (at, path) in older.iter().enumerate() {
        let Some(file) = open(path)? else {
            return Ok(None);
        };
        let last = newest.is_none() && at + 1 == older.len();
        verify_file(path, file, last, key, &mut proof)?;
    }
    if let Some(file) = newest {
        verify_file(path, file, true, key, &mut proof)?;
    }
    Ok(Some(
        proof.unwrap_or_else(|| Proof::following(ChainHead::default())),
    ))
}

fn open(path: &Path) -> Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(path, error)),
    }
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    Error::internal(format!("cannot read {}", path.display())).with_source(error)
}

fn verify_file(
    path: &Path,
    file: File,
    last: bool,
    key: Option<&SecretString>,
    proof: &mut Option<Proof>,
) -> Result<()> {
    let unreadable = |error: std::io::Error| unreadable(path, error);
    let mut reader = BufReader::new(file);
    let mut bytes = Vec::new();
    for number in 1.. {
        bytes.clear();
        let mut limited = std::io::Read::take(&mut reader, MAX_LINE as u64);
        if limited.read_until(b'\n', &mut bytes).map_err(unreadable)? == 0 {
            break;
        }
        let place = || format!("{} line {number}", path.display());
        let Some(line) = bytes.strip_suffix(b"\n") else {
            if last {
                let whole = || Proof::following(ChainHead::default());
                proof.get_or_insert_with(whole).torn = true;
                break;
            }
            return Err(Error::integrity("the line does not end").context(place()));
        };
        let (body, head) = read_line(line, key).map_err(|error| error.context(place()))?;
        let proof = proof.get_or_insert_with(|| {
            Proof::following(ChainHead {
                sequence: body.sequence.saturating_sub(1),
                hash: body.previous.clone(),
            })
        });
        if body.sequence != proof.head.sequence + 1 || body.previous != proof.head.hash {
            return Err(Error::integrity(format!(
                "record {} does not follow record {}: lines were removed, added or moved",
                body.sequence, proof.head.sequence
            ))
            .context(place()));
        }
        proof.records += 1;
        proof.hashes.push(bytes_of(&head.hash).unwrap_or_default());
        proof.head = head;
    }
    Ok(())
}

/// The files that were moved away when they were full, oldest first.
pub(super) fn older_files(path: &Path) -> Result<Vec<PathBuf>> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return Err(Error::invalid(format!("{} names no file", path.display())));
    };
    let folder = folder(path);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(
                Error::internal(format!("cannot read {}", folder.display())).with_source(error)
            );
        }
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name()
                .and_then(|name| name.to_str())
                .and_then(|found| found.strip_prefix(name)?.strip_prefix('.'))
                .is_some_and(|number| {
                    number.len() == SEQUENCE_DIGITS && number.bytes().all(|b| b.is_ascii_digit())
                })
        })
        .collect();
    files.sort();
    Ok(files)
}

/// Sequence numbers in file names, so that names sort as numbers do.
pub(super) const SEQUENCE_DIGITS: usize = 20;

pub(super) fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
