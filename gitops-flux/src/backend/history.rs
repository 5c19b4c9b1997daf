//! The history, and the way back.

use async_trait::async_trait;
use gitops_core::application::{AppRef, HistoryEntry};
use gitops_core::backend::{
    ApplicationStore as _, Operation, RevisionHistory, SyncOptions, SyncOutcome, Syncer as _,
};
use gitops_core::{Error, Result};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use sha2::{Digest as _, Sha256};

use super::access::Loaded;
use super::record::deployed;
use super::{FluxBackend, start, status};
use crate::convert::{Workload, is_manual};
use crate::types::{HelmRelease, ReleaseSnapshot};

/// What becomes of automated sync, which would undo a rollback at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AutoSync {
    /// The rollback is refused while automated sync is on.
    #[default]
    Refuse,
    /// The application is suspended first, and stays so: [`RollbackOutcome::auto_sync_paused`] says so. If the rollback cannot be started it is resumed.
    Pause,
    /// The application is suspended first and resumed after the rollback: it will be synced to its target revision then, unless the source says by then what the rollback went to.
    PauseAndRestore,
}

/// How to roll back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RollbackOptions {
    /// What becomes of automated sync.
    pub auto_sync: AutoSync,
    /// All but `revisions` count.
    pub sync: SyncOptions,
}

/// What came of a rollback.
#[derive(Clone, Debug, PartialEq)]
pub struct RollbackOutcome {
    /// What came of the operation.
    pub outcome: SyncOutcome,
    /// Whether the application was suspended and is: somebody has to [resume](gitops_core::backend::ApplicationStore::resume) it.
    pub auto_sync_paused: bool,
}

fn at(time: Option<&Time>) -> Option<Timestamp> {
    Timestamp::from_nanosecond(time?.0.as_nanosecond()).ok()
}

/// The past syncs, oldest first: those of this backend's operations, which it notes, and those that Flux did by itself, as far as its own history (of five contents) tells of them, and of what.
pub(super) fn entries(loaded: &Loaded) -> Result<Vec<HistoryEntry>> {
    let noted = deployed(loaded.workload())?;
    // What was applied on the way, from a source that the controller had not seen change yet, is of the operation that went on. Flux's times have no fractions.
    let passed_through = |at: Timestamp| {
        noted.iter().any(|entry| {
            let time = entry.started_at.as_second()..=entry.deployed_at.as_second();
            time.contains(&at.as_second())
        })
    };
    let mut all: Vec<HistoryEntry> = noted.iter().map(|entry| entry.entry()).collect();
    match loaded.workload() {
        Workload::Kustomization(object) => {
            let history = object
                .status
                .iter()
                .flat_map(|status| status.history.iter().flatten());
            let succeeded = history
                .filter(|snapshot| snapshot.last_reconciled_status == "ReconciliationSucceeded");
            for snapshot in succeeded {
                let Some(flux) = snapshot
                    .metadata
                    .as_ref()
                    .and_then(|metadata| metadata.get("revision"))
                else {
                    continue;
                };
                if noted.iter().any(|entry| entry.revision == *flux) {
                    continue;
                }
                let Some(first) = at(snapshot.first_reconciled.as_ref()) else {
                    continue;
                };
                if passed_through(first) {
                    continue;
                }
                all.push(HistoryEntry {
                    id: first.as_millisecond() + within_a_second(&snapshot.digest),
                    revisions: vec![status::revision(loaded, flux)],
                    deployed_at: Some(first),
                    ..HistoryEntry::default()
                });
            }
        }
        Workload::HelmRelease(object) => {
            for snapshot in object
                .status
                .iter()
                .flat_map(|status| status.history.iter().flatten())
            {
                let Some(first) = at(snapshot.last_deployed.as_ref()) else {
                    continue;
                };
                if passed_through(first)
                    || !matches!(snapshot.status.as_str(), "deployed" | "superseded")
                {
                    continue;
                }
                let Some(revision) = chart_revision(loaded, object, snapshot) else {
                    continue;
                };
                if noted
                    .iter()
                    .any(|entry| entry.revisions.first() == Some(&revision))
                {
                    continue;
                }
                all.push(HistoryEntry {
                    // Its digest changes when another takes its place; its number in helm's own history does not.
                    id: first.as_millisecond() + snapshot.version.rem_euclid(1000),
                    revisions: vec![revision],
                    deployed_at: Some(first),
                    ..HistoryEntry::default()
                });
            }
        }
    }
    all.sort_by_key(|entry| entry.id);
    all.dedup_by_key(|entry| entry.id);
    Ok(all)
}

