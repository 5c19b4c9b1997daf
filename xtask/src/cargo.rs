//! Cargo, started from a program that cargo started.

use std::process::Command;

use e2e::workspace_dir;

/// A cargo command in the workspace, as a person would start it.
///
/// `cargo run` tells the program which package it is. Build scripts that ask for a rerun when those variables change (ring's does)
/// would be run again, and all that depends on them compiled again, whenever a chore and a person take turns.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(workspace_dir());
    for (name, _) in std::env::vars_os() {
        if let Some(name) = name.to_str()
            && (name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
        {
            command.env_remove(name);
        }
    }
    command
}
