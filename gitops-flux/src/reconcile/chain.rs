//! Where an object's content comes from.

use serde_json::Value;

use super::state::text;
use crate::FluxKind;
use crate::manager::FluxRef;

/// The source that an object names, whether it is there or not: of a Kustomization, the source; of a HelmRelease, the HelmChart that helm-controller makes of `spec.chart` or the object
/// of `spec.chartRef`; of a HelmChart, its repository. `None` for everything else, and for a reference to a kind that is no source of Flux.
///
/// As helm-controller 1.4 does it, the HelmChart of `<namespace>/<name>` is called `<namespace>-<name>` and is where its repository is.
pub fn source_of(object: &Value) -> Option<FluxRef> {
    let own = text(object, "/metadata/namespace").unwrap_or_default();
    match text(object, "/kind")?.as_str() {
        "Kustomization" => reference(object, "/spec/sourceRef", &own),
        "HelmChart" => reference(object, "/spec/sourceRef", &own).map(|mut source| {
            // It has no namespace of its own to name.
            source.namespace = own;
            source
        }),
        "HelmRelease" => {
            if object
                .pointer("/spec/chartRef")
                .is_some_and(Value::is_object)
            {
                return reference(object, "/spec/chartRef", &own);
            }
            let repository = repository_of(object)?;
            let name = text(object, "/metadata/name")?;
            Some(FluxRef::new(
                FluxKind::HelmChart,
                repository.namespace,
                format!("{own}-{name}"),
            ))
        }
        _ => None,
    }
}

/// The repository of a HelmRelease's `spec.chart`.
pub(crate) fn repository_of(release: &Value) -> Option<FluxRef> {
    let own = text(release, "/metadata/namespace").unwrap_or_default();
    reference(release, "/spec/chart/spec/sourceRef", &own)
}

/// What an object depends on: `spec.dependsOn`, objects of its own kind.
pub(crate) fn dependencies_of(kind: FluxKind, object: &Value) -> Vec<FluxRef> {
    let own = text(object, "/metadata/namespace").unwrap_or_default();
    object
        .pointer("/spec/dependsOn")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|one| {
            let namespace = text(one, "/namespace").unwrap_or_else(|| own.clone());
            Some(FluxRef::new(kind, namespace, text(one, "/name")?))
        })
        .collect()
}

fn reference(object: &Value, pointer: &str, own: &str) -> Option<FluxRef> {
    let found = object.pointer(pointer)?;
    let kind = match text(found, "/kind")?.as_str() {
        "GitRepository" => FluxKind::GitRepository,
        "OCIRepository" => FluxKind::OCIRepository,
        "Bucket" => FluxKind::Bucket,
        "HelmRepository" => FluxKind::HelmRepository,
        "HelmChart" => FluxKind::HelmChart,
        "ExternalArtifact" => FluxKind::ExternalArtifact,
        _ => return None,
    };
    let namespace = text(found, "/namespace").unwrap_or_else(|| own.to_owned());
    Some(FluxRef::new(kind, namespace, text(found, "/name")?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sources_are_found_as_the_controllers_find_them() {
        let object = |kind: &str, spec: Value| json!({"kind": kind, "metadata": {"namespace": "apps", "name": "shop"}, "spec": spec});
        let rows = [
            (
                object(
                    "Kustomization",
                    json!({"sourceRef": {"kind": "GitRepository", "name": "a"}}),
                ),
                "GitRepository apps/a",
            ),
            (
                object(
                    "Kustomization",
                    json!({"sourceRef": {"kind": "Bucket", "name": "a", "namespace": "b"}}),
                ),
                "Bucket b/a",
            ),
            (
                object(
                    "Kustomization",
                    json!({"sourceRef": {"kind": "ExternalArtifact", "name": "a"}}),
                ),
                "ExternalArtifact apps/a",
            ),
            (
                object(
                    "Kustomization",
                    json!({"sourceRef": {"kind": "Secret", "name": "a"}}),
                ),
                "",
            ),
            (object("Kustomization", json!({"sourceRef": "a"})), ""),
            (
                object(
                    "HelmRelease",
                    json!({"chart": {"spec": {"chart": "x", "sourceRef": {"kind": "HelmRepository", "name": "a"}}}}),
                ),
                "HelmChart apps/apps-shop",
            ),
            (
                object(
                    "HelmRelease",
                    json!({"chart": {"spec": {"sourceRef": {"kind": "HelmRepository", "name": "a", "namespace": "b"}}}}),
                ),
                "HelmChart b/apps-shop",
            ),
            (
                object(
                    "HelmRelease",
                    json!({"chartRef": {"kind": "OCIRepository", "name": "a"}}),
                ),
                "OCIRepository apps/a",
            ),
            (
                object(
                    "HelmRelease",
                    json!({"chartRef": {"kind": "HelmChart", "name": "a", "namespace": "b"}}),
                ),
                "HelmChart b/a",
            ),
            (object("HelmRelease", json!({})), ""),
            (
                object(
                    "HelmChart",
                    json!({"sourceRef": {"kind": "GitRepository", "name": "a"}}),
                ),
                "GitRepository apps/a",
            ),
            (object("GitRepository", json!({})), ""),
        ];
        for (object, wanted) in rows {
            let found = source_of(&object)
                .map(|source| source.to_string())
                .unwrap_or_default();
            assert_eq!(found, wanted, "{object}");
        }
    }

    #[test]
    fn dependencies_are_of_the_same_kind() {
        let object = json!({"metadata": {"namespace": "apps"}, "spec": {"dependsOn": [{"name": "a"}, {"name": "b", "namespace": "c"}, {}, 3]}});
        let found = dependencies_of(FluxKind::Kustomization, &object);
        let found: Vec<String> = found.iter().map(FluxRef::to_string).collect();
        assert_eq!(found, ["Kustomization apps/a", "Kustomization c/b"]);
        assert!(
            dependencies_of(FluxKind::Kustomization, &json!({"spec": {"dependsOn": {}}}))
                .is_empty()
        );
    }
}
