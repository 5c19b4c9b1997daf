//! The custom resource definitions of Flux's kinds.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::components::{bin_dir, module_dir, program, system_program, testenv_dir};
use crate::random_hex;

/// The modules that hold their definitions.
const WITH: [&str; 3] = [
    "github.com/fluxcd/source-controller",
    "github.com/fluxcd/kustomize-controller",
    "github.com/fluxcd/helm-controller",
];

/// The modules of which only the Go types can be had. Flux makes its definitions of the same types, with the same generator.
const WITHOUT: [&str; 3] = [
    "github.com/fluxcd/notification-controller/api",
    "github.com/fluxcd/image-reflector-controller/api",
    "github.com/fluxcd/image-automation-controller/api",
];

/// The files with the custom resource definitions of all of Flux's kinds, at the pinned versions. Those of the notification and image kinds are
/// generated the first time, which takes about a second, and kept in the cache directory.
///
/// # Errors
///
/// When Go is missing, a module cannot be had, or `controller-gen` is not built or fails.
pub fn definitions() -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for module in WITH {
        files.extend(yaml_files(&module_dir(module)?.join("config/crd/bases"))?);
    }
    files.extend(yaml_files(&generated()?)?);
    Ok(files)
}

/// The folder of the generated definitions.
fn generated() -> Result<PathBuf> {
    let bin = bin_dir()?;
    let folder = bin.with_file_name("flux-definitions");
    if folder.is_dir() {
        return Ok(folder);
    }
    // Two tests of one process may come here at once.
    let partial = bin.with_file_name(format!("flux-definitions.{}.partial", random_hex(4)?));
    generate(&testenv_dir().join("flux"), &WITHOUT, &partial)?;
    match std::fs::rename(&partial, &folder) {
        Ok(()) => Ok(folder),
        // Another process was faster; what it made is the same.
        Err(_) if folder.is_dir() => {
            let _ = std::fs::remove_dir_all(&partial);
            Ok(folder)
        }
        Err(error) => Err(error).with_context(|| format!("cannot keep {}", folder.display())),
    }
}

/// Makes the definitions of the kinds in Go modules, at the versions that the go.mod file in `requirements` pins, and writes them into `folder`.
///
/// # Errors
///
/// When Go is missing, a module cannot be had, or `controller-gen` is not built or fails.
pub fn generate(requirements: &Path, modules: &[&str], folder: &Path) -> Result<()> {
    let go = system_program("go")?;
    let go = go.parent().unwrap_or(Path::new("/"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path =
        std::env::join_paths(std::iter::once(go.to_path_buf()).chain(std::env::split_paths(&path)))
            .context("the folder of Go cannot be on PATH")?;
    let mut command = Command::new(program("controller-gen")?);
    command
        .current_dir(requirements)
        .env("PATH", path)
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=readonly")
        .arg("crd")
        .arg(format!("output:crd:dir={}", folder.display()))
        .args(modules.iter().map(|module| format!("paths={module}/...")));
    let output = command.output().context("cannot run controller-gen")?;
    if !output.status.success() {
        bail!(
            "controller-gen {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

fn yaml_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|e| e == "yaml"));
    files.sort();
    if files.is_empty() {
        bail!("no definitions in {}", folder.display());
    }
    Ok(files)
}
