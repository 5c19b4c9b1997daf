//! The table of components: which program comes from which Go package, built how, and where the result is kept.
//!
//! The versions are pinned by `testenv/go.mod` and the go.mod files of the folders in there. Programs are built from source by
//! `cargo xtask testenv` into the user's cache directory, under the hash of everything that decides what they are.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

/// One program of the test environment.
#[derive(Debug, Clone, Copy)]
pub struct Component {
    /// The name of the binary.
    pub name: &'static str,
    /// The Go package it is built from.
    pub package: &'static str,
    /// The folder of the Go module that pins it, relative to `testenv/`.
    pub module: &'static str,
    /// Values for the linker's `-X`.
    pub defines: &'static [(&'static str, &'static str)],
    /// Go build tags.
    pub tags: &'static [&'static str],
    /// Whether it needs cgo, thus a C compiler.
    pub cgo: bool,
    /// Whether a plain `cargo xtask testenv` builds it.
    pub default: bool,
    /// Changes to its source.
    pub edits: &'static [Edit],
}

/// A change to a module's files before it is compiled, for what no flag of a program can set.
#[derive(Debug, Clone, Copy)]
pub struct Edit {
    /// The Go module of the file.
    pub module: &'static str,
    /// The file, relative to the module's folder.
    pub file: &'static str,
    /// What is replaced; the file has it once. Where it is empty the module lacks the file, and gets it.
    pub from: &'static str,
    /// What stands there instead.
    pub to: &'static str,
}

impl Component {
    const fn new(name: &'static str, package: &'static str) -> Self {
        Component {
            name,
            package,
            module: ".",
            defines: &[],
            tags: &[],
            cgo: false,
            default: false,
            edits: &[],
        }
    }

    const fn by_default(mut self) -> Self {
        self.default = true;
        self
    }

    const fn defines(mut self, defines: &'static [(&'static str, &'static str)]) -> Self {
        self.defines = defines;
        self
    }

    const fn edits(mut self, edits: &'static [Edit]) -> Self {
        self.edits = edits;
        self
    }
}

/// The version that the API server and its companions report.
pub const KUBERNETES_VERSION: &str = "v1.34.4";

// kubectl and Tekton parse the server's version, which a plain `go build` leaves at v0.0.0.
const KUBERNETES: &[(&str, &str)] = &[
    (
        "k8s.io/component-base/version.gitVersion",
        KUBERNETES_VERSION,
    ),
    ("k8s.io/component-base/version.gitMajor", "1"),
    ("k8s.io/component-base/version.gitMinor", "34"),
];

// The application controller has a flag for the port of its metrics, and none for the address.
const ARGO_CD_ON_LOOPBACK: &[Edit] = &[Edit {
    module: "github.com/argoproj/argo-cd/v3",
    file: "controller/appcontroller.go",
    from: "\"0.0.0.0:%d\"",
    to: "\"127.0.0.1:%d\"",
}];

/// The version of Flux as a whole, which its command reports.
pub const FLUX_VERSION: &str = "v2.7.5";

// The command embeds the manifests that `flux install` and `flux bootstrap` apply. Flux's release process puts them there; the module lacks
// them, and without a file nothing is compiled.
const FLUX_WITHOUT_MANIFESTS: &[Edit] = &[Edit {
    module: "github.com/fluxcd/flux2/v2",
    file: "cmd/flux/manifests/none.yaml",
    from: "",
    to: "# The manifests are not part of the module.\n",
}];

