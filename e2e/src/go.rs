//! Builds components with Go.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::components::{Component, bin_dir, system_program, testenv_dir};

/// Builds those of `wanted` that are not in the cache directory yet; `say` gets one line for each.
///
/// Two builds at a time on one machine wait for each other. A build that is interrupted leaves no half-written program behind.
///
/// # Errors
///
/// When Go, git or (for components with cgo) gcc is missing — the message has the command that installs it — or when a build fails.
pub fn build(wanted: &[&Component], mut say: impl FnMut(&str)) -> Result<()> {
    let bin = bin_dir()?;
    let present = |c: &Component| bin.join(c.name).is_file();
    if wanted.iter().all(|c| present(c)) {
        return Ok(());
    }
    std::fs::create_dir_all(&bin).with_context(|| format!("cannot make {}", bin.display()))?;
    let lock = File::create(bin.join(".lock")).context("cannot make the lock file")?;
    lock.lock().context("cannot lock the cache directory")?;
    let go = system_program("go")?;
    system_program("git")?;
    for c in wanted {
        if present(c) {
            continue;
        }
        if c.cgo {
            system_program("gcc")?;
        }
        say(&format!("building {} from {}", c.name, c.package));
        let started = Instant::now();
        compile(&go, c, &bin)?;
        say(&format!("built {} in {:.0?}", c.name, started.elapsed()));
    }
    Ok(())
}

fn compile(go: &Path, c: &Component, bin: &Path) -> Result<()> {
    let partial = bin.join(format!(".{}.partial", c.name));
    let mut command = Command::new(go);
    command
        .current_dir(testenv_dir().join(c.module))
        .env("CGO_ENABLED", if c.cgo { "1" } else { "0" })
        .env("GOFLAGS", "-mod=readonly")
        .arg("build");
    if !c.defines.is_empty() {
        let flags: Vec<String> = c
            .defines
            .iter()
            .map(|(k, v)| format!("-X {k}={v}"))
            .collect();
        command.arg("-ldflags").arg(flags.join(" "));
    }
    if !c.tags.is_empty() {
        command.arg("-tags").arg(c.tags.join(" "));
    }
    command.arg("-o").arg(&partial).arg(c.package);
    let status = command.status().context("cannot run go")?;
    if !status.success() {
        bail!("building {} failed: {status}", c.name);
    }
    std::fs::rename(&partial, bin.join(c.name)).with_context(|| format!("cannot keep {}", c.name))
}
