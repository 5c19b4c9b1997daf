//! kwok: a node without containers.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cluster::Cluster;
use crate::components::{module_dir, program};
use crate::ports::free_port;
use crate::process::Process;
use crate::session::Session;

/// Starts kwok for all nodes of a cluster, with the stages that its module holds.
pub(crate) fn start(
    session: &Session,
    name: &str,
    dir: &Path,
    cluster: &Cluster,
) -> Result<Process> {
    let stages = module_dir("sigs.k8s.io/kwok")?.join("kustomize/stage");
    let mut text = String::new();
    for folder in ["node/fast", "pod/fast"] {
        let folder = stages.join(folder);
        let entries = std::fs::read_dir(&folder)
            .with_context(|| format!("cannot read {}", folder.display()))?;
        let mut files: Vec<_> = entries.flatten().map(|e| e.path()).collect();
        files.sort();
        for file in files {
            let name = file
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if name.ends_with(".yaml") && name != "kustomization.yaml" {
                let stage = std::fs::read_to_string(&file)
                    .with_context(|| format!("cannot read {}", file.display()))?;
                text.push_str("---\n");
                text.push_str(&stage);
                text.push('\n');
            }
        }
    }
    if text.is_empty() {
        bail!("no stages in {}", stages.display());
    }
    let config = dir.join("stages.yaml");
    std::fs::write(&config, text).context("cannot write kwok's stages")?;
    let mut command = Command::new(program("kwok")?);
    command
        // Its own configuration would be read from there.
        .env("HOME", dir)
        .arg(format!("--kubeconfig={}", cluster.kubeconfig().display()))
        .arg(format!("--config={}", config.display()))
        .arg("--manage-all-nodes=true")
        // Without a lease the node is taken for lost after a while.
        .arg("--node-lease-duration-seconds=40")
        .arg("--node-ip=127.0.0.1")
        .arg(format!("--server-address=127.0.0.1:{}", free_port()?));
    Process::spawn(session, name, &mut command)
}
