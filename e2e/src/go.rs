//! Builds components with Go.

use std::fs::File;
use std::path::Path;
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
        command.args(edit(c, &edited)?);
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

/// Writes the edited source files of a component into `dir`; returns the flags that make the compiler use them.
///
/// It replaces no file of the module cache. So the module is replaced by a link to its folder, and the file below that link.
fn edit(c: &Component, dir: &Path) -> Result<[String; 2]> {
    // What an interrupted build left.
    let _ = std::fs::remove_dir_all(dir);
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let read = |path: &Path| {
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let write = |name: &str, text: String| {
        let path = dir.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok::<_, anyhow::Error>(path)
    };
    let module = testenv_dir().join(c.module);
    let mut requirements = read(&module.join("go.mod"))?;
    let mut replaced = serde_json::Map::new();
    for (n, edit) in c.edits.iter().enumerate() {
        let link = dir.join(edit.module.replace('/', "_"));
        if !link.is_symlink() {
            std::os::unix::fs::symlink(module_dir(edit.module)?, &link)
                .with_context(|| format!("cannot make {}", link.display()))?;
            requirements.push_str(&format!(
                "\nreplace {} => {}\n",
                edit.module,
                link.display()
            ));
        }
        let original = link.join(edit.file);
        let text = if edit.from.is_empty() {
            if original.exists() {
                bail!("{} is there already", original.display());
            }
            edit.to.to_owned()
        } else {
            let text = read(&original)?;
            let found = text.matches(edit.from).count();
            if found != 1 {
                bail!("{} has {found} times {}", original.display(), edit.from);
            }
            text.replace(edit.from, edit.to)
        };
        let copy = write(&format!("{n}.go"), text)?;
        replaced.insert(original.to_string_lossy().into_owned(), json!(copy));
    }
    let requirements = write("go.mod", requirements)?;
    write("go.sum", read(&module.join("go.sum"))?)?;
    let overlay = write("overlay.json", json!({"Replace": replaced}).to_string())?;
    Ok([
        format!("-modfile={}", requirements.display()),
        format!("-overlay={}", overlay.display()),
    ])
}
