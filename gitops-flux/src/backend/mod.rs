//! Flux as a backend of `gitops-core`.
//!
//! An [`Application`](gitops_core::application::Application) is a source and a `Kustomization` or `HelmRelease` of its name (see [`convert`](crate::convert)). What others made is shown as applications
//! too; where a `HelmRelease` has a `Kustomization`'s name, it is called `NAME.helmrelease`.
//!
//! # Only when asked
//!
//! Flux applies whatever its source has. An application without automated sync keeps its workload suspended between syncs, which everybody sees (`flux get`); its source goes on looking, so that it is
//! known what a sync would bring. A sync resumes the workload for as long as it runs.
//!
//! # A sync
//!
//! 1. The operation is noted in an annotation of the workload, at the version that was read: of two that start, one does.
//! 2. The source is asked to fetch, and waited for; for a sync at a given revision it is pinned to that, and what it follows otherwise is noted beside.
//! 3. The workload is resumed and asked with the operation's name as the token, and waited for: a result is one of this request and of the revision that the source has fetched.
//! 4. The outcome is noted, the workload is suspended again, the source let go. What a sync at a revision brought stays until the next sync, or until the application is resumed.
//!
//! A source is pinned only if it was made for the application and no other workload uses it, as far as may be seen: all that use it would go back with it. Otherwise such a sync is a `Conflict`.
//!
//! Somebody who suspends an automated application's workload while an operation runs (`flux suspend`) ends the operation, and it stays suspended. A workload that is being deleted is not changed
//! any more: its `spec` says what becomes of what it deployed.
//!
//! # Who carries an operation on
//!
//! A task of this process does, one for each operation; whoever [waits](gitops_core::backend::Syncer::wait) does too, in whichever process, and whoever starts the next sync or terminates it. When
//! the process dies and nobody asks, the operation stays where it was, and with it what it changed for its time: an application without automated sync is resumed and applies what its source
//! fetches, a source is pinned. [`status`](gitops_core::backend::Syncer::status), `get`, `list` and watches only tell of it. A program that is restarted should therefore wait for the operations that
//! statuses tell of as running.
//!
//! A controller that does not answer is looked for by its Lease: while it is alive the operation goes on until its time is up, as a busy controller may take long; when it is not, the operation
//! ends soon and says so.
//!
//! # What is written
//!
//! | annotation | of | says |
//! | --- | --- | --- |
//! | `gitops.rs/operation` | workload | the running or last operation; at most 60 KiB |
//! | `gitops.rs/history`, `gitops.rs/applied` | workload | what operations deployed, and the digest of the settings of the last |
//! | `gitops.rs/sync` | workload | `manual` without automated sync; `suspended` so that it is known while an operation runs |
//! | `gitops.rs/kept` | workload | what Flux has no field for (see [`convert`](crate::convert)) |
//! | `gitops.rs/application` | source | the application that it was made for |
//! | `gitops.rs/pinned`, `gitops.rs/pinned-for` | source | what it follows otherwise, as JSON, and the operation; the first also of a `HelmRelease` whose chart's version is pinned |
//!
//! # What Flux cannot do
//!
//! - `terminate` ends the operation between two runs of a controller: one that has begun goes on to its end. Flux goes on with an application with automated sync.
//! - Selective syncs are `Unsupported`, and dry runs of `HelmRelease`s, and syncs of buckets at a given revision.
//! - A rollback of a `HelmRelease` is one of its chart; values stay as they are.
//! - A `Kustomization` that was synced without pruning forgets what the source no longer names: a later sync with pruning does not delete it (kustomize-controller 1.7 writes its inventory anew).
//! - `allowEmpty: false` is kept and does not protect: a path without manifests is an empty set to kustomize-controller.
//! - `destination.namespace` is `targetNamespace`, which kustomize sets on all objects, those that name another namespace included.
//! - A watch tells no state before it has read all kinds of Flux's sources, `HelmChart`s and workloads: where one of them may not be read, it tells that error again and again, and nothing else.

mod access;
mod drive;
mod dry_run;
mod history;
mod outcome;
mod pin;
mod record;
mod release;
#[cfg(feature = "git")]
mod revert;
mod snapshot;
mod start;
mod state;
mod status;
mod store;
mod watch;

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use gitops_core::application::{AppRef, ApplicationStatus};
use gitops_core::backend::{
    ApplicationStore, Backend, Operation, RevisionHistory, Selector, StateReader, StatusEvent,
    SyncOptions, SyncOutcome, Syncer,
};
use gitops_core::{Error, Result};

