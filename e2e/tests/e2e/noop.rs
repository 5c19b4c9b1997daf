//! The law of the short cut: what the engine skips, a dry-run apply would not have changed.
//!
//! Each round syncs objects of several kinds, then disturbs live and desired forms at random — other managers, mutating admission, reordered lists, defaults
//! and quantities written differently, deletions in progress — and holds the plan against the API server's own answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use e2e::{ControlPlane, ControlPlaneOptions};
use gitops_core::ErrorKind;
use gitops_core::manifest::{ManifestSet, Object};
use gitops_kube::cluster::{Cluster, DeleteParams, KubeCluster, ObjectKey, Patch, WriteParams};
use gitops_kube::engine::{ApplySet, Engine, EngineOptions, PlanAction, PlanOptions, Step};
use serde_json::{Value, json};

const ROUNDS: u64 = 100;
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64: the same rounds in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(SEED);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}

/// What Git says at first.
fn desired() -> Vec<Value> {
    let template = json!({
        "metadata": {"labels": {"app": "x"}},
        "spec": {"containers": [
            {"name": "a", "image": "x:1", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                "ports": [{"containerPort": 80}, {"containerPort": 81, "name": "extra"}],
                "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "1Gi"}}},
            {"name": "b", "image": "x:2", "args": ["1", "2"]}]},
    });
    vec![
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "plain"}, "data": {"a": "1", "b": "2"}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "labelled", "labels": {"l": "1"}, "annotations": {"n": "1"}}, "data": {"a": "1"}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "encoded"}, "data": {"p": "aHVudGVyMg=="}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "plain-text"}, "stringData": {"p": "hunter2"}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "service"}, "spec": {"clusterIP": "None", "selector": {"app": "x"},
            "ports": [{"name": "http", "port": 80}, {"name": "https", "port": 443}]}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "account"}}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "deployment"},
            "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "x"}}, "template": template.clone()}}),
        json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "daemons"},
            "spec": {"selector": {"matchLabels": {"app": "x"}}, "template": template}}),
        json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "budget"},
            "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "policy"},
            "spec": {"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}]}]}}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "role"},
            "rules": [{"apiGroups": [""], "resources": ["pods", "services"], "verbs": ["get", "list"]}]}),
        json!({"apiVersion": "test.gitops/v1", "kind": "Thing", "metadata": {"name": "thing"}, "spec": {"size": 1, "list": [1, 2]}}),
    ]
}

fn reverse(value: &mut Value, pointer: &str) {
    if let Some(Value::Array(list)) = value.pointer_mut(pointer) {
        list.reverse();
    }
}

/// The same or another meaning, written differently.
fn rewrite(value: &mut Value, how: u64) -> &'static str {
    let pod = "/spec/template/spec/containers";
    match how {
        0 => {
            for list in [pod, "/spec/ports", "/rules/0/verbs", "/spec/list"] {
                reverse(value, list);
            }
            reverse(value, &format!("{pod}/0/env"));
            reverse(value, &format!("{pod}/0/ports"));
            "lists reordered"
        }
        1 => {
            if let Some(container) = value.pointer_mut(&format!("{pod}/0")) {
                container["imagePullPolicy"] = json!("IfNotPresent");
                container["terminationMessagePath"] = json!("/dev/termination-log");
                container["ports"][0]["protocol"] = json!("TCP");
            }
            if value["kind"] == "Service" {
                value["spec"]["type"] = json!("ClusterIP");
            }
            "defaults spelled out"
        }
        2 => {
            if let Some(container) = value.pointer_mut(&format!("{pod}/0")) {
                container["resources"]["requests"] = json!({"cpu": "0.5", "memory": "1024Mi"});
            }
            "quantities written differently"
        }
        3 => {
            if let Some(data) = value.as_object_mut().and_then(|map| map.remove("data"))
                && value["kind"] == "Secret"
            {
                value["stringData"] = json!({"p": "hunter2"});
                drop(data);
            } else if value["kind"] == "ConfigMap" {
                value["data"] = json!({"a": "1"});
            }
            "stringData for data, or a key less"
        }
        4 => {
            value["metadata"]["annotations"]["new"] = json!("1");
            "an annotation more"
        }
        5 => {
            if let Some(map) = value["metadata"].as_object_mut() {
                map.remove("labels");
                map.remove("annotations");
            }
            "labels and annotations gone"
        }
        6 => {
            if value["kind"] == "Deployment" {
                value["spec"]["minReadySeconds"] = Value::Null;
            }
            "nulls"
        }
        _ => "not changed",
    }
}

