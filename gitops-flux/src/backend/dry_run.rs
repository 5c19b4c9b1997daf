//! What a sync would do, without doing it.

use gitops_core::application::{AppRef, Application, OperationPhase};
use gitops_core::backend::{Operation, ResourceAction, ResourceResult, SyncOptions, SyncOutcome};
use gitops_core::{Error, Result};
use jiff::Timestamp;

use super::access::Loaded;
use super::record::new_id;
use super::{FluxBackend, check_in_cluster, state, status};
use crate::convert::Workload;
use crate::diff::{DiffAction, DiffEntry, diff};

fn result(entry: DiffEntry, namespace_comes: bool) -> ResourceResult {
    let action = match entry.action {
        DiffAction::Created => ResourceAction::Created,
        // A dry run does not make the namespace that the sync would make first.
        DiffAction::Failed if namespace_comes => ResourceAction::Created,
        DiffAction::Changed | DiffAction::Recreated => ResourceAction::Updated,
        DiffAction::Unchanged => ResourceAction::Unchanged,
        DiffAction::Skipped => ResourceAction::Skipped,
        DiffAction::Deleted => ResourceAction::Pruned,
        DiffAction::Kept => ResourceAction::PruneSkipped,
        DiffAction::Failed => ResourceAction::Failed,
    };
    ResourceResult {
        id: entry.id,
        action,
        message: entry.reason.unwrap_or_default(),
        health: None,
    }
}

/// Builds what the source has fetched last and lets the API server go through it. The source is not asked for news: for an automated application Flux would apply them.
pub(super) async fn run(
    backend: &FluxBackend,
    app: &AppRef,
    own: &Application,
    loaded: &Loaded,
    options: &SyncOptions,
    revision: Option<String>,
) -> Result<Operation> {
    let Workload::Kustomization(object) = loaded.workload() else {
        return Err(Error::unsupported("dry runs of HelmReleases", "Flux"));
    };
    check_in_cluster("a dry run", object.spec.kube_config.is_some())?;
    let operation = Operation {
        app: app.clone(),
        id: format!("dry-{}", new_id()),
        started_at: Timestamp::now(),
    };
    let revisions: Vec<String> = revision.into_iter().collect();
    let mut kustomization = (**object).clone();
    let prune = options
        .prune
        .or_else(|| Some(own.sync_policy.automated?.prune));
    kustomization.spec.prune = Some(prune.unwrap_or_default());
    if options.force {
        kustomization.spec.force = Some(true);
    }
    let compared = async {
        let built = state::desired(backend, loaded, &revisions).await?;
        diff(backend.manager.cluster(), &kustomization, built).await
    };
    let creates = own.sync_policy.has_option("CreateNamespace");
    let mut outcome = SyncOutcome {
        operation: operation.clone(),
        phase: OperationPhase::Succeeded,
        message: "dry run".to_owned(),
        revisions: status::offered(loaded)
            .map(|offered| status::revision(loaded, &offered))
            .into_iter()
            .collect(),
        resources: Vec::new(),
        finished_at: Timestamp::now(),
    };
    match compared.await {
        Ok(report) => {
            if let Some(first) = report.unreadable.first() {
                // Flux would fail at it.
                outcome.phase = OperationPhase::Failed;
                outcome.message =
                    format!("dry run: the inventory's entry {first:?} cannot be read");
            }
            let missing = format!("namespaces {:?} not found", own.destination.namespace);
            for entry in report.entries {
                let comes = creates
                    && entry
                        .reason
                        .as_ref()
                        .is_some_and(|reason| reason.contains(&missing));
                outcome.resources.push(result(entry, comes));
            }
            let failed = outcome.count(ResourceAction::Failed);
            if failed > 0 {
                outcome.phase = OperationPhase::Failed;
                outcome.message = format!("dry run: {failed} objects would fail");
            }
        }
        // What cannot be reached says nothing about the application.
        Err(error)
            if error.is_retryable() || error.kind() == gitops_core::ErrorKind::Unsupported =>
        {
            return Err(error);
        }
        Err(error) => {
            outcome.phase = OperationPhase::Failed;
            outcome.message = error.to_string();
        }
    }
    outcome.finished_at = Timestamp::now();
    backend.remember(&outcome);
    Ok(operation)
}
