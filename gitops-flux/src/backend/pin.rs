//! Pinning a source, or the version of a chart, for one operation.
//!
//! What is followed otherwise is noted in an annotation in the same write, so that whoever finds a pinned source can let it go, and so that the application is read as it is and not as it is
//! pinned. Only a source that was made for the application is pinned, and only while no other workload uses it: the others would be taken back too.

use gitops_core::{Error, ErrorKind, Result};
use serde_json::{Value, json};

use super::FluxBackend;
use super::access::{Loaded, named_source};
use crate::convert::{GitTarget, OciTarget, PINNED, Workload, is_commit};
use crate::kind::{FluxKind, FluxResource};
use crate::manager::read::says_not_installed;
use crate::manager::{FluxRef, ListOptions};
use crate::types::{HelmRelease, Kustomization};

/// The annotation of a pinned source with the operation that it is pinned for.
const PINNED_FOR: &str = "gitops.rs/pinned-for";

/// The change of a source that pins it to `revision` for an operation, or lets it go for none; nothing when it is so already.
pub(super) fn patch(
    source: &Value,
    kind: FluxKind,
    operation: &str,
    revision: Option<&str>,
) -> Result<Option<Value>> {
    let Some(revision) = revision else {
        return Ok(unpin(source));
    };
    let own = own(source).unwrap_or_else(|| source["spec"]["ref"].clone());
    let wanted = match kind {
        FluxKind::GitRepository => {
            let target = GitTarget::parse("revision", Some(revision))?;
            let mut wanted = json!({
                "branch": target.branch, "tag": target.tag, "semver": target.semver, "name": target.name, "commit": target.commit,
            });
            if is_commit(revision) && own["name"].is_null() {
                // A commit is looked for on its branch, which need not be the whole repository.
                wanted["branch"] = own["branch"].clone();
            }
            wanted
        }
        FluxKind::OCIRepository => {
            let target = OciTarget::parse("revision", Some(revision))?;
            json!({"tag": target.tag, "semver": target.semver, "digest": target.digest})
        }
        // A Helm repository has all versions; the chart is pinned.
        FluxKind::HelmRepository => return Ok(None),
        _ => return Err(no_revisions(kind)),
    };
    let differs = |name: &str| source["spec"]["ref"][name] != wanted[name];
    let names = ["branch", "tag", "semver", "name", "commit", "digest"];
    let annotations = &source["metadata"]["annotations"];
    let is_pinned = annotations[PINNED].is_string() && annotations[PINNED_FOR] == operation;
    if is_pinned && !names.into_iter().any(differs) {
        return Ok(None);
    }
    Ok(Some(json!({
        "metadata": {"annotations": {PINNED: own.to_string(), PINNED_FOR: operation}},
        "spec": {"ref": wanted},
    })))
}

fn no_revisions(kind: FluxKind) -> Error {
    Error::unsupported("syncing to a given revision", kind.kind())
}

/// Whether it is pinned for that operation.
pub(super) fn is_for(source: &Value, operation: &str) -> bool {
    source["metadata"]["annotations"][PINNED_FOR] == operation
}

fn own(source: &Value) -> Option<Value> {
    let noted = source["metadata"]["annotations"][PINNED].as_str()?;
    serde_json::from_str(noted).ok()
}

/// The change that lets a pinned source go; nothing for one that is not.
pub(super) fn unpin(source: &Value) -> Option<Value> {
    source["metadata"]["annotations"][PINNED].as_str()?;
    let own = own(source).unwrap_or_default();
    let reference = match own {
        Value::Object(own) => {
            // What the pin has set and it does not name goes.
            let mut reference =
                json!({"branch": null, "tag": null, "semver": null, "name": null, "commit": null});
            if source["kind"] == FluxKind::OCIRepository.kind() {
                reference = json!({"tag": null, "semver": null, "digest": null});
            }
            for (key, value) in own {
                reference[key] = value;
            }
            reference
        }
        _ => Value::Null,
    };
    Some(json!({
        "metadata": {"annotations": {PINNED: null, PINNED_FOR: null}},
        "spec": {"ref": reference},
    }))
}

/// Changes a source if it is as it was read.
pub(super) async fn write(
    backend: &FluxBackend,
    source: &FluxRef,
    live: &Value,
    patch: Value,
) -> Result<()> {
    let version = live["metadata"]["resourceVersion"].as_str();
    let version = version.unwrap_or_default();
    backend.patch_at(source, version, patch).await.map(drop)
}

/// Whether a sync at a revision of its own pins the source: not that of a Helm repository, which has all versions.
pub(super) fn is_pinned_by(loaded: &Loaded) -> bool {
    loaded
        .workload()
        .source_ref()
        .is_some_and(|source| source.kind != FluxKind::HelmRepository.kind())
}

/// # Errors
/// `Conflict` for a source that is not the application's alone; `Unsupported` for one that cannot be pinned.
pub(super) async fn check(backend: &FluxBackend, loaded: &Loaded, revision: &str) -> Result<()> {
    let (Some(source), Some(named)) = (&loaded.parts.source, loaded.source_ref()) else {
        return Ok(());
    };
    match named.kind {
        FluxKind::GitRepository | FluxKind::OCIRepository => {}
        FluxKind::HelmRepository => return Ok(()),
        kind => return Err(no_revisions(kind)),
    }
    let why = match source.is_own(loaded.workload().name()) {
        false => "which was not made for the application and may have other users".to_owned(),
        true => match other_user(backend, loaded, &named).await? {
            Some(other) => format!("which {other} uses too"),
            None => return Ok(()),
        },
    };
    Err(Error::conflict(format!(
        "a sync to {revision} would pin {named}, {why}: give the application a source of its own, or change the source"
    )))
}

