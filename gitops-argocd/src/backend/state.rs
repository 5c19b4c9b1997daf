//! Desired and live state.

use async_trait::async_trait;
use gitops_core::application::AppRef;
use gitops_core::backend::{ResourceState, StateReader};
use gitops_core::manifest::{Object, ObjectId};
use gitops_core::{Error, Result};
use serde_json::Value;

use super::ArgoCdBackend;
use crate::rest::ManagedResource;

#[async_trait]
impl StateReader for ArgoCdBackend {
    /// As Argo CD compared it last, at the target revisions, Secrets' values masked by the server. Hooks are not among it.
    async fn state(&self, app: &AppRef, revisions: &[String]) -> Result<Vec<ResourceState>> {
        if !revisions.is_empty() {
            let status = self.access.get(app).await?.into_status();
            if status.revisions != revisions {
                return Err(Error::unsupported(
                    "the state at other revisions than the target revisions",
                    "argocd",
                ));
            }
        }
        let resources = self
            .access
            .managed_resources(app)
            .await?
            .ok_or_else(|| Error::unsupported("desired and live state", "argocd"))?;
        resources.iter().map(state).collect()
    }
}

fn state(resource: &ManagedResource) -> Result<ResourceState> {
    let id = ObjectId::new(
        &*resource.group,
        &*resource.kind,
        &*resource.namespace,
        &*resource.name,
    );
    let read = |text: &str| object(&id, text);
    Ok(ResourceState {
        desired: read(&resource.target_state)?,
        live: read(&resource.live_state)?,
        predicted: read(&resource.predicted_live_state)?,
        hook: resource.hook,
        id,
    })
}

fn object(id: &ObjectId, text: &str) -> Result<Option<Object>> {
    if matches!(text, "" | "null") {
        return Ok(None);
    }
    let bad = || Error::integrity(format!("the state of {id} is no object"));
    // An error of the parser may quote the object.
    let value: Value = serde_json::from_str(text).map_err(|_| bad())?;
    Object::new(value, None).map(Some).map_err(|_| bad())
}
