//! The kind `GitRepository`.

use std::fmt;

use gitops_core::error::redact_url;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::extra::Extra;
use super::resource::{
    at_intervals, flux_kind, handled, offers_artifact, setters, suspendable, timed,
};
use super::{
    Artifact, AuthProvider, Condition, GitVerificationMode, GoDuration, LocalObjectReference,
};

flux_kind! {
    /// A Git repository as a source.
    ///
    /// ```
    /// use gitops_flux::types::GitRepository;
    ///
    /// let repo = GitRepository::new("gitops-repo")
    ///     .in_namespace("flux-system")
    ///     .url("https://github.com/my-org/gitops-repo.git")
    ///     .branch("main")
    ///     .interval("1m0s")
    ///     .secret("flux-system");
    /// assert_eq!(repo.spec.git_ref.unwrap().branch.as_deref(), Some("main"));
    /// ```
    GitRepository(GitRepositorySpec, GitRepositoryStatus) {
        handled!();
        suspendable!();
        at_intervals!();
        timed!();
        offers_artifact!();

        fn service_account_name(&self) -> Option<&str> {
            self.spec.service_account_name.as_deref()
        }
    }
}

impl GitRepository {
    setters!(GitRepositorySpec: interval, timeout, secret);

    /// Sets the URL: `https://`, `http://` or `ssh://`.
    #[must_use]
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.spec.url = url.into();
        self
    }

    /// Follows a branch.
    #[must_use]
    pub fn branch(mut self, branch: impl Into<String>) -> Self {
        self.spec.git_ref.get_or_insert_default().branch = Some(branch.into());
        self
    }

    /// Stays at a tag.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.spec.git_ref.get_or_insert_default().tag = Some(tag.into());
        self
    }

    /// Follows the newest tag of a semver range.
    #[must_use]
    pub fn semver(mut self, range: impl Into<String>) -> Self {
        self.spec.git_ref.get_or_insert_default().semver = Some(range.into());
        self
    }

    /// Stays at a commit; with a branch, which must contain it, less is fetched.
    #[must_use]
    pub fn commit(mut self, commit: impl Into<String>) -> Self {
        self.spec.git_ref.get_or_insert_default().commit = Some(commit.into());
        self
    }
}

/// `spec` of a `GitRepository`.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GitRepositorySpec {
    /// The URL: `https://`, `http://` or `ssh://`.
    pub url: String,
    /// The Secret with the credentials: `username` and `password`, `bearerToken`, or `identity` and `known_hosts`.
    pub secret_ref: Option<LocalObjectReference>,
    /// How it logs in: `generic`, `azure` or `github`.
    pub provider: Option<AuthProvider>,
    /// The service account that logs in (`azure` only).
    pub service_account_name: Option<String>,
    /// How often the repository is looked at. The definition requires it.
    pub interval: Option<GoDuration>,
    /// How long operations of Git may take; 60 s by default.
    pub timeout: Option<GoDuration>,
    /// What is checked out; the branch `master` by default.
    #[serde(rename = "ref")]
    pub git_ref: Option<GitRepositoryRef>,
    /// Whose signature it must have.
    pub verify: Option<GitRepositoryVerification>,
    /// The Secret with the proxy's address and credentials.
    pub proxy_secret_ref: Option<LocalObjectReference>,
    /// What is left out, as `.sourceignore`.
    pub ignore: Option<String>,
    /// Whether it is left alone.
    pub suspend: Option<bool>,
    /// Whether submodules are checked out too.
    pub recurse_submodules: Option<bool>,
    /// Other repositories whose files are put among these.
    pub include: Option<Vec<GitRepositoryInclude>>,
    /// The directories that are checked out, instead of all.
    pub sparse_checkout: Option<Vec<String>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl fmt::Debug for GitRepositorySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GitRepositorySpec")
            .field("url", &redact_url(&self.url))
            .field("secret_ref", &self.secret_ref)
            .field("provider", &self.provider)
            .field("service_account_name", &self.service_account_name)
            .field("interval", &self.interval)
            .field("timeout", &self.timeout)
            .field("git_ref", &self.git_ref)
            .field("verify", &self.verify)
            .field("proxy_secret_ref", &self.proxy_secret_ref)
            .field("ignore", &self.ignore)
            .field("suspend", &self.suspend)
            .field("recurse_submodules", &self.recurse_submodules)
            .field("include", &self.include)
            .field("sparse_checkout", &self.sparse_checkout)
            .field("extra", &self.extra)
            .finish()
    }
}

/// What is checked out of a repository. Of several, the last here wins.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GitRepositoryRef {
    /// A branch.
    pub branch: Option<String>,
    /// A tag.
    pub tag: Option<String>,
    /// The newest tag of a semver range.
    pub semver: Option<String>,
    /// Any ref, with its full name.
    pub name: Option<String>,
    /// A commit; with a branch it is looked for there.
    pub commit: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Whose signature a repository must have.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GitRepositoryVerification {
    /// Which objects must be signed; `HEAD` by default.
    pub mode: Option<GitVerificationMode>,
    /// The Secret with the public keys.
    pub secret_ref: LocalObjectReference,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Another repository whose files are put among these.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GitRepositoryInclude {
    /// The `GitRepository`.
    pub repository: LocalObjectReference,
    /// The directory that is taken; the root by default.
    pub from_path: Option<String>,
    /// Where it is put; under the repository's name by default.
    pub to_path: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `status` of a `GitRepository`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GitRepositoryStatus {
    /// The generation that was reconciled last.
    pub observed_generation: Option<i64>,
    /// Conditions.
    pub conditions: Option<Vec<Condition>>,
    /// What it offers.
    pub artifact: Option<Artifact>,
    /// What was put among it.
    pub included_artifacts: Option<Vec<Artifact>>,
    /// `ignore` as it was used.
    pub observed_ignore: Option<String>,
    /// `recurseSubmodules` as it was used.
    pub observed_recurse_submodules: Option<bool>,
    /// `include` as it was used.
    pub observed_include: Option<Vec<GitRepositoryInclude>>,
    /// `sparseCheckout` as it was used.
    pub observed_sparse_checkout: Option<Vec<String>>,
    /// Which objects' signatures were verified.
    pub source_verification_mode: Option<GitVerificationMode>,
    /// The last request that was taken up.
    pub last_handled_reconcile_at: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}
