//! Whether a cluster has what Flux needs, and what of Flux is in it: `flux check` and `flux version`.
//!
//! The rules are those of flux 2.7: Kubernetes 1.32 or newer; controllers and definitions are found by the label `app.kubernetes.io/part-of=flux`; version and
//! distribution are labels of the definition of GitRepository.

use std::fmt;

use gitops_core::application::HealthStatus;
use gitops_core::manifest::Object;
use gitops_core::{Error, Result, ResultExt as _};
use gitops_kube::cluster::{Cluster, KubeCluster, ListParams, ObjectKey};
use gitops_kube::health::HealthRules;
use semver::Version;
use serde_json::Value;

use crate::kind::{KUSTOMIZE, SOURCE};
use crate::manager::FluxManager;
use crate::view;

/// The label by which Flux's own objects are found.
pub const PART_OF: &str = "app.kubernetes.io/part-of=flux";
/// The oldest Kubernetes that Flux 2.7 is made for.
pub const KUBERNETES: (u64, u64) = (1, 32);

const VERSION: &str = "app.kubernetes.io/version";

/// How to check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckOptions {
    /// Where the controllers are; empty (the default) means [`FluxOptions::flux_namespace`](crate::FluxOptions::flux_namespace), and `flux-system` for [`check`] itself.
    pub namespace: String,
    /// The oldest Kubernetes that will do, major and minor ([`KUBERNETES`]).
    pub kubernetes: (u64, u64),
    /// Controllers that have to be there, by the names of their Deployments; those that are found besides are checked as well. Empty: any.
    pub controllers: Vec<String>,
}

impl Default for CheckOptions {
    fn default() -> Self {
        Self {
            namespace: String::new(),
            kubernetes: KUBERNETES,
            controllers: Vec::new(),
        }
    }
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Check {
    /// The version of Kubernetes.
    pub kubernetes: String,
    /// Whether that will do.
    pub kubernetes_ok: bool,
    /// The installation; `None` when the definition of GitRepository is not there.
    pub installation: Option<FluxInstallation>,
    /// The controllers, by name.
    pub controllers: Vec<Controller>,
    /// The definitions, by name.
    pub definitions: Vec<Definition>,
    /// What is wrong, one sentence each; empty when all is well.
    pub problems: Vec<String>,
}

impl Check {
    /// Whether all is well.
    pub fn is_ok(&self) -> bool {
        self.problems.is_empty()
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Kubernetes {}", self.kubernetes)?;
        if let Some(installation) = &self.installation {
            writeln!(f, "distribution: {}", installation.distribution())?;
            writeln!(f, "bootstrapped: {}", installation.bootstrapped)?;
        }
        for controller in &self.controllers {
            writeln!(
                f,
                "{}: {}",
                controller.name,
                view::line(&controller.message)
            )?;
            for image in &controller.images {
                writeln!(f, "  {image}")?;
            }
        }
        for definition in &self.definitions {
            writeln!(f, "{}: {}", definition.name, definition.stored.join(", "))?;
        }
        for problem in &self.problems {
            writeln!(f, "problem: {}", view::line(problem))?;
        }
        Ok(())
    }
}

/// An installation of Flux, as the labels of the definition of GitRepository tell it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FluxInstallation {
    /// The version of Flux (`v2.7.5`); empty when it is not said.
    pub version: String,
    /// Whether kustomize-controller keeps the definition: Flux was installed by `flux bootstrap`, or by our own.
    pub bootstrapped: bool,
    /// What it was installed with otherwise (`Helm`).
    pub managed_by: Option<String>,
    /// The distribution (`flux`).
    pub part_of: Option<String>,
}

impl FluxInstallation {
    /// `flux-v2.7.5`.
    pub fn distribution(&self) -> String {
        match &self.part_of {
            Some(part_of) => format!("{part_of}-{}", self.version),
            None => self.version.clone(),
        }
    }
}

/// One of Flux's controllers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Controller {
    /// The Deployment's name.
    pub name: String,
    /// Whether all its pods are ready.
    pub ready: bool,
    /// How it is.
    pub message: String,
    /// The images of its containers.
    pub images: Vec<String>,
    /// The version: the label `app.kubernetes.io/version`, or the first image's tag.
    pub version: Option<String>,
}

