//! Kubernetes as a door for the backend.

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use gitops_core::application::AppRef;
use gitops_core::backend::{DeleteOptions, Propagation, Selector};
use gitops_core::{Error, ErrorKind, Result};
use gitops_kube::cluster::from_kube;
use kube::api::{DeleteParams, GetParams, ListParams, Patch, PatchParams, PostParams, WatchParams};
use kube::core::{Request, WatchEvent};
use serde_json::{Value, json};

use super::{KubeArgoCd, checked};
use crate::access::{Access, Change, Rollback, records};
use crate::operation::ID;
use crate::rest::{ManagedResource, Refresh};
use crate::types::{
    Application, Operation, OperationInitiator, SyncOperation, SyncStrategy, SyncStrategyApply,
    annotation, finalizer, lean,
};

/// Who writes, as `managedFields` show it.
const MANAGER: &str = "gitops-rs";
/// How often a write is tried again that lost a race.
const RACES: usize = 10;
/// Applications per page of a list.
const PAGE: u32 = 500;

fn busy(app: &AppRef) -> Error {
    Error::new(
        ErrorKind::OperationInProgress,
        format!("another operation of application {app} is in progress"),
    )
}

fn labels(selector: &Selector) -> Option<String> {
    let labels: Vec<String> = selector
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    (!labels.is_empty()).then(|| labels.join(","))
}

impl KubeArgoCd {
    /// Where a selector's applications are; none for everywhere.
    fn scope<'a>(&'a self, selector: &'a Selector) -> Option<&'a str> {
        if let Some(app) = &selector.app {
            return Some(self.namespace_of(app));
        }
        match selector.namespace.as_deref() {
            Some("") => Some(&self.namespace),
            Some(namespace) => Some(namespace),
            None if self.everywhere => None,
            None => Some(&self.namespace),
        }
    }

    fn scoped(&self, selector: &Selector) -> Result<Request> {
        if let Some(app) = &selector.app {
            checked(&app.name)?;
        }
        self.requests(self.scope(selector))
    }

    /// Hands over page after page, as JSON, and takes where the next one begins.
    async fn pages<F>(&self, selector: &Selector, mut take: F) -> Result<()>
    where
        F: FnMut(&[u8]) -> serde_json::Result<Option<String>> + Send,
    {
        let what = "list applications";
        let requests = self.scoped(selector)?;
        let mut params = ListParams::default().limit(PAGE);
        params.label_selector = labels(selector);
        params.field_selector = selector
            .app
            .as_ref()
            .map(|app| format!("metadata.name={}", app.name));
        loop {
            let page = self
                .text(requests.list(&params), || what.to_owned())
                .await?;
            let next = take(page.as_bytes()).map_err(|error| {
                Error::integrity("the answer is no list of applications")
                    .with_source(error)
                    .context(what)
            })?;
            match next {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(()),
            }
        }
    }

    /// Changes the record as it is now, and again when somebody else was faster. `change` gives a merge patch, or nothing to do.
    async fn compare_and_swap(&self, app: &AppRef, what: &str, change: Change<'_>) -> Result<()> {
        for _ in 0..RACES {
            let record = self.get_full(app).await?;
            let Some(mut patch) = change(&record)? else {
                return Ok(());
            };
            // The API server refuses the patch if the record is no longer the one that it was made for.
            patch["metadata"]["resourceVersion"] = json!(record.metadata.resource_version);
            match self.merge(app, &patch, what).await {
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                result => return result,
            }
        }
        Err(Error::conflict(format!(
            "{what} {app}: somebody else was faster {RACES} times"
        )))
    }

    async fn merge(&self, app: &AppRef, patch: &Value, what: &str) -> Result<()> {
        let requests = self.requests_for(app)?;
        let params = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        self.send::<serde::de::IgnoredAny>(
            requests.patch(&app.name, &params, &Patch::Merge(patch)),
            || format!("{what} {app}"),
        )
        .await
        .map(drop)
    }

    /// Asks for an operation, as `SetAppOperation` of argo-cd 3.2 does.
    async fn ask(&self, app: &AppRef, operation: &Operation) -> Result<()> {
        let operation = serde_json::to_value(operation).map_err(|error| {
            Error::internal("the operation cannot be written").with_source(error)
        })?;
        self.compare_and_swap(app, "sync application", &|record| {
            if record.operation.is_some() {
                return Err(busy(app));
            }
            if record.metadata.deletion_timestamp.is_some() {
                return Err(Error::conflict(format!(
                    "application {app} is being deleted"
                )));
            }
            Ok(Some(json!({
                "metadata": {},
                "operation": operation,
                "status": {"operationState": null},
            })))
        })
        .await
    }

