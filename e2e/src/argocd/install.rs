//! What Argo CD keeps in its cluster: its custom resource definitions, rights and settings, from its module's own manifests.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{ArgoCdOptions, GUEST, ROBOT};
use crate::cluster::Cluster;
use crate::components::module_dir;

/// The components that talk to the API server, each with a service account of the same name.
pub(super) const ACCOUNTS: [&str; 3] = [
    "argocd-server",
    "argocd-application-controller",
    "argocd-applicationset-controller",
];

/// The folders of the manifests that are applied. Their Deployments and Services stay out: the components run beside the cluster.
const FOLDERS: [&str; 9] = [
    "manifests/crds",
    "manifests/base/config",
    "manifests/base/server",
    "manifests/base/application-controller-roles",
    "manifests/base/applicationset-controller",
    "manifests/cluster-rbac/server",
    "manifests/cluster-rbac/application-controller",
    "manifests/cluster-rbac/applicationset-controller",
    // Lets the server change applications outside of its own namespace.
    "examples/k8s-rbac/argocd-server-applications",
];

const KINDS: [&str; 8] = [
    "CustomResourceDefinition",
    "ConfigMap",
    "Secret",
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "ClusterRole",
    "ClusterRoleBinding",
];

/// Applies the manifests and the settings, and writes a kubeconfig for each of [`ACCOUNTS`] into `dir`.
pub(super) async fn install(cluster: &Cluster, options: &ArgoCdOptions, dir: &Path) -> Result<()> {
    let namespace = &options.namespace;
    let manifests = dir.join("install.yaml");
    let found = options.clone();
    let text = tokio::task::spawn_blocking(move || manifests_of(&found.namespace))
        .await
        .context("reading the manifests was interrupted")??;
    std::fs::write(&manifests, text).context("cannot write Argo CD's manifests")?;
    let settings = dir.join("settings.json");
    std::fs::write(&settings, settings_of(options).to_string())
        .context("cannot write Argo CD's settings")?;

    apply(cluster, namespace, &manifests, "argocd").await?;
    // By another manager: what it sets is added to the ConfigMaps that are there.
    apply(cluster, namespace, &settings, "e2e").await?;
    cluster
        .kubectl(&[
            "wait",
            "--for=condition=Established",
            "--timeout=60s",
            "crd/applications.argoproj.io",
            "crd/applicationsets.argoproj.io",
            "crd/appprojects.argoproj.io",
        ])
        .await?;
    for account in ACCOUNTS {
        let file = kubeconfig_path(dir, account);
        cluster
            .write_account_kubeconfig(namespace, account, &file)
            .await?;
    }
    Ok(())
}

/// Where [`install`] puts the kubeconfig of a component.
pub(super) fn kubeconfig_path(dir: &Path, account: &str) -> PathBuf {
    dir.join(format!("{account}.kubeconfig"))
}

async fn apply(cluster: &Cluster, namespace: &str, file: &Path, manager: &str) -> Result<()> {
    let file = file.to_string_lossy();
    let manager = format!("--field-manager={manager}");
    cluster
        .kubectl(&[
            "apply",
            "--server-side",
            &manager,
            "--namespace",
            namespace,
            "--filename",
            &file,
        ])
        .await
        .map(drop)
}

fn manifests_of(namespace: &str) -> Result<String> {
    let module = module_dir("github.com/argoproj/argo-cd/v3")?;
    let mut text = format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {namespace}\n");
    for folder in FOLDERS.map(|folder| module.join(folder)) {
        let entries = std::fs::read_dir(&folder)
            .with_context(|| format!("cannot read {}", folder.display()))?;
        let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        files.retain(|file| file.extension().is_some_and(|e| e == "yaml"));
        files.sort();
        for file in files {
            let manifest = std::fs::read_to_string(&file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            let kind = manifest
                .lines()
                .find_map(|line| line.strip_prefix("kind: "))
                .unwrap_or_default();
            if KINDS.contains(&kind.trim()) {
                // The cluster-wide bindings name the namespace that Argo CD usually has.
                let manifest = format!("{manifest}\n")
                    .replace("namespace: argocd\n", &format!("namespace: {namespace}\n"));
                text.push_str("\n---\n");
                text.push_str(manifest.trim_start_matches("---\n"));
            }
        }
    }
    Ok(text)
}

fn settings_of(options: &ArgoCdOptions) -> Value {
    let mut settings = json!({
        format!("accounts.{ROBOT}"): "apiKey, login",
        format!("accounts.{GUEST}"): "apiKey, login",
    });
    if let Some(duration) = options.session_duration {
        settings["users.session.duration"] = json!(format!("{}s", duration.as_secs()));
    }
    let map = |name: &str, data: Value| {
        let metadata = json!({"name": name, "labels": {"app.kubernetes.io/part-of": "argocd"}});
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
    };
    let policy = json!({"policy.csv": format!("g, {ROBOT}, role:admin\n"), "policy.default": ""});
    json!({
        "apiVersion": "v1",
        "kind": "List",
        "items": [map("argocd-cm", settings), map("argocd-rbac-cm", policy)],
    })
}
