//! A kubelet on containerd, in process and mount namespaces of their own.
//!
//! The namespaces make it safe on a machine that has a containerd or kubelet already (their fixed paths under `/run` and `/var` are
//! private), and easy to stop: when the first process of the process namespace is killed, the kernel kills every container with it.
//! The network namespace is the machine's, so that pods can be reached from tests.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::cluster::Cluster;
use crate::components::{install_hint, program, system_program};
use crate::images;
use crate::node::{NAME, cgroup_prefix};
use crate::process::{Process, run};
use crate::session::Session;

/// Where Debian, and where others keep the network plugins.
const CNI_DIRS: [&str; 2] = ["/usr/lib/cni", "/opt/cni/bin"];

const PROGRAMS: [&str; 8] = [
    "unshare",
    "bash",
    "mount",
    "containerd",
    "ctr",
    "runc",
    "iptables",
    "busybox",
];

/// Fails when something that a node needs is not installed.
pub(crate) fn check_programs() -> Result<()> {
    for program in PROGRAMS {
        system_program(program)?;
    }
    cni_dir().map(drop)
}

fn cni_dir() -> Result<&'static str> {
    CNI_DIRS
        .into_iter()
        .find(|dir| Path::new(dir).join("ptp").is_file())
        .with_context(|| {
            format!(
                "the network plugins are not installed: {}",
                install_hint("cni")
            )
        })
}

/// A command in new namespaces that end with it.
pub(crate) fn unshare(command: &[&str]) -> Result<Command> {
    let mut unshare = Command::new(system_program("unshare")?);
    unshare
        .args([
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "--",
        ])
        .args(command);
    Ok(unshare)
}

/// What runs in the namespaces. `$1` is the node's folder, `$2` the beginning of the names of its log files.
const SCRIPT: &str = r#"
set -eu
mkdir -p /run/containerd /var/lib/kubelet /var/lib/cni "$1/kubelet" "$1/containerd"
mount -t tmpfs -o mode=0711 e2e /run/containerd
mount -t tmpfs -o mode=0755 e2e /var/lib/cni
mount -t tmpfs -o mode=0755 e2e /var/log
mount --bind "$1/kubelet" /var/lib/kubelet
mkdir /run/containerd/root
# The kubelet sets these to its liking. The machine is not its own, so it gets copies.
for setting in vm/overcommit_memory kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
  copy="$1/sysctl.$(echo $setting | tr / .)"
  cat "/proc/sys/$setting" >"$copy"
  mount --bind "$copy" "/proc/sys/$setting"
done
mount --bind "$1/containerd" /run/containerd/root
containerd --config "$1/containerd.toml" >>"$2.containerd.log" 2>&1 &
until ctr version >/dev/null 2>&1; do
  kill -0 $! || { echo "containerd ended, see $2.containerd.log"; exit 1; }
  sleep 0.05
