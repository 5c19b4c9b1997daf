//! Argo CD's own manifests, and Flux's and Tekton's CRDs, from a Gitea repository to a real API server.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use e2e::{Cluster, ControlPlane, ControlPlaneOptions, Gitea};
use gitops_core::SecretString;
use gitops_core::application::{AppRef, Application, Source, SyncStatus};
use gitops_core::backend::{
    ApplicationStore, PutMode, ResourceAction, RevisionHistory, SyncOptions, SyncOutcome, Syncer,
    SyncerExt,
};
use gitops_core::credential::{Credential, CredentialProvider, CredentialRequest};
use gitops_core::manifest::render::Renderers;
use gitops_core::store::MemoryStore;
use gitops_git::{CommitOptions, Edits, GitClient, Repository, RepositoryOptions};
use gitops_kube::cluster::KubeCluster;
use gitops_kube::direct::{DirectBackend, DirectOptions, GitSources};
use gitops_kube::engine::{Engine, EngineOptions};

/// The forge's administrator.
#[derive(Debug)]
struct Admin(&'static Gitea);

#[async_trait]
impl CredentialProvider for Admin {
    async fn credential(&self, _: &CredentialRequest) -> gitops_core::Result<Option<Credential>> {
        Ok(Some(Credential::Basic {
            username: self.0.user.clone(),
            password: SecretString::from(self.0.password.as_str()),
        }))
    }
}

/// The YAML files of a module's folder, as edits below `to`.
fn put_folder(edits: Edits, module: &str, folder: &str, to: &str) -> Result<Edits> {
    let dir = e2e::module_dir(module)?.join(folder);
    let mut files: Vec<_> = std::fs::read_dir(&dir)
        .with_context(|| format!("cannot read {}", dir.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "yaml")
    });
    files.sort();
    ensure!(!files.is_empty(), "{} has no YAML", dir.display());
    files
        .iter()
        .try_fold(edits, |edits, path| put_file(edits, path, to))
}

fn put_file(edits: Edits, path: &Path, to: &str) -> Result<Edits> {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .context("a file name that is no text")?;
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(edits.put(format!("{to}/{name}"), bytes))
}

/// Everything that changed anything, by everybody but the control plane itself.
async fn writes(cluster: &Cluster) -> Result<Vec<String>> {
    // The audit log is written a moment after the answer.
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(cluster
        .audit_events()
        .await?
        .iter()
        .filter(|event| {
            event["user"]["username"] == e2e::ADMIN
                && event["userAgent"]
                    .as_str()
                    .is_some_and(|agent| !agent.starts_with("kube"))
                && !matches!(event["verb"].as_str(), Some("get" | "list" | "watch"))
        })
        .map(|event| format!("{} {}", event["verb"], event["requestURI"]))
        .collect())
}

struct Installer {
    _plane: ControlPlane,
    cluster: Cluster,
    backend: DirectBackend,
    repository: Repository,
    url: String,
}

impl Installer {
    async fn start() -> Result<Self> {
        let gitea = e2e::gitea().await?;
        let forge = gitea.repository("install").await?;
        let plane = e2e::private_control_plane(&ControlPlaneOptions::with_controllers()).await?;
        let cluster = plane.cluster().clone();
        let git = GitClient::new(RepositoryOptions::default().credentials(Admin(gitea)))?;
        let repository = git.repository(&forge.http_url).await?;
        let engine = Engine::new(Arc::new(KubeCluster::new(cluster.client().await?)));
        let options = DirectOptions {
            // There is no node: what is applied never becomes ready.
            engine: EngineOptions {
                wait: None,
                ..EngineOptions::default()
            },
            ..DirectOptions::default()
        };
        let sources = Arc::new(GitSources::new(git, Renderers::default()));
        Ok(Self {
            _plane: plane,
            cluster,
            backend: DirectBackend::new(engine, sources, Arc::new(MemoryStore::default()), options),
            repository,
            url: forge.http_url,
        })
    }

    async fn push(&self, edits: Edits) -> Result<()> {
        let options = CommitOptions::new(
            "Installer",
            "installer@example.com",
            "Change what is installed",
        )
        .branch("main");
        let outcome = self
            .repository
            .commit(&options, |_| async { Ok(edits.clone()) })
            .await?;
        outcome.commit().context("nothing was pushed")?;
        Ok(())
    }

    async fn application(&self, path: &str, namespace: &str) -> Result<AppRef> {
        let app = Application::new(path)
            .source(Source::git(&self.url).path(path).revision("main"))
            .in_namespace(namespace)
            .sync_option("CreateNamespace=true");
        self.backend.put(&app, PutMode::Create).await?;
        Ok(app.app_ref())
    }

    async fn crds(&self) -> Result<String> {
        self.cluster.kubectl(&["get", "crds", "-o", "name"]).await
    }

