//! Builds, against what kustomize-controller applies and refuses.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use gitops_core::ErrorKind;
use gitops_core::manifest::{ObjectId, Tree};
use gitops_flux::artifact::{ArtifactOptions, ArtifactReader};
use gitops_flux::build::{Exclusion, KubeValues};
use gitops_flux::types::{Artifact, Kustomization};
use serde_json::{Value, json};

use super::super::support::{apply, find, git_repository, login, ready, until};
use super::builder;
use super::expressions::{EXPRESSIONS, VARIABLES};

/// Texts around expressions, for which kustomize and the YAML library find different forms: plain, quoted, folded, blocks.
fn frames(expression: &str) -> [String; 5] {
    let long = "words that fill a line until it has to be folded somewhere ";
    [
        format!("- {expression} -"),
        format!("key: {expression} # no comment"),
        format!("{long}{expression} {long}"),
        format!("first\n  {expression}\n\nlast {expression}\n"),
        format!("\ttab \"{expression}\" \u{1f600}"),
    ]
}

fn manifests() -> Vec<(String, String)> {
    let map = |name: &str, data: &BTreeMap<String, String>| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
            .to_string()
    };
    let mut files = Vec::new();
    for form in 0..5 {
        let data = EXPRESSIONS.iter().enumerate().map(|(at, expression)| {
            let [a, b, c, d, e] = frames(expression);
            (format!("e{at:03}"), [a, b, c, d, e][form].clone())
        });
        let name = format!("form-{form}");
        files.push((
            format!("deploy/forms/{name}.yaml"),
            map(&name, &data.collect()),
        ));
    }
    let mut add = |path: &str, text: &str| files.push((path.to_owned(), text.to_owned()));
    add(
        "deploy/app.yaml",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: app-${n}\n  labels: {tier: '${tier}'}\nspec:\n  replicas: ${replicas}\n  \
         selector: {matchLabels: {app: app}}\n  template:\n    metadata:\n      labels: {app: app}\n      annotations: {note: '- ${v} \"'}\n    \
         spec:\n      containers:\n      - name: main\n        image: web:1\n        args: ['--level=${level:-info}', \"${quoted}\"]\n        \
         imagePullPolicy: Never\n",
    );
    add(
        "deploy/own/kustomization.yaml",
        "resources: [../../shared/map.yaml]\nconfigMapGenerator:\n- name: made\n  files: [text=../../shared/text.txt]\n  literals: ['a=${v}']\n",
    );
    add(
        "shared/map.yaml",
        &map(
            "shared",
            &BTreeMap::from([("a".into(), "${from_map}".into())]),
        ),
    );
    add("shared/text.txt", "line ${from_secret}\nline $${v}\n");
    add(
        "parts/a/kustomization.yaml",
        "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nresources: [map.yaml]\n",
    );
    add(
        "parts/a/map.yaml",
        &map("part", &BTreeMap::from([("a".into(), "${wins}".into())])),
    );
    let marked = |name: &str, key: &str, value: &str, text: &str| {
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "annotations": {format!("kustomize.toolkit.fluxcd.io/{key}"): value}},
            "data": {"a": text},
        })
        .to_string()
    };
    add(
        "deploy/as-it-is.yaml",
        &marked("as-it-is", "substitute", "disabled", "${v} $$"),
    );
    add(
        "deploy/ignored.yaml",
        &marked("ignored", "ssa", "Ignore", "${v}"),
    );
    add(
        "deploy/left.yaml",
        &marked("left", "reconcile", "disabled", "${v}"),
    );
    add("deploy/notes.md", "${v");
    files
}

/// The Kustomization of the test, and what it takes its variables from.
fn app(namespace: &str) -> (Value, Vec<Value>) {
    let object = |kind: &str, name: &str, field: &str, data: Value| json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}, field: data});
    let sources = vec![
        object(
            "ConfigMap",
            "variables",
            "data",
            json!({"from_map": "of the\nmap\n", "wins": "no", "replicas": "2", "quoted": "yes"}),
        ),
        object(
            "Secret",
            "variables",
            "stringData",
            json!({"from_secret": "of the Secret", "wins": "neither", "tier": "\"1\""}),
        ),
    ];
    let mut substitute: BTreeMap<&str, &str> = VARIABLES.into_iter().collect();
    substitute.insert("wins", "this\n one");
    substitute.insert("quoted", "\"it's: fine\"");
    let spec = json!({
        "interval": "1h",
        "retryInterval": "2s",
        "timeout": "60s",
        "path": "./deploy",
        "prune": true,
        "targetNamespace": namespace,
        "namePrefix": "p-",
        "nameSuffix": "-s",
        "sourceRef": {"kind": "GitRepository", "name": "source"},
        "components": ["../parts/a", "../parts/gone"],
        "ignoreMissingComponents": true,
        "commonMetadata": {"labels": {"team": "web"}, "annotations": {"seen": "by ${v}"}},
        "images": [{"name": "web", "newName": "example.com/web", "newTag": "2"}],
        "patches": [{
            "patch": "- {op: add, path: /data/patched, value: 'patched ${n}'}",
            "target": {"kind": "ConfigMap", "name": "form-0"},
        }],
        "postBuild": {
            "substitute": substitute,
            "substituteFrom": [
                {"kind": "ConfigMap", "name": "variables"},
                {"kind": "Secret", "name": "variables"},
                {"kind": "Secret", "name": "gone", "optional": true},
            ],
        },
    });
    let app = json!({
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
        "kind": "Kustomization",
        "metadata": {"name": "app", "namespace": namespace},
        "spec": spec,
    });
    (app, sources)
}

