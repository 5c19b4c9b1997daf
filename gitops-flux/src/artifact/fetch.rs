//! Downloading.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use gitops_core::{Error, ErrorKind, Result};
use reqwest::StatusCode;
use reqwest::header::RETRY_AFTER;
use url::Url;

use super::ArtifactReader;
use super::digest::{Algorithm, Digest, Hasher};
use crate::blocking::off_thread;
use crate::types::Artifact;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest wait between two tries (`pkg/http/fetch`).
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How many bytes of a download are written at once.
const PART: usize = 1 << 20;

/// A client that follows no redirects: the file server makes none, and one that somebody else makes leads to where nobody pointed.
pub(super) fn client() -> Result<reqwest::Client> {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Somebody else may have been faster; theirs is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        // The digest is that of the bytes as they are stored.
        .no_gzip()
        .user_agent(concat!("gitops-rs/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| Error::invalid("no HTTP client can be made").with_source(error))
}

impl ArtifactReader {
    /// The artifact's file, checked, rewound.
    pub(super) async fn download(&self, artifact: &Artifact) -> Result<File> {
        let digest: Digest = match artifact.digest.as_deref() {
            None | Some("") => return Err(Error::integrity("it has no digest")),
            Some(digest) => digest.parse()?,
        };
        let url = self.url(&artifact.url)?;
        let backoff = ExponentialBuilder::default()
            .with_min_delay(self.options.retry_wait)
            .with_max_delay(LONGEST_WAIT)
            .with_max_times(self.options.retries)
            .with_jitter();
        (|| self.try_download(&url, &digest))
            .retry(backoff)
            .when(Error::is_retryable)
            // What the server asks for, but no longer than the longest wait.
            .adjust(|error, wait| {
                let asked = error.retry_after().map(|asked| asked.min(LONGEST_WAIT));
                wait.map(|wait| asked.unwrap_or(wait))
            })
            .await
    }

    /// Where the artifact is, as this program reaches it.
    fn url(&self, text: &str) -> Result<Url> {
        let url = Url::parse(text)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let Some(url) = url else {
            return Err(Error::invalid(format!(
                "its URL {:?} is not one of HTTP",
                gitops_core::error::redact_url(text)
            )));
        };
        let Some(base) = &self.options.base_url else {
            return Ok(url);
        };
        let mut to = base.clone();
        to.set_path(&format!(
            "{}{}",
            base.path().trim_end_matches('/'),
            url.path()
        ));
        to.set_query(url.query());
        Ok(to)
    }

    async fn try_download(&self, url: &Url, digest: &Digest) -> Result<File> {
        let mut response = self
            .client
            .get(url.clone())
            .send()
            .await
            .map_err(unreachable)?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => {
                return Err(Error::not_found("its file is not there (any more)"));
            }
            status => {
                let error = Error::new(kind(status), format!("the server answered {status}"));
                let after = response
                    .headers()
                    .get(RETRY_AFTER)
                    .and_then(|after| after.to_str().ok()?.trim().parse().ok());
                return Err(match after {
                    Some(after) => error.with_retry_after(Duration::from_secs(after)),
                    None => error,
                });
            }
        }
        let limit = self.options.max_download;
        let too_big = || Error::integrity(format!("its file has more than {limit} bytes"));
        if response
            .content_length()
            .is_some_and(|length| length > limit)
        {
            return Err(too_big());
        }
        let algorithm = digest.algorithm();
        let mut kept = off_thread(Kept::WORK, move |_| Kept::new(algorithm)).await?;
        let mut part = Vec::new();
        let mut taken = 0_u64;
        while let Some(bytes) = response.chunk().await.map_err(unreachable)? {
            taken += bytes.len() as u64;
            if taken > limit {
                return Err(too_big());
            }
            part.extend_from_slice(&bytes);
            if part.len() >= PART {
                kept = kept.add(std::mem::take(&mut part)).await?;
            }
        }
        kept.add(part).await?.finish(digest.clone()).await
    }
}

/// A download on its way to the disk, which may be slow.
struct Kept {
    file: File,
    hasher: Hasher,
}

impl Kept {
    const WORK: &str = "keeping the download";

    fn new(algorithm: Algorithm) -> Result<Self> {
        Ok(Self {
            file: tempfile::tempfile().map_err(not_kept)?,
            hasher: Hasher::new(algorithm),
        })
    }

    async fn add(mut self, part: Vec<u8>) -> Result<Self> {
        off_thread(Self::WORK, move |_| {
            self.hasher.update(&part);
            self.file.write_all(&part).map_err(not_kept)?;
            Ok(self)
        })
        .await
    }

    /// The file, rewound, when it is the one with that digest.
    async fn finish(mut self, digest: Digest) -> Result<File> {
        off_thread(Self::WORK, move |_| {
            let found = self.hasher.hex();
            if found != digest.hex() {
                return Err(Error::integrity(format!(
                    "its digest is {}:{found}, not {digest}",
                    digest.algorithm()
                )));
            }
            self.file.rewind().map_err(not_kept)?;
            Ok(self.file)
        })
        .await
    }
}

fn not_kept(error: io::Error) -> Error {
    Error::internal("cannot keep the download").with_source(error)
}

fn kind(status: StatusCode) -> ErrorKind {
    match status.as_u16() {
        401 => ErrorKind::Unauthenticated,
        403 => ErrorKind::PermissionDenied,
        408 | 504 => ErrorKind::Timeout,
        429 => ErrorKind::RateLimited,
        500..=599 => ErrorKind::Unavailable,
        _ => ErrorKind::Failed,
    }
}

fn unreachable(error: reqwest::Error) -> Error {
    let (kind, said) = if error.is_timeout() {
        (ErrorKind::Timeout, "the server did not answer in time")
    } else if error.is_builder() {
        (ErrorKind::InvalidInput, "the request cannot be sent")
    } else if error.is_connect() {
        (ErrorKind::Unavailable, "the server cannot be reached")
    } else {
        (ErrorKind::Unavailable, "the connection was cut")
    };
    Error::new(kind, said).with_source(error.without_url())
}
