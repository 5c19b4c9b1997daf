//! The backend: core's traits on Argo CD.

mod follow;
mod options;
mod request;
mod rollback;
mod state;
mod store;
mod watch;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use gitops_core::application::{AppRef, ApplicationStatus};
use gitops_core::backend::{
    ApplicationStore, Backend, Operation, RevisionHistory, Selector, StateReader, StatusEvent,
    SyncEvent, SyncOptions, SyncOutcome, Syncer,
};
use gitops_core::{Error, ErrorKind, Result};
use jiff::Timestamp;
use tokio::sync::OnceCell;
use tokio::time::Instant;

pub use self::options::{ArgoCdOptions, WhenBusy};
pub use self::rollback::{AutoSync, RollbackOptions, RollbackOutcome};

use crate::access::Access;
use crate::operation::{Seen, look, named, new_id};
use crate::rest::Refresh;

/// A way to Argo CD: its API server ([`ArgoCd`](crate::rest::ArgoCd)), or Kubernetes (`KubeArgoCd`, feature `kube`). There are no others: what it takes is this crate's
/// own.
pub trait Door: Access {}

impl Door for crate::rest::ArgoCd {}

#[cfg(feature = "kube")]
impl Door for crate::KubeArgoCd {}

/// Argo CD as a backend: [`Syncer`], [`ApplicationStore`], [`RevisionHistory`] and, through the API server, [`StateReader`].
///
/// ```no_run
/// use gitops_argocd::ArgoCdBackend;
/// use gitops_argocd::rest::{ArgoCd, Config};
/// use gitops_core::application::AppRef;
/// use gitops_core::backend::{SyncOptions, SyncerExt};
///
/// # async fn example() -> gitops_core::Result<()> {
/// let argocd = ArgoCd::new(Config::new("https://argocd.example.com").token("…"))?;
/// let backend = ArgoCdBackend::new(argocd);
/// let outcome = backend.sync_and_wait(&AppRef::new("guestbook"), &SyncOptions::default()).await?;
/// println!("{:?} at {:?}", outcome.phase, outcome.revisions);
/// # Ok(())
/// # }
/// ```
///
/// # How core's words are Argo CD's
/// - Applications of Argo CD's own namespace have an empty namespace in what this backend answers; it takes both forms.
/// - [`SyncOptions::options`] come on top of the application's. [`SyncOptions::resources`] with empty fields or `*` are resolved to the resources that the application
///   has. [`SyncOptions::timeout`] is kept with the operation: whoever waits for it terminates it then. If no controller has taken it up, the wait ends in `Timeout`: over
///   Kubernetes the operation is withdrawn; over the API server, which cannot do that, a wait goes on for [`ArgoCdOptions::patience`] to terminate it if one does.
/// - `suspend` turns automated sync off and keeps in an annotation what it was; nothing else syncs an application by itself.
/// - [`wait`](Syncer::wait) returns when the operation has ended and the controller has compared the application since, so that a status that is read afterwards
///   tells of after it. Where that cannot be told (Argo CD's times count seconds, and its controller learns of what it applied a moment later) it returns after 2 s more.
/// - [`PutMode::Update`](gitops_core::backend::PutMode::Update) needs the Kubernetes API: the API server of Argo CD compares no versions.
#[derive(Clone)]
pub struct ArgoCdBackend {
    access: Arc<dyn Access>,
    options: ArgoCdOptions,
    namespace: Arc<OnceCell<String>>,
}

