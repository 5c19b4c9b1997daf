//! Nothing of an Argo CD Application has no place in ours: held against the properties of Argo CD's own CRD.

use anyhow::{Context, Result};
use gitops_core::application::{
    Directory, Helm, IgnoreDifference, Info, Kustomize, Plugin, SyncPolicy,
};
use gitops_core::manifest::yaml;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// Properties that have another name or form here, and which.
const ELSEWHERE: &[(&str, &str)] = &[
    ("destination", "Application::destination (Destination)"),
    ("destination.name", "ClusterRef::Name"),
    ("destination.server", "ClusterRef::Server"),
    ("destination.namespace", "Destination::namespace"),
    ("project", "Application::project"),
    (
        "revisionHistoryLimit",
        "Application::revision_history_limit",
    ),
    ("source", "Application::sources, the only one"),
    ("sources", "Application::sources"),
    ("sourceHydrator", "Application::hydrate (Hydrate)"),
    ("source.repoURL", "Source::repo_url"),
    ("source.targetRevision", "Source::target_revision"),
    ("source.path", "Source::path"),
    ("source.chart", "Source::chart"),
    ("source.ref", "Source::ref_name"),
    ("source.name", "Source::name"),
    ("source.directory", "Render::Directory"),
    ("source.helm", "Render::Helm"),
    ("source.kustomize", "Render::Kustomize"),
    ("source.plugin", "Render::Plugin"),
    ("sourceHydrator.drySource", "Hydrate::dry_source"),
    ("sourceHydrator.drySource.repoURL", "Source::repo_url"),
    (
        "sourceHydrator.drySource.targetRevision",
        "Source::target_revision",
    ),
    ("sourceHydrator.drySource.path", "Source::path"),
    ("sourceHydrator.syncSource", "Hydrate"),
    (
        "sourceHydrator.syncSource.targetBranch",
        "Hydrate::sync_branch",
    ),
    ("sourceHydrator.syncSource.path", "Hydrate::sync_path"),
    ("sourceHydrator.hydrateTo", "Hydrate"),
    (
        "sourceHydrator.hydrateTo.targetBranch",
        "Hydrate::hydrate_to_branch",
    ),
];

/// A value with every property that a schema names.
fn example(schema: &Value) -> Value {
    if let Some(properties) = schema["properties"].as_object() {
        return properties
            .iter()
            .map(|(name, schema)| (name.clone(), example(schema)))
            .collect::<Map<_, _>>()
            .into();
    }
    if schema["x-kubernetes-int-or-string"] == true {
        return json!(7);
    }
    match schema["type"].as_str() {
        Some("string") => json!("text"),
        Some("boolean") => json!(true),
        Some("integer" | "number") => json!(7),
        Some("array") => json!([example(&schema["items"])]),
        _ => match &schema["additionalProperties"] {
            Value::Object(_) => json!({"key": example(&schema["additionalProperties"])}),
            _ => json!({"free": {"form": ["of", 1]}}),
        },
    }
}

/// Reads the example into our type and writes it again.
fn round_trip<T: DeserializeOwned + Serialize>(what: &str, example: &Value) -> Result<()> {
    let ours: T =
        serde_json::from_value(example.clone()).with_context(|| format!("{what}: {example}"))?;
    let back = serde_json::to_value(&ours)?;
    assert_eq!(&back, example, "{what} loses something");
    Ok(())
}

fn leaves(value: &Value) -> usize {
    match value {
        Value::Object(map) => map.values().map(leaves).sum(),
        Value::Array(items) => items.iter().map(leaves).sum(),
        _ => 1,
    }
}

#[test]
fn every_property_of_argo_cds_crd_has_its_place() -> Result<()> {
    let path = e2e::module_dir("github.com/argoproj/argo-cd/v3")?
        .join("manifests/crds/application-crd.yaml");
    let crd = yaml::parse_value("application-crd.yaml", &std::fs::read(path)?)?;
    let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let source = &spec["properties"]["source"];
    assert_eq!(
        spec["properties"]["sources"]["items"]["properties"],
        source["properties"]
    );

    let mut count = 0;
    let tools = &source["properties"];
    let mut check =
        |what: &str, value: &Value, trip: fn(&str, &Value) -> Result<()>| -> Result<()> {
            count += leaves(value);
            trip(what, value)
        };
    check(
        "directory",
        &example(&tools["directory"]),
        round_trip::<Directory>,
    )?;
    check("helm", &example(&tools["helm"]), round_trip::<Helm>)?;
    check(
        "kustomize",
        &example(&tools["kustomize"]),
        round_trip::<Kustomize>,
    )?;
    check("plugin", &example(&tools["plugin"]), round_trip::<Plugin>)?;
    check(
        "ignoreDifferences",
        &example(&spec["properties"]["ignoreDifferences"]),
        round_trip::<Vec<IgnoreDifference>>,
    )?;
    check(
        "info",
        &example(&spec["properties"]["info"]),
        round_trip::<Vec<Info>>,
    )?;
    let mut policy = example(&spec["properties"]["syncPolicy"]);
    // Texts there ("5s"), durations here.
    for field in ["duration", "maxDuration"] {
        policy["retry"]["backoff"][field] =
            serde_json::to_value(std::time::Duration::from_secs(5))?;
    }
    check("syncPolicy", &policy, round_trip::<SyncPolicy>)?;
    // The rest by name: a property that is new there fails here.
    let compared = ["ignoreDifferences", "info", "syncPolicy"];
    let mut names = Vec::new();
    let mut add = |prefix: &str, schema: &Value| {
        let properties = schema["properties"].as_object().into_iter().flatten();
        names.extend(properties.map(|(name, _)| format!("{prefix}{name}")));
    };
    add("", spec);
    add("source.", source);
    add("destination.", &spec["properties"]["destination"]);
    let hydrator = &spec["properties"]["sourceHydrator"];
    add("sourceHydrator.", hydrator);
    for part in ["drySource", "syncSource", "hydrateTo"] {
        add(
            &format!("sourceHydrator.{part}."),
            &hydrator["properties"][part],
        );
    }
    let missing: Vec<_> = names
        .iter()
        .filter(|name| {
            !compared.contains(&name.as_str()) && !ELSEWHERE.iter().any(|(known, _)| known == name)
        })
        .collect();
    assert!(missing.is_empty(), "without a place: {missing:?}");
    let stale: Vec<_> = ELSEWHERE
        .iter()
        .filter(|(known, _)| !names.iter().any(|name| name == known))
        .collect();
    assert!(stale.is_empty(), "not in Argo CD's CRD: {stale:?}");
    println!(
        "{count} properties of Argo CD's CRD read and written without loss, {} under other names",
        ELSEWHERE.len()
    );
    Ok(())
}