/// Another workload of the source: everywhere where it may be asked for, or at least in the namespace.
async fn other_user(
    backend: &FluxBackend,
    loaded: &Loaded,
    source: &FluxRef,
) -> Result<Option<FluxRef>> {
    let mut workloads = users::<Kustomization>(backend, loaded, |object| {
        Workload::Kustomization(Box::new(object))
    })
    .await?;
    let releases = users::<HelmRelease>(backend, loaded, |object| {
        Workload::HelmRelease(Box::new(object))
    });
    workloads.extend(releases.await?);
    let own = loaded.workload_ref();
    let others = workloads
        .into_iter()
        .filter(|workload| named_source(workload).as_ref() == Some(source));
    Ok(others
        .map(|workload| FluxRef::new(workload.kind(), workload.namespace(), workload.name()))
        .find(|named| *named != own))
}

async fn users<K: FluxResource>(
    backend: &FluxBackend,
    loaded: &Loaded,
    workload: fn(K) -> Workload,
) -> Result<Vec<Workload>> {
    let manager = &backend.manager;
    let mut list = manager.list::<K>(&ListOptions::everywhere()).await;
    if let Err(error) = &list
        && error.kind() == ErrorKind::PermissionDenied
    {
        let own = ListOptions::namespace(loaded.workload().namespace());
        list = manager.list::<K>(&own).await;
    }
    match list {
        Ok(list) => Ok(list.items.into_iter().map(workload).collect()),
        // A Flux without the kind has none of its objects.
        Err(error) if says_not_installed(&error) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The change of a release that pins its chart's version.
pub(super) fn chart(release: &HelmRelease, revision: Option<&str>) -> Result<Option<Value>> {
    let Some(revision) = revision else {
        return Ok(None);
    };
    let Some(chart) = &release.spec.chart else {
        return Ok(None);
    };
    if chart.spec.source_ref.kind != FluxKind::HelmRepository.kind() {
        return Ok(None);
    }
    let annotations = release.metadata.annotations.as_ref();
    if annotations.is_some_and(|all| all.contains_key(PINNED)) {
        return Ok(Some(
            json!({"spec": {"chart": {"spec": {"version": revision}}}}),
        ));
    }
    let own = chart.spec.version.clone().unwrap_or_default();
    Ok(Some(json!({
        "metadata": {"annotations": {PINNED: own}},
        "spec": {"chart": {"spec": {"version": revision}}},
    })))
}

/// What the version is otherwise, of the annotation's value.
pub(super) fn chart_version(noted: &str) -> Option<&str> {
    (!noted.is_empty()).then_some(noted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_source_knows_what_it_follows() {
        let sha = "0123456789abcdef0123456789abcdef01234567";
        let mut source =
            json!({"kind": "GitRepository", "metadata": {}, "spec": {"ref": {"branch": "main"}}});
        let pin = patch(&source, FluxKind::GitRepository, "1-a", Some(sha))
            .unwrap()
            .unwrap();
        assert_eq!(pin["spec"]["ref"]["commit"], sha);
        assert_eq!(pin["spec"]["ref"]["branch"], "main");
        source["spec"]["ref"] = json!({"branch": "main", "commit": sha});
        source["metadata"]["annotations"] = pin["metadata"]["annotations"].clone();
        assert_eq!(
            patch(&source, FluxKind::GitRepository, "1-a", Some(sha)).unwrap(),
            None
        );
        assert!(is_for(&source, "1-a") && !is_for(&source, "1-b"));
        // Another operation takes it over, so that the one before does not let it go.
        let taken = patch(&source, FluxKind::GitRepository, "1-b", Some(sha))
            .unwrap()
            .unwrap();
        assert!(is_for(&taken, "1-b"));
        assert_eq!(
            taken["metadata"]["annotations"][PINNED],
            json!({"branch": "main"}).to_string()
        );
        let again = patch(&source, FluxKind::GitRepository, "1-a", None)
            .unwrap()
            .unwrap();
        assert_eq!(again["spec"]["ref"]["branch"], "main");
        assert_eq!(again["spec"]["ref"]["commit"], Value::Null);
        for name in [PINNED, PINNED_FOR] {
            assert!(again["metadata"]["annotations"].get(name) == Some(&Value::Null));
        }
        // Another commit while it is pinned does not become what it follows.
        let other = "f".repeat(40);
        let pin = patch(&source, FluxKind::GitRepository, "1-a", Some(&other))
            .unwrap()
            .unwrap();
        assert_eq!(
            pin["metadata"]["annotations"][PINNED],
            json!({"branch": "main"}).to_string()
        );
    }

    #[test]
    fn what_was_not_pinned_is_left_alone() {
        let source = json!({"kind": "GitRepository", "metadata": {}, "spec": {}});
        assert_eq!(
            patch(&source, FluxKind::GitRepository, "1-a", None).unwrap(),
            None
        );
        let error = patch(&source, FluxKind::Bucket, "1-a", Some("x")).unwrap_err();
        assert_eq!(error.kind(), gitops_core::ErrorKind::Unsupported);
    }
}
