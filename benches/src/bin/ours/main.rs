//! The work of the Go peers done by gitops-rs: one subcommand per job, the same input files, answers as JSON on standard output.

mod apply;
mod argocd;
mod clock;
mod diff;
mod flux;
mod git;
mod helpers;
mod yaml;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use benches::corpus::Corpus;
use benches::pairs::pairs;
use benches::{applications, kustomizations};
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    about = "Runs gitops-rs on the corpus; `cargo xtask bench` compares it with the Go peers"
)]
struct Cli {
    #[command(subcommand)]
    job: Job,
}

#[derive(Subcommand)]
enum Job {
    /// Write the corpus of manifests.
    Corpus {
        /// Where to.
        file: PathBuf,
        /// How many objects, besides ten namespaces.
        #[arg(long, default_value_t = 1000)]
        objects: usize,
        /// Where the namespaces' names begin.
        #[arg(long, default_value = "bench")]
        prefix: String,
        /// Another number than 0 changes one object in a hundred.
        #[arg(long, default_value_t = 0)]
        revision: u32,
    },
    /// Write the corpus of live and target pairs.
    Pairs {
        /// Where to.
        file: PathBuf,
        /// How many.
        #[arg(long, default_value_t = 1000)]
        count: usize,
    },
    /// Write a list of Argo CD's applications.
    Applications {
        /// Where to.
        file: PathBuf,
        /// How many.
        #[arg(long, default_value_t = 2000)]
        count: usize,
    },
    /// Write Argo CD's applications to the Kubernetes API.
    ApplicationsCreate(argocd::Create),
    /// A list of Argo CD's applications to statuses.
    ArgocdDecode {
        /// A file that `applications` wrote.
        file: PathBuf,
        /// How often.
        rounds: usize,
    },
    /// Ask an Argo CD for its applications' statuses.
    ArgocdList(argocd::List),
    /// Write a list of Flux's Kustomizations.
    Kustomizations {
        /// Where to.
        file: PathBuf,
        /// How many.
        #[arg(long, default_value_t = 2000)]
        count: usize,
    },
    /// Write Flux's Kustomizations to the Kubernetes API.
    KustomizationsCreate(flux::Create),
    /// A list of Flux's Kustomizations to statuses.
    FluxDecode {
        /// A file that `kustomizations` wrote.
        file: PathBuf,
        /// How often.
        rounds: usize,
        /// Whole objects, in place of statuses.
        #[arg(long)]
        whole: bool,
    },
    /// Ask an API server for the statuses of all Kustomizations.
    FluxList(flux::List),
    /// Reconcile a Kustomization, and tell our time from the controllers'.
    FluxReconcile(flux::Reconcile),
    /// Write objects, what manages them and its sources to the Kubernetes API.
    FluxTraceCreate(flux::TraceCreate),
    /// Trace these objects.
    FluxTrace(flux::Trace),
    /// Bytes to objects.
    YamlParse {
        /// A file of many documents.
        file: PathBuf,
        /// How often.
        rounds: usize,
    },
    /// Compare pairs of live and target.
    Diff {
        /// A file of pairs.
        file: PathBuf,
        /// How often.
        rounds: usize,
    },
    /// Read a path of a repository.
    GitRead(git::Arguments),
    /// Sync a file of manifests to a cluster.
    Apply(apply::Arguments),
    /// Read cached statuses.
    CacheRead(helpers::CacheRead),
    /// Take and give back permits of a limiter with three limits.
    Limit {
        /// How many.
        #[arg(default_value_t = 200_000)]
        count: usize,
    },
    /// Sync applications with a backend that does nothing.
    SyncAll {
        /// How many.
        #[arg(default_value_t = 10_000)]
        count: usize,
    },
    /// Plan a sync without carrying it out.
    Plan(apply::Arguments),
}

fn main() -> Result<()> {
    match Cli::parse().job {
        Job::Corpus {
            file,
            objects,
            prefix,
            revision,
        } => {
            let corpus = Corpus {
                objects,
                prefix,
                revision,
                ..Corpus::default()
            };
            fs::write(&file, corpus.yaml()).with_context(|| file.display().to_string())
        }
        Job::Pairs { file, count } => fs::write(&file, serde_json::to_vec(&pairs(count))?)
            .with_context(|| file.display().to_string()),
        Job::Applications { file, count } => {
            fs::write(&file, applications::list(count)?).with_context(|| file.display().to_string())
        }
        Job::ApplicationsCreate(arguments) => argocd::create(&arguments),
        Job::ArgocdDecode { file, rounds } => argocd::decode(&file, rounds),
        Job::ArgocdList(arguments) => argocd::list(&arguments),
        Job::Kustomizations { file, count } => fs::write(&file, kustomizations::list(count)?)
            .with_context(|| file.display().to_string()),
        Job::KustomizationsCreate(arguments) => flux::create(&arguments),
        Job::FluxDecode {
            file,
            rounds,
            whole,
        } => flux::decode(&file, rounds, whole),
        Job::FluxList(arguments) => flux::list(&arguments),
        Job::FluxReconcile(arguments) => flux::reconcile(&arguments),
        Job::FluxTraceCreate(arguments) => flux::trace_create(&arguments),
        Job::FluxTrace(arguments) => flux::trace(&arguments),
        Job::YamlParse { file, rounds } => yaml::parse(&file, rounds),
        Job::Diff { file, rounds } => diff::diff(&file, rounds),
        Job::GitRead(arguments) => git::read(&arguments),
        Job::CacheRead(arguments) => helpers::cache_read(&arguments),
        Job::Limit { count } => helpers::limit(count),
        Job::SyncAll { count } => helpers::sync_many(count),
        Job::Apply(arguments) => apply::apply(&arguments),
        Job::Plan(arguments) => apply::plan(&arguments),
    }
}
