//! The state of an application, as Flux's objects tell it.
//!
//! In sync is what has applied the revision that its source has, with the settings that it has now. Which settings were applied, the controller tells by the generation that it has seen through;
//! what is suspended it does not look at, and there the digest counts that the last operation noted. Flux does not tell of drift between two runs:
//! [`StateReader`](gitops_core::backend::StateReader) compares the objects themselves.

use gitops_core::Result;
use gitops_core::application::{
    ApplicationStatus, Condition, Health, HealthStatus, ResourceStatus, SyncStatus,
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::access::Loaded;
use super::history;
use super::record::{APPLIED, record};
use crate::convert::{OciTarget, Parts, SourceObject, Workload, is_commit, reported};
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

/// Whether what was applied may be what was asked for. A range cannot be told from the revision, nor can a name where Flux does not report it.
pub(super) fn is_revision(loaded: &Loaded, applied: &str, asked: &str) -> bool {
    let is_digest = ["sha256:", "sha512:"]
        .iter()
        .any(|algorithm| asked.starts_with(algorithm));
    if is_commit(asked) || is_digest {
        return revision(loaded, applied) == asked;
    }
    let is_range =
        OciTarget::parse("revision", Some(asked)).is_ok_and(|target| target.semver.is_some());
    if is_range || asked.is_empty() {
        return true;
    }
    let source = loaded.parts.source.as_ref();
    match (loaded.workload(), source) {
        // `1.2` is a range to helm.
        (Workload::HelmRelease(_), Some(SourceObject::Helm(_))) => {
            asked.split('.').count() < 3 || same_version(applied, asked)
        }
        // A release notes the chart's version and the artifact's digest; the tag is the source's to tell.
        (Workload::HelmRelease(object), Some(source)) if object.spec.chart_ref.is_some() => {
            let offered = source.artifact().map(|artifact| &*artifact.revision);
            let offered = offered.and_then(|offered| offered.rsplit_once('@'));
            let digest = applied.rsplit_once('@').map(|(_, digest)| digest);
            offered.is_none_or(|(tag, of)| Some(of) != digest || tag == asked)
        }
        // `main@sha1:…`, `1.2.3@sha256:…`: of a reference, what follows `refs/heads/`.
        _ => applied.rsplit_once('@').is_none_or(|(name, _)| {
            let short = match asked.strip_prefix("refs/") {
                Some(rest) => rest.split_once('/').map_or(rest, |(_, short)| short),
                None => asked,
            };
            name == short
        }),
    }
}

/// Whether two versions are the same to helm: without a `v`, and whatever they were built of.
fn same_version(applied: &str, asked: &str) -> bool {
    let plain = |text: &str| {
        let text = text.split(['@', '+']).next().unwrap_or_default().to_owned();
        text.strip_prefix('v').map(str::to_owned).unwrap_or(text)
    };
    plain(applied) == plain(asked)
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
    let same_settings = has_applied_settings(loaded);
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

/// Whether what was applied last was applied with the settings of now.
fn has_applied_settings(loaded: &Loaded) -> bool {
    let workload = loaded.workload();
    let generation = workload.metadata().generation.unwrap_or_default();
    let seen_through = seen_through(workload).unwrap_or_default();
    match (workload.is_suspended(), workload.annotation(APPLIED)) {
        (false, _) => seen_through >= generation,
        (true, Some(applied)) => applied == digest(&loaded.parts),
        // No operation noted any; to be suspended was a change by itself.
        (true, None) => seen_through >= generation - 1,
    }
}

/// The newest generation that was applied. While a run is under way it is the one before: each interval begins a run.
fn seen_through(workload: &Workload) -> Option<i64> {
    let ready = workload.condition(condition::READY);
    let of_ready = |one: &crate::types::Condition| one.observed_generation;
    let of_success = ready.filter(|one| one.is_true()).and_then(of_ready);
    match workload {
        Workload::Kustomization(object) => {
            let is_stalled = workload
                .condition(condition::STALLED)
                .is_some_and(|one| one.is_true());
            // It is written when a run succeeded, and when none can.
            let observed = object
                .status
                .as_ref()
                .and_then(|status| status.observed_generation)
                .filter(|_| !is_stalled);
            // What is not healthy was applied all the same.
            let of_failure = ready
                .filter(|one| one.is_false() && AFTER_APPLYING.contains(&one.reason()))
                .and_then(of_ready);
            observed.max(of_success).max(of_failure)
        }
        Workload::HelmRelease(object) => {
            let status = object.status.as_ref()?;
            // A run that could not begin writes the one, a run that has only begun the other.
            let ended = status
                .observed_generation
                .min(status.last_attempted_generation);
            ended.max(of_success)
        }
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

const AFTER_APPLYING: [&str; 1] = ["HealthCheckFailed"];

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

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(workload: Value, source: Value) -> Loaded {
        let workload = match workload["kind"].as_str() {
            Some("HelmRelease") => {
                Workload::HelmRelease(Box::new(serde_json::from_value(workload).unwrap()))
            }
            _ => Workload::Kustomization(Box::new(serde_json::from_value(workload).unwrap())),
        };
        let source = match source["kind"].as_str() {
            Some("GitRepository") => SourceObject::Git(serde_json::from_value(source).unwrap()),
            Some("OCIRepository") => SourceObject::Oci(serde_json::from_value(source).unwrap()),
            _ => SourceObject::Helm(serde_json::from_value(source).unwrap()),
        };
        Loaded {
            parts: Parts {
                source: Some(source),
                workload,
            },
            chart: None,
            value: Value::Null,
        }
    }

    fn kustomization(meta: Value, suspend: bool, status: Value) -> Loaded {
        let mut workload = json!({
            "kind": "Kustomization", "metadata": {"name": "app", "namespace": "apps"},
            "spec": {"suspend": suspend, "sourceRef": {"kind": "GitRepository", "name": "app"}},
            "status": {"lastAppliedRevision": "main@sha1:a"},
        });
        for (part, more) in [("metadata", meta), ("status", status)] {
            for (key, value) in more.as_object().unwrap() {
                workload[part][key] = value.clone();
            }
        }
        let source = json!({
            "kind": "GitRepository", "metadata": {"name": "app", "namespace": "apps"}, "spec": {"url": "https://git.example.com/a"},
            "status": {"artifact": {"revision": "main@sha1:a"}},
        });
        loaded(workload, source)
    }

    fn ready(status: &str, reason: &str, generation: i64) -> Value {
        json!([{"type": "Ready", "status": status, "reason": reason, "observedGeneration": generation}])
    }

    #[test]
    fn what_flux_applies_by_itself_is_in_sync_once_it_has_seen_the_settings() {
        let of = |observed: i64, ready: Value| {
            let status = json!({"observedGeneration": observed, "conditions": ready});
            // Of an operation long ago: Flux has applied other settings since.
            let old = json!({"generation": 3, "annotations": {APPLIED: "an older one"}});
            let never = json!({"generation": 3});
            let [one, other] =
                [old, never].map(|meta| sync(&kustomization(meta, false, status.clone())));
            assert_eq!(one, other);
            one
        };
        assert_eq!(of(3, ready("True", "", 3)), SyncStatus::Synced);
        assert_eq!(
            of(3, ready("Unknown", "Progressing", 3)),
            SyncStatus::Synced
        );
        assert_eq!(of(2, ready("True", "", 2)), SyncStatus::OutOfSync);
        assert_eq!(
            of(2, ready("Unknown", "Progressing", 3)),
            SyncStatus::OutOfSync
        );
        assert_eq!(
            of(2, ready("False", "BuildFailed", 3)),
            SyncStatus::OutOfSync
        );
        assert_eq!(
            of(2, ready("False", "HealthCheckFailed", 3)),
            SyncStatus::Synced
        );
    }

    #[test]
    fn what_is_suspended_is_in_sync_with_what_the_last_operation_applied() {
        let status = json!({"observedGeneration": 3, "conditions": ready("True", "", 3)});
        let mut of = kustomization(json!({"generation": 9}), true, status.clone());
        let noted = digest(&of.parts);
        of.parts.workload.metadata_mut().annotations =
            Some([(APPLIED.to_owned(), noted)].into_iter().collect());
        assert_eq!(sync(&of), SyncStatus::Synced);
        let Workload::Kustomization(object) = &mut of.parts.workload else {
            panic!("no Kustomization")
        };
        object.spec.path = Some("other".into());
        assert_eq!(sync(&of), SyncStatus::OutOfSync);
        // Others suspended it, and nothing was changed since, or something.
        for (generation, wanted) in [(4, SyncStatus::Synced), (5, SyncStatus::OutOfSync)] {
            let of = kustomization(json!({"generation": generation}), true, status.clone());
            assert_eq!(sync(&of), wanted, "{generation}");
        }
    }

    #[test]
    fn a_release_is_in_sync_when_a_run_with_the_settings_has_ended() {
        let of = |observed: i64, attempted: i64, conditions: Value| {
            let release = json!({
                "kind": "HelmRelease", "metadata": {"name": "app", "namespace": "apps", "generation": 3},
                "spec": {"chart": {"spec": {"chart": "app", "sourceRef": {"kind": "HelmRepository", "name": "app"}}}},
                "status": {"observedGeneration": observed, "lastAttemptedGeneration": attempted, "conditions": conditions,
                           "lastAttemptedRevision": "1.0.0",
                           "history": [{"chartVersion": "1.0.0", "status": "deployed", "name": "app", "namespace": "apps", "version": 1}]},
            });
            let mut of = loaded(
                release,
                json!({"kind": "HelmRepository", "spec": {"url": "https://charts.example.com"}}),
            );
            let chart =
                json!({"spec": {"chart": "app"}, "status": {"artifact": {"revision": "1.0.0"}}});
            of.chart = Some(serde_json::from_value(chart).unwrap());
            sync(&of)
        };
        assert_eq!(of(3, 3, ready("True", "", 3)), SyncStatus::Synced);
        // Values are being upgraded; a source that was not there.
        assert_eq!(
            of(2, 3, ready("Unknown", "Progressing", 3)),
            SyncStatus::OutOfSync
        );
        assert_eq!(
            of(3, 2, ready("False", "SourceNotReady", 3)),
            SyncStatus::OutOfSync
        );
    }

    #[test]
    fn another_version_or_tag_is_not_what_was_asked_for() {
        let (sha, other) = ("a".repeat(40), "b".repeat(40));
        let git = kustomization(json!({}), false, json!({}));
        for (applied, asked, wanted) in [
            (format!("main@sha1:{sha}"), &*sha, true),
            (format!("sha1:{sha}"), &*sha, true),
            (format!("main@sha1:{other}"), &*sha, false),
            (format!("v1.0.0@sha1:{sha}"), "v1.0.0", true),
            (format!("main@sha1:{sha}"), "v1.0.0", false),
            (format!("1.0.0@sha1:{sha}"), "refs/tags/1.0.0", true),
            (format!("feature/x@sha1:{sha}"), "feature/x", true),
            (format!("v1.4.0@sha1:{sha}"), "^1.0", true),
        ] {
            assert_eq!(
                is_revision(&git, &applied, asked),
                wanted,
                "{applied} {asked}"
            );
        }
        let helm = loaded(
            json!({"kind": "HelmRelease", "spec": {"chart": {"spec": {"chart": "a", "sourceRef": {"kind": "HelmRepository", "name": "a"}}}}}),
            json!({"kind": "HelmRepository", "spec": {"url": "https://charts.example.com"}}),
        );
        for (applied, asked, wanted) in [
            ("1.0.0", "1.0.0", true),
            ("1.0.0+build.7", "v1.0.0", true),
            ("1.1.0", "1.0.0", false),
            ("1.0.0", "1.0.0-rc.1", false),
            ("1.2.7", "1.2", true),
            ("1.2.7", "1.x", true),
        ] {
            assert_eq!(
                is_revision(&helm, applied, asked),
                wanted,
                "{applied} {asked}"
            );
        }
        let oci = loaded(
            json!({"kind": "HelmRelease", "spec": {"chartRef": {"kind": "OCIRepository", "name": "a"}}}),
            json!({"kind": "OCIRepository", "spec": {"url": "oci://r.example.com/a"}, "status": {"artifact": {"revision": "1.0.0@sha256:aa"}}}),
        );
        for (applied, asked, wanted) in [
            ("1.0.0+aa@sha256:aa", "1.0.0", true),
            ("1.0.0+aa@sha256:aa", "1.1.0", false),
            ("1.0.0+aa@sha256:aa", "sha256:aa", true),
            ("1.0.0+bb@sha256:bb", "sha256:aa", false),
            ("1.0.0+aa@sha256:aa", "sha512:aa", false),
        ] {
            assert_eq!(
                is_revision(&oci, applied, asked),
                wanted,
                "{applied} {asked}"
            );
        }
    }
}
