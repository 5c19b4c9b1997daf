//! The state of an application, as Flux's objects tell it.
//!
//! In sync is what has applied the revision that its source has, with the settings that it has now. Flux does not tell of drift between two runs: [`StateReader`](gitops_core::backend::StateReader)
//! compares the objects themselves.

use gitops_core::Result;
use gitops_core::application::{
    Application, ApplicationStatus, Condition, Health, HealthStatus, ResourceStatus, SyncStatus,
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::access::Loaded;
use super::history;
use super::record::{APPLIED, record};
use crate::convert::{Parts, SourceObject, Workload, is_commit, is_manual, reported};
use crate::kind::FluxResource as _;
use crate::types::{HelmChart, condition};

/// The revision that was applied last, in Flux's form; for a chart its version, or where it comes from Git, the commit.
pub(super) fn applied(loaded: &Loaded) -> Option<String> {
    match loaded.workload() {
        Workload::Kustomization(object) => object
            .last_applied_revision()
            .filter(|text| !text.is_empty())
            .map(str::to_owned),
        Workload::HelmRelease(object) => {
            let latest = object.latest()?;
            let status = object.status.as_ref()?;
            if let Some(commit) = loaded
                .chart
                .as_ref()
                .and_then(|chart| chart_commit(chart, &latest.chart_version))
            {
                return Some(commit.to_owned());
            }
            let digest = status
                .last_attempted_revision_digest
                .as_ref()
                .filter(|text| !text.is_empty());
            Some(match digest {
                Some(digest) => format!("{}@{digest}", latest.chart_version),
                None => latest.chart_version.clone(),
            })
        }
    }
}

/// The commit that a chart of that version was made of, when it is of Git.
pub(super) fn chart_commit<'a>(chart: &'a HelmChart, version: &str) -> Option<&'a str> {
    if chart.spec.source_ref.kind != "GitRepository" {
        return None;
    }
    let offered = chart.artifact()?;
    let status = chart.status.as_ref()?;
    if offered.revision != version {
        return None;
    }
    status.observed_source_artifact_revision.as_deref()
}

/// What the source offers, in the form of [`applied`].
pub(super) fn offered(loaded: &Loaded) -> Option<String> {
    let source = loaded.parts.source.as_ref();
    let artifact = || {
        source
            .and_then(SourceObject::artifact)
            .map(|artifact| artifact.revision.clone())
    };
    match loaded.workload() {
        Workload::Kustomization(_) => artifact(),
        Workload::HelmRelease(object) if object.spec.chart.is_some() => match source {
            Some(SourceObject::Git(_)) => artifact(),
            _ => Some(loaded.chart.as_ref()?.artifact()?.revision.clone()),
        },
        Workload::HelmRelease(_) => artifact(),
    }
}

/// A revision in core's form.
pub(super) fn revision(loaded: &Loaded, flux: &str) -> String {
    match (loaded.workload(), loaded.parts.source.as_ref()) {
        // A chart's version, with or without a digest.
        (Workload::HelmRelease(object), _) if object.spec.chart_ref.is_some() => {
            reported(false, flux)
        }
        (Workload::HelmRelease(_), Some(SourceObject::Helm(_)) | None) => flux
            .split_once('@')
            .map_or(flux, |(version, _)| version)
            .to_owned(),
        _ => reported(loaded.parts.is_git(), flux),
    }
}

/// Whether what was applied may be what was asked for. A name or range cannot be told from the revision.
pub(super) fn is_revision(loaded: &Loaded, applied: &str, asked: &str) -> bool {
    let exact = is_commit(asked) || asked.starts_with("sha256:");
    !exact || revision(loaded, applied) == asked
}

/// What `spec` is between operations: nothing is reconciled by itself that is not to be.
pub(super) fn own_spec(app: &Application) -> Value {
    let suspend = match is_manual(app) || app.suspended {
        true => json!(true),
        false => Value::Null,
    };
    json!({"suspend": suspend})
}

/// The digest of all that decides what is applied, but for the revision.
pub(super) fn digest(parts: &Parts) -> String {
    let spec = |value: serde_json::Result<Value>| match value.map(|mut value| value["spec"].take())
    {
        Ok(Value::Object(mut spec)) => {
            // What the backend itself changes for an operation, and what only says when.
            for name in [
                "suspend",
                "prune",
                "force",
                "ref",
                "interval",
                "retryInterval",
                "timeout",
                "secretRef",
            ] {
                spec.remove(name);
            }
            spec
        }
        _ => Map::new(),
    };
    let workload = match &parts.workload {
        Workload::Kustomization(object) => spec(serde_json::to_value(object)),
        Workload::HelmRelease(object) => spec(serde_json::to_value(object)),
    };
    let source = match &parts.source {
        Some(SourceObject::Git(object)) => spec(serde_json::to_value(object)),
        Some(SourceObject::Oci(object)) => spec(serde_json::to_value(object)),
        Some(SourceObject::Helm(object)) => spec(serde_json::to_value(object)),
        _ => Map::new(),
    };
    let hash = Sha256::digest(json!([workload, source]).to_string().as_bytes());
    hex::encode(&hash[..16])
}

