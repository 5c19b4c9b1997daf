//! Cargo, started from a program that cargo started.

use std::process::Command;

use crate::components::workspace_dir;

/// A cargo command in the workspace, as a person would start it.
///
/// `cargo run` and `cargo test` tell the program which package it is. Build scripts that ask for a rerun when those variables change (ring's does)
/// would be run again, and all that depends on them compiled again, whenever a chore or a test and a person take turns.
#[must_use]
pub fn cargo() -> Command {
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
