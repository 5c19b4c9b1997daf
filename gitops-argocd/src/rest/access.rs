//! Argo CD's API server as a door for the backend.

use async_trait::async_trait;
use futures::stream::BoxStream;
use gitops_core::application::AppRef;
use gitops_core::backend::{DeleteOptions, Selector};
use gitops_core::{Error, Result};

use super::{
    ApplicationQuery, ArgoCd, CreateOptions, ManagedResource, PatchType, Refresh, ResourceRef,
    RollbackRequest, SyncOptionsItems, SyncRequest,
};
use crate::access::{Access, Change, Rollback};
use crate::types::{Application, Operation, lean};

/// Where Argo CD runs unless it was installed elsewhere.
const USUAL_NAMESPACE: &str = "argocd";

/// The query for a selector, where Argo CD's own namespace is `own`.
fn query(selector: &Selector, own: Option<String>) -> ApplicationQuery {
    let labels: Vec<String> = selector
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    ApplicationQuery {
        name: selector.app.as_ref().map(|app| app.name.clone()),
        projects: selector.projects.clone(),
        selector: (!labels.is_empty()).then(|| labels.join(",")),
        namespace: namespace(selector).and_then(|namespace| {
            if namespace.is_empty() {
                own
            } else {
                Some(namespace.to_owned())
            }
        }),
        ..ApplicationQuery::default()
    }
}

/// The namespace that a selector names; empty is Argo CD's own.
fn namespace(selector: &Selector) -> Option<&str> {
    let app = selector.app.as_ref().map(|app| &*app.namespace);
    app.filter(|namespace| !namespace.is_empty())
        .or(selector.namespace.as_deref())
        .or(app)
}

impl ArgoCd {
    async fn query(&self, selector: &Selector) -> Result<ApplicationQuery> {
        // Without a namespace the server would answer any one application of a name.
        let own = match namespace(selector) {
            Some("") => self.own_namespace().await?,
            _ => None,
        };
        Ok(query(selector, own))
    }
}

#[async_trait]
impl Access for ArgoCd {
    async fn namespace(&self) -> Result<String> {
        let own = self.own_namespace().await?;
        Ok(own.unwrap_or_else(|| USUAL_NAMESPACE.to_owned()))
    }

    async fn get(&self, app: &AppRef) -> Result<lean::Application> {
        self.get_lean(app).await
    }

    async fn get_full(&self, app: &AppRef) -> Result<Application> {
        self.get_application(app).await
    }

    async fn list(&self, selector: &Selector) -> Result<lean::ApplicationList> {
        self.list_lean(&self.query(selector).await?).await
    }

    async fn list_full(&self, selector: &Selector) -> Result<Vec<Result<Application>>> {
        self.list_records(&self.query(selector).await?).await
    }

    async fn watch(
        &self,
        selector: &Selector,
        after: Option<&str>,
    ) -> Result<BoxStream<'static, Result<lean::WatchEvent>>> {
        let mut query = self.query(selector).await?;
        query.resource_version = after.map(str::to_owned);
        self.watch_applications(&query).await
    }

    async fn create(&self, app: &Application) -> Result<Application> {
        self.create_application(app, CreateOptions::default()).await
    }

    async fn replace(&self, app: &Application, version: Option<&str>) -> Result<Application> {
        if version.is_some() {
            return Err(Error::unsupported(
                "an update of a known version (use KubeArgoCd)",
                "Argo CD's API server",
            ));
        }
        self.update_application(app, false).await
    }

    async fn delete(&self, app: &AppRef, options: &DeleteOptions) -> Result<()> {
        self.delete_application(app, options).await
    }

    async fn change(&self, app: &AppRef, change: Change<'_>) -> Result<()> {
        let record = self.get_application(app).await?;
        match change(&record)? {
            Some(patch) => self
                .patch_application(app, &patch, PatchType::Merge)
                .await
                .map(drop),
            None => Ok(()),
        }
    }

    async fn start(&self, app: &AppRef, operation: &Operation) -> Result<()> {
        let sync = operation.sync.clone().unwrap_or_default();
        let positions = sync
            .revisions
            .as_ref()
            .map(|revisions| (1..).zip(revisions).map(|(position, _)| position).collect());
        let request = SyncRequest {
            revision: sync.revision,
            dry_run: sync.dry_run,
            prune: sync.prune,
            strategy: sync.sync_strategy,
            resources: sync.resources,
            manifests: sync.manifests,
            infos: operation.info.clone(),
            retry_strategy: operation.retry.clone(),
            sync_options: sync.sync_options.map(|items| SyncOptionsItems { items }),
            source_positions: positions,
            revisions: sync.revisions,
        };
        self.sync_application(app, &request).await.map(drop)
    }

    async fn roll_back(&self, app: &AppRef, rollback: &Rollback) -> Result<bool> {
        let request = RollbackRequest {
            id: rollback.id,
            dry_run: rollback.dry_run,
            prune: rollback.prune,
        };
        self.rollback_application(app, &request).await?;
        Ok(false)
    }

    async fn terminate(&self, app: &AppRef, _: &str) -> Result<()> {
        self.terminate_operation(app).await
    }

    async fn refresh(&self, app: &AppRef, refresh: Refresh) -> Result<()> {
        self.refresh_application(app, refresh).await.map(drop)
    }

    async fn managed_resources(&self, app: &AppRef) -> Result<Option<Vec<ManagedResource>>> {
        let all = ResourceRef::default();
        ArgoCd::managed_resources(self, app, &all).await.map(Some)
    }

    fn has_state(&self) -> bool {
        true
    }
}