fn sync(loaded: &Loaded) -> SyncStatus {
    let workload = loaded.workload();
    let Some(applied) = applied(loaded) else {
        return match (offered(loaded), workload.is_helm()) {
            // The chart is fetched by the first sync.
            (None, false) => SyncStatus::Unknown,
            _ => SyncStatus::OutOfSync,
        };
    };
    let Some(offered) = offered(loaded) else {
        return SyncStatus::Unknown;
    };
    let settings = workload.annotation(APPLIED);
    let same_settings = settings.is_none_or(|applied| applied == digest(&loaded.parts));
    let source_is_settled = loaded
        .parts
        .source
        .as_ref()
        .is_none_or(SourceObject::is_settled);
    let is_released = match workload {
        Workload::Kustomization(_) => true,
        Workload::HelmRelease(object) => {
            let worked_on = object.last_attempted_revision();
            let latest = object.latest();
            latest.is_some_and(|latest| {
                latest.status == "deployed"
                    && worked_on.is_none_or(|version| version == latest.chart_version)
            })
        }
    };
    let same_revision = revision(loaded, &applied) == revision(loaded, &offered);
    match same_revision && same_settings && source_is_settled && is_released {
        true => SyncStatus::Synced,
        false => SyncStatus::OutOfSync,
    }
}

fn health(loaded: &Loaded) -> Health {
    let workload = loaded.workload();
    let ready = workload.condition(condition::READY);
    let healthy = workload.condition(condition::HEALTHY);
    let nothing = applied(loaded).is_none();
    let Some(told) = healthy.or(ready) else {
        return match nothing {
            true => Health::new(HealthStatus::Missing, "it was never applied"),
            false => Health::new(HealthStatus::Unknown, ""),
        };
    };
    if nothing && healthy.is_none() && !told.is_false() {
        return Health::new(HealthStatus::Missing, "it was never applied");
    }
    let status = match (told.is_true(), told.is_false()) {
        (true, _) => return Health::healthy(),
        // Building and fetching fail before anything is touched: what runs is as it was, and nobody looked at it.
        (_, true) if healthy.is_none() && BEFORE_APPLYING.contains(&told.reason()) => match nothing
        {
            true => HealthStatus::Missing,
            false => HealthStatus::Unknown,
        },
        (_, true) => HealthStatus::Degraded,
        _ => HealthStatus::Progressing,
    };
    Health::new(status, one_line(told.message()))
}

const BEFORE_APPLYING: [&str; 5] = [
    "ArtifactFailed",
    "BuildFailed",
    "DependencyNotReady",
    "SourceNotReady",
    "AccessDenied",
];

fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

fn conditions(loaded: &Loaded) -> Vec<Condition> {
    let workload = loaded.workload().conditions().iter();
    let source = loaded
        .parts
        .source
        .iter()
        .flat_map(|source| source.conditions());
    let matters = |one: &&crate::types::Condition| {
        (one.kind == condition::READY && one.is_false())
            || (one.kind == condition::STALLED && one.is_true())
    };
    let mut told: Vec<Condition> = workload
        .filter(matters)
        .map(|one| ("SyncError", one))
        .chain(source.filter(matters).map(|one| ("ComparisonError", one)))
        .map(|(kind, one)| Condition {
            kind: kind.to_owned(),
            message: format!("{}: {}", one.reason(), one_line(one.message())),
            last_transition_time: one
                .last_transition_time
                .as_ref()
                .and_then(|time| Timestamp::from_nanosecond(time.0.as_nanosecond()).ok()),
        })
        .collect();
    if loaded.parts.source.is_none() {
        let named = loaded.workload().source_ref().unwrap_or_default();
        told.push(Condition {
            kind: "ComparisonError".to_owned(),
            message: format!("the source {} {} is not there", named.kind, named.name),
            last_transition_time: None,
        });
    }
    told
}

/// The state of the application.
pub(super) fn of(loaded: &Loaded) -> Result<ApplicationStatus> {
    let workload = loaded.workload();
    let sync = sync(loaded);
    let resources = match workload {
        Workload::Kustomization(object) => object
            .inventory()
            .map(|inventory| inventory.ids().filter_map(Result::ok)),
        Workload::HelmRelease(_) => None,
    };
    let told = offered(loaded).or_else(|| applied(loaded));
    Ok(ApplicationStatus {
        sync,
        health: health(loaded),
        revisions: told
            .map(|told| revision(loaded, &told))
            .into_iter()
            .collect(),
        operation: record(workload)?.map(|record| record.status()),
        conditions: conditions(loaded),
        resources: resources
            .into_iter()
            .flatten()
            .map(|(id, version)| ResourceStatus {
                id,
                version: version.to_owned(),
                // Flux looks at them in its runs, and tells of none by itself.
                sync: match sync {
                    SyncStatus::Synced => SyncStatus::Synced,
                    _ => SyncStatus::Unknown,
                },
                health: None,
                hook: false,
                requires_pruning: false,
                sync_wave: 0,
            })
            .collect(),
        history: history::entries(loaded)?,
        observed_at: Some(Timestamp::now()),
    })
}
