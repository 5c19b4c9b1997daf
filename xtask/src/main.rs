//! The project's chores: `cargo xtask --help`.

mod bench;
mod cargo;
mod crd_coverage;
mod e2e_tests;
mod features;
mod testenv;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The chores of gitops-rs.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Chore,
}

// One file per chore: its arguments are a clap struct with a `run` of its own.
#[derive(Debug, Subcommand)]
enum Chore {
    /// Build the real components that tests need, from source, into the user's cache directory.
    Testenv(testenv::Arguments),
    /// Run the end-to-end tests; the servers that they ask for are started, and stopped afterwards.
    E2e(e2e_tests::Arguments),
    /// Measure gitops-rs against the Go libraries that do the same work.
    Bench(bench::Arguments),
    /// Check that every feature of every crate compiles alone.
    Features(features::Arguments),
    /// Check that the types of Argo CD's resources have every property of its custom resource definitions.
    CrdCoverage(crd_coverage::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Chore::Testenv(arguments) => testenv::run(&arguments),
        Chore::E2e(arguments) => e2e_tests::run(&arguments),
        Chore::Bench(arguments) => bench::run(&arguments),
        Chore::Features(arguments) => features::run(&arguments),
        Chore::CrdCoverage(arguments) => crd_coverage::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