impl fmt::Debug for ArgoCdBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArgoCdBackend")
            .field("access", &self.access)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl ArgoCdBackend {
    /// A backend through `door`: [`ArgoCd`](crate::rest::ArgoCd), or `KubeArgoCd`.
    pub fn new(door: impl Door) -> Self {
        Self {
            access: Arc::new(door),
            options: ArgoCdOptions::default(),
            namespace: Arc::default(),
        }
    }

    /// The same with other options.
    #[must_use]
    pub fn with_options(mut self, options: ArgoCdOptions) -> Self {
        self.options = options;
        self
    }

    /// Has the application compared anew.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn refresh(&self, app: &AppRef, refresh: Refresh) -> Result<()> {
        self.access.refresh(app, refresh).await
    }

    /// What happens while `operation` runs: each resource and hook as it is dealt with, tries that failed, and at last
    /// [`SyncFinished`](gitops_core::backend::EventKind::SyncFinished). Dropping the stream leaves the operation running.
    pub fn events(&self, operation: &Operation) -> BoxStream<'static, Result<SyncEvent>> {
        follow::events(self.clone(), operation.clone())
    }

    /// Argo CD's own namespace.
    async fn own_namespace(&self) -> Result<&str> {
        let namespace = self
            .namespace
            .get_or_try_init(|| self.access.namespace())
            .await?;
        Ok(namespace)
    }

    /// How this backend names the application of a record.
    fn name_in(own: &str, mut app: AppRef) -> AppRef {
        if app.namespace == own {
            app.namespace.clear();
        }
        app
    }

    /// Does `start` as soon as no other operation runs, if the options say so.
    async fn when_free<T, F>(&self, app: &AppRef, start: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let until = match self.options.when_busy {
            WhenBusy::Fail => return start().await,
            WhenBusy::Wait(time) => after(time),
        };
        loop {
            match start().await {
                Err(error) if error.kind() == ErrorKind::OperationInProgress => {
                    tracing::debug!(%app, "waiting for another operation");
                    match tokio::time::timeout_at(until, self.free(app)).await {
                        Ok(result) => result?,
                        Err(_) => return Err(error),
                    }
                }
                result => return result,
            }
        }
    }

    /// Waits until no operation is asked for.
    async fn free(&self, app: &AppRef) -> Result<()> {
        follow::until(self, app, |app| app.operation.is_none().then_some(())).await
    }
}

/// When `time` will be over; one that is as good as endless ends in a century.
fn after(time: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    Instant::now() + time.min(CENTURY)
}

#[async_trait]
impl Syncer for ArgoCdBackend {
    async fn sync(&self, app: &AppRef, options: &SyncOptions) -> Result<Operation> {
        // Made for each try: its time begins when it does, and its resources are those of then.
        self.when_free(app, || async {
            let record = self.access.get_full(app).await?;
            if record.metadata.deletion_timestamp.is_some() {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!("application {app} is being deleted"),
                ));
            }
            let (id, started_at) = (new_id(), Timestamp::now());
            let wanted = request::sync(&record, options, &id, started_at)?;
            self.access.start(app, &wanted).await?;
            Ok(named(app, id, started_at))
        })
        .await
    }

    async fn wait(&self, operation: &Operation) -> Result<SyncOutcome> {
        follow::to_the_end(self, operation, &mut |_| {}).await
    }

    /// An operation that no controller has taken up is withdrawn over Kubernetes; Argo CD's API server cannot terminate it before one has, which is `Unavailable`.
    async fn terminate(&self, operation: &Operation) -> Result<()> {
        let app = self.access.get(&operation.app).await?;
        match look(&app, &operation.id) {
            Seen::Ended(_) => Ok(()),
            Seen::Nothing => Err(follow::unknown(operation)),
            Seen::Pending | Seen::Running(_) => {
                let result = self.access.terminate(&operation.app, &operation.id).await;
                let Err(error) = result else { return Ok(()) };
                // It may have ended between the two requests.
                let app = self.access.get(&operation.app).await?;
                match look(&app, &operation.id) {
                    Seen::Ended(_) | Seen::Nothing => Ok(()),
                    Seen::Pending | Seen::Running(_)
                        if error.kind() == ErrorKind::InvalidInput =>
                    {
                        Err(Error::unavailable(format!(
                            "no controller has taken operation {} of application {} up, and before that it cannot be terminated",
                            operation.id, operation.app
                        ))
                        .with_source(error))
                    }
                    Seen::Pending | Seen::Running(_) => Err(error),
                }
            }
        }
    }

    async fn status(&self, app: &AppRef) -> Result<ApplicationStatus> {
        Ok(self.access.get(app).await?.into_status())
    }

    fn watch(&self, selector: Selector) -> BoxStream<'static, Result<StatusEvent>> {
        watch::watch(self.clone(), selector)
    }
}

impl Backend for ArgoCdBackend {
    fn name(&self) -> &str {
        "argocd"
    }

    fn store(&self) -> Option<&dyn ApplicationStore> {
        Some(self)
    }

    fn state(&self) -> Option<&dyn StateReader> {
        self.access.has_state().then_some(self)
    }

    fn history(&self) -> Option<&dyn RevisionHistory> {
        Some(self)
    }
}
