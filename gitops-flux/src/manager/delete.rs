//! Deleting objects.

use std::time::Duration;

use futures::StreamExt as _;
use gitops_core::{Error, Result, ResultExt as _};
use http::Method;
use serde_json::json;

use super::request::{Request, object as path_of};
use super::{FluxManager, FluxRef};
use crate::deadline;

/// How to delete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Only the object with this UID, else `Conflict`.
    pub uid: Option<String>,
    /// Only the object as it is at this `metadata.resourceVersion`, else `Conflict`.
    pub resource_version: Option<String>,
    /// Waits until it is gone, finalizers run, but no longer than this.
    pub wait: Option<Duration>,
}

impl DeleteOptions {
    /// Waits until it is gone, but no longer than this.
    #[must_use]
    pub fn wait(mut self, timeout: Duration) -> Self {
        self.wait = Some(timeout);
        self
    }
}

impl FluxManager {
    /// Deletes an object. What it deployed goes with it as its spec says (`prune`, `deletionPolicy`), unless it is suspended: then it stays.
    ///
    /// Without [`DeleteOptions::wait`], `Ok` means that the deletion is accepted: the controller's finalizer may still be at work.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` for another UID or version; `Timeout` when it is still there, naming the finalizers that hold it.
    pub async fn delete(&self, object: &FluxRef, options: &DeleteOptions) -> Result<()> {
        let object = self.resolve(object);
        self.delete_one(&object, options)
            .await
            .context(|| format!("delete {object}"))
    }

    async fn delete_one(&self, object: &FluxRef, options: &DeleteOptions) -> Result<()> {
        let live = self.get_value(object).await?;
        let uid = live["metadata"]["uid"].as_str().unwrap_or_default();
        let mut body = json!({"apiVersion": "v1", "kind": "DeleteOptions"});
        // The one that was looked at, whether the caller named it or not: what takes its place meanwhile is another.
        let wanted = options.uid.as_deref().unwrap_or(uid);
        body["preconditions"] = json!({"uid": wanted});
        if let Some(version) = &options.resource_version {
            body["preconditions"]["resourceVersion"] = json!(version);
        }
        let request = Request {
            method: Method::DELETE,
            path: path_of(object)?,
            content_type: Some("application/json"),
            body: body.to_string().into_bytes(),
            kind: Some(object.kind),
        };
        self.requests.once(&request).await?;
        match options.wait {
            Some(timeout) => self.until_gone(object, wanted, timeout).await,
            None => Ok(()),
        }
    }

    async fn until_gone(&self, object: &FluxRef, uid: &str, timeout: Duration) -> Result<()> {
        let deadline = deadline::after(timeout);
        let mut events = self.watch_one(object);
        let mut finalizers = String::new();
        loop {
            let event = match tokio::time::timeout_at(deadline, events.next()).await {
                Ok(event) => event,
                Err(_) if finalizers.is_empty() => {
                    return Err(Error::timeout(format!(
                        "it is still there after {timeout:?}"
                    )));
                }
                Err(_) => {
                    return Err(Error::timeout(format!(
                        "it is still there after {timeout:?}, held by {finalizers}: does {} run?",
                        object.kind.controller()
                    )));
                }
            };
            match event {
                // The same watch begins again by itself.
                Some(Err(_)) => {}
                Some(Ok(Some(value))) if value["metadata"]["uid"] == uid => {
                    let held: Vec<&str> = value["metadata"]["finalizers"]
                        .as_array()
                        .into_iter()
                        .flatten()
                        .filter_map(|name| name.as_str())
                        .collect();
                    finalizers = held.join(", ");
                }
                // Gone, or another of the same name.
                Some(Ok(_)) | None => return Ok(()),
            }
        }
    }
}
