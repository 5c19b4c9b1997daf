//! Desired and live state.

use std::collections::BTreeSet;

use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _};
use gitops_core::application::AppRef;
use gitops_core::backend::{ResourceState, StateReader};
use gitops_core::manifest::{Object, ObjectId};
use gitops_core::{Error, ErrorKind, Result};
use gitops_kube::cluster::{Cluster as _, ObjectKey};

use super::access::Loaded;
use super::{FluxBackend, check_in_cluster, outcome, release, status};
use crate::convert::Workload;

/// How many objects are read at once.
const AT_ONCE: usize = 16;

/// What the workload is to apply: of a `Kustomization`, built from the artifact that its source has; of a `HelmRelease`, the manifest of its newest release.
pub(super) async fn desired(
    backend: &FluxBackend,
    loaded: &Loaded,
    revisions: &[String],
) -> Result<Vec<Object>> {
    let wanted = match revisions {
        [] => None,
        [wanted] => Some(wanted),
        more => {
            return Err(Error::invalid(format!(
                "revisions: {} for one source",
                more.len()
            )));
        }
    };
    let offered = match loaded.workload() {
        Workload::Kustomization(_) => status::offered(loaded),
        Workload::HelmRelease(_) => status::applied(loaded),
    };
    if let Some(wanted) = wanted
        && offered
            .as_ref()
            .map(|offered| status::revision(loaded, offered))
            .as_ref()
            != Some(wanted)
    {
        return Err(Error::unsupported(
            "the state at another revision than the one that the source has fetched",
            "Flux",
        ));
    }
    match loaded.workload() {
        Workload::Kustomization(object) => {
            let artifact = loaded
                .parts
                .source
                .as_ref()
                .and_then(|source| source.artifact());
            let artifact =
                artifact.ok_or_else(|| Error::unavailable("the source has no artifact yet"))?;
            let tree = backend.reader()?.tree(artifact).await?;
            let build = backend.builder().build(&tree, object).await?;
            Ok(build.applied().cloned().collect())
        }
        Workload::HelmRelease(object) => release::manifest(backend, object).await,
    }
}

async fn live(backend: &FluxBackend, id: &ObjectId) -> Result<Option<Object>> {
    let cluster = backend.manager.cluster();
    let read = async {
        let kind = cluster.resolve_any(&id.group_kind()).await?;
        let key = ObjectKey {
            kind: &kind,
            namespace: &id.namespace,
            name: &id.name,
        };
        cluster.get(key).await
    };
    match read.await {
        // The kind is not there, and no object of it.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        other => other,
    }
}

#[async_trait]
impl StateReader for FluxBackend {
    /// Desired is what the source has fetched last; `Unsupported` for other revisions, of which Flux keeps nothing.
    async fn state(&self, app: &AppRef, revisions: &[String]) -> Result<Vec<ResourceState>> {
        let loaded = self.load(app).await?;
        let elsewhere = match loaded.workload() {
            Workload::Kustomization(object) => object.spec.kube_config.is_some(),
            Workload::HelmRelease(object) => object.spec.kube_config.is_some(),
        };
        check_in_cluster("the live state", elsewhere)?;
        let mut states: Vec<ResourceState> = Vec::new();
        let mut seen = BTreeSet::new();
        for object in desired(self, &loaded, revisions).await? {
            let id = object.id();
            if seen.insert(id.clone()) {
                let hook = object.annotation("helm.sh/hook").is_some();
                states.push(ResourceState {
                    id,
                    desired: Some(object),
                    live: None,
                    predicted: None,
                    hook,
                });
            }
        }
        for entry in outcome::inventory(loaded.workload()) {
            let Ok(id) = entry.object_id() else { continue };
            if seen.insert(id.clone()) {
                states.push(ResourceState {
                    id,
                    desired: None,
                    live: None,
                    predicted: None,
                    hook: false,
                });
            }
        }
        futures::stream::iter(states)
            .map(|state| async move {
                let live = live(self, &state.id).await?;
                Ok(ResourceState { live, ..state })
            })
            .buffered(AT_ONCE)
            .try_collect()
            .await
    }
}
