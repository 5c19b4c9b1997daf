//! Pinning a source, or the version of a chart, for one operation.
//!
//! What is followed otherwise is noted in an annotation in the same write, so that whoever finds a pinned source can let it go, and so that the application is read as it is and not as it is
//! pinned.

use gitops_core::{Error, Result};
use serde_json::{Value, json};

use crate::convert::{GitTarget, OciTarget, PINNED, is_commit};
use crate::kind::FluxKind;
use crate::types::HelmRelease;

/// The change of a source that pins it to `revision`, or lets it go for none; nothing when it is so already.
pub(super) fn patch(
    source: &Value,
    kind: FluxKind,
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
        _ => {
            return Err(Error::unsupported(
                "syncing to a given revision",
                kind.kind(),
            ));
        }
    };
    let differs = |name: &str| source["spec"]["ref"][name] != wanted[name];
    let names = ["branch", "tag", "semver", "name", "commit", "digest"];
    if !names.into_iter().any(differs) && source["metadata"]["annotations"][PINNED].is_string() {
        return Ok(None);
    }
    Ok(Some(json!({
        "metadata": {"annotations": {PINNED: own.to_string()}},
        "spec": {"ref": wanted},
    })))
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
        "metadata": {"annotations": {PINNED: null}},
        "spec": {"ref": reference},
    }))
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
        let pin = patch(&source, FluxKind::GitRepository, Some(sha))
            .unwrap()
            .unwrap();
        assert_eq!(pin["spec"]["ref"]["commit"], sha);
        assert_eq!(pin["spec"]["ref"]["branch"], "main");
        source["spec"]["ref"] = json!({"branch": "main", "commit": sha});
        source["metadata"]["annotations"] = pin["metadata"]["annotations"].clone();
        assert_eq!(
            patch(&source, FluxKind::GitRepository, Some(sha)).unwrap(),
            None
        );
        let again = patch(&source, FluxKind::GitRepository, None)
            .unwrap()
            .unwrap();
        assert_eq!(again["spec"]["ref"]["branch"], "main");
        assert_eq!(again["spec"]["ref"]["commit"], Value::Null);
        assert_eq!(again["metadata"]["annotations"][PINNED], Value::Null);
        // Another commit while it is pinned does not become what it follows.
        let other = "f".repeat(40);
        let pin = patch(&source, FluxKind::GitRepository, Some(&other))
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
        assert_eq!(patch(&source, FluxKind::GitRepository, None).unwrap(), None);
        let error = patch(&source, FluxKind::Bucket, Some("x")).unwrap_err();
        assert_eq!(error.kind(), gitops_core::ErrorKind::Unsupported);
    }
}
