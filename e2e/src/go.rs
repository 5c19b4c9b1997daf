//! Builds components with Go.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use serde_json::json;

use crate::components::{Component, bin_dir, module_dir, system_program, testenv_dir};

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
    let edited = bin.join(format!(".{}.edited", c.name));
    if !c.edits.is_empty() {
        command.arg("-overlay").arg(edit(c, &edited)?);
    }
    command.arg("-o").arg(&partial).arg(c.package);
    let status = command.status().context("cannot run go")?;
    // Only the compiler needs it, and the next build makes it anew.
    let _ = std::fs::remove_dir_all(&edited);
    if !status.success() {
        bail!("building {} failed: {status}", c.name);
    }
    std::fs::rename(&partial, bin.join(c.name)).with_context(|| format!("cannot keep {}", c.name))
}

/// Writes the edited source files of a component into `dir`; returns the file that tells the compiler of them.
fn edit(c: &Component, dir: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let mut replaced = serde_json::Map::new();
    for (n, edit) in c.edits.iter().enumerate() {
        let original = module_dir(edit.module)?.join(edit.file);
        let text = std::fs::read_to_string(&original)
            .with_context(|| format!("cannot read {}", original.display()))?;
        let found = text.matches(edit.from).count();
        if found != 1 {
            bail!("{} has {found} times {}", original.display(), edit.from);
        }
        let copy = dir.join(format!("{n}.go"));
        std::fs::write(&copy, text.replace(edit.from, edit.to))
            .with_context(|| format!("cannot write {}", copy.display()))?;
        replaced.insert(original.to_string_lossy().into_owned(), json!(copy));
    }
    let overlay = dir.join("overlay.json");
    std::fs::write(&overlay, json!({"Replace": replaced}).to_string())
        .with_context(|| format!("cannot write {}", overlay.display()))?;
    Ok(overlay)
}
