//! The direct backend passes the conformance suite of backends, with a repository on disk and the in-memory cluster.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::FutureExt;
use gitops_core::Result;
use gitops_core::application::{Application, Source};
use gitops_core::backend::{ApplicationStore, PutMode};
use gitops_core::manifest::render::Renderers;
use gitops_core::store::MemoryStore;
use gitops_core::testing::conformance::backend::Fixture;
use gitops_git::{CommitOptions, Edits, GitClient, Repository, RepositoryOptions};
use gitops_kube::cluster::InMemoryCluster;
use gitops_kube::direct::{DirectBackend, DirectOptions, GitSources};
use gitops_kube::engine::Engine;

async fn commit(repository: &Repository, text: String) -> Result<String> {
    let options = CommitOptions::new("Ann", "ann@example.com", "Change {path}").branch("main");
    let edits = Edits::new().put("apps/all.yaml", text);
    let outcome = repository
        .commit(&options, |_| async { Ok(edits.clone()) })
        .await?;
    Ok(outcome.commit().expect("a commit").to_owned())
}

fn manifests(number: u32) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata: {{number: \"{number}\"}}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: b}}\n"
    )
}

async fn make() -> Result<Fixture> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.git");
    let mut options = git2::RepositoryInitOptions::new();
    options.bare(true).initial_head("main");
    git2::Repository::init_opts(&path, &options).unwrap();
    let url = format!("file://{}", path.display());
    let git = GitClient::new(RepositoryOptions::default())?;
    let repository = git.repository(&url).await?;
    commit(&repository, manifests(0)).await?;
    let backend = DirectBackend::new(
        Engine::new(Arc::new(InMemoryCluster::new())),
        Arc::new(GitSources::new(git, Renderers::default())),
        Arc::new(MemoryStore::new()),
        DirectOptions::default(),
    );
    let app = Application::new("app")
        .source(Source::git(&url).path("apps").revision("main"))
        .in_namespace("default");
    backend.put(&app, PutMode::Create).await?;
    let next = Arc::new(AtomicU32::new(1));
    let broken = repository.clone();
    Ok(Fixture {
        backend: Arc::new(backend),
        app: app.app_ref(),
        commit: Box::new(move || {
            let (repository, number) = (repository.clone(), next.fetch_add(1, Ordering::Relaxed));
            async move { commit(&repository, manifests(number)).await }.boxed()
        }),
        break_it: Box::new(move || {
            let repository = broken.clone();
            async move {
                commit(
                    &repository,
                    "apiVersion: v1\nkind: Nothing\nmetadata: {name: a}\n".into(),
                )
                .await
                .map(drop)
            }
            .boxed()
        }),
        keep: Box::new(dir),
    })
}

gitops_core::backend_conformance!(make());
