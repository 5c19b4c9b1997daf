//! Which kinds the API server serves: aggregated discovery (two requests), kept until it is forgotten.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gitops_core::manifest::{GroupKind, GroupVersionKind};
use gitops_core::{Error, Result, ResultExt as _};
use kube::Client;
use kube::core::discovery::v2::{APIGroupDiscovery, APIGroupDiscoveryList};
use serde_json::Value;

use super::{request, send};
use crate::cluster::{ApiKind, Scope};

/// A kind that is not known is asked for again, but not more often than this.
const ASK_AGAIN: Duration = Duration::from_secs(1);

pub(super) struct Discovery {
    client: Client,
    state: Mutex<Option<Arc<Kinds>>>,
    /// Only one task asks the server; the others wait for its answer.
    asking: tokio::sync::Mutex<()>,
}

struct Kinds {
    read: Instant,
    exact: HashMap<GroupVersionKind, ApiKind>,
    preferred: HashMap<GroupKind, ApiKind>,
}

impl Discovery {
    pub(super) fn new(client: Client) -> Arc<Self> {
        Arc::new(Self {
            client,
            state: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        })
    }

    pub(super) fn invalidate(&self) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) async fn resolve(&self, gvk: &GroupVersionKind) -> Result<ApiKind> {
        self.find(
            |kinds| kinds.exact.get(gvk).cloned(),
            || format!("the cluster does not serve {gvk}"),
        )
        .await
    }

    pub(super) async fn resolve_any(&self, kind: &GroupKind) -> Result<ApiKind> {
        self.find(
            |kinds| kinds.preferred.get(kind).cloned(),
            || format!("the cluster does not serve {kind}"),
        )
        .await
    }

    async fn find(
        &self,
        look: impl Fn(&Kinds) -> Option<ApiKind> + Send,
        missing: impl Fn() -> String + Send,
    ) -> Result<ApiKind> {
        let known = self.known();
        if let Some(kinds) = &known {
            if let Some(kind) = look(kinds) {
                return Ok(kind);
            }
            if kinds.read.elapsed() < ASK_AGAIN {
                return Err(Error::not_found(missing()));
            }
        }
        let _asking = self.asking.lock().await;
        // Somebody may have asked while we waited.
        let kinds = match self.known() {
            Some(kinds) if kinds.read.elapsed() < ASK_AGAIN => kinds,
            _ => {
                let kinds = Arc::new(self.ask().await?);
                *self.state.lock().unwrap_or_else(PoisonError::into_inner) = Some(kinds.clone());
                kinds
            }
        };
        look(&kinds).ok_or_else(|| Error::not_found(missing()))
    }

    fn known(&self) -> Option<Arc<Kinds>> {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    async fn ask(&self) -> Result<Kinds> {
        let mut kinds = Kinds {
            read: Instant::now(),
            exact: HashMap::new(),
            preferred: HashMap::new(),
        };
        for path in ["/api", "/apis"] {
            // Not through `kube::Discovery`, whose errors lose the answer's headers, `Retry-After` among them.
            let list = async { read(send(&self.client, request::discovery(path)?).await?) };
            let list = list.await.context(|| "discovery")?;
            for group in list.items {
                kinds.add(group);
            }
        }
        Ok(kinds)
    }
}

impl Kinds {
    /// The server names a group's versions in the order that it prefers (`k8s.io/api/apidiscovery/v2`).
    fn add(&mut self, group: APIGroupDiscovery) {
        let name = group
            .metadata
            .and_then(|data| data.name)
            .unwrap_or_default();
        for version in group.versions {
            let version_name = version.version.unwrap_or_default();
            for resource in version.resources {
                let (Some(plural), Some(kind)) = (
                    resource.resource,
                    resource.response_kind.and_then(|kind| kind.kind),
                ) else {
                    continue;
                };
                let kind = ApiKind {
                    gvk: GroupVersionKind::new(&*name, &*version_name, kind),
                    plural,
                    scope: match resource.scope.as_deref() {
                        Some("Namespaced") => Scope::Namespaced,
                        _ => Scope::Cluster,
                    },
                    verbs: resource.verbs,
                };
                self.preferred
                    .entry(kind.group_kind())
                    .or_insert_with(|| kind.clone());
                self.exact.insert(kind.gvk.clone(), kind);
            }
        }
    }
}

fn read(answer: Value) -> Result<APIGroupDiscoveryList> {
    // A server that does not know aggregated discovery answers with a list of another kind, which would read as an empty one.
    if answer["kind"] != "APIGroupDiscoveryList" {
        return Err(Error::unsupported(
            "aggregated discovery (Kubernetes has it since 1.26)",
            "the API server",
        ));
    }
    serde_json::from_value(answer).map_err(|error| {
        Error::unavailable("the API server's answer cannot be read").with_source(error)
    })
}