struct World {
    _plane: ControlPlane,
    cluster: Arc<dyn Cluster>,
    engine: Engine,
    set: ApplySet,
    options: EngineOptions,
}

impl World {
    async fn start() -> Result<Self> {
        let options = ControlPlaneOptions {
            apiserver_args: vec![
                "--feature-gates=MutatingAdmissionPolicy=true".into(),
                "--runtime-config=admissionregistration.k8s.io/v1beta1=true".into(),
            ],
            no_audit: true,
            ..ControlPlaneOptions::with_controllers()
        };
        let plane = e2e::private_control_plane(&options).await?;
        let cluster: Arc<dyn Cluster> = Arc::new(KubeCluster::new(plane.cluster().client().await?));
        let namespace = "noop".to_owned();
        let world = Self {
            engine: Engine::new(cluster.clone()),
            set: ApplySet::new("noop", &namespace)?,
            options: EngineOptions {
                namespace,
                prune: true,
                wait: None,
                create_namespace: Some(Default::default()),
                // The law has to hold whoever owns a field; without force a conflict ends the sync instead.
                force_conflicts: true,
                ..EngineOptions::default()
            },
            _plane: plane,
            cluster,
        };
        world.prepare().await?;
        Ok(world)
    }

    /// A custom kind without a schema for its list, and admission that changes what it lets in.
    async fn prepare(&self) -> Result<()> {
        let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "things.test.gitops"},
            "spec": {"group": "test.gitops", "scope": "Namespaced", "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object",
                    "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}, "mode": {"type": "string", "default": "auto"},
                        "list": {"type": "array", "items": {"type": "integer"}}}}}}}}]}});
        let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1beta1", "kind": "MutatingAdmissionPolicy", "metadata": {"name": "stamp"},
            "spec": {"reinvocationPolicy": "Never", "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [{"apiGroups": ["", "apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
                    "resources": ["configmaps", "deployments"], "scope": "*"}],
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.options.namespace}}},
                "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression":
                    "Object{metadata: Object.metadata{annotations: {\"stamp\": \"by-admission\"}}}"}}]}});
        let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1beta1", "kind": "MutatingAdmissionPolicyBinding", "metadata": {"name": "stamp"},
            "spec": {"policyName": "stamp"}});
        let params = WriteParams {
            field_manager: "setup".into(),
            ..WriteParams::default()
        };
        for value in [crd, policy, binding] {
            let object = Object::new(value, None)?;
            let kind = self.cluster.resolve(&object.gvk()).await?;
            self.cluster.apply(&kind, &object, &params).await?;
        }
        // Both take a moment to come into force.
        self.sync(&[
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "probe"}}),
        ])
        .await?;
        for attempt in 0.. {
            let probe = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "probe"}, "data": {"attempt": attempt.to_string()}});
            let things = gitops_core::manifest::GroupVersionKind::new("test.gitops", "v1", "Thing");
            self.cluster.invalidate();
            let served = self.cluster.resolve(&things).await.is_ok();
            self.sync(&[probe]).await?;
            let maps = gitops_core::manifest::GroupVersionKind::new("", "v1", "ConfigMap");
            let maps = self.cluster.resolve(&maps).await?;
            let key = ObjectKey {
                kind: &maps,
                namespace: &self.options.namespace,
                name: "probe",
            };
            let probe = self.cluster.get(key).await?.context("the probe is gone")?;
            if served && probe.annotation("stamp") == Some("by-admission") {
                return Ok(());
            }
            ensure!(
                attempt < 100,
                "admission does not mutate (or the CRD is not served)"
            );
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
        Ok(())
    }

    fn manifests(&self, values: &[Value]) -> Result<ManifestSet> {
        let objects = values
            .iter()
            .map(|value| Object::new(value.clone(), None))
            .collect::<gitops_core::Result<Vec<_>>>()?;
        Ok(ManifestSet::from_objects(objects)?)
    }

    async fn sync(&self, values: &[Value]) -> Result<()> {
        let report = self
            .engine
            .sync(&self.set, self.manifests(values)?, &self.options)
            .await?;
        ensure!(report.is_success(), "{:?}", report.failure);
        Ok(())
    }

    async fn key_kind(&self, value: &Value) -> Result<(gitops_kube::cluster::ApiKind, String)> {
        let object = Object::new(value.clone(), None)?;
        Ok((
            self.cluster.resolve(&object.gvk()).await?,
            object.name().to_owned(),
        ))
    }

    /// Changes the live object behind the engine's back.
    async fn disturb(&self, value: &Value, how: u64) -> Result<&'static str> {
        let (kind, name) = self.key_kind(value).await?;
        let key = ObjectKey {
            kind: &kind,
            namespace: &self.options.namespace,
            name: &name,
        };
        let by = |manager: &str| WriteParams {
            field_manager: manager.into(),
            force: true,
            ..WriteParams::default()
        };
        let bare = json!({"apiVersion": value["apiVersion"], "kind": value["kind"], "metadata": {"name": name, "namespace": self.options.namespace}});
        Ok(match how {
            0 => {
                let patch = json!({"metadata": {"labels": {"by-hand": "1"}}});
                self.cluster
                    .patch(key, &Patch::Merge(patch), &by("kubectl-label"))
                    .await?;
                "a label by hand"
            }
            1 => {
                let mut other = bare;
                other["metadata"]["annotations"] = json!({"other": "1"});
                self.cluster
                    .apply(&kind, &Object::new(other, None)?, &by("other"))
                    .await?;
                "another manager's annotation"
            }
            2 => {
                // Another manager comes to own what we own, with the same value: nothing is lost.
                let mut other = bare;
                for field in ["data", "spec", "rules"] {
                    if let Some(same) = value.get(field) {
                        other[field] = same.clone();
                    }
                }
                self.cluster
                    .apply(&kind, &Object::new(other, None)?, &by("co-owner"))
                    .await?;
                "a co-owner"
            }
            3 => {
                let patch = match value["kind"].as_str().unwrap_or_default() {
                    "ConfigMap" => json!({"data": {"a": "changed"}}),
                    "Secret" => json!({"data": {"p": "b3RoZXI="}}),
                    "Deployment" => {
                        json!({"spec": {"paused": true, "replicas": 0, "minReadySeconds": 5}})
                    }
                    "Thing" => json!({"spec": {"size": 9}}),
                    "Service" => json!({"spec": {"publishNotReadyAddresses": true}}),
                    _ => json!({"metadata": {"annotations": {"x": "y"}}}),
                };
                self.cluster
                    .patch(key, &Patch::Merge(patch), &by("by-hand"))
                    .await?;
                "fields overwritten"
            }
            4 => {
                // Under our own name, by an update: a foreign tool, or a person, that borrowed it.
                let patch = json!({"metadata": {"annotations": {"ours": "not"}}});
                self.cluster
                    .patch(key, &Patch::Merge(patch), &by(self.set.manager()))
                    .await?;
                "an update under our manager's name"
            }
            5 => {
                let patch = json!({"metadata": {"finalizers": ["test.gitops/hold"]}});
                self.cluster
                    .patch(key, &Patch::Merge(patch), &by("holder"))
                    .await?;
                self.cluster.delete(key, &DeleteParams::default()).await?;
                "a deletion in progress"
            }
            6 => {
                self.cluster.delete(key, &DeleteParams::default()).await?;
                "deleted"
            }
            7 => {
                let there = self.cluster.get(key).await?.context("it is gone")?;
                if let Some(field) = ["/data/a", "/spec/list", "/spec/ports/1"]
                    .iter()
                    .find(|field| there.pointer(field).is_some())
                {
                    let patch = json!([{"op": "remove", "path": field}]);
                    self.cluster
                        .patch(key, &Patch::Json(patch), &by("remover"))
                        .await?;
                }
                "a field removed"
            }
            8 => {
                for tries in 1.. {
                    let mut there = self.cluster.get(key).await?.context("it is gone")?;
                    there.set_annotation("put", "1");
                    there.metadata_mut().remove("managedFields");
                    match self.cluster.replace(&kind, &there, &by("putter")).await {
                        // A controller was faster.
                        Err(error) if error.kind() == ErrorKind::Conflict && tries < 50 => {}
                        other => {
                            other?;
                            break;
                        }
                    }
                }
                "replaced as it was, with an annotation"
            }
            _ => "nothing",
        })
    }

    /// Lets deletions end, so that the next round begins anew.
    async fn release(&self, values: &[Value]) -> Result<()> {
        for value in values {
            let (kind, name) = self.key_kind(value).await?;
            let key = ObjectKey {
                kind: &kind,
                namespace: &self.options.namespace,
                name: &name,
            };
            if self
                .cluster
                .get(key)
                .await?
                .is_some_and(|object| object.is_terminating())
            {
                let patch = json!({"metadata": {"finalizers": null}});
                let params = WriteParams {
                    field_manager: "holder".into(),
                    ..WriteParams::default()
                };
                self.cluster
                    .patch(key, &Patch::Merge(patch), &params)
                    .await?;
            }
        }
        Ok(())
    }

    /// What a dry-run apply of a step would change, if anything.
    async fn would_change(&self, step: &Step) -> Result<Option<String>> {
        let desired = step
            .desired()
            .context("an unchanged step without a desired form")?;
        let key = ObjectKey {
            kind: step.kind(),
            namespace: &step.id.namespace,
            name: &step.id.name,
        };
        let params = WriteParams {
            field_manager: self.set.manager().to_owned(),
            dry_run: true,
            force: true,
            ..WriteParams::default()
        };
        let get = async || {
            let live = self.cluster.get(key).await?;
            live.context("an unchanged object is not there")
        };
        let mut live = get().await?;
        for _ in 0..50 {
            let predicted = match self.cluster.apply(step.kind(), desired, &params).await {
                Ok(predicted) => predicted,
                Err(error) => return Ok(Some(format!("refused: {error}"))),
            };
            // What a controller wrote in between is no change of the dry run's.
            let now = get().await?;
            if now.resource_version() != live.resource_version() {
                live = now;
                continue;
            }
            let (before, after) = (comparable(live), comparable(predicted));
            return Ok((before != after).then(|| format!("{before}\n->\n{after}")));
        }
        bail!("{} is written all the time", step.id)
    }
}