done
for image in "$1"/images/*.tar; do ctr --namespace k8s.io images import --snapshotter "$SNAPSHOTTER" "$image"; done
kubelet --config "$1/kubelet.json" --kubeconfig "$1/kubeconfig" --root-dir /var/lib/kubelet --cert-dir /var/lib/kubelet/pki \
  --hostname-override "$NODE_NAME" --cloud-provider external >>"$2.kubelet.log" 2>&1 &
# This shell is process 1 here: when it ends, all end.
wait -n
echo "containerd or kubelet ended, see $2.containerd.log and $2.kubelet.log"
exit 1
"#;

/// Starts containerd and a kubelet that serves on `port` of the loopback interface.
pub(crate) async fn start(
    session: &Session,
    name: &str,
    dir: &Path,
    cluster: &Cluster,
    port: u16,
) -> Result<Process> {
    let images = dir.join("images");
    std::fs::create_dir(&images).context("cannot make the images' folder")?;
    let laid = images.clone();
    tokio::task::spawn_blocking(move || images::lay(&laid))
        .await
        .context("laying the images was interrupted")??;

    let logs = session.logs();
    let pods = logs.join(format!("{name}.pods"));
    std::fs::create_dir_all(&pods).context("cannot make the pods' log folder")?;
    let cgroup = format!("{}-{name}", cgroup_prefix(session.root()));
    make_cgroup(&cgroup)?;
    std::fs::write(dir.join("resolv.conf"), "").context("cannot write resolv.conf")?;
    std::fs::copy(cluster.kubeconfig(), dir.join("kubeconfig"))
        .context("cannot write the kubeconfig")?;
    let config = kubelet_config(dir, &pods, &cgroup, port);
    std::fs::write(dir.join("kubelet.json"), config)
        .context("cannot write the kubelet's configuration")?;
    let snapshotter = snapshotter(dir).await?;
    std::fs::write(
        dir.join("containerd.toml"),
        containerd_config(dir, snapshotter)?,
    )
    .context("cannot write containerd's configuration")?;
    write_network(dir)?;

    let kubelet = program("kubelet")?;
    let bin = kubelet.parent().unwrap_or(&kubelet).to_path_buf();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths = [bin, PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")];
    let path = std::env::join_paths(paths.into_iter().chain(std::env::split_paths(&path)))
        .context("a folder cannot be on PATH")?;
    let mut command = unshare(&["bash", "-c", SCRIPT, "node"])?;
    command
        .arg(dir)
        .arg(logs.join(name))
        .env("PATH", path)
        .env("NODE_NAME", NAME)
        .env("SNAPSHOTTER", snapshotter)
        .env_remove("KUBECONFIG");
    Process::spawn(session, name, &mut command)
}

fn kubelet_config(dir: &Path, pod_logs: &Path, cgroup: &str, port: u16) -> String {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": "127.0.0.1",
        "port": port,
        "readOnlyPort": 0,
        "healthzPort": 0,
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
        "authorization": {"mode": "AlwaysAllow"},
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{cgroup}"),
        "enforceNodeAllocatable": [],
        "failSwapOn": false,
        "failCgroupV1": false,
        "makeIPTablesUtilChains": false,
        "resolvConf": dir.join("resolv.conf"),
        "podLogsDir": pod_logs,
        "volumePluginDir": dir.join("volume-plugins"),
        "maxPods": 250,
        // Images are laid once and cannot be pulled again; a full disk of the developer's is not the tests' matter.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {
            "memory.available": "1Mi",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
            "imagefs.inodesFree": "0%",
        },
    })
    .to_string()
}

fn containerd_config(dir: &Path, snapshotter: &str) -> Result<String> {
    let pause = images::PAUSE;
    let plugins = cni_dir()?;
    let network = dir.join("network");
    // Without `restrict_oom_score_adj` no sandbox starts where the capability to lower that score is missing.
    Ok(format!(
        r#"version = 2
root = "/run/containerd/root"
state = "/run/containerd/state"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "{snapshotter}"
default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugins}"
conf_dir = "{network}"
"#,
        network = network.display()
    ))
}

/// Pods get addresses of a network of this node's own, as another run's node may share the machine.
fn write_network(dir: &Path) -> Result<()> {
    let network = dir.join("network");
    std::fs::create_dir(&network).context("cannot make the network's folder")?;
    let random = crate::random_hex(2)?;
    let bits = u16::from_str_radix(&random, 16).context("not a number")?;
    let subnet = format!("10.{}.{}.0/24", 128 + (bits >> 8) % 100, bits & 0xff);
    let config = json!({
        "cniVersion": "0.4.0",
        "name": "e2e",
        "plugins": [{
            "type": "ptp",
            "ipMasq": false,
            "ipam": {"type": "host-local", "dataDir": dir.join("addresses"), "ranges": [[{"subnet": subnet}]]},
        }],
    });
    std::fs::write(network.join("10-e2e.conflist"), config.to_string())
        .context("cannot write the network's configuration")
}

/// overlayfs cannot lie on overlayfs, which is what the disk is inside most containers.
async fn snapshotter(dir: &Path) -> Result<&'static str> {
    let mut stat = tokio::process::Command::new(system_program("stat")?);
    stat.args(["--file-system", "--format=%T"]).arg(dir);
    let kind = run(&mut stat).await?;
    Ok(if kind.trim() == "overlayfs" {
        "native"
    } else {
        "overlayfs"
    })
}

/// The kubelet wants its root group to be there: in every controller's tree of version 1, or in the one tree of version 2.
pub(crate) fn make_cgroup(name: &str) -> Result<()> {
    let root = Path::new("/sys/fs/cgroup");
    if root.join("cgroup.controllers").is_file() {
        // The kubelet insists on these. systemd has most of them on already; where it may not be done, the kubelet's own message is the better one.
        for controller in ["cpu", "cpuset", "memory", "pids", "io"] {
            let _ = std::fs::write(
                root.join("cgroup.subtree_control"),
                format!("+{controller}"),
            );
        }
        return std::fs::create_dir_all(root.join(name)).context("cannot make a control group");
    }
    let trees = std::fs::read_dir(root).context("cannot read /sys/fs/cgroup")?;
    let mut made = 0;
    for tree in trees.flatten().map(|e| e.path()) {
        if tree.join("cgroup.procs").is_file() {
            std::fs::create_dir_all(tree.join(name)).context("cannot make a control group")?;
            made += 1;
        }
    }
    if made == 0 {
        bail!("no control groups under /sys/fs/cgroup");
    }
    Ok(())
}
