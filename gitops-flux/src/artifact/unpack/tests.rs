use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use gitops_core::ErrorKind;
use proptest::prelude::*;
use tar::{Builder, Header};

use super::*;
use crate::blocking::off_thread;

fn packed(tar: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(tar).unwrap();
    gzip.finish().unwrap()
}

/// A header with a name that no library would write.
fn header(name: &str, kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(size);
    header.set_cksum();
    header
}

fn archive(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, kind, text) in entries {
        let mut header = header(name, *kind, text.len() as u64);
        if matches!(kind, EntryType::Symlink | EntryType::Link) {
            header = self::header(name, *kind, 0);
            header.set_link_name_literal(text).unwrap();
            header.set_cksum();
            builder.append(&header, &[][..]).unwrap();
        } else {
            builder.append(&header, text.as_bytes()).unwrap();
        }
    }
    packed(&builder.into_inner().unwrap())
}

fn refusal(bytes: &[u8]) -> Error {
    let error = unpack(bytes, &UnpackLimits::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Integrity, "{error:#}");
    error
}

const FILE: EntryType = EntryType::Regular;

#[test]
fn files_come_out() {
    let long = format!("{}/x.yaml", "d".repeat(150));
    let mut builder = Builder::new(Vec::new());
    let mut append = |name: &str, mode: u32, text: &str| {
        let mut header = Header::new_gnu();
        header.set_mode(mode);
        header.set_size(text.len() as u64);
        builder
            .append_data(&mut header, name, text.as_bytes())
            .unwrap();
    };
    append("./a/b.yaml", 0o644, "old");
    append("a/run", 0o755, "#!");
    append(&long, 0o644, "long");
    append("a/b.yaml", 0o600, "new");
    append("a/B.yaml", 0o600, "other");
    append(".git/config", 0o600, "x");
    builder
        .append(&header("dir/", EntryType::Directory, 0), &[][..])
        .unwrap();
    builder
        .append_pax_extensions([("path", "p/from-pax.yaml".as_bytes())])
        .unwrap();
    builder
        .append(&header("short", FILE, 1), &b"p"[..])
        .unwrap();
    let bytes = packed(&builder.into_inner().unwrap());
    let unpacked = unpack(&bytes[..], &UnpackLimits::default()).unwrap();
    let tree = &unpacked.tree;
    let text = |path: &str| {
        let bytes = tree.get(path).and_then(TreeEntry::bytes);
        String::from_utf8(bytes.unwrap().to_vec()).unwrap()
    };
    assert_eq!(text("a/b.yaml"), "new", "the last one wins");
    assert_eq!(text("a/B.yaml"), "other");
    assert_eq!(text(&long), "long");
    assert_eq!(text("p/from-pax.yaml"), "p");
    assert!(matches!(tree.get("a/run"), Some(TreeEntry::Executable(_))));
    assert_eq!(tree.len(), 5);
    assert_eq!(unpacked.left_out, [".git/config"]);
}

#[test]
fn links_are_left_out() {
    let bytes = archive(&[
        ("a.yaml", FILE, "a"),
        ("passwd", EntryType::Symlink, "/etc/passwd"),
        ("dir", EntryType::Symlink, "../.."),
        ("dir/x.yaml", FILE, "inside"),
    ]);
    let unpacked = unpack(&bytes[..], &UnpackLimits::default()).unwrap();
    let names: Vec<&str> = unpacked.tree.iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["a.yaml", "dir/x.yaml"]);
    assert_eq!(unpacked.left_out, ["passwd", "dir"]);
}

#[test]
fn what_leads_out_or_is_no_file_is_refused() {
    for (name, kind, text, says) in [
        ("../x", FILE, "", "leads out"),
        ("a/../../x", FILE, "", "leads out"),
        ("a/..", FILE, "", "leads out"),
        ("/etc/passwd", FILE, "", "leads out"),
        ("a\\..\\x", FILE, "", "no name"),
        ("./", FILE, "", "no name of a file"),
        ("../dir/", EntryType::Directory, "", "leads out"),
        ("../link", EntryType::Symlink, "x", "leads out"),
        ("hard", EntryType::Link, "a.yaml", "hard link"),
        ("null", EntryType::Char, "", "device"),
        ("disk", EntryType::Block, "", "device"),
        ("pipe", EntryType::Fifo, "", "FIFO"),
    ] {
        let error = refusal(&archive(&[("a.yaml", FILE, "a"), (name, kind, text)]));
        assert!(error.to_string().contains(says), "{name}: {error}");
    }
    for (one, other) in [("a", "a/b"), ("a/b/c", "a")] {
        let error = refusal(&archive(&[(one, FILE, ""), (other, FILE, "")]));
        assert!(
            error.to_string().contains("a file and a directory"),
            "{error}"
        );
    }
}

