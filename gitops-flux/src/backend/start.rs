//! Starting operations, and asking them to stop.

use std::time::Duration;

use gitops_core::application::{AppRef, Application, ClusterRef};
use gitops_core::backend::{Operation, SyncOptions};
use gitops_core::manifest::{GroupKind, Object};
use gitops_core::{Error, ErrorKind, Result};
use gitops_kube::cluster::{Cluster as _, WriteParams};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::access::{Loaded, was_overtaken};
use super::drive::unknown;
use super::record::{Ask, Before, OPERATION, Record, Step, new_id, to_text};
use super::{FluxBackend, dry_run, pin};
use crate::convert::{SUSPENDED, SYNC, Workload, is_manual, option_is_fulfilled, own_target};

/// How often a write is tried again that lost a race.
const RACES: usize = 10;

fn busy(app: &AppRef, id: &str) -> Error {
    Error::new(
        ErrorKind::OperationInProgress,
        format!("operation {id} of application {app} is in progress"),
    )
}

fn check(app: &Application, loaded: &Loaded, options: &SyncOptions) -> Result<Option<String>> {
    if !options.resources.is_empty() {
        return Err(Error::unsupported("syncing some resources only", "Flux"));
    }
    for option in &options.options {
        option_is_fulfilled("options", option)?;
    }
    let name = app.app_ref();
    if loaded.is_deleting() {
        return Err(Error::conflict(format!(
            "application {name} is being deleted"
        )));
    }
    if app.suspended && options.initiator.automated {
        return Err(Error::conflict(format!("application {name} is suspended")));
    }
    if loaded.workload().is_helm() && options.prune == Some(false) {
        return Err(Error::unsupported(
            "leaving what a chart no longer names",
            "helm",
        ));
    }
    let own = own_revision(app, loaded);
    let revision = match options.revisions.as_slice() {
        [] => None,
        [revision] if Some(revision) == own.as_ref() || revision.is_empty() => None,
        [revision] => Some(revision.clone()),
        more => {
            return Err(Error::invalid(format!(
                "revisions: {} for one source",
                more.len()
            )));
        }
    };
    if let Some(revision) = &revision
        && !is_manual(app)
        && !app.suspended
    {
        return Err(Error::conflict(format!(
            "automated sync of application {name} is on and would undo a sync to {revision}: suspend it first"
        )));
    }
    Ok(revision)
}

/// What the application follows by itself.
fn own_revision(app: &Application, loaded: &Loaded) -> Option<String> {
    let source = loaded.parts.source.as_ref().and_then(own_target);
    source.or_else(|| app.sources.first()?.target_revision.clone())
}

fn ask(app: &Application, options: &SyncOptions, revision: Option<String>) -> Ask {
    let retry = app.sync_policy.retry.as_ref();
    let limit = options
        .retry_limit
        .unwrap_or_else(|| retry.map_or(0, |retry| retry.limit));
    let backoff = options
        .retry_backoff
        .or_else(|| retry.map(|retry| retry.backoff))
        .unwrap_or_default();
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let automated = app.sync_policy.automated;
    Ask {
        revision,
        prune: options
            .prune
            .unwrap_or_else(|| automated.is_some_and(|automated| automated.prune)),
        force: options.force,
        // Without end: until the time is up.
        retries: u32::try_from(limit).unwrap_or(if limit < 0 { u32::MAX } else { 0 }),
        pause: millis(backoff.duration),
        factor: backoff.factor.max(1),
        longest_pause: millis(backoff.max_duration),
        initiator: options.initiator.clone(),
        info: options.info.clone(),
    }
}

