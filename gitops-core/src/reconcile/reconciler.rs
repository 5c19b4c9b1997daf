//! What a reconciler is made of.

use std::fmt;
use std::sync::Arc;

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};

use super::control::{Control, Orders};
use super::owner::{Everything, Ownership};
use super::{ReconcilerOptions, run};
use crate::audit::{AuditLog, AuditedBackend};
use crate::backend::{Backend, SyncEvent};
use crate::error::{Error, Result};
use crate::limit::SyncLimiter;
use crate::notify::Notifiers;
use crate::rule::{AutomatedPolicy, SyncStrategy};
use crate::source::{RevisionEvent, Sources};
use crate::validate::Validators;

/// Looks at applications and syncs those that should be, until it is told to stop.
///
/// What it does with an application, one look at a time:
/// 1. It leaves alone what another replica owns, and what is gone.
/// 2. It reads the revisions that the sources mean now ([`sources`](Self::sources)), the state, and the files that changed since the last sync.
/// 3. It asks the [`strategy`](Self::strategy). A rule's error is a no, is told, and is tried again later.
/// 4. It asks the [`validators`](Self::validators) about what those revisions render to. An error among the findings is a no, is told, and is tried again later.
/// 5. It waits for the [`limiter`](Self::limiter), and syncs to exactly the revisions that were judged.
/// 6. It waits for the end, and tells it.
///
/// What comes meanwhile leads to one more look. Failures are tried again after growing pauses, and so are syncs to one and the same revision. An application that
/// another operation is busy with is left until that has ended. Nothing that a rule, a validator, a notifier or a backend does wrong, a panic included, stops
/// the others.
///
/// ```no_run
/// use gitops_core::reconcile::Reconciler;
/// use gitops_core::testing::mocks::MockBackend;
///
/// # async fn example() -> gitops_core::Result<()> {
/// let reconciler = Reconciler::new(MockBackend::default());
/// let control = reconciler.control();
/// let stop = async { tokio::time::sleep(std::time::Duration::from_secs(60)).await };
/// let running = tokio::spawn(reconciler.run(stop));
/// control.sync_now("argocd/shop".into(), "admin").await?;
/// running.await.expect("the loop does not panic")
/// # }
/// ```
#[must_use]
pub struct Reconciler {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) sources: Option<Arc<dyn Sources>>,
    pub(super) strategy: SyncStrategy,
    pub(super) validators: Validators,
    pub(super) limiter: SyncLimiter,
    pub(super) notifiers: Notifiers,
    pub(super) ownership: Arc<dyn Ownership>,
    pub(super) revisions: BoxStream<'static, RevisionEvent>,
    pub(super) events: Option<BoxStream<'static, SyncEvent>>,
    pub(super) options: ReconcilerOptions,
    pub(super) orders: Orders,
    control: Control,
}

impl fmt::Debug for Reconciler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reconciler")
            .field("backend", &self.backend.name())
            .field("strategy", &self.strategy)
            .field("notifiers", &self.notifiers)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Reconciler {
    /// A reconciler of the applications that `backend` keeps, with everything else as it is by default: the strategy is each application's own policy
    /// ([`AutomatedPolicy`], failed revisions tried again), there are no validators and no notifiers, 8 syncs run at once, and it is the only replica.
    pub fn new(backend: impl Backend + 'static) -> Self {
        let (control, orders) = Control::new();
        let policy = AutomatedPolicy { retry_failed: true };
        Self {
            backend: Arc::new(backend),
            sources: None,
            strategy: SyncStrategy::new().rule(policy),
            validators: Validators::new(),
            limiter: SyncLimiter::default(),
            notifiers: Notifiers::default(),
            ownership: Arc::new(Everything),
            revisions: stream::pending().boxed(),
            events: None,
            options: ReconcilerOptions::default(),
            orders,
            control,
        }
    }

    /// Who reads sources: for the revisions that they mean now, for the files that changed, and for validators. Without it, revisions are those that the
    /// backend's status speaks of, and validators see no manifests.
    pub fn sources(mut self, sources: impl Sources + 'static) -> Self {
        self.sources = Some(Arc::new(sources));
        self
    }

    /// Which applications should be synced, and when.
    pub fn strategy(mut self, strategy: SyncStrategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// What must hold before anything is synced.
    pub fn validators(mut self, validators: Validators) -> Self {
        self.validators = validators;
        self
    }

    /// How many syncs run at once.
    pub fn limiter(mut self, limiter: SyncLimiter) -> Self {
        self.limiter = limiter;
        self
    }

    /// Who is told what happens. Deliveries keep no sync waiting; those of one application come in order.
    pub fn notifiers(mut self, notifiers: Notifiers) -> Self {
        self.notifiers = notifiers;
        self
    }

    /// Records every sync in `log`: the backend as it is now becomes an [`AuditedBackend`].
    pub fn audit(mut self, log: Arc<AuditLog>) -> Self {
        self.backend = Arc::new(AuditedBackend::new(self.backend, log));
        self
    }

    /// How several replicas divide the applications. News of sources that reach one of them are handed on to the others, so a webhook may go to any. Every replica watches
    /// all applications: where the backend's watch reads them again and again (`DirectOptions::refresh`), turn that off, for each replica looks at its own at the interval.
    pub fn ownership(mut self, ownership: impl Ownership + 'static) -> Self {
        self.ownership = Arc::new(ownership);
        self
    }

    /// Adds news of sources: webhooks, a watcher of repositories. Each item leads to a look at the applications that it concerns; a stream that ends is not missed.
    pub fn revisions(mut self, events: impl Stream<Item = RevisionEvent> + Send + 'static) -> Self {
        self.revisions = stream::select(self.revisions, events).boxed();
        self
    }

    /// The backend's own events (those of `DirectBackend::events`), which notifiers are told then. Without them they are told of the start and the end of the syncs
    /// that this reconciler asked for. Of states that changed, drift among them, they are told either way.
    pub fn events(mut self, events: impl Stream<Item = SyncEvent> + Send + 'static) -> Self {
        self.events = Some(events.boxed());
        self
    }

    /// How it works.
    pub fn options(mut self, options: ReconcilerOptions) -> Self {
        self.options = options;
        self
    }

    /// Steers it while it runs.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Runs until `shutdown` ends. Then it starts nothing any more, waits for the syncs that run, terminates those that take longer than
    /// [`shutdown_grace`](ReconcilerOptions::shutdown_grace), resigns from what it owns (but for applications whose syncs may still run: others get them when that expires), and
    /// delivers what notifiers were not told yet.
    ///
    /// # Errors
    /// `Unsupported` when the backend keeps no applications; `InvalidInput` when [`terminate_grace`](ReconcilerOptions::terminate_grace) is not shorter than the ownership's
    /// [`margin`](Ownership::margin). Nothing else ends it.
    ///
    /// # Cancellation
    /// Dropping the future drops the looks; syncs that run are not waited for, and go on in the backend.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<()> {
        if self.backend.store().is_none() {
            return Err(Error::unsupported(
                "keeping applications",
                self.backend.name(),
            ));
        }
        let grace = self.options.terminate_grace;
        if let Some(margin) = self.ownership.margin()
            && grace >= margin
        {
            return Err(Error::invalid(format!(
                "terminate_grace is {grace:?}, but another replica may begin {margin:?} after an application is lost: make it shorter, or the margin longer"
            )));
        }
        run::run(self, shutdown).await;
        Ok(())
    }
}