#[test]
fn what_is_broken_is_refused() {
    let whole = archive(&[("a.yaml", FILE, &"x".repeat(5000))]);
    refusal(b"");
    refusal(b"no gzip at all");
    refusal(&packed(b"no tar at all, and far too short to be one"));
    for length in [20, whole.len() / 2] {
        refusal(&whole[..length]);
    }
    let short = packed(&[header("a", FILE, 600).as_bytes().as_slice(), &[b'x'; 512]].concat());
    refusal(&short);
    let mut damaged = header("a", FILE, 0);
    damaged.as_mut_bytes()[10] ^= 1;
    refusal(&packed(damaged.as_bytes()));
}

#[test]
fn limits_hold() {
    // 64 MiB of zeros are some 64 KiB packed.
    let bomb = archive(&[("a", FILE, &"\0".repeat(64 << 20))]);
    assert!(bomb.len() < 1 << 20);
    let limits = UnpackLimits {
        bytes: 10 << 20,
        entries: 3,
    };
    let error = unpack(&bomb[..], &limits).unwrap_err();
    assert!(
        error.to_string().contains("more than the limit"),
        "{error:#}"
    );
    // A name that is as long.
    let mut tar = header("././@LongLink", EntryType::GNULongName, 64 << 20)
        .as_bytes()
        .to_vec();
    tar.resize(512 + (64 << 20), b'x');
    let error = unpack(&packed(&tar)[..], &limits).unwrap_err();
    assert!(
        error.to_string().contains("more than the limit"),
        "{error:#}"
    );
    // A size that is a lie.
    let lie = packed(header("a", FILE, 1 << 40).as_bytes());
    assert!(unpack(&lie[..], &limits).is_err());
    let many: Vec<_> = (0..4).map(|at| format!("f{at}")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), FILE, "")).collect();
    let error = unpack(&archive(&many)[..], &limits).unwrap_err();
    assert!(error.to_string().contains("more than 3 entries"), "{error}");
    unpack(&archive(&many[..3])[..], &limits).unwrap();
}

proptest! {
    #[test]
    fn nothing_panics(
        bytes in proptest::collection::vec(any::<u8>(), 0..2048),
        flips in proptest::collection::vec((0_usize..1536, any::<u8>()), 0..8),
    ) {
        let _ = unpack(&bytes[..], &UnpackLimits::default());
        let _ = unpack(&packed(&bytes)[..], &UnpackLimits::default());
        let mut tar = [header("a/b", FILE, 5).as_bytes().as_slice(), &[b'x'; 512]].concat();
        for (at, byte) in flips {
            if let Some(place) = tar.get_mut(at) {
                *place = byte;
            }
        }
        if let Ok(unpacked) = unpack(&packed(&tar)[..], &UnpackLimits::default()) {
            for (name, _) in unpacked.tree.iter() {
                prop_assert!(check_path(name).is_ok());
            }
        }
    }
}

/// Directories, one after the other, without an end.
struct Endless {
    member: Vec<u8>,
    at: usize,
}

impl Endless {
    fn new() -> Self {
        let entry = header("dir/", EntryType::Directory, 0);
        Self {
            member: packed(entry.as_bytes()),
            at: 0,
        }
    }
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = (&self.member[self.at..]).read(buffer)?;
        self.at = (self.at + read) % self.member.len();
        Ok(read)
    }
}

#[tokio::test]
async fn unpacking_ends_when_nobody_waits_for_it() {
    let (ended, has_ended) = std::sync::mpsc::channel();
    let work = off_thread("unpacking", move |wanted| {
        let limits = UnpackLimits {
            bytes: u64::MAX,
            entries: usize::MAX,
        };
        let unpacked = unpack(wanted.reader(Endless::new()), &limits);
        let _ = ended.send(unpacked.is_err());
        unpacked
    });
    let time = std::time::Duration::from_millis(100);
    assert!(tokio::time::timeout(time, work).await.is_err());
    let time = std::time::Duration::from_secs(10);
    assert_eq!(has_ended.recv_timeout(time), Ok(true));
}
