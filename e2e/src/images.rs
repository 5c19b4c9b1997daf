//! Container images laid from files on the machine, so that a node needs no registry and no network.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::components::system_program;

/// An image with busybox and a link for each of its programs (`sh`, `cat`, `httpd`, `nc` …), for pods with `imagePullPolicy: Never`.
/// Its command is `sh`; `/etc/version` holds `1`.
pub const BUSYBOX: &str = "busybox:e2e";

/// The same as [`BUSYBOX`] in another image, to roll out a change; `/etc/version` holds `2`.
pub const BUSYBOX_2: &str = "busybox:e2e-2";

pub(crate) const PAUSE: &str = "docker.io/library/pause:e2e";

/// Lays the images into archives under `dir` that `ctr images import` reads.
///
/// # Errors
///
/// When busybox is missing or not static, or a file cannot be written.
pub(crate) fn lay(dir: &Path) -> Result<Vec<PathBuf>> {
    let busybox = system_program("busybox")?;
    let bytes = std::fs::read(&busybox).context("cannot read busybox")?;
    // A dynamic program names its loader, and the image has no libraries.
    if bytes.windows(9).any(|w| w == b"/ld-linux") {
        bail!(
            "{} is not static: run `sudo apt-get install -y busybox-static`",
            busybox.display()
        );
    }
    let listed = Command::new(&busybox)
        .arg("--list")
        .output()
        .context("cannot run busybox")?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let programs: Vec<&str> = listed
        .lines()
        .filter(|p| *p != "busybox" && !p.contains('/'))
        .collect();

    let idle = ["/bin/busybox", "sleep", "2147483647"];
    Ok(vec![
        archive(dir, "pause", PAUSE, "1", &bytes, &[], &idle)?,
        archive(
            dir,
            "busybox",
            &full(BUSYBOX),
            "1",
            &bytes,
            &programs,
            &["/bin/sh"],
        )?,
        archive(
            dir,
            "busybox-2",
            &full(BUSYBOX_2),
            "2",
            &bytes,
            &programs,
            &["/bin/sh"],
        )?,
    ])
}

/// The name under which the container runtime looks for a short name.
fn full(name: &str) -> String {
    format!("docker.io/library/{name}")
}

/// Writes one image in Docker's archive format: a layer, a configuration, a manifest.
fn archive(
    dir: &Path,
    file: &str,
    name: &str,
    version: &str,
    busybox: &[u8],
    links: &[&str],
    command: &[&str],
) -> Result<PathBuf> {
    let mut layer = tar::Builder::new(Vec::new());
    for (path, mode) in [
        ("bin/", 0o755),
        ("etc/", 0o755),
        ("tmp/", 0o1777),
        ("var/", 0o755),
        ("root/", 0o700),
    ] {
        add(&mut layer, path, tar::EntryType::Directory, mode, &[])?;
    }
    add(
        &mut layer,
        "bin/busybox",
        tar::EntryType::Regular,
        0o755,
        busybox,
    )?;
    add(
        &mut layer,
        "etc/passwd",
        tar::EntryType::Regular,
        0o644,
        b"root:x:0:0:root:/root:/bin/sh\n",
    )?;
    add(
        &mut layer,
        "etc/version",
        tar::EntryType::Regular,
        0o644,
        version.as_bytes(),
    )?;
    for link in links {
        let mut header = header(tar::EntryType::Symlink, 0o777, 0);
        layer
            .append_link(&mut header, format!("bin/{link}"), "busybox")
            .context("cannot lay a link into the image")?;
    }
    let layer = layer.into_inner().context("cannot lay the image")?;
    let digest = format!("sha256:{}", hex(&Sha256::digest(&layer)));
    let config = to_bytes(&json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": {"Cmd": command, "Env": ["PATH=/bin"], "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [digest]},
    }))?;
    let config_name = format!("{}.json", hex(&Sha256::digest(&config)));
    let manifest =
        to_bytes(&json!([{"Config": config_name, "RepoTags": [name], "Layers": ["layer.tar"]}]))?;

    let path = dir.join(format!("{file}.tar"));
    let out = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut image = tar::Builder::new(out);
    add(
        &mut image,
        "layer.tar",
        tar::EntryType::Regular,
        0o644,
        &layer,
    )?;
    add(
        &mut image,
        &config_name,
        tar::EntryType::Regular,
        0o644,
        &config,
    )?;
    add(
        &mut image,
        "manifest.json",
        tar::EntryType::Regular,
        0o644,
        &manifest,
    )?;
    image.finish().context("cannot write an image")?;
    Ok(path)
}

fn header(kind: tar::EntryType, mode: u32, size: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size as u64);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn add<W: std::io::Write>(
    archive: &mut tar::Builder<W>,
    path: &str,
    kind: tar::EntryType,
    mode: u32,
    bytes: &[u8],
) -> Result<()> {
    let mut header = header(kind, mode, bytes.len());
    archive
        .append_data(&mut header, path, bytes)
        .with_context(|| format!("cannot lay {path} into the image"))
}

fn to_bytes(value: &Value) -> Result<Vec<u8>> {
    serde_json::to_vec(value).context("cannot describe an image")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