/// An object without what changes with every request: times (by which the server orders owners) and versions.
fn comparable(object: Object) -> Value {
    let mut value = object.into_value();
    let metadata = &mut value["metadata"];
    metadata["resourceVersion"] = Value::Null;
    metadata["generation"] = Value::Null;
    if let Some(entries) = metadata["managedFields"].as_array_mut() {
        for entry in entries.iter_mut() {
            entry["time"] = Value::Null;
        }
        entries.sort_by_key(Value::to_string);
    }
    value
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_skipped_a_dry_run_would_not_change() -> Result<()> {
    let world = World::start().await?;
    let mut random = Random(1);
    let (mut skipped, mut touched) = (0, 0);
    let mut seen: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for round in 0..ROUNDS {
        let base = desired();
        world.release(&base).await?;
        world.sync(&base).await?;
        // What controllers add is recorded by this one.
        world.sync(&base).await?;
        let mut notes = BTreeMap::new();
        let mut wanted = base.clone();
        for (value, wanted) in base.iter().zip(&mut wanted) {
            let live = match random.below(3) {
                0 => world
                    .disturb(value, random.below(10))
                    .await
                    .with_context(|| format!("round {round}: disturb {value}"))?,
                _ => "nothing",
            };
            let git = match random.below(3) {
                0 => rewrite(wanted, random.below(8)),
                _ => "not changed",
            };
            notes.insert(
                format!("{}/{}", value["kind"], value["metadata"]["name"]),
                format!("live: {live}; Git: {git}"),
            );
        }
        if random.below(4) == 0 {
            let gone = random.pick(&wanted).clone();
            wanted.retain(|value| *value != gone);
        }
        let options = PlanOptions {
            keep_live: true,
            ..PlanOptions::default()
        };
        let plan = world
            .engine
            .plan(
                &world.set,
                world.manifests(&wanted)?,
                &world.options,
                options,
            )
            .await?;
        for step in plan.steps() {
            let note = notes
                .get(&format!("\"{}\"/\"{}\"", step.id.kind, step.id.name))
                .cloned()
                .unwrap_or_default();
            let counts = seen.entry(note.clone()).or_default();
            if step.action != PlanAction::Unchanged {
                touched += 1;
                counts.1 += 1;
                continue;
            }
            skipped += 1;
            counts.0 += 1;
            if let Some(change) = world.would_change(step).await? {
                panic!(
                    "round {round}: {} was skipped ({note}), and a dry run changes it:\n{change}",
                    step.id
                );
            }
        }
    }
    for (note, (skipped, touched)) in &seen {
        println!("{note}: {skipped} skipped, {touched} not");
    }
    println!(
        "{ROUNDS} rounds: {skipped} skipped, each of them unchanged by a dry-run apply; {touched} not skipped"
    );
    assert!(
        skipped > 100 && touched > 100,
        "{skipped} skipped, {touched} not: the rounds show nothing"
    );
    Ok(())
}
