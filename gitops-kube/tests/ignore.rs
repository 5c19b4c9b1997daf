//! `ignoreDifferences` in the direct backend.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use async_trait::async_trait;
use gitops_core::Result;
use gitops_core::application::*;
use gitops_core::backend::*;
use gitops_core::manifest::{GroupVersionKind, ManifestSet, Object};
use gitops_core::store::MemoryStore;
use gitops_kube::cluster::{Cluster, InMemoryCluster, ObjectKey, Patch, Verb, WriteParams};
use gitops_kube::direct::{DirectBackend, DirectOptions, Rendered, Sources};
use gitops_kube::engine::Engine;
use serde_json::{Value, json};

struct One;

#[async_trait]
impl Sources for One {
    async fn render(&self, _: &Application, _: &[String]) -> Result<Rendered> {
        let web = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "c", "image": "example.org/web:1"}]},
                },
            },
        });
        Ok(Rendered {
            revisions: vec!["c".into()],
            manifests: ManifestSet::from_objects([Object::new(web, None)?])?,
        })
    }
}

struct World {
    cluster: InMemoryCluster,
    backend: DirectBackend,
    app: AppRef,
}

impl World {
    /// An application that was synced, with a rule and options.
    async fn new(rule: IgnoreDifference, options: &[&str]) -> Self {
        let cluster = InMemoryCluster::new();
        let backend = DirectBackend::new(
            Engine::new(Arc::new(cluster.clone())),
            Arc::new(One),
            Arc::new(MemoryStore::new()),
            DirectOptions::default(),
        );
        let mut app = Application::new("web").in_namespace("default");
        app.ignore_differences.push(IgnoreDifference {
            group: "apps".into(),
            kind: "Deployment".into(),
            ..rule
        });
        app.sync_policy.options = options.iter().map(ToString::to_string).collect();
        backend.put(&app, PutMode::Create).await.unwrap();
        let world = Self {
            cluster,
            backend,
            app: app.app_ref(),
        };
        world.sync().await;
        world
    }

    async fn sync(&self) -> SyncOutcome {
        // Self-healing takes back what others changed.
        let options = SyncOptions {
            force: true,
            ..SyncOptions::default()
        };
        let outcome = self.backend.sync_and_wait(&self.app, &options).await;
        let outcome = outcome.unwrap();
        assert!(outcome.is_success(), "{}", outcome.message);
        outcome
    }

    async fn status(&self) -> SyncStatus {
        self.backend.status(&self.app).await.unwrap().sync
    }

    /// Changes the Deployment as an autoscaler would.
    async fn change(&self, patch: Value) {
        let params = WriteParams {
            field_manager: "scaler".into(),
            ..WriteParams::default()
        };
        let kind = self.kind().await;
        self.cluster
            .patch(key(&kind), &Patch::Merge(patch), &params)
            .await
            .unwrap();
    }

    async fn live(&self, pointer: &str) -> Value {
        let kind = self.kind().await;
        let object = self.cluster.get(key(&kind)).await.unwrap().unwrap();
        object.pointer(pointer).cloned().unwrap_or_default()
    }

    async fn kind(&self) -> gitops_kube::cluster::ApiKind {
        let gvk = GroupVersionKind::from_api_version("apps/v1", "Deployment");
        self.cluster.resolve(&gvk).await.unwrap()
    }
}

fn key(kind: &gitops_kube::cluster::ApiKind) -> ObjectKey<'_> {
    ObjectKey {
        kind,
        namespace: "default",
        name: "web",
    }
}

fn rules() -> Vec<IgnoreDifference> {
    vec![
        IgnoreDifference {
            json_pointers: vec!["/spec/replicas".into()],
            ..IgnoreDifference::default()
        },
        IgnoreDifference {
            jq_path_expressions: vec![".spec.replicas".into()],
            ..IgnoreDifference::default()
        },
        IgnoreDifference {
            managed_fields_managers: vec!["scaler".into()],
            ..IgnoreDifference::default()
        },
    ]
}

#[tokio::test]
async fn what_is_ignored_is_in_sync_and_a_sync_writes_it_all_the_same() {
    for rule in rules() {
        let world = World::new(rule.clone(), &[]).await;
        world.change(json!({"spec": {"replicas": 5}})).await;
        assert_eq!(world.status().await, SyncStatus::Synced, "{rule:?}");
        assert!(world.backend.explain(&world.app).await.unwrap().is_empty());

        let paused = json!({"spec": {"paused": true, "minReadySeconds": 7}});
        world.change(paused).await;
        let image = json!([{"name": "c", "image": "example.org/web:9"}]);
        let other = json!({"spec": {"template": {"spec": {"containers": image}}}});
        if rule.managed_fields_managers.is_empty() {
            world.change(other).await;
            assert_eq!(world.status().await, SyncStatus::OutOfSync, "{rule:?}");
            let explained = world.backend.explain(&world.app).await.unwrap();
            let changed: Vec<&str> = explained[0]
                .diff
                .changes
                .iter()
                .map(|change| &*change.pointer)
                .collect();
            assert_eq!(changed, ["/spec/template/spec/containers/0/image"]);
        }
        world.sync().await;
        assert_eq!(world.live("/spec/replicas").await, json!(2), "{rule:?}");
    }
}

#[tokio::test]
async fn what_is_ignored_is_left_alone_where_the_application_says_so() {
    for rule in rules() {
        let world = World::new(rule.clone(), &["RespectIgnoreDifferences=true"]).await;
        world.sync().await;
        world.change(json!({"spec": {"replicas": 5}})).await;
        world.cluster.reset_requests();
        world.sync().await;
        assert_eq!(world.live("/spec/replicas").await, json!(5), "{rule:?}");
        let requests = world.cluster.requests();
        assert_eq!(requests.count(Verb::Replace), 0, "{requests:?}");

        if rule.managed_fields_managers.is_empty() {
            let image = json!([{"name": "c", "image": "example.org/web:9"}]);
            let other = json!({"spec": {"template": {"spec": {"containers": image}}}});
            world.change(other).await;
            world.sync().await;
            assert_eq!(
                world.live("/spec/template/spec/containers/0/image").await,
                json!("example.org/web:1")
            );
            assert_eq!(world.live("/spec/replicas").await, json!(5), "{rule:?}");
        }
        assert_eq!(world.status().await, SyncStatus::Synced);
    }
}

#[tokio::test]
async fn only_what_is_out_of_sync_is_applied_where_the_application_says_so() {
    let world = World::new(rules().remove(0), &["ApplyOutOfSyncOnly=true"]).await;
    world.change(json!({"spec": {"replicas": 5}})).await;
    let outcome = world.sync().await;
    assert_eq!(outcome.resources[0].action, ResourceAction::Unchanged);
    assert_eq!(world.live("/spec/replicas").await, json!(5));
}