/// Starts a sync.
pub(super) async fn sync(
    backend: &FluxBackend,
    app: &AppRef,
    options: &SyncOptions,
) -> Result<Operation> {
    for _ in 0..RACES {
        let loaded = backend.load(app).await?;
        if let Some(running) = loaded.record()?.filter(|record| !record.has_ended()) {
            // Its process may have died.
            backend.carry_on(app, &running.id);
            return Err(busy(app, &running.id));
        }
        let own = backend.application(&loaded.parts)?;
        let revision = check(&own, &loaded, options)?;
        if options.dry_run {
            return dry_run::run(backend, app, &own, &loaded, options, revision).await;
        }
        if let Some(revision) = &revision {
            pin::check(backend, &loaded, revision).await?;
        }
        let ask = ask(&own, options, revision);
        ask.check()?;
        ensure_namespace(backend, &own, options).await?;
        let started_at = Timestamp::now();
        let timeout = options.timeout.unwrap_or(backend.options.operation_timeout);
        let timeout = SignedDuration::try_from(timeout).unwrap_or(SignedDuration::MAX);
        let record = Record {
            id: new_id(),
            started_at,
            deadline: started_at.saturating_add(timeout).unwrap_or(Timestamp::MAX),
            step: Step::Source,
            ask,
            attempt: 0,
            expected: None,
            terminating: false,
            suspended: loaded.workload().is_suspended(),
            before: match loaded.workload() {
                Workload::Kustomization(object) => Before {
                    prune: object.spec.prune.unwrap_or_default(),
                    force: object.spec.force.unwrap_or_default(),
                },
                Workload::HelmRelease(_) => Before::default(),
            },
            outcome: None,
        };
        let mut patch = json!({"metadata": {"annotations": {OPERATION: to_text(&record)?}}});
        if let Some(noted) = suspension(&own, &loaded) {
            patch["metadata"]["annotations"][SYNC] = noted;
        }
        match backend
            .patch_at(&loaded.workload_ref(), loaded.version(), patch)
            .await
        {
            Ok(_) => {
                backend.carry_on(app, &record.id);
                return Ok(record.operation(app));
            }
            Err(error) if was_overtaken(&error) => {}
            // It may have been written all the same, and then the operation has begun.
            Err(error) if error.is_retryable() && has_begun(backend, app, &record.id).await => {
                backend.carry_on(app, &record.id);
                return Ok(record.operation(app));
            }
            Err(error) => return Err(error),
        }
    }
    Err(Error::conflict(format!(
        "application {app} changes all the time"
    )))
}

/// What is to be noted of being suspended, so that it is known while an operation runs: it may have been noted for an operation before, and be over since.
fn suspension(app: &Application, loaded: &Loaded) -> Option<Value> {
    let noted = loaded.workload().annotation(SYNC) == Some(SUSPENDED);
    match (app.suspended && !is_manual(app), noted) {
        (true, _) => Some(json!(SUSPENDED)),
        (false, true) => Some(Value::Null),
        (false, false) => None,
    }
}

async fn has_begun(backend: &FluxBackend, app: &AppRef, id: &str) -> bool {
    let record = match backend.load(app).await {
        Ok(loaded) => loaded.record(),
        Err(error) => Err(error),
    };
    matches!(record, Ok(Some(record)) if record.id == id)
}

/// Makes the namespace that an application wants made; Flux makes it for releases only.
pub(super) async fn ensure_namespace(
    backend: &FluxBackend,
    app: &Application,
    options: &SyncOptions,
) -> Result<()> {
    let asked = app.sync_policy.has_option("CreateNamespace")
        || options
            .options
            .iter()
            .any(|option| option == "CreateNamespace=true");
    let name = &app.destination.namespace;
    if !asked || name.is_empty() || app.destination.cluster != ClusterRef::InCluster {
        return Ok(());
    }
    let metadata = app
        .sync_policy
        .managed_namespace_metadata
        .clone()
        .unwrap_or_default();
    let namespace = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": metadata.labels, "annotations": metadata.annotations},
    });
    let cluster = backend.manager.cluster();
    let kind = cluster
        .resolve_any(&GroupKind::new("", "Namespace"))
        .await?;
    let params = WriteParams {
        field_manager: backend.manager.options().field_manager.clone(),
        force: true,
        ..WriteParams::default()
    };
    cluster
        .apply(&kind, &Object::new(namespace, None)?, &params)
        .await
        .map(drop)
        .map_err(|error| error.context(format!("make the namespace {name}")))
}

