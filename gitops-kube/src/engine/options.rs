//! How the engine is to work.

use std::time::Duration;

use gitops_core::application::{IgnoreDifference, ManagedNamespaceMetadata};
use gitops_core::backend::{Propagation, SyncResource};

/// How it is told whether an object needs a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// By the digests that the inventory recorded: nothing is sent for an object whose desired and live forms are the recorded ones.
    #[default]
    Digest,
    /// As [`Digest`](Self::Digest), and what differs is asked about by a server-side dry-run: a controller's annotation is no drift.
    Confirm,
    /// By a server-side dry-run of every object.
    DryRun,
}

/// How transient failures (unavailable, timed out, rate limited) of one request are met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryOptions {
    /// The first wait.
    pub min_delay: Duration,
    /// The longest wait.
    pub max_delay: Duration,
    /// No try begins later than this after the first. When the server says to come back later than that, its error comes back at once, with
    /// [`retry_after`](gitops_core::Error::retry_after).
    pub total: Duration,
}

impl Default for RetryOptions {
    fn default() -> Self {
        Self {
            min_delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(5),
            total: Duration::from_secs(30),
        }
    }
}

/// How health is waited for, and that pruned objects are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitOptions {
    /// At most this long: for the health of a wave, and for the objects of one kind and wave to be gone.
    pub timeout: Duration,
    /// Give up as soon as something is degraded, instead of hoping until the timeout.
    pub fail_fast: bool,
}

impl Default for WaitOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(300),
            fail_fast: true,
        }
    }
}

/// How the engine is to work.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineOptions {
    /// The namespace for namespaced objects that name none.
    pub namespace: String,
    /// Delete what the inventory has and the manifests no longer name.
    pub prune: bool,
    /// Allow that everything is pruned because no manifest is left.
    pub allow_empty: bool,
    /// Take over fields that other managers own.
    pub force_conflicts: bool,
    /// Delete and create again what cannot be changed in place (immutable fields).
    pub recreate: bool,
    /// PUT whole objects instead of applying them.
    pub replace: bool,
    /// Take objects over that another ApplySet claims.
    pub adopt: bool,
    /// Dry-run a whole stage before any of it is applied.
    pub validate: bool,
    /// How no-ops are told.
    pub verify: Verify,
    /// Differences that do not count, as Argo CD's `ignoreDifferences`: an object that differs in nothing else is told to be in sync by a plan that
    /// asks the server ([`Verify::Confirm`], [`Verify::DryRun`]). A sync that applies it writes such fields too, as Argo CD's does, unless the next two
    /// fields say otherwise.
    pub ignore_differences: Vec<IgnoreDifference>,
    /// Leave what is ignored as it is live (`RespectIgnoreDifferences=true`); what is not there yet is made as desired.
    pub respect_ignored: bool,
    /// Do not apply an object that differs in nothing but what is ignored (`ApplyOutOfSyncOnly=true`).
    pub out_of_sync_only: bool,
    /// Only these resources; empty means all.
    pub resources: Vec<SyncResource>,
    /// Make the namespace [`namespace`](Self::namespace) first, with these labels and annotations.
    pub create_namespace: Option<ManagedNamespaceMetadata>,
    /// How dependents of what is pruned go.
    pub propagation: Propagation,
    /// How many requests are under way at once.
    pub concurrency: usize,
    /// Wait for health at the end and between waves, and when pruning until objects are gone; `None` means not at all.
    pub wait: Option<WaitOptions>,
    /// How transient failures are met.
    pub retry: RetryOptions,
    /// How long a new CRD may take until it is established.
    pub crd_timeout: Duration,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            namespace: String::new(),
            prune: false,
            allow_empty: false,
            force_conflicts: false,
            recreate: false,
            replace: false,
            adopt: false,
            validate: false,
            verify: Verify::Digest,
            ignore_differences: Vec::new(),
            respect_ignored: false,
            out_of_sync_only: false,
            resources: Vec::new(),
            create_namespace: None,
            propagation: Propagation::Background,
            concurrency: 16,
            wait: Some(WaitOptions::default()),
            retry: RetryOptions::default(),
            crd_timeout: Duration::from_secs(60),
        }
    }
}
