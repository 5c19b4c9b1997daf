//! What Flux keeps in its cluster: its custom resource definitions, and the rights of its controllers.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{FluxController, FluxOptions, definitions};
use crate::cluster::Cluster;
use crate::components::{FLUX_VERSION, module_dir};

/// The manifests of rights in the module of Flux's command. They name the namespace that Flux usually has.
const RIGHTS: [&str; 4] = [
    "controller.yaml",
    "reconciler.yaml",
    "edit.yaml",
    "view.yaml",
];

/// Applies the manifests, and writes a kubeconfig for each controller into `dir`.
pub(super) async fn install(cluster: &Cluster, options: &FluxOptions, dir: &Path) -> Result<()> {
    let wanted = options.clone();
    let (manifests, files) = tokio::task::spawn_blocking(move || {
        let files = match wanted.definitions {
            true => definitions()?,
            false => Vec::new(),
        };
        Ok::<_, anyhow::Error>((rights(&wanted.namespace)?, files))
    })
    .await
    .context("reading the manifests was interrupted")??;
    let file = dir.join("install.yaml");
    std::fs::write(&file, manifests).context("cannot write Flux's manifests")?;

    let file = format!("--filename={}", file.display());
    let apply = ["apply", "--server-side", "--field-manager=flux"];
    cluster.kubectl(&[&apply[..], &[&file]].concat()).await?;
    let labels = labels(&options.namespace);
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    let namespace = ["label", "namespace", &options.namespace, "--overwrite"];
    cluster.kubectl(&[&namespace, &labels[..]].concat()).await?;
    if !files.is_empty() {
        let files: Vec<String> = files
            .iter()
            .map(|file| format!("--filename={}", file.display()))
            .collect();
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        cluster.kubectl(&[&apply[..], &files].concat()).await?;
        let label = ["label", "--overwrite"];
        cluster
            .kubectl(&[&label[..], &files, &labels].concat())
            .await?;
        let wait = ["wait", "--for=condition=Established", "--timeout=60s"];
        cluster.kubectl(&[&wait[..], &files].concat()).await?;
    }
    for controller in FluxController::ALL {
        cluster
            .write_account_kubeconfig(
                &options.namespace,
                controller.name(),
                &kubeconfig_path(dir, controller),
            )
            .await?;
    }
    Ok(())
}

/// Where [`install`] puts the kubeconfig of a controller.
pub(super) fn kubeconfig_path(dir: &Path, controller: FluxController) -> PathBuf {
    dir.join(format!("{}.kubeconfig", controller.name()))
}

/// The labels that `flux install` gives everything; `flux check` looks for them.
fn labels(namespace: &str) -> [String; 3] {
    [
        format!("app.kubernetes.io/instance={namespace}"),
        "app.kubernetes.io/part-of=flux".to_owned(),
        format!("app.kubernetes.io/version={FLUX_VERSION}"),
    ]
}

/// The namespace, the controllers' service accounts and their roles.
fn rights(namespace: &str) -> Result<String> {
    let mut text = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}}}\n");
    for controller in FluxController::ALL {
        text.push_str(&format!(
            "---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: {}, namespace: {namespace}}}\n",
            controller.name()
        ));
    }
    let folder = module_dir("github.com/fluxcd/flux2/v2")?.join("manifests/rbac");
    for name in RIGHTS {
        let file = folder.join(name);
        let manifest = std::fs::read_to_string(&file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        let manifest = format!("{manifest}\n").replace(
            "namespace: flux-system\n",
            &format!("namespace: {namespace}\n"),
        );
        text.push_str("---\n");
        text.push_str(manifest.trim_start_matches("---\n"));
    }
    Ok(text)
}