/// One of Flux's definitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Definition {
    /// Its name (`gitrepositories.source.toolkit.fluxcd.io`).
    pub name: String,
    /// The versions that objects are stored in, the current one last.
    pub stored: Vec<String>,
    /// The versions that are served.
    pub served: Vec<String>,
    /// Whether the API server took it in.
    pub established: bool,
}

/// Checks the cluster's version only: `flux check --pre`.
///
/// # Errors
/// What the request meets; `Integrity` for a version that cannot be read.
pub async fn check_prerequisites(cluster: &KubeCluster, options: &CheckOptions) -> Result<Check> {
    let answer = cluster
        .get_path("/version")
        .await
        .context(|| "read the version of Kubernetes")?;
    let text = answer
        .get("gitVersion")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let (major, minor) = version(text)
        .ok_or_else(|| Error::integrity(format!("{text:?} is no version of Kubernetes")))?;
    let mut check = Check {
        kubernetes: text.to_owned(),
        kubernetes_ok: (major, minor) >= options.kubernetes,
        ..Check::default()
    };
    if !check.kubernetes_ok {
        let (major, minor) = options.kubernetes;
        check
            .problems
            .push(format!("Kubernetes {text} is older than {major}.{minor}"));
    }
    Ok(check)
}

/// Checks the cluster and what of Flux is in it. Five requests.
///
/// # Errors
/// What the requests meet; what is wrong with Flux is an answer.
pub async fn check(cluster: &KubeCluster, options: &CheckOptions) -> Result<Check> {
    let mut check = check_prerequisites(cluster, options).await?;
    installed(cluster, options, &mut check).await?;
    Ok(check)
}

/// The installation, or `None` when Flux is not there.
///
/// # Errors
/// What the request meets.
pub async fn installation(cluster: &dyn Cluster) -> Result<Option<FluxInstallation>> {
    let name = format!("gitrepositories.{}", SOURCE);
    let kind = view::definitions();
    let key = ObjectKey {
        kind: &kind,
        namespace: "",
        name: &name,
    };
    let definition = cluster.get(key).await.context(|| format!("get {name}"))?;
    Ok(definition.map(|definition| {
        let label = |key: &str| definition.label(key).map(str::to_owned);
        FluxInstallation {
            version: label(VERSION).unwrap_or_default(),
            bootstrapped: label(&format!("{}/namespace", KUSTOMIZE)).is_some(),
            managed_by: label("app.kubernetes.io/managed-by"),
            part_of: label("app.kubernetes.io/part-of"),
        }
    }))
}

impl FluxManager {
    /// Whether the cluster and what of Flux is in it are well: [`check`].
    ///
    /// # Errors
    /// As there.
    pub async fn check(&self, options: &CheckOptions) -> Result<Check> {
        let options = CheckOptions {
            namespace: self.controllers_in(&options.namespace),
            ..options.clone()
        };
        check(self.cluster(), &options).await
    }

    /// The installation: [`installation`].
    ///
    /// # Errors
    /// As there.
    pub async fn installation(&self) -> Result<Option<FluxInstallation>> {
        installation(self.cluster()).await
    }
}

