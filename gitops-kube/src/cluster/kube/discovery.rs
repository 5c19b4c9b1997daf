//! Which kinds the API server serves: aggregated discovery (two requests), kept until it is forgotten.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gitops_core::manifest::{GroupKind, GroupVersionKind};
use gitops_core::{Error, Result};
use kube::Client;
use kube::discovery::Scope as KubeScope;

use super::error::from_kube;
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
        let discovery = kube::Discovery::new(self.client.clone())
            .run_aggregated()
            .await
            .map_err(|error| from_kube(error).context("discovery"))?;
        let mut kinds = Kinds {
            read: Instant::now(),
            exact: HashMap::new(),
            preferred: HashMap::new(),
        };
        for group in discovery.groups() {
            let preferred = group.preferred_version_or_latest().to_owned();
            for version in group.versions() {
                for (resource, capabilities) in group.versioned_resources(version) {
                    let kind = ApiKind {
                        gvk: GroupVersionKind::new(
                            &*resource.group,
                            &*resource.version,
                            &*resource.kind,
                        ),
                        plural: resource.plural.clone(),
                        scope: match capabilities.scope {
                            KubeScope::Cluster => Scope::Cluster,
                            KubeScope::Namespaced => Scope::Namespaced,
                        },
                        verbs: capabilities.operations.clone(),
                    };
                    let group_kind = kind.group_kind();
                    if version == preferred || !kinds.preferred.contains_key(&group_kind) {
                        kinds.preferred.insert(group_kind, kind.clone());
                    }
                    kinds.exact.insert(kind.gvk.clone(), kind);
                }
            }
        }
        Ok(kinds)
    }
}