/// What the controller applied and the server kept, of what was built.
fn part_of(live: &Value, built: &Value) -> Value {
    match (live, built) {
        (Value::Object(live), Value::Object(built)) => built
            .iter()
            .filter_map(|(key, value)| Some((key.clone(), part_of(live.get(key)?, value))))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        (Value::Array(live), Value::Array(built)) if live.len() == built.len() => live
            .iter()
            .zip(built)
            .map(|(live, built)| part_of(live, built))
            .collect(),
        (live, _) => live.clone(),
    }
}

async fn fetched(flux: &e2e::Flux, source: &Value) -> Result<(Artifact, Tree)> {
    let artifact: Artifact = serde_json::from_value(source["status"]["artifact"].clone())?;
    let reader = ArtifactReader::new(ArtifactOptions {
        base_url: Some(flux.storage_url.parse()?),
        ..ArtifactOptions::default()
    })?;
    let unpacked = reader.fetch(&artifact).await?;
    assert_eq!(unpacked.tree.revision, artifact.revision);
    assert!(unpacked.left_out.is_empty(), "{:?}", unpacked.left_out);
    Ok((artifact, unpacked.tree))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_built_is_what_the_controller_applies() -> Result<()> {
    let (flux, gitea) = (e2e::flux().await?, e2e::gitea().await?);
    let repository = gitea.repository("flux-build").await?;
    let files = manifests();
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(path, text)| (&**path, &**text))
        .collect();
    gitea.commit(&repository, "first", &files).await?;
    let namespace = flux.cluster.namespace("flux-build").await?;
    let (client, name) = (namespace.client(), namespace.name());
    apply(&client, &login(name, gitea)).await?;
    let source = ready(&client, &git_repository(name, "source", &repository)).await?;
    let (app, sources) = app(name);
    for source in &sources {
        apply(&client, source).await?;
    }
    let applied = ready(&client, &app).await?;

    let (artifact, tree) = fetched(flux, &source.data).await?;
    assert_eq!(
        applied.data["status"]["lastAppliedRevision"],
        artifact.revision
    );
    let kustomization: Kustomization = serde_json::from_value(app)?;
    let builder = builder()?.values(KubeValues::new(client.clone()));
    let build = builder.build(&tree, &kustomization).await?;

    let inventory = applied.data["status"]["inventory"]["entries"].as_array();
    let inventory: BTreeSet<&str> = inventory
        .into_iter()
        .flatten()
        .filter_map(|entry| entry["id"].as_str())
        .collect();
    let entry = |id: &ObjectId| format!("{}_{}_{}_{}", id.namespace, id.name, id.group, id.kind);
    let built: BTreeSet<String> = build.applied().map(|object| entry(&object.id())).collect();
    assert_eq!(
        built.iter().map(String::as_str).collect::<BTreeSet<_>>(),
        inventory
    );

    let mut fields = 0;
    for object in build.applied() {
        let built = object.to_value();
        let live = find(&client, &built).await?;
        let live = serde_json::to_value(live.with_context(|| format!("no {}", object.id()))?)?;
        let live = part_of(&live, &built);
        for (key, value) in built["data"].as_object().into_iter().flatten() {
            assert_eq!(&live["data"][key], value, "{} {key}", object.id());
            fields += 1;
        }
        assert_eq!(live, built, "{}", object.id());
    }
    assert_eq!(build.manifests.len(), 12);
    assert!(fields >= 5 * EXPRESSIONS.len(), "{fields} values");
    let excluded: BTreeSet<_> = build
        .excluded
        .iter()
        .map(|excluded| (excluded.id.name.as_str(), excluded.why))
        .map(|(name, why)| (name, why == Exclusion::SsaIgnore))
        .collect();
    assert_eq!(
        excluded,
        BTreeSet::from([("p-ignored-s", true), ("p-left-s", false)])
    );
    for excluded in &build.excluded {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": excluded.id.name, "namespace": name}});
        assert!(find(&client, &object).await?.is_none());
    }
    assert_eq!(build.warnings.len(), 2, "{:?}", build.warnings);
    println!(
        "{} objects with {fields} values are as the controller applied them",
        built.len()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_controller_refuses_is_refused() -> Result<()> {
    let (flux, gitea) = (e2e::flux().await?, e2e::gitea().await?);
    let repository = gitea.repository("flux-build-faults").await?;
    let map = |text: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "map"}, "data": {"a": text}})
            .to_string()
    };
    let encrypted = "apiVersion: v1\nkind: Secret\nmetadata: {name: db}\nstringData: {a: 'ENC[AES256_GCM,data:x]'}\nsops: {mac: 'ENC[x]'}\n";
    let files = [
        ("bad-expression/map.yaml", map("${v")),
        ("bad-yaml/map.yaml", map("a ${breaks}")),
        ("no-manifest/map.yaml", "a: 1\n".to_owned()),
        ("missing-values/map.yaml", map("${v}")),
        ("bad-name/map.yaml", map("${v}")),
        ("encrypted/secret.yaml", encrypted.to_owned()),
        (
            "leads-out/kustomization.yaml",
            "resources: [../../../../etc/passwd]\n".to_owned(),
        ),
        (
            "absolute/kustomization.yaml",
            "configMapGenerator: [{name: a, files: [/etc/passwd]}]\n".to_owned(),
        ),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, &**text)).collect();
    gitea.commit(&repository, "first", &files).await?;
    let namespace = flux.cluster.namespace("flux-build-faults").await?;
    let (client, name) = (namespace.client(), namespace.name());
    apply(&client, &login(name, gitea)).await?;
    let source = ready(&client, &git_repository(name, "source", &repository)).await?;
    let (_, tree) = fetched(flux, &source.data).await?;
    let builder = builder()?.values(KubeValues::new(client.clone()));
    let post_build = json!({"substitute": {"v": "x", "breaks": "\"canary"}});
    let missing = json!({"substituteFrom": [{"kind": "ConfigMap", "name": "gone"}]});
    let bad_name = json!({"substitute": {"a-b": "canary"}});
    for (path, post_build, kind) in [
        ("bad-expression", &post_build, ErrorKind::InvalidInput),
        (
            "bad-yaml",
            &json!({"substitute": {"breaks": "x: \"canary"}}),
            ErrorKind::InvalidInput,
        ),
        ("no-manifest", &post_build, ErrorKind::InvalidInput),
        ("missing-values", &missing, ErrorKind::NotFound),
        ("bad-name", &bad_name, ErrorKind::InvalidInput),
        ("leads-out", &post_build, ErrorKind::InvalidInput),
        ("absolute", &post_build, ErrorKind::InvalidInput),
        ("gone", &post_build, ErrorKind::NotFound),
    ] {
        let object = json!({
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
            "kind": "Kustomization",
            "metadata": {"name": path, "namespace": name},
            "spec": {
                "interval": "1h",
                "path": path,
                "prune": true,
                "targetNamespace": name,
                "sourceRef": {"kind": "GitRepository", "name": "source"},
                "postBuild": post_build,
            },
        });
        apply(&client, &object).await?;
        let refused = until(&client, &object, |found| {
            let conditions = found.data["status"]["conditions"].as_array();
            conditions
                .into_iter()
                .flatten()
                .any(|one| one["type"] == "Ready" && one["status"] == "False")
        })
        .await?;
        let theirs = refused.data["status"]["conditions"].to_string();
        let kustomization: Kustomization = serde_json::from_value(object)?;
        let ours = match builder.build(&tree, &kustomization).await {
            Ok(_) => bail!("{path}: built, and the controller says {theirs}"),
            Err(error) => error,
        };
        println!("{path}:\n  the controller: {theirs}\n  ours: {ours}");
        assert_eq!(ours.kind(), kind, "{path}: {ours}");
        assert!(!format!("{ours:#} {ours:?}").contains("canary"), "{ours}");
    }
    // The controller takes the Secret to be of its type before it looks for `sops`, which is gone then, and applies what is encrypted.
    let mut app = Kustomization::new("app")
        .in_namespace(name)
        .path("encrypted");
    for (decryption, kind) in [
        (None, ErrorKind::InvalidInput),
        (Some(json!({"provider": "sops"})), ErrorKind::Unsupported),
    ] {
        app.spec.decryption = decryption.map(serde_json::from_value).transpose()?;
        let error = match builder.build(&tree, &app).await {
            Ok(_) => bail!("an encrypted Secret is built"),
            Err(error) => error,
        };
        assert_eq!(error.kind(), kind, "{error}");
        let named = error.to_string().contains("encrypted/secret.yaml");
        assert_eq!(named, kind == ErrorKind::Unsupported, "{error}");
    }
    Ok(())
}
