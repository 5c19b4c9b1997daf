//! Rendering what a real forge serves: sources read from it, and remote bases where the network is allowed.

use anyhow::{Context as _, Result};
use e2e::{Gitea, Repository};
use gitops_core::application::{Application, Helm, Kustomize, Render, Source};
use gitops_core::manifest::render::{
    HelmRenderer, KustomizeRenderer, Network, ProgramOptions, Renderer as _,
};
use gitops_git::{GitClient, RepositoryOptions};
use gitops_kube::cluster::KubeCluster;
use gitops_kube::direct::{ConfigManager, GitSources, Sources as _};
use gitops_kube::engine::{Engine, EngineOptions};
use reqwest::Method;
use serde_json::json;
use std::sync::Arc;

use super::{Files, options, renderers};

async fn public(gitea: &Gitea, name: &str, files: &[(&str, &str)]) -> Result<Repository> {
    let repository = gitea.repository(name).await?;
    gitea.commit(&repository, "Begin", files).await?;
    let path = format!("/repos/{}/{}", repository.owner, repository.name);
    gitea
        .api(Method::PATCH, &path, Some(&json!({"private": false})))
        .await?;
    Ok(repository)
}

const BASE: &[(&str, &str)] = &[
    ("base/kustomization.yaml", "resources: [map.yaml]\n"),
    (
        "base/map.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: map}\ndata: {from: base}\n",
    ),
    (
        "overlays/prod/kustomization.yaml",
        "resources: [../../base]\nnamePrefix: prod-\n",
    ),
    (
        "charts/web/Chart.yaml",
        "apiVersion: v2\nname: web\nversion: 1.0.0\n",
    ),
    ("charts/web/values.yaml", "from: chart\n"),
    (
        "charts/web/templates/map.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '{{ .Release.Name }}-web'}\ndata: {from: '{{ .Values.from }}'}\n",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn sources_of_a_forge_are_rendered_once() -> Result<()> {
    let gitea = e2e::gitea().await?;
    let code = public(gitea, "render-code", BASE).await?;
    let config = public(gitea, "render-config", &[("envs/eu.yaml", "from: eu\n")]).await?;
    let git = GitClient::new(RepositoryOptions::default())?;
    let renderers = renderers()?;
    let sources = GitSources::new(git, renderers.clone());
    let helm = Helm {
        value_files: vec!["$config/envs/eu.yaml".into()],
        ..Helm::default()
    };
    let mut values = Source::git(&config.http_url);
    values.ref_name = Some("config".into());
    let app = Application::new("shop")
        .source(Source::git(&code.http_url).path("overlays/prod"))
        .source(
            Source::git(&code.http_url)
                .path("charts/web")
                .render(Render::Helm(Box::new(helm))),
        )
        .source(values);
    let froms = |rendered: &gitops_kube::direct::Rendered| {
        let pairs = rendered.manifests.iter().map(|map| {
            let from = map
                .pointer("/data/from")
                .and_then(|from| from.as_str())
                .unwrap_or_default();
            format!("{} {from}", map.name())
        });
        pairs.collect::<Vec<_>>()
    };
    let first = sources.render(&app, &[]).await?;
    assert_eq!(froms(&first), ["prod-map base", "shop-web eu"]);
    assert_eq!(first.revisions.len(), 3);
    let cache = renderers.cache().context("a cache")?.clone();
    assert_eq!((cache.hits(), cache.misses()), (0, 2));
    // Nothing changed: nothing is rendered.
    sources.render(&app, &[]).await?;
    assert_eq!((cache.hits(), cache.misses()), (2, 2));
    // A change of the values concerns the chart only.
    gitea
        .commit(&config, "Move", &[("envs/eu.yaml", "from: moved\n")])
        .await?;
    assert_eq!(
        froms(&sources.render(&app, &[]).await?),
        ["prod-map base", "shop-web moved"]
    );
    assert_eq!((cache.hits(), cache.misses()), (3, 3));
    // One elsewhere in the repository concerns neither.
    gitea
        .commit(&code, "Add", &[("README.md", "Hello")])
        .await?;
    let last = sources.render(&app, &[]).await?;
    assert_ne!(last.revisions[0], first.revisions[0]);
    assert_eq!((cache.hits(), cache.misses()), (5, 3));
    gitea
        .commit(
            &code,
            "Change",
            &[(
                "base/map.yaml",
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: map}\ndata: {from: changed}\n",
            )],
        )
        .await?;
    assert_eq!(
        froms(&sources.render(&app, &[]).await?),
        ["prod-map changed", "shop-web moved"]
    );
    assert_eq!((cache.hits(), cache.misses()), (6, 4));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overlay_is_synced_to_a_cluster() -> Result<()> {
    let gitea = e2e::gitea().await?;
    let code = public(gitea, "render-sync", BASE).await?;
    let cluster = e2e::cluster().await?;
    let namespace = cluster.namespace("render-sync").await?;
    let engine = Engine::new(Arc::new(KubeCluster::new(cluster.client().await?)));
    let renderers = renderers()?;
    let manager = ConfigManager::new(
        engine,
        GitClient::new(RepositoryOptions::default())?,
        EngineOptions {
            namespace: namespace.name().to_owned(),
            ..EngineOptions::default()
        },
    )
    .renderers(renderers.clone());
    for path in ["overlays/prod", "charts/web"] {
        manager.sync_from_git(&code.http_url, path).await?;
        manager.sync_from_git(&code.http_url, path).await?;
    }
    let maps = cluster
        .kubectl(&[
            "get",
            "configmap",
            "prod-map",
            "-n",
            namespace.name(),
            "-o",
            "jsonpath={.data.from}",
        ])
        .await?;
    assert_eq!(maps, "base");
    assert_eq!(
        renderers
            .cache()
            .map(|cache| (cache.hits(), cache.misses())),
        Some((2, 2))
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn remote_bases_and_values_are_fetched_when_allowed() -> Result<()> {
    let gitea = e2e::gitea().await?;
    let code = public(gitea, "render-remote", BASE).await?;
    let private = gitea.repository("render-private").await?;
    gitea.commit(&private, "Begin", BASE).await?;
    let allowed = |program: &str| -> Result<ProgramOptions> {
        Ok(ProgramOptions {
            network: Network::Allowed,
            ..options(program)?
        })
    };
    let kustomize = KustomizeRenderer::new(allowed("kustomize")?);
    let overlay = |url: &str| {
        let text = format!("resources: ['{url}//base?ref=main']\nnamePrefix: x-\n");
        Files::new(&[("kustomization.yaml", &text)])
            .map(|files| files.kustomize("", Kustomize::default()))
    };
    let request = overlay(&code.http_url)?;
    let set = kustomize.render(&request).await?;
    assert_eq!(
        set.iter()
            .map(|map| map.name().to_owned())
            .collect::<Vec<_>>(),
        ["x-map"]
    );
    // What may change without us knowing is not kept.
    assert!(kustomize.fingerprint(&request).is_none());
    // A wrong password is not repeated.
    let wrong = private.http_url.replace("://", "://someone:canary@");
    let error = kustomize
        .render(&overlay(&wrong)?)
        .await
        .map(|set| set.len())
        .unwrap_err();
    println!("{error}");
    assert!(!format!("{error:?}{error}").contains("canary"), "{error}");

    let files = Files::new(&[
        ("Chart.yaml", "apiVersion: v2\nname: web\nversion: 1.0.0\n"),
        (
            "templates/m.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata: {from: '{{ .Values.from }}'}\n",
        ),
    ])?;
    let raw = format!(
        "{}/raw/branch/main/charts/web/values.yaml",
        code.http_url.trim_end_matches(".git")
    );
    let settings = Helm {
        value_files: vec![raw],
        ..Helm::default()
    };
    let set = HelmRenderer::new(allowed("helm")?)
        .render(&files.helm("", settings))
        .await?;
    assert_eq!(
        set.iter()
            .next()
            .and_then(|map| map.pointer("/data/from").cloned()),
        Some(json!("chart"))
    );
    Ok(())
}