/// Flux's times have no fractions. Of what it did in one second each has a number of its own, which does not depend on what else is in the list: that changes with each run.
fn within_a_second(digest: &str) -> i64 {
    let hash = Sha256::digest(digest.as_bytes());
    i64::from(u16::from_be_bytes([hash[0], hash[1]]) % 1000)
}

/// The revision that a sync could go back to, of a release that helm-controller made by itself; none where helm's history does not tell it: of a chart in Git it has twelve digits of the commit.
fn chart_revision(
    loaded: &Loaded,
    release: &HelmRelease,
    snapshot: &ReleaseSnapshot,
) -> Option<String> {
    if release.spec.chart_ref.is_some() {
        return snapshot.oci_digest.clone().filter(|text| !text.is_empty());
    }
    if loaded.parts.is_git() {
        let chart = loaded.chart.as_ref()?;
        let commit = status::chart_commit(chart, &snapshot.chart_version)?;
        return Some(status::revision(loaded, commit));
    }
    Some(snapshot.chart_version.clone())
}

impl FluxBackend {
    /// Goes back to entry `id` of the history and waits for the end. Automated sync is refused, paused, or paused and restored, as `options` say; it is never left off without
    /// [saying](RollbackOutcome::auto_sync_paused) so.
    ///
    /// A caller that drops the future after the pause leaves the application suspended, which `spec.suspend` says to everybody.
    ///
    /// # Errors
    /// `NotFound` for an entry that is not there; `Conflict` with [`AutoSync::Refuse`], and for a source that others may use; what waiting meets. When the application could not be resumed, the error says so.
    pub async fn roll_back_and_wait(
        &self,
        app: &AppRef,
        id: i64,
        options: &RollbackOptions,
    ) -> Result<RollbackOutcome> {
        let loaded = self.load(app).await?;
        entry(&loaded, app, id)?;
        let now = self.application(&loaded.parts)?;
        let pause = !is_manual(&now) && !now.suspended && options.auto_sync != AutoSync::Refuse;
        if pause {
            self.suspend(app).await?;
        }
        let started = self.roll_back(app, id, &options.sync).await;
        let (outcome, has_started) = match started {
            Ok(operation) => (self.wait(&operation).await, true),
            Err(error) => (Err(error), false),
        };
        let restore = pause && (!has_started || options.auto_sync == AutoSync::PauseAndRestore);
        if restore && let Err(error) = self.resume(app).await {
            return Err(error.context(format!(
                "application {app} is suspended and could not be resumed"
            )));
        }
        let paused = pause && !restore;
        match outcome {
            Ok(outcome) => Ok(RollbackOutcome {
                outcome,
                auto_sync_paused: paused,
            }),
            Err(error) if paused => Err(error.context(format!("application {app} is suspended"))),
            Err(error) => Err(error),
        }
    }
}

/// The entry of that number.
pub(super) fn entry(loaded: &Loaded, app: &AppRef, id: i64) -> Result<HistoryEntry> {
    let found = entries(loaded)?.into_iter().find(|entry| entry.id == id);
    found.ok_or_else(|| {
        Error::not_found(format!(
            "application {app} has no entry {id} in its history"
        ))
    })
}

#[async_trait]
impl RevisionHistory for FluxBackend {
    async fn list(&self, app: &AppRef) -> Result<Vec<HistoryEntry>> {
        entries(&self.load(app).await?)
    }

