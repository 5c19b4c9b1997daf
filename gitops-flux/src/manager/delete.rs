//! Deleting objects.

use std::time::Duration;

use futures::StreamExt as _;
use gitops_core::{Error, ErrorKind, Result, ResultExt as _};
use http::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::request::{Request, object as path_of};
use super::{FluxManager, FluxRef};
use crate::deadline;

/// Who may neither watch nor read may be allowed to in a moment (rights that were just given), but not later.
const REFUSED_FOR: Duration = Duration::from_secs(10);

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
    /// `NotFound`; `Conflict` for another UID or version; `Timeout` when it is still there, naming the finalizers that hold it, or when nobody can tell, naming why. Waiting needs the right to `watch`
    /// and `list`, or to `get`: without any, it is given up with `PermissionDenied` after ten seconds.
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
        self.delete_uid(&request, wanted == uid).await?;
        match options.wait {
            Some(timeout) => self.until_gone(object, wanted, timeout).await,
            None => Ok(()),
        }
    }

    /// Deletes what has the UID in the request's preconditions. `seen`: that one was there.
    async fn delete_uid(&self, request: &Request<'_>, seen: bool) -> Result<()> {
        let mut tries = self.requests.tries();
        let mut again = false;
        loop {
            match self.requests.once(request).await {
                // An earlier try may have deleted it, without an answer.
                Err(error) if again && seen && says_gone(&error) => return Ok(()),
                Err(error) => tries.pause(error).await?,
                Ok(_) => return Ok(()),
            }
            again = true;
        }
    }

    async fn until_gone(&self, object: &FluxRef, uid: &str, timeout: Duration) -> Result<()> {
        let deadline = deadline::after(timeout);
        let mut wait = Wait::default();
        let gone = self.see_it_go(object, uid, &mut wait);
        let gone = tokio::time::timeout_at(deadline, gone).await;
        gone.unwrap_or_else(|_| Err(wait.timed_out(object, timeout)))
    }

    /// Comes back when it is gone, or when nobody will ever tell.
    async fn see_it_go(&self, object: &FluxRef, uid: &str, wait: &mut Wait) -> Result<()> {
        let mut events = self.watch_one(object);
        loop {
            let seen = match events.next().await {
                Some(Ok(seen)) => seen,
                // The same watch begins again by itself, less and less often. Who may not watch may well read.
                Some(Err(unwatched)) => match self.get_value(object).await {
                    Ok(value) => Some(value),
                    Err(error) if error.kind() == ErrorKind::NotFound => None,
                    Err(unread) => {
                        wait.unseen(&unwatched, unread)?;
                        continue;
                    }
                },
                None => return Ok(()),
            };
            match seen {
                Some(value) if value["metadata"]["uid"] == uid => wait.seen(&value),
                // Gone, or another of the same name.
                _ => return Ok(()),
            }
        }
    }
}

/// What is known while it goes.
struct Wait {
    /// When it was seen last, or when the wait began.
    seen_at: Instant,
    finalizers: String,
    /// Why it could not be seen last.
    blind: Option<String>,
}

impl Default for Wait {
    fn default() -> Self {
        Self {
            seen_at: Instant::now(),
            finalizers: String::new(),
            blind: None,
        }
    }
}

impl Wait {
    fn seen(&mut self, value: &Value) {
        let held: Vec<&str> = value["metadata"]["finalizers"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|name| name.as_str())
            .collect();
        self.finalizers = held.join(", ");
        self.blind = None;
        self.seen_at = Instant::now();
    }

    fn unseen(&mut self, unwatched: &Error, unread: Error) -> Result<()> {
        let refused = |error: &Error| {
            matches!(
                error.kind(),
                ErrorKind::PermissionDenied | ErrorKind::Unauthenticated
            )
        };
        if refused(unwatched) && refused(&unread) && self.seen_at.elapsed() >= REFUSED_FOR {
            return Err(unread.context("whether it is gone cannot be seen"));
        }
        self.blind = Some(unread.to_string());
        Ok(())
    }

    fn timed_out(&self, object: &FluxRef, timeout: Duration) -> Error {
        let mut message = match &self.blind {
            Some(why) => {
                format!("whether it is gone could not be seen within {timeout:?} ({why})")
            }
            None => format!("it is still there after {timeout:?}"),
        };
        if !self.finalizers.is_empty() {
            message.push_str(&format!(
                ", held by {}: does {} run?",
                self.finalizers,
                object.kind.controller()
            ));
        }
        Error::timeout(message)
    }
}

/// Whether an object of this UID is not there any more.
fn says_gone(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::NotFound => true,
        ErrorKind::Conflict => error.message().contains("UID in precondition"),
        _ => false,
    }
}
