//! `flux bootstrap git`: into a repository of Gitea, with the fixture's controllers in place of those that it would install.

use anyhow::{Context, Result};
use e2e::{Gitea, Repository};
use gitops_core::ErrorKind;
use gitops_core::manifest::render::{KustomizeRenderer, ProgramOptions};
use gitops_core::manifest::yaml;
use gitops_flux::bootstrap::BootstrapOptions;
use gitops_flux::secret::FluxSecret;
use gitops_flux::tree::TreeOptions;
use gitops_flux::{FluxKind, FluxRef};
use gitops_git::credential::StaticCredential;
use gitops_git::{GitClient, RepositoryOptions};
use serde_json::{Value, json};

use super::commands::{found, manager};
use super::support::{ask, config_map, find, until};

/// A stand-in for Flux's manifests: a namespace, an account, and a definition of which there is an object.
fn components(namespace: &str) -> String {
    let group = format!("{namespace}.example.com");
    let values = [
        json!({"apiVersion": format!("{group}/v1"), "kind": "Part", "metadata": {"name": "one", "namespace": namespace}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "part", "namespace": namespace}}),
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("parts.{group}")},
            "spec": {"group": group, "scope": "Namespaced",
                "names": {"kind": "Part", "plural": "parts", "singular": "part", "listKind": "PartList"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]},
        }),
    ];
    yaml::to_yaml_documents(&values)
}

async fn opened(gitea: &Gitea, repository: &Repository) -> Result<gitops_git::Repository> {
    let login = StaticCredential::basic(&gitea.url, &gitea.user, gitea.password.as_str())?;
    let git = GitClient::new(RepositoryOptions::default().credentials(login))?;
    Ok(git.repository(&repository.http_url).await?)
}

fn options(gitea: &Gitea, repository: &Repository) -> Result<BootstrapOptions> {
    let namespace = &repository.name;
    let mut options =
        BootstrapOptions::new(&repository.http_url, "clusters/test", components(namespace))
            .namespace(namespace)
            .secret(FluxSecret::git_basic(
                namespace,
                namespace,
                &gitea.user,
                gitea.password.as_str(),
            )?);
    options.version = "v2.7.5".to_owned();
    options.author.1 = "flux@example.com".to_owned();
    options.kustomize = KustomizeRenderer::new(ProgramOptions {
        program: Some(e2e::program("kustomize")?),
        ..ProgramOptions::default()
    });
    Ok(options)
}

fn object(api: &str, kind: &str, namespace: &str, name: &str) -> Value {
    json!({"apiVersion": api, "kind": kind, "metadata": {"namespace": namespace, "name": name}})
}