/// Every component, in the order in which they are built.
pub const COMPONENTS: &[Component] = &[
    Component::new("etcd", "go.etcd.io/etcd/server/v3").by_default(),
    Component::new("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver")
        .by_default()
        .defines(KUBERNETES),
    Component::new("kubectl", "k8s.io/kubernetes/cmd/kubectl")
        .by_default()
        .defines(KUBERNETES),
    Component::new(
        "kube-controller-manager",
        "k8s.io/kubernetes/cmd/kube-controller-manager",
    )
    .by_default()
    .defines(KUBERNETES),
    Component::new("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler")
        .by_default()
        .defines(KUBERNETES),
    Component::new("kubelet", "k8s.io/kubernetes/cmd/kubelet")
        .by_default()
        .defines(KUBERNETES),
    Component::new("kustomize", "sigs.k8s.io/kustomize/kustomize/v5").by_default(),
    Component::new("helm", "helm.sh/helm/v3/cmd/helm").by_default(),
    Component::new("kwok", "sigs.k8s.io/kwok/cmd/kwok").by_default(),
    Component {
        module: "gitea",
        tags: &["sqlite", "sqlite_unlock_notify"],
        cgo: true,
        ..Component::new("gitea", "code.gitea.io/gitea").by_default()
    },
    Component::new(
        "registry",
        "github.com/distribution/distribution/v3/cmd/registry",
    )
    .by_default(),
    Component::new("argocd", "github.com/argoproj/argo-cd/v3/cmd")
        .by_default()
        .edits(ARGO_CD_ON_LOOPBACK)
        .defines(&[("github.com/argoproj/argo-cd/v3/common.version", "3.2.11")]),
    Component::new("source-controller", "github.com/fluxcd/source-controller").by_default(),
    Component::new(
        "kustomize-controller",
        "github.com/fluxcd/kustomize-controller",
    )
    .by_default(),
    Component::new("helm-controller", "github.com/fluxcd/helm-controller").by_default(),
    Component {
        module: "flux",
        ..Component::new("flux", "github.com/fluxcd/flux2/v2/cmd/flux")
            .by_default()
            .edits(FLUX_WITHOUT_MANIFESTS)
            .defines(&[("main.VERSION", "2.7.5")])
    },
    Component {
        module: "flux",
        ..Component::new(
            "controller-gen",
            "sigs.k8s.io/controller-tools/cmd/controller-gen",
        )
        .by_default()
    },
    Component::new(
        "tekton-controller",
        "github.com/tektoncd/pipeline/cmd/controller",
    ),
    Component::new("tekton-webhook", "github.com/tektoncd/pipeline/cmd/webhook"),
    Component::new(
        "tekton-entrypoint",
        "github.com/tektoncd/pipeline/cmd/entrypoint",
    ),
    Component::new(
        "sealed-secrets-controller",
        "github.com/bitnami-labs/sealed-secrets/cmd/controller",
    ),
    Component::new(
        "kubeseal",
        "github.com/bitnami-labs/sealed-secrets/cmd/kubeseal",
    ),
    Component::new("sops", "github.com/getsops/sops/v3/cmd/sops"),
    Component::new("cosign", "github.com/sigstore/cosign/v2/cmd/cosign"),
];

/// Finds a component by the name of its binary.
///
/// # Errors
///
/// When the table has no such component; the message lists those it has.
pub fn component(name: &str) -> Result<&'static Component> {
    COMPONENTS.iter().find(|c| c.name == name).with_context(|| {
        let names: Vec<_> = COMPONENTS.iter().map(|c| c.name).collect();
        format!("no component {name:?}; there are: {}", names.join(", "))
    })
}

/// The root folder of the workspace.
#[must_use]
pub fn workspace_dir() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// The folder of the Go modules that pin the components.
#[must_use]
pub fn testenv_dir() -> PathBuf {
    workspace_dir().join("testenv")
}

/// The folders of [`testenv_dir`] with a go.mod file. What is in none but the first has a build list that does not go together with that one.
const MODULES: [&str; 3] = [".", "gitea", "flux"];

/// The project's folder in the user's cache: `$XDG_CACHE_HOME/gitops-rs`, with `~/.cache` where the variable is not set.
///
/// # Errors
///
/// When neither `XDG_CACHE_HOME` nor `HOME` is set.
pub fn cache_dir() -> Result<PathBuf> {
    let cache = match std::env::var_os("XDG_CACHE_HOME").filter(|v| !v.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(
            std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?,
        )
        .join(".cache"),
    };
    Ok(cache.join("gitops-rs"))
}

/// The folder that holds the built programs: `$XDG_CACHE_HOME/gitops-rs/testenv/HASH/bin`, with `~/.cache` where the variable is
/// not set. HASH covers the go.mod and go.sum files and the table above, so a changed pin never meets an old binary.
///
/// # Errors
///
/// When neither `XDG_CACHE_HOME` nor `HOME` is set, or `testenv/` cannot be read.
pub fn bin_dir() -> Result<PathBuf> {
    let mut hash = Sha256::new();
    for module in MODULES {
        for file in ["go.mod", "go.sum"] {
            let path = testenv_dir().join(module).join(file);
            let bytes =
                std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            hash.update(Sha256::digest(&bytes));
        }
    }
    for c in COMPONENTS {
        // `default` says when a component is built, not what it is.
        hash.update(format!(
            "{}\n{}\n{}\n{:?}\n{:?}\n{}\n",
            c.name, c.package, c.module, c.defines, c.tags, c.cgo
        ));
        if !c.edits.is_empty() {
            hash.update(format!("{:?}\n", c.edits));
        }
    }
    let key: String = hash
        .finalize()
        .iter()
        .take(8)
        .map(|b| format!("{b:02x}"))
        .collect();
    Ok(cache_dir()?.join("testenv").join(key).join("bin"))
}

