//! Many repositories with one configuration.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use gitops_core::{Error, Result};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::repository::{Repository, RepositoryOptions};
use crate::url::RepoUrl;

/// Opens repositories with one configuration, each URL once: who asks for the same URL gets the same [`Repository`]. Clones share everything.
#[derive(Clone, Debug)]
pub struct GitClient {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: RepositoryOptions,
    open: Mutex<HashMap<RepoUrl, Arc<OnceCell<Repository>>>>,
    temporary: Option<Arc<TempDir>>,
}

impl GitClient {
    /// A client that opens every repository with `options`. Without a cache directory it keeps the copies in one temporary directory, removed with the last
    /// clone and the last repository.
    ///
    /// # Errors
    /// `Internal` when no temporary directory can be made.
    pub fn new(mut options: RepositoryOptions) -> Result<Self> {
        let temporary = match &options.cache_dir {
            Some(_) => None,
            None => {
                let dir = tempfile::Builder::new()
                    .prefix("gitops-git-")
                    .tempdir()
                    .map_err(|error| {
                        Error::internal("cannot make a temporary directory").with_source(error)
                    })?;
                options.cache_dir = Some(dir.path().to_owned());
                Some(Arc::new(dir))
            }
        };
        Ok(Self {
            inner: Arc::new(Inner {
                options,
                open: Mutex::default(),
                temporary,
            }),
        })
    }

    /// The configuration.
    pub fn options(&self) -> &RepositoryOptions {
        &self.inner.options
    }

    /// The repository at `url`.
    ///
    /// # Errors
    /// As [`Repository::open`].
    pub async fn repository(&self, url: &str) -> Result<Repository> {
        let url = RepoUrl::parse(url)?;
        let cell = Arc::clone(
            self.inner
                .open
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(url.clone())
                .or_default(),
        );
        cell.get_or_try_init(|| {
            Repository::open_in(
                url,
                self.inner.options.clone(),
                self.inner.temporary.clone(),
            )
        })
        .await
        .cloned()
    }

    /// Forgets the repository at `url`: who holds it keeps it, the next call opens it anew. Its copy stays.
    ///
    /// # Errors
    /// `InvalidInput` for a bad URL.
    pub fn forget(&self, url: &str) -> Result<()> {
        let url = RepoUrl::parse(url)?;
        self.inner
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&url);
        Ok(())
    }
}
