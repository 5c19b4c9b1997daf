//! `cargo xtask features`.

use anyhow::{Context, Result, bail};
use cargo_metadata::MetadataCommand;
use clap::Args;
use e2e::workspace_dir;

use crate::cargo::cargo;

/// Which crates.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The crates; without any, all of the workspace.
    crates: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let metadata = MetadataCommand::new()
        .current_dir(workspace_dir())
        .no_deps()
        .exec()
        .context("cannot read the workspace")?;
    let packages = metadata.workspace_packages();
    for name in &arguments.crates {
        if !packages.iter().any(|p| p.name.as_str() == name) {
            bail!("the workspace has no crate {name}");
        }
    }
    let mut failed = Vec::new();
    for package in packages {
        let name = package.name.as_str();
        if !arguments.crates.is_empty() && !arguments.crates.iter().any(|c| c == name) {
            continue;
        }
        // Alone means without the defaults: what a feature needs, it has to turn on itself. The first check is for no feature at all.
        let features = package
            .features
            .keys()
            .filter(|f| *f != "default")
            .map(String::as_str);
        for feature in std::iter::once("").chain(features) {
            let shown = if feature.is_empty() {
                "no feature"
            } else {
                feature
            };
            println!("checking {name} with {shown}");
            let status = cargo()
                .args([
                    "check",
                    "--quiet",
                    "--package",
                    name,
                    "--no-default-features",
                ])
                .args((!feature.is_empty()).then_some("--features"))
                .args((!feature.is_empty()).then_some(feature))
                .status()
                .context("cannot run cargo")?;
            if !status.success() {
                failed.push(format!("{name} with {shown}"));
            }
        }
    }
    if !failed.is_empty() {
        bail!("these do not compile alone: {}", failed.join(", "));
    }
    println!("every feature compiles alone");
    Ok(())
}
