//! Operations of applications: syncs, rollbacks, and their end.

use std::fmt;

use gitops_core::application::AppRef;
use gitops_core::{Error, Result};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use serde_with::skip_serializing_none;

use super::ArgoCd;
use crate::types::{Application, Info, RetryStrategy, SyncOperationResource, SyncStrategy};

/// What a sync is asked for (`ApplicationSyncRequest`).
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SyncRequest {
    /// The revision; refused with auto-sync on, unless it is the target revision.
    pub revision: Option<String>,
    /// Only say what would be done.
    pub dry_run: Option<bool>,
    /// Delete what Git no longer names.
    pub prune: Option<bool>,
    /// With hooks (the default), or `kubectl apply` alone.
    pub strategy: Option<SyncStrategy>,
    /// Only these resources.
    pub resources: Option<Vec<SyncOperationResource>>,
    /// Manifests instead of Git's, as JSON; refused with auto-sync on.
    pub manifests: Option<Vec<String>>,
    /// Notes that the operation keeps.
    pub infos: Option<Vec<Info>>,
    /// How it is tried again; the application's by default.
    pub retry_strategy: Option<RetryStrategy>,
    /// Options instead of the application's.
    pub sync_options: Option<SyncOptionsItems>,
    /// Positions of sources, from 1, for [`revisions`](Self::revisions).
    pub source_positions: Option<Vec<i64>>,
    /// A revision for each of [`source_positions`](Self::source_positions).
    pub revisions: Option<Vec<String>>,
}

impl fmt::Debug for SyncRequest {
    /// Manifests may be secrets: only how many there are is printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncRequest")
            .field("revision", &self.revision)
            .field("dry_run", &self.dry_run)
            .field("prune", &self.prune)
            .field("strategy", &self.strategy)
            .field("resources", &self.resources)
            .field("manifests", &self.manifests.as_ref().map(Vec::len))
            .field("infos", &self.infos)
            .field("retry_strategy", &self.retry_strategy)
            .field("sync_options", &self.sync_options)
            .field("source_positions", &self.source_positions)
            .field("revisions", &self.revisions)
            .finish()
    }
}

/// Sync options, as the API wraps them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SyncOptionsItems {
    /// The options, such as `CreateNamespace=true`.
    pub items: Vec<String>,
}

/// What a rollback is asked for. It is refused with auto-sync on, and runs no hooks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RollbackRequest {
    /// The entry of the history.
    pub id: i64,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Delete what that revision does not name.
    pub prune: bool,
}

impl ArgoCd {
    /// Starts a sync (`argocd app sync`).
    ///
    /// # Errors
    /// `OperationInProgress`; `PermissionDenied` for a closed sync window too; `Conflict` for an application that is being deleted, and for another revision than
    /// the target revision with auto-sync on.
    pub async fn sync_application(
        &self,
        app: &AppRef,
        request: &SyncRequest,
    ) -> Result<Application> {
        self.started(app, "sync", format!("sync application {app}"), request)
            .await
    }

    /// Starts a rollback to an entry of the history (`argocd app rollback`).
    ///
    /// # Errors
    /// `OperationInProgress`; `InvalidInput` for an entry that is not there; `Conflict` with auto-sync on, and for an application that is being deleted.
    pub async fn rollback_application(
        &self,
        app: &AppRef,
        request: &RollbackRequest,
    ) -> Result<Application> {
        self.started(
            app,
            "rollback",
            format!("roll application {app} back"),
            request,
        )
        .await
    }

    async fn started(
        &self,
        app: &AppRef,
        call: &str,
        what: String,
        request: &impl Serialize,
    ) -> Result<Application> {
        let body = serde_json::to_value(request)
            .map_err(|error| Error::internal("the request cannot be written").with_source(error))?;
        self.app_json(app, |project| {
            let mut body = body.clone();
            body["name"] = json!(app.name);
            body["appNamespace"] = json!(app.namespace);
            body["project"] = json!(project);
            self.call(Method::POST, ["applications", &app.name, call], &*what)
                .body(&body)
        })
        .await
    }

    /// Asks the running operation to stop (`argocd app terminate-op`). It stops later.
    ///
    /// # Errors
    /// `InvalidInput` when none runs.
    pub async fn terminate_operation(&self, app: &AppRef) -> Result<()> {
        self.app_json::<Value>(app, |project| {
            Ok(self
                .call(
                    Method::DELETE,
                    ["applications", &app.name, "operation"],
                    format!("terminate the operation of application {app}"),
                )
                .of(app, project))
        })
        .await
        .map(drop)
    }
}