async fn installed(cluster: &dyn Cluster, options: &CheckOptions, check: &mut Check) -> Result<()> {
    check.installation = installation(cluster).await?;
    if check.installation.is_none() {
        check
            .problems
            .push("Flux is not installed: there is no definition of GitRepository".to_owned());
    }
    let labels = ListParams {
        labels: Some(PART_OF.to_owned()),
        ..ListParams::default()
    };
    let namespace = match options.namespace.as_str() {
        "" => view::NAMESPACE,
        named => named,
    };
    let params = ListParams {
        namespace: Some(namespace.to_owned()),
        ..labels.clone()
    };
    let deployments = view::list(cluster, &view::deployments(), params, 1000)
        .await
        .context(|| "list Flux's Deployments")?;
    check.controllers = deployments.iter().map(controller).collect();
    if check.controllers.is_empty() {
        check.problems.push(format!(
            "no controllers in namespace {namespace} have the label {PART_OF}"
        ));
    }
    for controller in check.controllers.iter().filter(|found| !found.ready) {
        check.problems.push(format!(
            "{} is not ready: {}",
            controller.name, controller.message
        ));
    }
    for name in &options.controllers {
        if !check.controllers.iter().any(|found| found.name == *name) {
            check.problems.push(format!("{name} is not there"));
        }
    }
    let found = view::list(cluster, &view::definitions(), labels, 1000)
        .await
        .context(|| "list Flux's definitions")?;
    check.definitions = found.iter().map(definition).collect();
    if check.definitions.is_empty() {
        check
            .problems
            .push(format!("no definitions have the label {PART_OF}"));
    }
    for found in &check.definitions {
        if found.stored.is_empty() {
            check
                .problems
                .push(format!("{} has no stored versions", found.name));
        } else if !found.established {
            check
                .problems
                .push(format!("{} is not established", found.name));
        }
    }
    Ok(())
}

fn controller(deployment: &Object) -> Controller {
    let health = HealthRules::kstatus().assess(deployment);
    let containers = view::at(deployment, &["spec", "template", "spec", "containers"]);
    let images: Vec<String> = containers
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|container| Some(container.get("image")?.as_str()?.to_owned()))
        .collect();
    let tag = |image: &String| {
        let name = image
            .split_once('@')
            .map_or(image.as_str(), |(name, _)| name);
        let (_, tag) = name.rsplit_once(':')?;
        (!tag.contains('/')).then(|| tag.to_owned())
    };
    Controller {
        name: deployment.name().to_owned(),
        ready: health.status == HealthStatus::Healthy,
        message: if health.message.is_empty() {
            format!("{:?}", health.status)
        } else {
            health.message
        },
        version: deployment
            .label(VERSION)
            .map(str::to_owned)
            .or_else(|| images.first().and_then(tag)),
        images,
    }
}

fn definition(object: &Object) -> Definition {
    let array = |path: &[&str]| view::at(object, path).and_then(Value::as_array);
    Definition {
        name: object.name().to_owned(),
        stored: array(&["status", "storedVersions"])
            .into_iter()
            .flatten()
            .filter_map(|version| version.as_str().map(str::to_owned))
            .collect(),
        served: array(&["spec", "versions"])
            .into_iter()
            .flatten()
            .filter(|version| version.get("served").and_then(Value::as_bool) == Some(true))
            .filter_map(|version| version.get("name")?.as_str().map(str::to_owned))
            .collect(),
        established: view::condition(object, "Established").is_some_and(|it| it.is == Some(true)),
    }
}

/// Major and minor of `v1.34.1`, `v1.32.0-gke.100`, `v1.31.2+k3s1`.
fn version(text: &str) -> Option<(u64, u64)> {
    let version = Version::parse(text.trim_start_matches('v')).ok()?;
    Some((version.major, version.minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_of_distributions_too() {
        for (text, read) in [
            ("v1.34.1", Some((1, 34))),
            ("v1.32.0-gke.100", Some((1, 32))),
            ("v1.31.2+k3s1", Some((1, 31))),
            ("1.34", None),
            ("", None),
        ] {
            assert_eq!(version(text), read, "{text}");
        }
    }

    #[test]
    fn a_controller_tells_its_version() {
        let deployment = |image: &str, labels: Value| {
            let value = serde_json::json!({
                "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": "source-controller", "labels": labels},
                "spec": {"template": {"spec": {"containers": [{"image": image}]}}},
            });
            controller(&Object::new(value, None).unwrap()).version
        };
        let none = serde_json::json!({});
        for (image, version) in [
            ("ghcr.io/fluxcd/source-controller:v1.7.3", Some("v1.7.3")),
            ("localhost:5000/source-controller:v1@sha256:abc", Some("v1")),
            ("localhost:5000/source-controller", None),
        ] {
            assert_eq!(
                deployment(image, none.clone()).as_deref(),
                version,
                "{image}"
            );
        }
        let labels = serde_json::json!({VERSION: "v2.7.5"});
        assert_eq!(deployment("x:v1", labels).as_deref(), Some("v2.7.5"));
    }
}