pub use self::history::{AutoSync, RollbackOptions, RollbackOutcome};
#[cfg(feature = "git")]
pub use self::revert::{RevertOptions, RevertOutcome};
use crate::artifact::{ArtifactOptions, ArtifactReader};
use crate::build::{Builder, KubeValues};
use crate::convert::ConvertOptions;
use crate::manager::FluxManager;

/// How many outcomes are remembered that newer operations took the place of.
const REMEMBERED: usize = 256;

/// How a [`FluxBackend`] works.
#[derive(Clone, Debug)]
pub struct BackendOptions {
    /// What new objects get.
    pub convert: ConvertOptions,
    /// Applications of all namespaces are listed and watched, and not only those of the manager's own.
    pub everywhere: bool,
    /// How long an operation may take, when it does not say so itself.
    pub operation_timeout: Duration,
    /// After so long without a word of a controller it is looked for, and the operation ends, saying so, unless it is alive.
    pub unanswered: Duration,
    /// How long a terminated operation waits for the controller's run.
    pub terminate: Duration,
    /// How long the API server may be away while an operation is followed.
    pub patience: Duration,
    /// How artifacts are fetched: outside of the cluster, name the way to source-controller.
    pub artifacts: ArtifactOptions,
    /// What builds the manifests of `Kustomization`s; `None` takes the `kustomize` on PATH.
    pub builder: Option<Builder>,
}

impl Default for BackendOptions {
    /// One namespace; 15 minutes, 1 minute, 1 minute, 5 minutes.
    fn default() -> Self {
        Self {
            convert: ConvertOptions::default(),
            everywhere: false,
            operation_timeout: Duration::from_secs(15 * 60),
            unanswered: Duration::from_secs(60),
            terminate: Duration::from_secs(60),
            patience: Duration::from_secs(5 * 60),
            artifacts: ArtifactOptions::default(),
            builder: None,
        }
    }
}

/// Flux as a [`Backend`], with store, state and history. Cheap to clone.
///
/// ```no_run
/// use gitops_core::application::{Application, Source};
/// use gitops_core::backend::{ApplicationStore, PutMode, SyncOptions, SyncerExt};
/// use gitops_flux::{FluxBackend, FluxManager};
///
/// # async fn example() -> gitops_core::Result<()> {
/// let backend = FluxBackend::new(FluxManager::connect().await?);
/// let shop = Application::new("shop")
///     .source(Source::git("https://git.example.com/team/config").path("prod/shop").revision("main"))
///     .in_namespace("shop");
/// backend.put(&shop, PutMode::Upsert).await?;
/// let outcome = backend.sync_and_wait(&shop.app_ref(), &SyncOptions::default()).await?;
/// println!("{:?} at {:?}", outcome.phase, outcome.revisions);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct FluxBackend {
    pub(crate) manager: FluxManager,
    pub(crate) options: Arc<BackendOptions>,
    outcomes: Arc<Mutex<VecDeque<SyncOutcome>>>,
    /// The operations that have a task.
    carried: Arc<Mutex<HashSet<(AppRef, String)>>>,
}

impl fmt::Debug for FluxBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FluxBackend")
            .field("manager", &self.manager)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl FluxBackend {
    /// A backend with default options. Applications that name no namespace are in the manager's.
    pub fn new(manager: FluxManager) -> Self {
        Self::with_options(manager, BackendOptions::default())
    }

    /// A backend.
    pub fn with_options(manager: FluxManager, options: BackendOptions) -> Self {
        Self {
            manager,
            options: Arc::new(options),
            outcomes: Arc::default(),
            carried: Arc::default(),
        }
    }

    /// The manager of the objects.
    pub fn manager(&self) -> &FluxManager {
        &self.manager
    }

    /// The options.
    pub fn options(&self) -> &BackendOptions {
        &self.options
    }

    fn reader(&self) -> Result<ArtifactReader> {
        ArtifactReader::new(self.options.artifacts.clone())
    }

    fn builder(&self) -> Builder {
        let values = KubeValues::new(self.manager.client().clone());
        self.options
            .builder
            .clone()
            .unwrap_or_else(|| Builder::default().values(values))
    }

    fn remembered(&self, operation: &Operation) -> Option<SyncOutcome> {
        let outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        outcomes
            .iter()
            .find(|outcome| outcome.operation.id == operation.id)
            .cloned()
    }

    fn remember(&self, outcome: &SyncOutcome) {
        let mut outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        if outcomes
            .iter()
            .any(|known| known.operation.id == outcome.operation.id)
        {
            return;
        }
        if outcomes.len() >= REMEMBERED {
            outcomes.pop_front();
        }
        outcomes.push_back(outcome.clone());
    }

    fn carried(&self) -> MutexGuard<'_, HashSet<(AppRef, String)>> {
        self.carried.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries an operation on in a task of its own, unless one does already.
    fn carry_on(&self, app: &AppRef, id: &str) {
        let Some(carried) = Carried::begin(self, app, id) else {
            return;
        };
        tokio::spawn(async move {
            let Carried { backend, operation } = &carried;
            let (app, id) = operation;
            match drive::to_the_end(backend, app, id).await {
                Ok(outcome) => backend.remember(&outcome),
                Err(error) => {
                    tracing::warn!(%app, operation = id, %error, "an operation is left to whoever asks for it")
                }
            }
        });
    }
}

