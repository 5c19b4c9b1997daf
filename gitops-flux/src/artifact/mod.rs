//! Artifacts: what sources offer, fetched, verified and unpacked.
//!
//! An [`ArtifactReader`] does what `github.com/fluxcd/pkg/http/fetch` 0.21 and `pkg/tar` 0.16 do for kustomize-controller 1.7: GET from
//! source-controller's file server, again when the server fails, the digest checked before anything is unpacked, and an archive that
//! can write nowhere. The files end in memory, as a [`Tree`] that [`build`](crate::build) takes.
//!
//! source-controller serves inside the cluster only; a program outside names the way to it with
//! [`ArtifactOptions::base_url`]: a forwarded port, or the API server's service proxy.

mod digest;
mod fetch;
mod revision;
mod unpack;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use gitops_core::manifest::Tree;
use gitops_core::{Error, Result};
use url::Url;

pub use self::digest::{Algorithm, Digest};
pub use self::revision::Revision;
pub use self::unpack::{UnpackLimits, Unpacked, unpack};
use crate::blocking::off_thread;
use crate::types::Artifact;

/// How artifacts are fetched, and how much of them is taken.
///
/// kustomize-controller 1.7 itself takes any size; the limits here are those that `pkg/tar` 0.16 has by default, and half of it for the
/// packed file.
#[derive(Clone)]
pub struct ArtifactOptions {
    /// What takes the place of the scheme, host and port of artifacts' URLs; a path of it stands before theirs. `None` takes URLs as
    /// they are.
    pub base_url: Option<Url>,
    /// How many bytes are downloaded; 50 MiB.
    pub max_download: u64,
    /// How much an archive may hold; see [`UnpackLimits`].
    pub unpack: UnpackLimits,
    /// How long all of it may take, tries and waits included; 2 minutes.
    pub deadline: Duration,
    /// How often a download that failed for a moment is tried again; 5 times.
    pub retries: usize,
    /// How long it waits before the first of these, doubled from one to the next up to 30 s; 500 ms.
    pub retry_wait: Duration,
    /// The HTTP client. `None` makes one that follows no redirects and knows no proxy but the environment's.
    pub client: Option<reqwest::Client>,
}

impl Default for ArtifactOptions {
    fn default() -> Self {
        Self {
            base_url: None,
            max_download: 50 << 20,
            unpack: UnpackLimits::default(),
            deadline: Duration::from_secs(120),
            retries: 5,
            retry_wait: Duration::from_millis(500),
            client: None,
        }
    }
}

impl fmt::Debug for ArtifactOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base_url = self
            .base_url
            .as_ref()
            .map(|url| gitops_core::error::redact_url(url.as_str()));
        f.debug_struct("ArtifactOptions")
            .field("base_url", &base_url)
            .field("max_download", &self.max_download)
            .field("unpack", &self.unpack)
            .field("deadline", &self.deadline)
            .field("retries", &self.retries)
            .field("retry_wait", &self.retry_wait)
            .finish_non_exhaustive()
    }
}

/// Reads artifacts. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ArtifactReader {
    options: Arc<ArtifactOptions>,
    client: reqwest::Client,
}

impl ArtifactReader {
    /// A reader.
    ///
    /// # Errors
    /// `InvalidInput` for a base URL that is not one of HTTP, or when no HTTP client can be made.
    pub fn new(options: ArtifactOptions) -> Result<Self> {
        if let Some(base) = &options.base_url
            && !(matches!(base.scheme(), "http" | "https") && base.has_host())
        {
            return Err(Error::invalid(format!(
                "base URL {:?} is not one of HTTP",
                gitops_core::error::redact_url(base.as_str())
            )));
        }
        let client = match &options.client {
            Some(client) => client.clone(),
            None => fetch::client()?,
        };
        Ok(Self {
            options: Arc::new(options),
            client,
        })
    }

    /// Fetches an artifact that is a `.tar.gz`: its files, at [`Artifact::revision`].
    ///
    /// Memory holds the files and nothing else: the packed file goes to a temporary one without a name, a MiB at a time. Dropping the
    /// future stops the download and the unpacking, as the deadline does.
    ///
    /// # Errors
    /// - `NotFound` when the file is gone, as it is soon after the source has a new artifact: read the source again.
    /// - `Unavailable` or `RateLimited` when the server could not be reached or kept failing, `Timeout` at the deadline.
    /// - `Integrity` for a digest that is another one or missing, a file above the limit, and what [`unpack()`] refuses.
    /// - `InvalidInput` for a URL that is none, `Unsupported` for an algorithm that is not known.
    pub async fn fetch(&self, artifact: &Artifact) -> Result<Unpacked> {
        let what = || format!("artifact {}", artifact.revision);
        let work = async {
            let file = self.download(artifact).await?;
            let limits = self.options.unpack.clone();
            let mut unpacked = off_thread("unpacking", move |wanted| {
                unpack(wanted.reader(file), &limits)
            })
            .await?;
            unpacked.tree.revision.clone_from(&artifact.revision);
            Ok(unpacked)
        };
        match tokio::time::timeout(self.options.deadline, work).await {
            Ok(done) => done.map_err(|error: Error| error.context(what())),
            Err(_) => Err(Error::timeout(format!(
                "not fetched within {:?}",
                self.options.deadline
            ))
            .context(what())),
        }
    }

    /// The files of an artifact: [`fetch`](Self::fetch), without what was left out.
    ///
    /// # Errors
    /// Those of [`fetch`](Self::fetch).
    pub async fn tree(&self, artifact: &Artifact) -> Result<Tree> {
        Ok(self.fetch(artifact).await?.tree)
    }
}
