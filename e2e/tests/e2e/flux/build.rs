//! What is built here is what kustomize prints, what `flux envsubst` gives, and what kustomize-controller applies.

mod controller;
mod expressions;

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use gitops_core::manifest::Object;
use gitops_core::manifest::render::{KUSTOMIZATIONS, KustomizeRenderer};
use gitops_flux::build::Builder;
use gitops_flux::types::Kustomization;
use serde_json::Value;

use crate::render::{options, printed, read_tree};

fn builder() -> Result<Builder> {
    Ok(Builder::new(KustomizeRenderer::new(options("kustomize")?)))
}

/// Where the kustomizations are.
const CORPORA: [(&str, &str); 11] = [
    ("github.com/fluxcd/flux2/v2", "manifests"),
    ("github.com/fluxcd/flux2/v2", "cmd/flux/testdata"),
    ("github.com/fluxcd/pkg/kustomize", "testdata"),
    ("github.com/fluxcd/kustomize-controller", "config"),
    ("github.com/fluxcd/kustomize-controller", "internal"),
    ("github.com/fluxcd/source-controller", "config"),
    ("github.com/fluxcd/helm-controller", "config"),
    ("github.com/argoproj/argo-cd/v3", "manifests"),
    ("github.com/argoproj/argo-cd/v3", "test/e2e/testdata"),
    ("sigs.k8s.io/kwok", "kustomize"),
    ("sigs.k8s.io/kustomize/api", "krusty/testdata"),
];

/// Without the annotation by which Flux keeps kustomize from taking a kustomization for empty.
fn plain(mut object: Value) -> Value {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        let annotations = metadata
            .get_mut("annotations")
            .and_then(Value::as_object_mut);
        if let Some(annotations) = annotations {
            annotations.remove("config.kubernetes.io/origin");
            if annotations.is_empty() {
                metadata.remove("annotations");
            }
        }
    }
    object
}

#[tokio::test(flavor = "multi_thread")]
async fn kustomizations_come_out_as_kustomize_prints_them() -> Result<()> {
    let builder = builder()?.raw(true);
    let (mut alike, mut objects, mut refused) = (0, 0, 0);
    let mut wrong = Vec::new();
    for (module, folder) in CORPORA {
        let root = e2e::module_dir(module)?.join(folder);
        let tree = read_tree(&root).with_context(|| format!("{module} has no {folder}"))?;
        let dirs: BTreeSet<&str> = tree
            .iter()
            .map(|(path, _)| path.rsplit_once('/').unwrap_or(("", path)))
            .filter(|(_, name)| KUSTOMIZATIONS.contains(name))
            .map(|(dir, _)| dir)
            .collect();
        for dir in dirs {
            let args = ["build", "--load-restrictor", "LoadRestrictionsNone", "."];
            let theirs = printed("kustomize", &root.join(dir), &args);
            let app = Kustomization::new("app").in_namespace("apps").path(dir);
            match (theirs, builder.build(&tree, &app).await) {
                (Ok(theirs), Ok(ours)) => {
                    let ours = ours.manifests.into_iter().map(Object::into_value);
                    let ours: Vec<_> = ours.map(plain).collect();
                    let theirs: Vec<_> = theirs.into_iter().map(plain).collect();
                    if ours != theirs {
                        wrong.push(format!(
                            "{module}/{folder}/{dir}: not what kustomize prints"
                        ));
                        continue;
                    }
                    alike += 1;
                    objects += ours.len();
                }
                (Err(theirs), Err(ours)) => {
                    println!("{folder}/{dir}:\n  kustomize: {theirs}\n  ours: {ours}");
                    refused += 1;
                }
                // Two objects with one identity.
                (Ok(_), Err(ours)) if ours.to_string().contains("appears twice") => refused += 1,
                (Ok(_), Err(ours)) => {
                    wrong.push(format!("{module}/{folder}/{dir}: refused: {ours}"));
                }
                // Flux leaves out what it does not know of a kustomization.
                (Err(_), Ok(ours)) if !ours.warnings.is_empty() => {}
                (Err(theirs), Ok(_)) => wrong.push(format!(
                    "{module}/{folder}/{dir}: kustomize refuses it: {theirs}"
                )),
            }
        }
    }
    println!(
        "{alike} kustomizations with {objects} objects come out alike, {refused} are refused by both"
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(alike >= 60, "only {alike} kustomizations were compared");
    Ok(())
}