    async fn write(&self, record: &Application, create: bool) -> Result<Application> {
        let mut record = record.clone();
        let namespace = record
            .metadata
            .namespace
            .get_or_insert_with(|| self.namespace.clone());
        let requests = self.requests(Some(namespace))?;
        let name = record.name().to_owned();
        checked(&name)?;
        let body = serde_json::to_vec(&record).map_err(|error| {
            Error::internal("the application cannot be written").with_source(error)
        })?;
        let params = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        let request = if create {
            requests.create(&params, body)
        } else {
            requests.replace(&name, &params, body)
        };
        self.send(request, || format!("write application {name}"))
            .await
    }
}

#[async_trait]
impl Access for KubeArgoCd {
    async fn namespace(&self) -> Result<String> {
        Ok(self.namespace.clone())
    }

    async fn get(&self, app: &AppRef) -> Result<lean::Application> {
        let requests = self.requests_for(app)?;
        self.send(requests.get(&app.name, &GetParams::default()), || {
            format!("get application {app}")
        })
        .await
    }

    async fn get_full(&self, app: &AppRef) -> Result<Application> {
        let requests = self.requests_for(app)?;
        self.send(requests.get(&app.name, &GetParams::default()), || {
            format!("get application {app}")
        })
        .await
    }

    async fn list(&self, selector: &Selector) -> Result<lean::ApplicationList> {
        let mut whole = lean::ApplicationList::default();
        self.pages(selector, |page| {
            let page: lean::ApplicationList = serde_json::from_slice(page)?;
            whole.items.extend(page.items);
            let token = page.metadata.continue_token.clone();
            whole.metadata = page.metadata;
            Ok((!token.is_empty()).then_some(token))
        })
        .await?;
        Ok(whole)
    }

    async fn list_full(&self, selector: &Selector) -> Result<Vec<Result<Application>>> {
        let mut whole = Vec::new();
        self.pages(selector, |page| {
            let (items, next) = records(page)?;
            whole.extend(items);
            Ok(next)
        })
        .await?;
        Ok(whole)
    }

