//! How an operation ends, or is tried again.

use gitops_core::application::OperationPhase;
use gitops_core::backend::ResourceAction;
use gitops_core::{Error, Result};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Driver, merge};
use crate::backend::record::{APPLIED, Deployed, Ended, HISTORY, OPERATION, Step, deployed};
use crate::backend::{outcome, pin, status};
use crate::convert::{PINNED, Workload, is_manual};
use crate::deadline;
use crate::manager::FluxRef;
use crate::reconcile::{Cause, Failure};

impl Driver<'_> {
    /// Another try, or the end.
    pub(super) async fn failed(mut self, why: &str, failure: &Failure) -> Result<()> {
        let fatal = matches!(failure.cause, Cause::Suspended | Cause::Deleted);
        if !fatal && self.record.attempt < self.record.ask.retries {
            let pause = self.record.pause();
            if deadline::after(pause) < self.deadline() {
                tracing::debug!(app = %self.app, why, "an operation is tried again");
                tokio::time::sleep(pause).await;
                self.loaded = self.backend.reload(&self.loaded).await?;
                let now = self.loaded.record()?;
                if now.as_ref() != Some(&self.record) {
                    return Ok(());
                }
                self.record.attempt += 1;
                self.record.step = Step::Source;
                return self.write(json!({})).await;
            }
        }
        let resources = match self.record.step {
            Step::Workload => {
                outcome::resources(
                    self.backend,
                    &self.loaded,
                    &self.record,
                    self.before.as_deref(),
                )
                .await
            }
            _ => Vec::new(),
        };
        self.end(OperationPhase::Failed, why.to_owned(), resources)
            .await
    }

    pub(super) async fn explained(&self, object: &FluxRef, mut message: String) -> String {
        let explain = self.backend.manager.explain(object);
        if let Ok(Ok(explanation)) =
            tokio::time::timeout(self.backend.manager.options().deadline, explain).await
            && !explanation.is_empty()
        {
            message.push_str(&format!("; {explanation}"));
        }
        message
    }

    /// Notes how it ended, and puts everything back to where it is between operations.
    pub(super) async fn end(
        mut self,
        phase: OperationPhase,
        message: String,
        resources: Vec<(String, ResourceAction)>,
    ) -> Result<()> {
        let finished_at = Timestamp::now();
        let revisions: Vec<String> = match (phase, status::applied(&self.loaded)) {
            (OperationPhase::Succeeded, Some(applied)) => {
                vec![status::revision(&self.loaded, &applied)]
            }
            // What it did not get to is not of this operation.
            _ => status::applied(&self.loaded)
                .filter(|applied| {
                    self.record.step == Step::Workload
                        && self.record.expected.as_ref() == Some(applied)
                })
                .map(|applied| status::revision(&self.loaded, &applied))
                .into_iter()
                .collect(),
        };
        let workload = self.loaded.workload();
        let app = self.backend.application(&self.loaded.parts)?;
        let own = status::own_spec(&app);
        let mut annotations = json!({});
        if phase == OperationPhase::Succeeded
            && let Some(applied) = status::applied(&self.loaded)
        {
            let mut all = deployed(workload).unwrap_or_default();
            let last = all.last().map_or(0, |entry| entry.id);
            all.push(Deployed {
                id: finished_at.as_millisecond().max(last + 1),
                revision: applied,
                revisions: revisions.clone(),
                started_at: self.record.started_at,
                deployed_at: finished_at,
                initiated_by: self.record.ask.initiator.name.clone(),
            });
            let too_many = all.len().saturating_sub(app.history_limit().clamp(1, 50));
            all.drain(..too_many);
            annotations[HISTORY] = json!(to_text(&all)?);
            annotations[APPLIED] = json!(status::digest(&self.loaded.parts));
        }
        let mut patch = json!({"metadata": {"annotations": annotations}, "spec": own});
        if let Workload::Kustomization(_) = workload {
            patch["spec"]["force"] = json!(self.record.before.force);
            patch["spec"]["prune"] = json!(self.record.before.prune && !is_manual(&app));
        }
        if let Workload::HelmRelease(_) = workload
            && let Some(version) = workload.annotation(PINNED)
        {
            patch["metadata"]["annotations"][PINNED] = Value::Null;
            patch["spec"]["chart"] = json!({"spec": {"version": pin::chart_version(version)}});
        }
        self.record.end(Ended {
            phase,
            message,
            revisions,
            resources,
            finished_at,
        });
        let is_pinned = self.loaded.parts.source.as_ref().is_some_and(|source| {
            source
                .metadata()
                .annotations
                .as_ref()
                .is_some_and(|all| all.contains_key(PINNED))
        });
        self.record.step = match is_pinned {
            true => Step::Release,
            false => Step::Ended,
        };
        self.write(patch).await
    }

    /// The source follows again what it follows otherwise.
    pub(super) async fn release(mut self) -> Result<()> {
        if let Some(object) = self.loaded.source_ref()
            && let Some(live) = self.backend.find(&object).await?
            && let Some(patch) = pin::unpin(&live)
        {
            let version = live["metadata"]["resourceVersion"]
                .as_str()
                .unwrap_or_default();
            self.backend.patch_at(&object, version, patch).await?;
        }
        self.record.step = Step::Ended;
        self.write(json!({})).await
    }

    /// Changes the workload with the record as it is here, if nobody else did.
    pub(super) async fn write(&self, mut patch: Value) -> Result<()> {
        merge(
            &mut patch,
            json!({"metadata": {"annotations": {OPERATION: to_text(&self.record)?}}}),
        );
        let object = self.loaded.workload_ref();
        self.backend
            .patch_at(&object, self.loaded.version(), patch)
            .await
            .map(drop)
    }
}

fn to_text(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| Error::internal("a record is no JSON").with_source(error))
}