/// A task's hold on an operation.
struct Carried {
    backend: FluxBackend,
    operation: (AppRef, String),
}

impl Carried {
    /// None while another task has it.
    fn begin(backend: &FluxBackend, app: &AppRef, id: &str) -> Option<Self> {
        let operation = (app.clone(), id.to_owned());
        let is_new = backend.carried().insert(operation.clone());
        is_new.then(|| Self {
            backend: backend.clone(),
            operation,
        })
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        self.backend.carried().remove(&self.operation);
    }
}

#[async_trait]
impl Syncer for FluxBackend {
    /// Besides the contract: `Conflict` for a sync at a given revision while automated sync would undo it or others may use the source, and for a program's sync of a suspended application;
    /// `InvalidInput` for more of `info` than an annotation has room for (8 KiB); `Unsupported` for what Flux cannot do (see [the module](self)). It needs a tokio runtime, in which a task carries the operation on.
    async fn sync(&self, app: &AppRef, options: &SyncOptions) -> Result<Operation> {
        start::sync(self, app, options).await
    }

    async fn wait(&self, operation: &Operation) -> Result<SyncOutcome> {
        if let Some(outcome) = self.remembered(operation) {
            return Ok(outcome);
        }
        let result = drive::to_the_end(self, &operation.app, &operation.id).await;
        let mut outcome = match result {
            // It ended, and was taken the place of, between two looks.
            Err(error) => return self.remembered(operation).ok_or(error),
            Ok(outcome) => outcome,
        };
        outcome.operation = operation.clone();
        self.remember(&outcome);
        Ok(outcome)
    }

    /// The operation ends between two runs of a controller: a run that has begun goes on to its end, and what it applies stays applied. The application is as it was before: Flux goes on with one that
    /// has automated sync.
    async fn terminate(&self, operation: &Operation) -> Result<()> {
        if self.remembered(operation).is_some() {
            return Ok(());
        }
        start::terminate(self, operation).await
    }

    async fn status(&self, app: &AppRef) -> Result<ApplicationStatus> {
        status::of(&self.load(app).await?)
    }

    fn watch(&self, selector: Selector) -> BoxStream<'static, Result<StatusEvent>> {
        watch::watch(self.clone(), selector)
    }
}

impl Backend for FluxBackend {
    fn name(&self) -> &'static str {
        "flux"
    }

    fn store(&self) -> Option<&dyn ApplicationStore> {
        Some(self)
    }

    fn state(&self) -> Option<&dyn StateReader> {
        Some(self)
    }

    fn history(&self) -> Option<&dyn RevisionHistory> {
        Some(self)
    }
}

/// What is done through another cluster's kubeconfig cannot be looked at here.
fn check_in_cluster(what: &str, is_elsewhere: bool) -> Result<()> {
    match is_elsewhere {
        true => Err(Error::unsupported(
            what,
            "an application for another cluster",
        )),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_operation_has_one_task_in_a_process() {
        gitops_kube::cluster::install_crypto_provider();
        let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        let backend = FluxBackend::new(FluxManager::new(kube::Client::try_from(config).unwrap()));
        let app = AppRef::new("app");
        let first = Carried::begin(&backend, &app, "1-a").unwrap();
        assert!(Carried::begin(&backend.clone(), &app, "1-a").is_none());
        assert!(Carried::begin(&backend, &app, "1-b").is_some());
        assert!(Carried::begin(&backend, &AppRef::new("other"), "1-a").is_some());
        // It may have been left before its end.
        drop(first);
        assert!(Carried::begin(&backend, &app, "1-a").is_some());
    }
}
