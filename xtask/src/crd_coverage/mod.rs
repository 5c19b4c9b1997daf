//! `cargo xtask crd-coverage`.
//!
//! What proves that a property is typed: a document that holds nothing but it is read, and written with the same value; and values of every other JSON type are
//! refused. Neither a type's `extra` nor a field that is a JSON value refuses anything, so a property that landed in one of them is found. Of what the schema lets be
//! anything, such as Helm's values, a program says whether it has a field.

mod check;

use std::path::Path;

use anyhow::{Context, Result, bail};
use clap::Args;
use e2e::module_dir;
use gitops_argocd::types::{AppProject, Application, ApplicationSet};
use gitops_core::manifest::yaml;
use gitops_flux::FluxResource;
use gitops_flux::types::{
    Alert, Bucket, ExternalArtifact, GitRepository, HelmChart, HelmRelease, HelmRepository,
    ImagePolicy, ImageRepository, ImageUpdateAutomation, Kustomization, OCIRepository, Provider,
    Receiver,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// Nothing to choose.
#[derive(Debug, Args)]
pub(crate) struct Arguments {}

/// What is looked at of each resource.
const PARTS: [&str; 3] = ["spec", "operation", "status"];

/// A property, and what tells whether the document's value of it is in a field.
type Free = (&'static str, fn(Value) -> bool);

/// One kind, typed by hand.
struct Kind {
    kind: &'static str,
    version: &'static str,
    round_trip: fn(Value) -> Result<Value, serde_json::Error>,
    /// Properties that may be anything.
    free: &'static [Free],
}

fn round_trip<T: DeserializeOwned + Serialize>(
    document: Value,
) -> Result<Value, serde_json::Error> {
    serde_json::to_value(serde_json::from_value::<T>(document)?)
}

impl Kind {
    fn of<T: DeserializeOwned + Serialize>(kind: &'static str, version: &'static str) -> Self {
        Self {
            kind,
            version,
            round_trip: round_trip::<T>,
            free: &[],
        }
    }

    fn flux<K: FluxResource>() -> Self {
        Self::of::<K>(K::KIND.kind(), K::KIND.version())
    }
}

fn argo_cd() -> [Kind; 3] {
    [
        Kind::of::<Application>("Application", "v1alpha1"),
        Kind::of::<AppProject>("AppProject", "v1alpha1"),
        Kind::of::<ApplicationSet>("ApplicationSet", "v1alpha1"),
    ]
}

/// What Helm's values are, the chart says.
const VALUES: &[Free] = &[(".spec.values", has_values)];

fn has_values(document: Value) -> bool {
    serde_json::from_value::<HelmRelease>(document)
        .is_ok_and(|release| release.spec.values.is_some())
}

fn flux() -> [Kind; 14] {
    [
        Kind::flux::<GitRepository>(),
        Kind::flux::<OCIRepository>(),
        Kind::flux::<Bucket>(),
        Kind::flux::<HelmRepository>(),
        Kind::flux::<HelmChart>(),
        Kind::flux::<ExternalArtifact>(),
        Kind::flux::<Kustomization>(),
        Kind {
            free: VALUES,
            ..Kind::flux::<HelmRelease>()
        },
        Kind::flux::<Alert>(),
        Kind::flux::<Provider>(),
        Kind::flux::<Receiver>(),
        Kind::flux::<ImageRepository>(),
        Kind::flux::<ImagePolicy>(),
        Kind::flux::<ImageUpdateAutomation>(),
    ]
}

pub(crate) fn run(_: &Arguments) -> Result<()> {
    let folder = module_dir("github.com/argoproj/argo-cd/v3")?.join("manifests/crds");
    let mut missing = 0;
    for kind in argo_cd() {
        let file = folder.join(format!("{}-crd.yaml", kind.kind.to_lowercase()));
        let definition = read(&file)?;
        missing +=
            cover(&definition, &kind).with_context(|| format!("{}: no schema", file.display()))?;
    }
    let definitions = e2e::flux::definitions()?
        .iter()
        .map(|file| read(file))
        .collect::<Result<Vec<_>>>()?;
    for kind in flux() {
        let mut found = definitions.iter().filter_map(|all| cover(all, &kind));
        missing += found
            .next()
            .with_context(|| format!("no definition of {} {}", kind.kind, kind.version))?;
    }
    if missing > 0 {
        bail!("{missing} properties are not typed");
    }
    println!("every property is typed");
    Ok(())
}

fn read(file: &Path) -> Result<Value> {
    let name = file.display().to_string();
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {name}"))?;
    Ok(yaml::parse_value(&name, &bytes)?)
}

/// How many properties are not typed; `None` for a definition of another kind.
fn cover(definition: &Value, kind: &Kind) -> Option<usize> {
    let schema = schema(definition, kind)?;
    let report = check::check(&schema, kind);
    println!("{}: {report}", kind.kind);
    Some(report.missing.len())
}

/// The schema of the version, cut down to [`PARTS`].
fn schema(definition: &Value, kind: &Kind) -> Option<Value> {
    if definition.pointer("/spec/names/kind")?.as_str()? != kind.kind {
        return None;
    }
    let versions = definition.pointer("/spec/versions")?.as_array()?;
    let version = versions
        .iter()
        .find(|version| version["name"] == kind.version)?;
    let all = version
        .pointer("/schema/openAPIV3Schema/properties")?
        .as_object()?;
    let parts: Map<String, Value> = all
        .iter()
        .filter(|(name, _)| PARTS.contains(&name.as_str()))
        .map(|(name, schema)| (name.clone(), schema.clone()))
        .collect();
    (!parts.is_empty()).then(|| json!({"type": "object", "properties": parts}))
}
