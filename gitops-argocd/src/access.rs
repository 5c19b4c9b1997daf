//! The few things that a backend needs of Argo CD, whichever of its two doors they come through.

use std::fmt;

use async_trait::async_trait;
use futures::stream::BoxStream;
use gitops_core::application::AppRef;
use gitops_core::backend::{DeleteOptions, Selector};
use gitops_core::{Error, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::rest::{ManagedResource, Refresh};
use crate::types::{Application, ApplicationList, Operation, lean};

/// A change of an application: a merge patch for what is there, or nothing to do.
pub(crate) type Change<'a> = &'a (dyn Fn(&Application) -> Result<Option<Value>> + Send + Sync);

/// What a rollback goes back to.
#[derive(Clone, Debug)]
pub struct Rollback {
    /// The entry of the history.
    pub id: i64,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Delete what that revision does not name.
    pub prune: bool,
    /// The notes that name the operation, where the door takes notes.
    pub notes: Vec<crate::types::Info>,
    /// Who asks.
    pub initiator: String,
    /// Whether a program decided by itself.
    pub automated: bool,
}

/// A way to Argo CD: its [API server](crate::rest::ArgoCd), or [Kubernetes](crate::KubeArgoCd).
///
/// Sealed: [`ArgoCdBackend`](crate::ArgoCdBackend) is what others implement nothing for.
#[async_trait]
pub trait Access: fmt::Debug + Send + Sync + 'static {
    /// Argo CD's own namespace, for applications that name none.
    async fn namespace(&self) -> Result<String>;

    /// The application, as it is now and not from a cache.
    async fn get(&self, app: &AppRef) -> Result<lean::Application>;

    /// The application, whole.
    async fn get_full(&self, app: &AppRef) -> Result<Application>;

    /// The applications that match, and perhaps more.
    async fn list(&self, selector: &Selector) -> Result<lean::ApplicationList>;

    /// The applications that match, whole, and perhaps more; each an error that cannot be read.
    async fn list_full(&self, selector: &Selector) -> Result<Vec<Result<Application>>>;

    /// What happens to the applications that match, and perhaps more, until the connection is cut. `after` is the version of a list.
    async fn watch(
        &self,
        selector: &Selector,
        after: Option<&str>,
    ) -> Result<BoxStream<'static, Result<lean::WatchEvent>>>;

    /// Makes it; `AlreadyExists` if it is there.
    async fn create(&self, app: &Application) -> Result<Application>;

    /// Replaces specification, labels, annotations and finalizers. With `version` only if it is still that one, else `Conflict`.
    async fn replace(&self, app: &Application, version: Option<&str>) -> Result<Application>;

    /// Deletes it.
    async fn delete(&self, app: &AppRef, options: &DeleteOptions) -> Result<()>;

    /// Changes annotations and whether automated sync is on, in one write; of what is there then, where this door compares versions.
    async fn change(&self, app: &AppRef, change: Change<'_>) -> Result<()>;

    /// Starts a sync; `OperationInProgress` while another operation runs.
    async fn start(&self, app: &AppRef, operation: &Operation) -> Result<()>;

    /// Starts a rollback, and says whether it kept the notes; `OperationInProgress` while another operation runs.
    async fn roll_back(&self, app: &AppRef, rollback: &Rollback) -> Result<bool>;

    /// Asks the running operation to stop. Operation `id`, where no controller has taken it up, is withdrawn; `InvalidInput` where this door cannot do that.
    async fn terminate(&self, app: &AppRef, id: &str) -> Result<()>;

    /// Asks for a comparison; it may come after the answer.
    async fn refresh(&self, app: &AppRef, refresh: Refresh) -> Result<()>;

    /// Desired and live state; `None` where this door does not have it.
    async fn managed_resources(&self, app: &AppRef) -> Result<Option<Vec<ManagedResource>>>;

    /// Whether [`managed_resources`](Self::managed_resources) is there.
    fn has_state(&self) -> bool;
}

/// The applications of a list, and where its next page begins. One that cannot be read keeps nobody from the others.
pub(crate) fn records(
    json: &[u8],
) -> serde_json::Result<(Vec<Result<Application>>, Option<String>)> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Page {
        metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta,
        items: Option<Vec<Value>>,
    }
    let (items, metadata) = match serde_json::from_slice::<ApplicationList>(json) {
        Ok(list) => {
            let items = list.items.unwrap_or_default();
            (items.into_iter().map(Ok).collect(), list.metadata)
        }
        Err(error) if error.is_data() => {
            let page: Page = serde_json::from_slice(json)?;
            let items = page.items.unwrap_or_default();
            (items.into_iter().map(record).collect(), page.metadata)
        }
        Err(error) => return Err(error),
    };
    Ok((items, metadata.continue_.filter(|token| !token.is_empty())))
}

fn record(item: Value) -> Result<Application> {
    let name = |key: &str| {
        item["metadata"][key]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let app = AppRef::namespaced(name("namespace"), name("name"));
    serde_json::from_value(item).map_err(|error| {
        Error::integrity(format!("application {app} cannot be read")).with_source(error)
    })
}
