//! `ConfigManager::sync_to_git` against a repository on disk.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::sync::Arc;

use gitops_core::ErrorKind;
use gitops_core::manifest::{ManifestSet, Object};
use gitops_git::{CommitOptions, CommitOutcome, Edits, GitClient, Repository, RepositoryOptions};
use gitops_kube::cluster::InMemoryCluster;
use gitops_kube::direct::{Config, ConfigManager, GitSyncFailed, Layout};
use gitops_kube::engine::{Engine, EngineOptions};
use serde_json::{Value, json};

const SHOP: &str = "# The shop's settings.
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}   # keep the name
data:
    # four spaces, as ever
    mode:   'test'
    limit: \"10\"
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: old
";

struct Place {
    _dir: tempfile::TempDir,
    url: String,
    repository: Repository,
    manager: ConfigManager,
}

fn commit() -> CommitOptions {
    CommitOptions::new("Bot", "bot@example.com", "Update {paths}").branch("main")
}

async fn place(files: &[(&str, &str)]) -> Place {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.git");
    let mut options = git2::RepositoryInitOptions::new();
    options.bare(true).initial_head("main");
    git2::Repository::init_opts(&path, &options).unwrap();
    let url = format!("file://{}", Path::display(&path));
    let git = GitClient::new(RepositoryOptions::default()).unwrap();
    let repository = git.repository(&url).await.unwrap();
    let edits = files
        .iter()
        .fold(Edits::new(), |edits, (path, text)| edits.put(*path, *text));
    repository
        .commit(&commit(), |_| async { Ok(edits.clone()) })
        .await
        .unwrap();
    let engine = Engine::new(Arc::new(InMemoryCluster::new()));
    Place {
        _dir: dir,
        url,
        repository,
        manager: ConfigManager::new(engine, git, EngineOptions::default()),
    }
}

fn objects(values: &[Value]) -> ManifestSet {
    ManifestSet::from_objects(
        values
            .iter()
            .map(|value| Object::new(value.clone(), None).unwrap()),
    )
    .unwrap()
}

fn settings(mode: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "uid": "1", "resourceVersion": "7"},
        "data": {"mode": mode, "limit": "10"}})
}

async fn file(place: &Place, commit: &str, path: &str) -> Option<String> {
    let tree = place.repository.tree(commit, "").await.unwrap();
    let bytes = tree.get(path)?.bytes()?;
    Some(String::from_utf8(bytes.to_vec()).unwrap())
}

#[tokio::test]
async fn only_what_differs_changes_and_the_rest_stays_byte_for_byte() {
    let place = place(&[("apps/shop.yaml", SHOP), ("apps/README.md", "read me")]).await;
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"}, "spec": {"replicas": 2}});
    let config = Config::new(
        &place.url,
        objects(&[settings("live"), deployment.clone()]),
        commit(),
    )
    .path("apps");
    let outcome = place.manager.sync_to_git(&config).await.unwrap();
    let CommitOutcome::Pushed { commit: first, .. } = &outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(
        file(&place, first, "apps/shop.yaml").await.unwrap(),
        SHOP.replace("'test'", "'live'")
    );
    let new = file(&place, first, "apps/shop/deployment-web.yaml")
        .await
        .unwrap();
    assert_eq!(
        gitops_core::manifest::yaml::parse("f", new.as_bytes()).unwrap()[0].to_value(),
        deployment
    );

    // The same again: no commit.
    let outcome = place.manager.sync_to_git(&config).await.unwrap();
    assert!(
        matches!(&outcome, CommitOutcome::Unchanged { commit: Some(at) } if at == first),
        "{outcome:?}"
    );

    // What is no longer wanted goes when that is asked for; an empty file goes altogether.
    let config = Config::new(&place.url, objects(&[settings("live")]), commit())
        .path("apps")
        .prune(true);
    let outcome = place.manager.sync_to_git(&config).await.unwrap();
    let second = outcome.commit().unwrap();
    let shop = file(&place, second, "apps/shop.yaml").await.unwrap();
    assert!(
        shop.starts_with("# The shop's settings.") && !shop.contains("name: old"),
        "{shop}"
    );
    assert_eq!(
        file(&place, second, "apps/shop/deployment-web.yaml").await,
        None
    );
    assert_eq!(
        file(&place, second, "apps/README.md").await.as_deref(),
        Some("read me")
    );
}

#[tokio::test]
async fn a_layout_says_where_new_objects_go_and_the_path_may_be_new() {
    let place = place(&[("README.md", "x")]).await;
    let other = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "other"}});
    let config = Config::new(&place.url, objects(&[settings("live"), other]), commit())
        .path("new/place")
        .layout(Layout::Template("{kind}s.yaml".into()));
    let outcome = place.manager.sync_to_git(&config).await.unwrap();
    let text = file(
        &place,
        outcome.commit().unwrap(),
        "new/place/configmaps.yaml",
    )
    .await
    .unwrap();
    assert_eq!(
        gitops_core::manifest::yaml::parse("f", text.as_bytes())
            .unwrap()
            .len(),
        2
    );
    assert!(!text.contains("uid"), "{text}");
}

#[tokio::test]
async fn items_of_lists_are_edited_in_their_list() {
    let list = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata:\n    name: a\n# the settings\n- apiVersion: v1\n  kind: ConfigMap\n  metadata:\n    name: settings\n  data: {mode: test, limit: \"10\"}\n";
    let place = place(&[("all.yaml", list)]).await;
    let config = Config::new(&place.url, objects(&[settings("live")]), commit()).prune(true);
    let outcome = place.manager.sync_to_git(&config).await.unwrap();
    let text = file(&place, outcome.commit().unwrap(), "all.yaml")
        .await
        .unwrap();
    assert!(
        text.contains("# the settings") && text.contains("live"),
        "{text}"
    );
    let left = gitops_core::manifest::yaml::parse("f", text.as_bytes()).unwrap();
    assert_eq!(left.len(), 1);
}

#[tokio::test]
async fn secrets_and_rendered_paths_are_refused() {
    let place = place(&[("k/kustomization.yaml", "resources: []\n")]).await;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"p": "hunter2"}});
    let mut config = Config::new(&place.url, objects(&[secret]), commit()).path("plain");
    let error = place.manager.sync_to_git(&config).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(
        error.to_string().contains("Secret s") && !format!("{error:?}").contains("hunter2"),
        "{error}"
    );
    config.allow_secrets = true;
    place.manager.sync_to_git(&config).await.unwrap();

    let config = Config::new(&place.url, objects(&[settings("x")]), commit()).path("k");
    let error = place.manager.sync_to_git(&config).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(
        error.to_string().contains("k/kustomization.yaml"),
        "{error}"
    );
}

#[tokio::test]
async fn a_sync_from_git_that_fails_hands_its_report_back() {
    let good = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: good, namespace: default}\n";
    let bad =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bad, namespace: default}\nnope: 1\n";
    let place = place(&[("app/good.yaml", good), ("app/bad.yaml", bad)]).await;
    let error = place
        .manager
        .sync_from_git(&place.url, "app")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Failed);
    let source = std::error::Error::source(&error).expect("a source");
    assert!(
        source
            .to_string()
            .contains("ConfigMap default/bad failed: "),
        "{source}"
    );
    let GitSyncFailed(sync) = source.downcast_ref().expect("the report");
    assert_eq!(sync.revision.len(), 40);
    assert_eq!((sync.report.results.len(), sync.report.changed), (2, 1));
}
