//! A path of a repository, from its URL to the bytes of its files.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;
use gitops_git::{GitClient, RepositoryOptions, Revision};
use serde_json::json;
use tokio::runtime::Runtime;

#[derive(Args)]
pub(crate) struct Arguments {
    /// The repository.
    #[arg(long)]
    url: String,
    /// The path to read.
    #[arg(long)]
    path: String,
    /// How many files must be there.
    #[arg(long)]
    files: usize,
    /// What one of the files must hold.
    #[arg(long)]
    contains: Option<String>,
    /// Where the copy is kept.
    #[arg(long)]
    cache: PathBuf,
}

/// With a history of one commit, as the peer's `--depth 1`.
pub(crate) fn read(arguments: &Arguments) -> Result<()> {
    let (files, bytes) = Runtime::new()?.block_on(async {
        let options = RepositoryOptions::default()
            .cache_dir(&arguments.cache)
            .depth(1);
        let repository = GitClient::new(options)?.repository(&arguments.url).await?;
        let fetched = repository.fetch_revision(&Revision::parse("main")?).await?;
        let tree = repository.tree(&fetched.commit, &arguments.path).await?;
        let bytes: usize = tree
            .iter()
            .filter_map(|(_, entry)| entry.bytes())
            .map(|bytes| bytes.len())
            .sum();
        if let Some(wanted) = &arguments.contains {
            let found = tree
                .iter()
                .filter_map(|(_, entry)| entry.bytes())
                .any(|bytes| String::from_utf8_lossy(bytes).contains(wanted.as_str()));
            ensure!(found, "no file holds {wanted:?}");
        }
        anyhow::Ok((tree.len(), bytes))
    })?;
    ensure!(
        files == arguments.files,
        "{files} files instead of {}",
        arguments.files
    );
    println!("{}", json!({"files": files, "bytes": bytes}));
    Ok(())
}