/// The path of a built component.
///
/// # Errors
///
/// When it was not built yet; the message has the command that builds it.
pub fn program(name: &str) -> Result<PathBuf> {
    let path = bin_dir()?.join(component(name)?.name);
    if !path.is_file() {
        bail!("{name} is not built yet: run `cargo xtask testenv {name}`");
    }
    Ok(path)
}

/// A program that comes from the machine, not from `testenv/`.
///
/// # Errors
///
/// When it is not on PATH; the message has the command that installs it.
pub fn system_program(name: &str) -> Result<PathBuf> {
    let dirs = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps some of them where a plain user's PATH does not look.
    let extra = ["/usr/sbin", "/sbin", "/usr/local/go/bin"].map(PathBuf::from);
    std::env::split_paths(&dirs)
        .chain(extra)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
        .with_context(|| format!("{name} is not installed: {}", install_hint(name)))
}

/// How a program of the machine is installed.
#[must_use]
pub fn install_hint(name: &str) -> String {
    let package = match name {
        "go" => return "install Go 1.26 or newer from https://go.dev/dl/".to_owned(),
        "ctr" | "containerd" => "containerd",
        "ssh" | "ssh-keygen" | "ssh-keyscan" => "openssh-client",
        "busybox" => "busybox-static",
        "unshare" | "mount" => "util-linux",
        "cni" => "containernetworking-plugins",
        other => other,
    };
    format!("run `sudo apt-get install -y {package}`")
}

/// The folder of a Go module that the test environment pins, for tests that read custom resource definitions, manifests or
/// fixtures from it. The module is downloaded when the machine does not hold it yet.
///
/// # Errors
///
/// When `go` is missing, or the module is neither in the build list nor can be downloaded.
pub fn module_dir(module: &str) -> Result<PathBuf> {
    let go = system_program("go")?;
    let mut reasons = String::new();
    for dir in MODULES.map(|module| testenv_dir().join(module)) {
        let run = |args: &[&str]| Command::new(&go).current_dir(&dir).args(args).output();
        let listed = run(&["list", "-m", "-f", "{{.Dir}}", module]).context("cannot run go")?;
        if !listed.status.success() {
            reasons.push_str(&String::from_utf8_lossy(&listed.stderr));
            continue;
        }
        let mut found = String::from_utf8_lossy(&listed.stdout).trim().to_owned();
        if found.is_empty() {
            let fetched = run(&["mod", "download", "-json", module]).context("cannot run go")?;
            if !fetched.status.success() {
                reasons.push_str(&String::from_utf8_lossy(&fetched.stderr));
                continue;
            }
            let json: serde_json::Value =
                serde_json::from_slice(&fetched.stdout).context("go mod download -json")?;
            found = json["Dir"].as_str().unwrap_or_default().to_owned();
        }
        if !found.is_empty() {
            return Ok(PathBuf::from(found));
        }
    }
    bail!("no folder for the Go module {module}: {}", reasons.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_component_is_a_tool_of_its_module() {
        for c in COMPONENTS {
            let file = testenv_dir().join(c.module).join("go.mod");
            let text = std::fs::read_to_string(file).unwrap();
            let is_tool = |line: &str| line.trim().trim_start_matches("tool ").trim() == c.package;
            assert!(
                text.lines().any(is_tool),
                "{} is not a tool of testenv/{}/go.mod",
                c.package,
                c.module
            );
        }
    }

    #[test]
    fn names_are_unique() {
        for (n, c) in COMPONENTS.iter().enumerate() {
            assert!(
                COMPONENTS[..n].iter().all(|other| other.name != c.name),
                "{}",
                c.name
            );
        }
    }

    #[test]
    fn unknown_component_is_answered_with_the_known_ones() {
        let message = component("apiserver").unwrap_err().to_string();
        assert!(message.contains("kube-apiserver"), "{message}");
    }
}