    /// A sync at the entry's revision, with the settings of now: of a `HelmRelease` the chart goes back and the values do not (helm's own rollback is not asked for). The source (for a chart of a
    /// Helm repository, the version) is pinned for the operation; `Conflict` for a source that others may use, which `roll_back_in_git` (feature `git`) goes round. What follows afterwards is as after
    /// any sync at a revision: nothing is reconciled until somebody asks, or resumes.
    async fn roll_back(&self, app: &AppRef, id: i64, options: &SyncOptions) -> Result<Operation> {
        let loaded = self.load(app).await?;
        let entry = entry(&loaded, app, id)?;
        let now = self.application(&loaded.parts)?;
        if !is_manual(&now) && !now.suspended {
            return Err(Error::conflict(format!(
                "automated sync of application {app} is on and would undo the rollback: suspend it first"
            )));
        }
        let options = SyncOptions {
            revisions: entry.revisions,
            ..options.clone()
        };
        start::sync(self, app, &options).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::backend::record::HISTORY;
    use crate::convert::{Parts, SourceObject};

    fn loaded(workload: Workload, source: Option<SourceObject>) -> Loaded {
        Loaded {
            parts: Parts { source, workload },
            chart: None,
            value: Value::Null,
        }
    }

    fn kustomization(history: Value) -> Loaded {
        let object = json!({
            "spec": {"sourceRef": {"kind": "GitRepository", "name": "a"}},
            "status": {"history": history},
        });
        loaded(
            Workload::Kustomization(Box::new(serde_json::from_value(object).unwrap())),
            None,
        )
    }

    fn release(meta: Value, spec: Value, history: Value, source: SourceObject) -> Loaded {
        let object = json!({"metadata": meta, "spec": spec, "status": {"history": history}});
        loaded(
            Workload::HelmRelease(Box::new(serde_json::from_value(object).unwrap())),
            Some(source),
        )
    }

    fn released(version: &str, second: u8, oci: Option<&str>) -> Value {
        let at = format!("2025-01-02T03:04:{second:02}Z");
        let mut one = json!({
            "chartVersion": version, "status": "superseded", "name": "a", "namespace": "a", "version": 1, "digest": format!("sha256:{version}"),
            "firstDeployed": at, "lastDeployed": at,
        });
        if let Some(oci) = oci {
            one["ociDigest"] = json!(oci);
        }
        one
    }

    #[test]
    fn a_number_stays_when_others_come_and_go() {
        let one = |digest: &str, revision: &str| {
            json!({"digest": digest, "firstReconciled": "2025-01-02T03:04:05Z", "lastReconciled": "2025-01-02T03:04:05Z",
                   "lastReconciledStatus": "ReconciliationSucceeded", "metadata": {"revision": revision}})
        };
        let sha = |c: &str| format!("main@sha1:{}", c.repeat(40));
        let (a, b, c) = (
            one("sha256:a", &sha("a")),
            one("sha256:b", &sha("b")),
            one("sha256:c", &sha("c")),
        );
        let number = |list: Value| {
            let all = entries(&kustomization(list)).unwrap();
            let found = all
                .into_iter()
                .find(|entry| entry.revisions == ["b".repeat(40)]);
            found.unwrap().id
        };
        let id = number(json!([b, a]));
        assert_eq!(
            id / 1000,
            "2025-01-02T03:04:05Z"
                .parse::<Timestamp>()
                .unwrap()
                .as_second()
        );
        assert_eq!(number(json!([c, b, a])), id);
        assert_eq!(number(json!([a, c, b])), id);
        assert_eq!(number(json!([b])), id);
    }

    #[test]
    fn a_version_does_not_hide_another_that_begins_with_it() {
        let noted = json!([{"id": 1, "revision": "1.2.30", "revisions": ["1.2.30"],
                            "startedAt": "2025-01-01T00:00:00Z", "deployedAt": "2025-01-01T00:00:01Z"}]);
        let meta = json!({"annotations": {HISTORY: noted.to_string()}});
        let spec = json!({"chart": {"spec": {"chart": "a", "sourceRef": {"kind": "HelmRepository", "name": "a"}}}});
        let history = json!([released("1.2.30", 7, None), released("1.2.3", 5, None)]);
        let all = entries(&release(
            meta,
            spec,
            history,
            SourceObject::Helm(Box::default()),
        ));
        let all: Vec<_> = all
            .unwrap()
            .into_iter()
            .flat_map(|entry| entry.revisions)
            .collect();
        assert_eq!(all, ["1.2.30", "1.2.3"]);
    }

    #[test]
    fn an_entry_names_what_can_be_gone_back_to() {
        let of = |spec: Value, one: Value, source: SourceObject| {
            let all = entries(&release(json!({}), spec, json!([one]), source)).unwrap();
            all.into_iter()
                .flat_map(|entry| entry.revisions)
                .collect::<Vec<_>>()
        };
        let oci = json!({"chartRef": {"kind": "OCIRepository", "name": "a"}});
        let source = || SourceObject::Oci(Box::default());
        let digest = format!("sha256:{}", "a".repeat(64));
        let one = released("1.2.3+aaaaaaaaaaaa", 5, Some(&digest));
        assert_eq!(of(oci.clone(), one, source()), [digest]);
        let untold = released("1.2.3+aaaaaaaaaaaa", 5, None);
        assert!(of(oci, untold, source()).is_empty());
        let git = json!({"chart": {"spec": {"chart": "a", "sourceRef": {"kind": "GitRepository", "name": "a"}}}});
        let one = released("1.2.3+aaaaaaaaaaaa", 5, None);
        assert!(of(git, one, SourceObject::Git(Box::default())).is_empty());
    }
}