#[tokio::test(flavor = "multi_thread")]
async fn bootstrap_from_an_empty_repository_and_again() -> Result<()> {
    let (flux, gitea) = (e2e::flux().await?, e2e::gitea().await?);
    let (manager, repository) = (manager(flux).await?, gitea.repository("flux-boot").await?);
    let (git, options) = (
        opened(gitea, &repository).await?,
        options(gitea, &repository)?,
    );
    let (client, name) = (flux.cluster.client().await?, &options.namespace);
    let done = manager.bootstrap(&git, &options).await?;
    assert!(done.committed && done.installed);
    assert_eq!(done.secret_made, Some(true));
    assert_eq!(
        done.reconciled.revision,
        Some(format!("main@sha1:{}", done.commit))
    );

    // The repository says it, and the cluster is it: applied by us, taken over by kustomize-controller.
    let tree = git
        .tree(&done.commit, &format!("clusters/test/{name}"))
        .await?;
    let files: Vec<&str> = tree.iter().map(|(path, _)| path).collect();
    assert_eq!(
        files,
        [
            "gotk-components.yaml",
            "gotk-sync.yaml",
            "kustomization.yaml"
        ]
    );
    let part = object(&format!("{name}.example.com/v1"), "Part", name, "one");
    let part = found(find(&client, &part).await?, "Part")?;
    let managers: Vec<_> = part
        .metadata
        .managed_fields
        .iter()
        .flatten()
        .map(|entry| entry.manager.as_deref())
        .collect();
    assert_eq!(managers, [Some("kustomize-controller")]);
    let nested = manager
        .tree(
            &FluxRef::new(FluxKind::Kustomization, name, name),
            &TreeOptions::default(),
        )
        .await?;
    assert_eq!(nested.children.len(), 5, "{nested}");

    // Again: nothing is made.
    let again = manager.bootstrap(&git, &options).await?;
    assert!(!again.committed && !again.installed);
    assert_eq!(again.secret_made, Some(false));
    assert_eq!(again.commit, done.commit);
    // A fresh copy of the repository, too.
    let again = manager
        .bootstrap(&opened(gitea, &repository).await?, &options)
        .await?;
    assert_eq!((again.committed, &again.commit), (false, &done.commit));

    // The cluster's directory is synced: what a commit adds comes, and what is changed by hand goes back.
    let map = config_map("synced", "1").replace(
        "\"name\":\"synced\"",
        &format!("\"name\":\"synced\",\"namespace\":\"{name}\""),
    );
    gitea
        .commit(&repository, "more", &[("clusters/test/map.yaml", &map)])
        .await?;
    let reference = FluxRef::new(FluxKind::Kustomization, name, name);
    manager.reconcile(&reference, &ask().with_source()).await?;
    found(
        find(&client, &object("v1", "ConfigMap", name, "synced")).await?,
        "ConfigMap",
    )?;

    // New manifests: one commit, which Flux itself carries out.
    let mut newer = options.clone();
    newer.components.extend_from_slice(
        format!(
            "---\n{}",
            yaml::to_yaml(&object("v1", "ServiceAccount", name, "newer"))
        )
        .as_bytes(),
    );
    let upgraded = manager.bootstrap(&git, &newer).await?;
    assert!(upgraded.committed && !upgraded.installed);
    until(
        &client,
        &object("v1", "ServiceAccount", name, "newer"),
        |_| true,
    )
    .await?;

    // Another directory would take this one's place.
    let mut elsewhere = newer.clone();
    elsewhere.path = "clusters/other".to_owned();
    let error = manager.bootstrap(&git, &elsewhere).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert!(error.to_string().contains("clusters/other"), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bootstrap_over_ssh_next_to_what_is_there() -> Result<()> {
    let (flux, gitea) = (e2e::flux().await?, e2e::gitea().await?);
    let (manager, repository) = (manager(flux).await?, gitea.repository("flux-ssh").await?);
    let git = opened(gitea, &repository).await?;
    let mut options = options(gitea, &repository)?;
    let name = options.namespace.clone();
    let key = gitops_flux::secret::SshKey::generate(Default::default())?;
    gitea.add_ssh_key(key.public().trim()).await?;
    let hosts = std::fs::read_to_string(&gitea.known_hosts)?;
    options.secret = Some(FluxSecret::git_ssh(&name, "deploy-key", &key, &hosts)?);
    options.url.clone_from(&repository.ssh_url);
    options.path = String::new();
    // A kustomization file that patches Flux; `kustomize` builds it.
    let kustomization = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
        "resources": ["gotk-components.yaml", "gotk-sync.yaml"],
        "patches": [{"target": {"kind": "ServiceAccount", "name": "part"}, "patch": "- {op: add, path: /metadata/annotations, value: {patched: 'yes'}}"}],
    });
    let file = format!("{name}/kustomization.yaml");
    gitea
        .commit(
            &repository,
            "patched",
            &[("README.md", "hello"), (&file, &kustomization.to_string())],
        )
        .await?;
    let done = manager.bootstrap(&git, &options).await?;
    assert!(done.committed);
    let tree = git.tree(&done.commit, "").await?;
    assert_eq!(
        tree.get("README.md")
            .and_then(|entry| entry.bytes())
            .map(|bytes| bytes.to_vec()),
        Some(b"hello".to_vec())
    );
    let account = object("v1", "ServiceAccount", &name, "part");
    let account = found(
        find(&flux.cluster.client().await?, &account).await?,
        "account",
    )?;
    let annotations = account.metadata.annotations.context("no annotations")?;
    assert_eq!(annotations.get("patched").map(String::as_str), Some("yes"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_bootstrapped_is_said_before_anything_happens() -> Result<()> {
    let (flux, gitea) = (e2e::flux().await?, e2e::gitea().await?);
    let (manager, repository) = (
        manager(flux).await?,
        gitea.repository("flux-refused").await?,
    );
    let git = opened(gitea, &repository).await?;
    let good = options(gitea, &repository)?;
    let name = good.namespace.clone();
    type Change = fn(&mut BootstrapOptions);
    let changes: [(Change, &str); 4] = [
        (
            |options| options.url = "https://u:canary@h/x".into(),
            "password",
        ),
        (
            |options| options.url = "ftp://u:canary@h/x".into(),
            "source-controller",
        ),
        (
            |options| options.components = b"kind: [".to_vec(),
            "gotk-components.yaml",
        ),
        (|options| options.branch = String::new(), "branch"),
    ];
    for (change, word) in changes {
        let mut options = good.clone();
        change(&mut options);
        let error = manager.bootstrap(&git, &options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains(word), "{error}");
        assert!(!format!("{error:#} {options:?}").contains("canary"));
    }
    // A kustomization file without the two others: Flux would delete itself.
    let file = format!("clusters/test/{name}/kustomization.yaml");
    gitea
        .commit(
            &repository,
            "first",
            &[(&file, "resources: [gotk-components.yaml]\n")],
        )
        .await?;
    let error = manager.bootstrap(&git, &good).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert!(error.to_string().contains("gotk-sync.yaml"), "{error}");
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    assert!(
        find(&flux.cluster.client().await?, &namespace)
            .await?
            .is_none()
    );

    // Credentials that do not work: Flux's own words, and no waiting for the end of the time.
    gitea
        .commit(
            &repository,
            "second",
            &[(&file, "resources: [gotk-components.yaml, gotk-sync.yaml]\n")],
        )
        .await?;
    let mut wrong = good.clone();
    wrong.secret = Some(FluxSecret::git_basic(&name, &name, &gitea.user, "canary")?);
    let started = std::time::Instant::now();
    let error = manager.bootstrap(&git, &wrong).await.unwrap_err();
    let text = format!("{error:#}");
    assert_eq!(error.kind(), ErrorKind::Failed, "{text}");
    assert!(
        text.contains("authentication") || text.contains("Unauthorized"),
        "{text}"
    );
    assert!(!text.contains("canary"), "{text}");
    assert!(started.elapsed() < std::time::Duration::from_secs(120));
    // The same call with the right ones brings it to its end.
    let done = manager.bootstrap(&git, &good).await?;
    assert!(!done.committed && done.installed);
    Ok(())
}
