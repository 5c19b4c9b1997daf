//! How an operation ends, or is tried again.

use gitops_core::Result;
use gitops_core::application::{Application, OperationPhase};
use gitops_core::backend::ResourceAction;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Driver, merge};
use crate::backend::access::Loaded;
use crate::backend::record::{
    APPLIED, Deployed, Ended, HISTORY, OPERATION, Record, Step, deployed, to_text,
};
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
                    self.memory.before.as_deref(),
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
        let revisions = self.revisions(phase);
        self.record.end(Ended {
            phase,
            message,
            revisions,
            resources,
            finished_at: Timestamp::now(),
        });
        let app = self.backend.application(&self.loaded.parts)?;
        let (patch, step) = closing(&self.record, &app, &self.loaded)?;
        self.record.step = step;
        self.write(patch).await
    }

    /// What it applied, in core's form: what it did not get to is not of this operation.
    fn revisions(&self, phase: OperationPhase) -> Vec<String> {
        let applied = status::applied(&self.loaded);
        let is_own = |applied: &String| {
            phase == OperationPhase::Succeeded
                || (self.record.step == Step::Workload
                    && self.record.expected.as_ref() == Some(applied))
        };
        let applied = applied.filter(is_own);
        let applied = applied.map(|applied| status::revision(&self.loaded, &applied));
        applied.into_iter().collect()
    }

    /// The source follows again what it follows otherwise.
    pub(super) async fn release(mut self) -> Result<()> {
        self.unpin().await?;
        self.record.step = Step::Ended;
        self.write(json!({})).await
    }

    pub(super) async fn unpin(&self) -> Result<()> {
        if let Some(object) = self.loaded.source_ref()
            && let Some(live) = self.backend.find(&object).await?
            && let Some(patch) = pin::unpin(&live)
        {
            pin::write(self.backend, &object, &live, patch).await?;
        }
        Ok(())
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

/// What the workload becomes when its operation has ended as `record` says, and what is left to do then.
fn closing(record: &Record, app: &Application, loaded: &Loaded) -> Result<(Value, Step)> {
    if loaded.is_deleting() {
        // Its `spec` says what becomes of what it deployed: that is whose to say who deletes it.
        return Ok((json!({}), Step::Ended));
    }
    let workload = loaded.workload();
    let suspend = match is_manual(app) || app.suspended {
        true => json!(true),
        false => Value::Null,
    };
    let mut patch = json!({"metadata": {"annotations": deployment(record, app, loaded)?}, "spec": {"suspend": suspend}});
    if let Workload::Kustomization(_) = workload {
        patch["spec"]["force"] = json!(record.before.force);
        patch["spec"]["prune"] = json!(record.before.prune && !is_manual(app));
    }
    if let Workload::HelmRelease(_) = workload
        && let Some(version) = workload.annotation(PINNED)
    {
        patch["metadata"]["annotations"][PINNED] = Value::Null;
        patch["spec"]["chart"] = json!({"spec": {"version": pin::chart_version(version)}});
    }
    // Whether it was pinned the record says: the source was read before it was pinned, perhaps.
    let pins = record.ask.revision.is_some() && pin::is_pinned_by(loaded);
    let is_pinned = loaded.parts.source.as_ref().is_some_and(|source| {
        let annotations = source.metadata().annotations.as_ref();
        annotations.is_some_and(|all| all.contains_key(PINNED))
    });
    let step = match pins || is_pinned {
        true => Step::Release,
        false => Step::Ended,
    };
    Ok((patch, step))
}

/// What is noted of an operation that succeeded.
fn deployment(record: &Record, app: &Application, loaded: &Loaded) -> Result<Value> {
    let ended = record.outcome.as_ref();
    let (Some(ended), Some(applied)) = (
        ended.filter(|ended| ended.phase == OperationPhase::Succeeded),
        status::applied(loaded),
    ) else {
        return Ok(json!({}));
    };
    let mut all = deployed(loaded.workload()).unwrap_or_default();
    let last = all.last().map_or(0, |entry| entry.id);
    all.push(Deployed::of(record, ended, &applied, last));
    let too_many = all.len().saturating_sub(app.history_limit().clamp(1, 50));
    all.drain(..too_many);
    Ok(json!({HISTORY: to_text(&all)?, APPLIED: status::digest(&loaded.parts)}))
}

#[cfg(test)]
mod tests {
    use gitops_core::application::Automated;
    use gitops_core::backend::Initiator;

    use super::*;
    use crate::backend::record::{Ask, Before};
    use crate::convert::{Parts, SourceObject};

    fn record(revision: Option<&str>, phase: OperationPhase) -> Record {
        let mut record = Record {
            id: "1-a".into(),
            started_at: Timestamp::UNIX_EPOCH,
            deadline: Timestamp::UNIX_EPOCH,
            step: Step::Workload,
            ask: Ask {
                revision: revision.map(str::to_owned),
                initiator: Initiator {
                    name: "tester".into(),
                    automated: false,
                },
                ..Ask::default()
            },
            attempt: 0,
            expected: None,
            terminating: false,
            suspended: false,
            before: Before {
                prune: true,
                force: false,
            },
            outcome: None,
        };
        record.end(Ended {
            phase,
            message: String::new(),
            revisions: vec!["a".into()],
            resources: Vec::new(),
            finished_at: Timestamp::UNIX_EPOCH,
        });
        record
    }

    fn loaded(meta: Value, source: Value) -> Loaded {
        let mut workload = json!({
            "metadata": {"name": "app", "namespace": "apps"},
            "spec": {"sourceRef": {"kind": "GitRepository", "name": "app"}},
            "status": {"lastAppliedRevision": "main@sha1:a"},
        });
        merge(&mut workload, json!({"metadata": meta}));
        let mut git = json!({"metadata": {"name": "app", "namespace": "apps"}, "spec": {"url": "https://git.example.com/a"}});
        merge(&mut git, json!({"metadata": source}));
        Loaded {
            parts: Parts {
                source: Some(SourceObject::Git(serde_json::from_value(git).unwrap())),
                workload: Workload::Kustomization(Box::new(
                    serde_json::from_value(workload).unwrap(),
                )),
            },
            chart: None,
            value: Value::Null,
        }
    }

    fn automated() -> Application {
        Application::new("app").automated(Automated::default().prune(true).self_heal(true))
    }

    #[test]
    fn what_is_being_deleted_keeps_what_its_deletion_set() {
        let deleting = json!({"deletionTimestamp": "2025-01-02T03:04:05Z"});
        for app in [automated(), Application::new("app")] {
            for phase in [OperationPhase::Failed, OperationPhase::Succeeded] {
                let (patch, step) = closing(
                    &record(Some("x"), phase),
                    &app,
                    &loaded(deleting.clone(), json!({})),
                )
                .unwrap();
                assert_eq!((patch, step), (json!({}), Step::Ended));
            }
        }
    }

    #[test]
    fn it_is_as_suspended_as_it_was() {
        let of = |app: &Application| {
            let (patch, step) = closing(
                &record(None, OperationPhase::Failed),
                app,
                &loaded(json!({}), json!({})),
            )
            .unwrap();
            assert_eq!(step, Step::Ended);
            (
                patch["spec"]["suspend"].clone(),
                patch["spec"]["prune"].clone(),
            )
        };
        assert_eq!(of(&automated()), (Value::Null, json!(true)));
        assert_eq!(of(&Application::new("app")), (json!(true), json!(false)));
        let mut suspended = automated();
        suspended.suspended = true;
        assert_eq!(of(&suspended), (json!(true), json!(true)));
    }

    #[test]
    fn a_source_is_let_go_that_was_read_before_it_was_pinned() {
        let app = Application::new("app");
        let step = |revision, source: Value| {
            let record = record(revision, OperationPhase::Failed);
            closing(&record, &app, &loaded(json!({}), source))
                .unwrap()
                .1
        };
        assert_eq!(step(Some("x"), json!({})), Step::Release);
        assert_eq!(step(None, json!({})), Step::Ended);
        let left = json!({"annotations": {PINNED: "{}"}});
        assert_eq!(step(None, left), Step::Release);
    }

    #[test]
    fn only_a_success_is_history() {
        let app = Application::new("app");
        let noted = |phase| {
            let record = record(None, phase);
            let (patch, _) = closing(&record, &app, &loaded(json!({}), json!({}))).unwrap();
            patch["metadata"]["annotations"][HISTORY].clone()
        };
        assert_eq!(noted(OperationPhase::Failed), Value::Null);
        let history = noted(OperationPhase::Succeeded);
        let history: Vec<Deployed> = serde_json::from_str(history.as_str().unwrap()).unwrap();
        assert_eq!(history[0].revision, "main@sha1:a");
        assert_eq!(history[0].initiated_by, "tester");
    }
}