    async fn sync(&self, app: &AppRef) -> Result<SyncOutcome> {
        let options = SyncOptions {
            prune: Some(true),
            ..SyncOptions::default()
        };
        let outcome = self.backend.sync_and_wait(app, &options).await?;
        ensure!(
            outcome.is_success(),
            "{app}: {}: {:?}",
            outcome.message,
            outcome.resources
        );
        Ok(outcome)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn argo_cd_flux_and_tekton_are_installed_from_gitea() -> Result<()> {
    let installer = Installer::start().await?;
    let argo = e2e::module_dir("github.com/argoproj/argo-cd/v3")?.join("manifests/install.yaml");
    let mut edits = put_file(Edits::new(), &argo, "argocd")?;
    for controller in ["source", "kustomize", "helm"] {
        let module = format!("github.com/fluxcd/{controller}-controller");
        edits = put_folder(edits, &module, "config/crd/bases", "flux")?;
    }
    edits = put_folder(
        edits,
        "github.com/tektoncd/pipeline",
        "config/300-crds",
        "tekton",
    )?;
    installer.push(edits).await?;

    let mut apps = Vec::new();
    for (path, namespace) in [
        ("argocd", "argocd"),
        ("flux", "flux-system"),
        ("tekton", "tekton-pipelines"),
    ] {
        let app = installer.application(path, namespace).await?;
        let started = std::time::Instant::now();
        let outcome = installer.sync(&app).await?;
        println!(
            "{path}: {} created in {:.1} s",
            outcome.count(ResourceAction::Created),
            started.elapsed().as_secs_f64()
        );
        assert_eq!(
            outcome.count(ResourceAction::Created),
            outcome.resources.len(),
            "{:?}",
            outcome.resources
        );
        apps.push((app, outcome.resources.len()));
    }
    let served = installer
        .cluster
        .kubectl(&["api-resources", "--no-headers", "-o", "name"])
        .await?;
    for kind in [
        "applications.argoproj.io",
        "kustomizations.kustomize.toolkit.fluxcd.io",
        "pipelineruns.tekton.dev",
    ] {
        assert!(served.contains(kind), "{kind} is not served");
    }
    let deployments = installer
        .cluster
        .kubectl(&["get", "deployments", "-n", "argocd", "-o", "name"])
        .await?;
    assert_eq!(deployments.lines().count(), 6, "{deployments}");

    // The controllers' own first changes (revision annotations, statuses) settle in this round. They come to the last Deployment when they may.
    let revisions = [
        "get",
        "deployments",
        "-n",
        "argocd",
        r"-o=jsonpath={.items[*].metadata.annotations.deployment\.kubernetes\.io/revision}",
    ];
    let told = async {
        while installer
            .cluster
            .kubectl(&revisions)
            .await?
            .split(' ')
            .count()
            < 6
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(Duration::from_secs(60), told)
        .await
        .context("some Deployment has no revision")??;
    for (app, _) in &apps {
        let outcome = installer.sync(app).await?;
        let changed: Vec<_> = outcome
            .resources
            .iter()
            .filter(|r| r.action != ResourceAction::Unchanged)
            .collect();
        assert!(changed.is_empty(), "{app}: {changed:?}");
    }
    let before = writes(&installer.cluster).await?.len();
    for (app, count) in &apps {
        let outcome = installer.sync(app).await?;
        assert_eq!(outcome.count(ResourceAction::Unchanged), *count);
        let status = installer.backend.status(app).await?;
        assert_eq!(status.sync, SyncStatus::Synced, "{:?}", status.conditions);
    }
    let after = writes(&installer.cluster).await?;
    let new = &after[before.min(after.len())..];
    println!(
        "second sync: {} unchanged, {} writes",
        apps.iter().map(|(_, n)| n).sum::<usize>(),
        new.len()
    );
    assert!(new.is_empty(), "{new:?}");

    // Half of Flux goes, then Argo CD altogether but for one ConfigMap.
    let edits = Edits::new()
        .delete("flux/helm.toolkit.fluxcd.io_helmreleases.yaml")
        .delete("argocd/install.yaml")
        .put(
            "argocd/rest.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: argocd-cm\n  labels: {kept: \"yes\"}\n",
        );
    installer.push(edits).await?;
    let flux = installer.sync(&apps[1].0).await?;
    assert_eq!(flux.count(ResourceAction::Pruned), 1);
    let argo = installer.sync(&apps[0].0).await?;
    println!(
        "removal: {} of Argo CD pruned, {} of Flux",
        argo.count(ResourceAction::Pruned),
        flux.count(ResourceAction::Pruned)
    );
    assert_eq!(
        argo.count(ResourceAction::Pruned),
        apps[0].1 - 1,
        "{:?}",
        argo.resources
    );
    let left = installer
        .cluster
        .kubectl(&[
            "get",
            "deployments,services,networkpolicies,statefulsets",
            "-n",
            "argocd",
            "-o",
            "name",
        ])
        .await?;
    assert_eq!(left.trim(), "");
    // A CRD goes when its finalizer has removed its objects; without waiting for health nobody waited for that.
    let mut crds = installer.crds().await?;
    for _ in 0..600 {
        if !crds.contains("argoproj.io") && !crds.contains("helmreleases") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        crds = installer.crds().await?;
    }
    assert!(
        !crds.contains("argoproj.io") && !crds.contains("helmreleases"),
        "{crds}"
    );
    assert!(crds.contains("gitrepositories"), "{crds}");

    // Back again, by the history.
    let history = RevisionHistory::list(&installer.backend, &apps[0].0).await?;
    let first = history.first().context("no history")?;
    let back = installer
        .backend
        .roll_back(
            &apps[0].0,
            first.id,
            &SyncOptions {
                prune: Some(true),
                ..SyncOptions::default()
            },
        )
        .await?;
    let outcome = installer.backend.wait(&back).await?;
    ensure!(outcome.is_success(), "{}", outcome.message);
    assert_eq!(outcome.count(ResourceAction::Created), apps[0].1 - 1);
    Ok(())
}