/// Asks an operation to stop.
pub(super) async fn terminate(backend: &FluxBackend, operation: &Operation) -> Result<()> {
    for _ in 0..RACES {
        let loaded = backend.load(&operation.app).await?;
        let record = loaded.record()?.filter(|record| record.id == operation.id);
        let mut record = record.ok_or_else(|| unknown(&operation.app, &operation.id))?;
        if record.has_ended() || record.terminating || record.outcome.is_some() {
            return Ok(());
        }
        record.terminating = true;
        let own = backend.application(&loaded.parts)?;
        let mut patch = json!({"metadata": {"annotations": {OPERATION: to_text(&record)?}}});
        if stops(&own, &record, &loaded) {
            patch["spec"] = json!({"suspend": true});
        }
        match backend
            .patch_at(&loaded.workload_ref(), loaded.version(), patch)
            .await
        {
            Ok(_) => {
                backend.carry_on(&operation.app, &operation.id);
                return Ok(());
            }
            Err(error) if was_overtaken(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::conflict(format!(
        "application {} changes all the time",
        operation.app
    )))
}

/// Whether the workload is suspended so that no further run begins: only one that will be when the operation has ended. Flux goes on with others anyway, and what is being deleted is suspended by who
/// wants to keep what it deployed.
fn stops(app: &Application, record: &Record, loaded: &Loaded) -> bool {
    let stays = is_manual(app) || app.suspended;
    stays && record.step == Step::Workload && !loaded.is_deleting()
}

#[cfg(test)]
mod tests {
    use gitops_core::application::Automated;

    use super::*;
    use crate::convert::Parts;

    fn loaded(meta: Value) -> Loaded {
        let object = json!({"metadata": meta, "spec": {"sourceRef": {"kind": "GitRepository", "name": "a"}}});
        Loaded {
            parts: Parts {
                source: None,
                workload: Workload::Kustomization(Box::new(
                    serde_json::from_value(object).unwrap(),
                )),
            },
            chart: None,
            value: Value::Null,
        }
    }

    fn automated(suspended: bool) -> Application {
        let mut app = Application::new("app").automated(Automated::default().self_heal(true));
        app.suspended = suspended;
        app
    }

    #[test]
    fn what_was_resumed_by_others_is_not_suspended_again() {
        let fresh = loaded(json!({}));
        let noted = loaded(json!({"annotations": {SYNC: SUSPENDED}}));
        assert_eq!(suspension(&automated(false), &fresh), None);
        assert_eq!(suspension(&automated(false), &noted), Some(Value::Null));
        assert_eq!(suspension(&automated(true), &fresh), Some(json!(SUSPENDED)));
        let manual = loaded(json!({"annotations": {SYNC: crate::convert::MANUAL}}));
        assert_eq!(suspension(&Application::new("app"), &manual), None);
    }

    #[test]
    fn only_what_stays_suspended_is_suspended_to_stop() {
        let record: Record = serde_json::from_value(json!({
            "id": "1-a", "startedAt": "2025-01-02T03:04:05Z", "deadline": "2025-01-02T03:04:05Z", "step": "workload",
        }))
        .unwrap();
        let there = loaded(json!({}));
        assert!(!stops(&automated(false), &record, &there));
        assert!(stops(&automated(true), &record, &there));
        assert!(stops(&Application::new("app"), &record, &there));
        let deleting = loaded(json!({"deletionTimestamp": "2025-01-02T03:04:05Z"}));
        assert!(!stops(&Application::new("app"), &record, &deleting));
    }
}