    async fn watch(
        &self,
        selector: &Selector,
        after: Option<&str>,
    ) -> Result<BoxStream<'static, Result<lean::WatchEvent>>> {
        let what = "watch applications";
        let params = WatchParams {
            label_selector: labels(selector),
            field_selector: selector
                .app
                .as_ref()
                .map(|app| format!("metadata.name={}", app.name)),
            ..WatchParams::default()
        };
        let request = self
            .scoped(selector)?
            .watch(&params, after.unwrap_or_default())
            .map_err(|error| {
                Error::invalid("the request cannot be built")
                    .with_source(error)
                    .context(what)
            })?;
        let events = self
            .client
            .request_events::<lean::Application>(request)
            .await
            .map_err(|error| from_kube(error).context(what))?;
        let event = |kind: &str, application| {
            Some(Ok(lean::WatchEvent {
                kind: kind.to_owned(),
                application,
            }))
        };
        Ok(events
            .filter_map(move |told| {
                let told = match told {
                    Ok(WatchEvent::Added(app)) => event("ADDED", app),
                    Ok(WatchEvent::Modified(app)) => event("MODIFIED", app),
                    Ok(WatchEvent::Deleted(app)) => event("DELETED", app),
                    Ok(WatchEvent::Bookmark(_)) => None,
                    Ok(WatchEvent::Error(status)) => {
                        Some(Err(from_kube(kube::Error::Api(status)).context(what)))
                    }
                    Err(error) => Some(Err(from_kube(error).context(what))),
                };
                async move { told }
            })
            .boxed())
    }

    async fn create(&self, app: &Application) -> Result<Application> {
        self.write(app, true).await
    }

    async fn replace(&self, app: &Application, version: Option<&str>) -> Result<Application> {
        let mut record = app.clone();
        if let Some(version) = version {
            record.metadata.resource_version = Some(version.to_owned());
            return self.write(&record, false).await;
        }
        let name = AppRef::namespaced(app.namespace(), app.name());
        for _ in 0..RACES {
            match self.write(&record, false).await {
                // Whoever replaces without a version wants the last word; status and operation stay those of now.
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    let mut now = self.get_full(&name).await?;
                    now.spec = app.spec.clone();
                    now.metadata.labels = app.metadata.labels.clone();
                    now.metadata.annotations = app.metadata.annotations.clone();
                    now.metadata.finalizers = app.metadata.finalizers.clone();
                    record = now;
                }
                result => return result,
            }
        }
        Err(Error::conflict(format!(
            "update application {name}: somebody else was faster {RACES} times"
        )))
    }

    async fn delete(&self, app: &AppRef, options: &DeleteOptions) -> Result<()> {
        // As `Delete` of argo-cd 3.2's server: what is deleted with it, its finalizers say.
        let wanted = match (options.cascade, options.propagation) {
            (false, _) => None,
            (true, Propagation::Foreground) => Some(finalizer::RESOURCES),
            (true, Propagation::Background) => Some(finalizer::RESOURCES_BACKGROUND),
            (true, Propagation::Orphan) => {
                return Err(Error::invalid(
                    "a cascade that leaves the resources is no cascade: delete without one",
                ));
            }
        };
        self.compare_and_swap(app, "delete application", &|record| {
            let have = record.metadata.finalizers.clone().unwrap_or_default();
            let mut finalizers: Vec<String> = have
                .iter()
                .filter(|name| {
                    ![
                        finalizer::RESOURCES,
                        finalizer::RESOURCES_FOREGROUND,
                        finalizer::RESOURCES_BACKGROUND,
                    ]
                    .contains(&name.as_str())
                })
                .cloned()
                .collect();
            finalizers.extend(wanted.map(str::to_owned));
            let is_same =
                finalizers.len() == have.len() && finalizers.iter().all(|name| have.contains(name));
            // Finalizers cannot be added to what is being deleted already.
            if is_same || (record.metadata.deletion_timestamp.is_some() && wanted.is_some()) {
                return Ok(None);
            }
            Ok(Some(json!({"metadata": {"finalizers": finalizers}})))
        })
        .await?;
        let requests = self.requests_for(app)?;
        self.send::<serde::de::IgnoredAny>(
            requests.delete(&app.name, &DeleteParams::default()),
            || format!("delete application {app}"),
        )
        .await
        .map(drop)
    }

    async fn change(&self, app: &AppRef, change: Change<'_>) -> Result<()> {
        self.compare_and_swap(app, "change application", change)
            .await
    }

    async fn start(&self, app: &AppRef, operation: &Operation) -> Result<()> {
        self.ask(app, operation).await
    }

    async fn roll_back(&self, app: &AppRef, rollback: &Rollback) -> Result<bool> {
        let record = self.get_full(app).await?;
        let entry = record
            .status
            .iter()
            .flat_map(|status| status.history.iter().flatten())
            .find(|entry| entry.id == rollback.id)
            .ok_or_else(|| {
                Error::not_found(format!(
                    "application {app} has no entry {} in its history",
                    rollback.id
                ))
            })?;
        // As `Rollback` of argo-cd 3.2's server: a sync without hooks of what was.
        let operation = Operation {
            sync: Some(SyncOperation {
                revision: entry.revision.clone(),
                revisions: entry.revisions.clone(),
                dry_run: rollback.dry_run.then_some(true),
                prune: Some(rollback.prune),
                sync_options: record
                    .spec
                    .sync_policy
                    .as_ref()
                    .and_then(|policy| policy.sync_options.clone()),
                sync_strategy: Some(SyncStrategy {
                    apply: Some(SyncStrategyApply::default()),
                    ..SyncStrategy::default()
                }),
                source: entry.source.clone(),
                sources: entry.sources.clone(),
                ..SyncOperation::default()
            }),
            initiated_by: Some(OperationInitiator {
                username: (!rollback.initiator.is_empty()).then(|| rollback.initiator.clone()),
                automated: rollback.automated.then_some(true),
                ..OperationInitiator::default()
            }),
            info: Some(rollback.notes.clone()),
            ..Operation::default()
        };
        self.ask(app, &operation).await?;
        Ok(true)
    }

    async fn terminate(&self, app: &AppRef, id: &str) -> Result<()> {
        self.compare_and_swap(app, "terminate the operation of application", &|record| {
            let runs = record
                .status
                .as_ref()
                .is_some_and(|status| status.operation_state.is_some());
            let notes = record
                .operation
                .iter()
                .flat_map(|operation| operation.info.iter().flatten());
            let is_meant = notes
                .into_iter()
                .any(|note| note.name == ID && note.value == id);
            match &record.operation {
                Some(_) if runs => Ok(Some(json!({
                    "metadata": {},
                    "status": {"operationState": {"phase": "Terminating"}},
                }))),
                // Nobody has taken it up: it need not stop, it need not be.
                Some(_) if is_meant => Ok(Some(json!({"metadata": {}, "operation": null}))),
                _ => Err(Error::invalid(format!(
                    "no operation of application {app} is in progress"
                ))),
            }
        })
        .await
    }

    async fn refresh(&self, app: &AppRef, refresh: Refresh) -> Result<()> {
        let patch = json!({"metadata": {"annotations": {annotation::REFRESH: refresh.as_str()}}});
        self.merge(app, &patch, "refresh application").await
    }

    async fn managed_resources(&self, _: &AppRef) -> Result<Option<Vec<ManagedResource>>> {
        Ok(None)
    }

    fn has_state(&self) -> bool {
        false
    }
}
