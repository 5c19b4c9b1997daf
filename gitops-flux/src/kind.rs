//! What one kind of Flux is and can do.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use gitops_core::error::{Error, Result};
use gitops_core::manifest::{GroupKind, ObjectId};
use k8s_openapi::NamespaceResourceScope;
use kube::core::ApiResource;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::types::{
    Artifact, Condition, DependencyReference, GoDuration, Inventory, KubeConfigReference,
    ObjectReference, condition,
};

/// The group of sources.
pub const SOURCE: &str = "source.toolkit.fluxcd.io";
/// The group of `Kustomization`.
pub const KUSTOMIZE: &str = "kustomize.toolkit.fluxcd.io";
/// The group of `HelmRelease`.
pub const HELM: &str = "helm.toolkit.fluxcd.io";
/// The group of `Alert`, `Provider`, `Receiver`.
pub const NOTIFICATION: &str = "notification.toolkit.fluxcd.io";
/// The group of `ImageRepository`, `ImagePolicy`, `ImageUpdateAutomation`.
pub const IMAGE: &str = "image.toolkit.fluxcd.io";

/// The kinds of Flux 2.7, but for `ArtifactGenerator` of its source-watcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum FluxKind {
    GitRepository,
    OCIRepository,
    Bucket,
    HelmRepository,
    HelmChart,
    ExternalArtifact,
    Kustomization,
    HelmRelease,
    Alert,
    Provider,
    Receiver,
    ImageRepository,
    ImagePolicy,
    ImageUpdateAutomation,
}

/// All that is said of a kind, in one row.
struct Row {
    kind: &'static str,
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    /// As the `flux` command names it, after its verb.
    command: &'static str,
    /// Other names: of the `flux` command and of `kubectl`.
    aliases: &'static [&'static str],
    controller: &'static str,
    suspends: bool,
    reconciles: bool,
}

impl FluxKind {
    /// All kinds: sources first, then what applies them, then the rest.
    pub const ALL: [Self; 14] = [
        Self::GitRepository,
        Self::OCIRepository,
        Self::Bucket,
        Self::HelmRepository,
        Self::HelmChart,
        Self::ExternalArtifact,
        Self::Kustomization,
        Self::HelmRelease,
        Self::Alert,
        Self::Provider,
        Self::Receiver,
        Self::ImageRepository,
        Self::ImagePolicy,
        Self::ImageUpdateAutomation,
    ];

    #[rustfmt::skip]
    const fn row(self) -> Row {
        const fn row(
            names: (&'static str, &'static str),
            api: (&'static str, &'static str),
            command: &'static str,
            aliases: &'static [&'static str],
            controller: &'static str,
            (suspends, reconciles): (bool, bool),
        ) -> Row {
            Row { kind: names.0, plural: names.1, group: api.0, version: api.1, command, aliases, controller, suspends, reconciles }
        }
        const SOURCES: &str = "source-controller";
        const NOTIFIES: &str = "notification-controller";
        const BOTH: (bool, bool) = (true, true);
        match self {
            Self::GitRepository => row(("GitRepository", "gitrepositories"), (SOURCE, "v1"), "source git", &["gitrepo"], SOURCES, BOTH),
            Self::OCIRepository => row(("OCIRepository", "ocirepositories"), (SOURCE, "v1"), "source oci", &["ocirepo"], SOURCES, BOTH),
            Self::Bucket => row(("Bucket", "buckets"), (SOURCE, "v1"), "source bucket", &[], SOURCES, BOTH),
            Self::HelmRepository => row(("HelmRepository", "helmrepositories"), (SOURCE, "v1"), "source helm", &["helmrepo"], SOURCES, BOTH),
            Self::HelmChart => row(("HelmChart", "helmcharts"), (SOURCE, "v1"), "source chart", &["hc"], SOURCES, BOTH),
            Self::ExternalArtifact => row(("ExternalArtifact", "externalartifacts"), (SOURCE, "v1"), "source external", &["ea"], SOURCES, (false, false)),
            Self::Kustomization => row(("Kustomization", "kustomizations"), (KUSTOMIZE, "v1"), "kustomization", &["ks"], "kustomize-controller", BOTH),
            Self::HelmRelease => row(("HelmRelease", "helmreleases"), (HELM, "v2"), "helmrelease", &["hr"], "helm-controller", BOTH),
            Self::Alert => row(("Alert", "alerts"), (NOTIFICATION, "v1beta3"), "alert", &[], NOTIFIES, (true, false)),
            Self::Provider => row(("Provider", "providers"), (NOTIFICATION, "v1beta3"), "alert-provider", &["alert provider"], NOTIFIES, (true, false)),
            Self::Receiver => row(("Receiver", "receivers"), (NOTIFICATION, "v1"), "receiver", &[], NOTIFIES, BOTH),
            Self::ImageRepository => row(("ImageRepository", "imagerepositories"), (IMAGE, "v1"), "image repository", &["imgrepo", "imagerepo"], "image-reflector-controller", BOTH),
            Self::ImagePolicy => row(("ImagePolicy", "imagepolicies"), (IMAGE, "v1"), "image policy", &["imgpol", "imagepol"], "image-reflector-controller", BOTH),
            Self::ImageUpdateAutomation => row(
                ("ImageUpdateAutomation", "imageupdateautomations"), (IMAGE, "v1"), "image update", &["iua", "imgupd", "imgauto"], "image-automation-controller", BOTH,
            ),
        }
    }

    /// The kind, as in manifests.
    pub const fn kind(self) -> &'static str {
        self.row().kind
    }

    /// The API group.
    pub const fn group(self) -> &'static str {
        self.row().group
    }

    /// The version that is spoken here.
    pub const fn version(self) -> &'static str {
        self.row().version
    }

    /// The plural, as in paths of the API.
    pub const fn plural(self) -> &'static str {
        self.row().plural
    }

    /// As the `flux` command names it: `source git`, `kustomization`, `image update` …
    pub const fn command(self) -> &'static str {
        self.row().command
    }

    /// Other names by which people know it: `ks`, `hr`, `gitrepo` …
    pub const fn aliases(self) -> &'static [&'static str] {
        self.row().aliases
    }

    /// The controller that acts on it, which is also the name of its Deployment. What makes an [`ExternalArtifact`](Self::ExternalArtifact) is not known here.
    pub const fn controller(self) -> &'static str {
        self.row().controller
    }

    /// Whether it has `spec.suspend`.
    pub const fn can_suspend(self) -> bool {
        self.row().suspends
    }

    /// Whether its controller answers to `reconcile.fluxcd.io/requestedAt` with `status.lastHandledReconcileAt`.
    pub const fn can_reconcile(self) -> bool {
        self.row().reconciles
    }

    /// Whether it offers an artifact.
    pub const fn is_source(self) -> bool {
        matches!(
            self,
            Self::GitRepository
                | Self::OCIRepository
                | Self::Bucket
                | Self::HelmRepository
                | Self::HelmChart
                | Self::ExternalArtifact
        )
    }

    /// Whether its controller writes a status with conditions; alerts and their providers have had none since `v1beta3`.
    pub const fn has_status(self) -> bool {
        !matches!(self, Self::Alert | Self::Provider)
    }

    /// Group and version, as in manifests.
    pub fn api_version(self) -> String {
        format!("{}/{}", self.group(), self.version())
    }

    /// Group and kind.
    pub fn group_kind(self) -> GroupKind {
        GroupKind::new(self.group(), self.kind())
    }

    /// The object of that kind, namespace and name.
    pub fn object_id(self, namespace: &str, name: &str) -> ObjectId {
        ObjectId::new(self.group(), self.kind(), namespace, name)
    }

    /// For `kube::Api<DynamicObject>`.
    pub fn api_resource(self) -> ApiResource {
        ApiResource {
            group: self.group().to_owned(),
            version: self.version().to_owned(),
            api_version: self.api_version(),
            kind: self.kind().to_owned(),
            plural: self.plural().to_owned(),
        }
    }

    /// The kind of that group and name, whatever its version; `None` for what is not Flux's.
    pub fn of(group: &str, kind: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|known| known.kind() == kind && known.group() == group)
    }

    /// The kind that a reference of Flux's own resources names: where it gives no group, kinds are unambiguous.
    pub fn of_reference(reference: &ObjectReference) -> Option<Self> {
        match reference.api_version.as_deref() {
            Some(api_version) if !api_version.is_empty() => {
                let group = api_version.split_once('/').map_or("", |(group, _)| group);
                Self::of(group, &reference.kind)
            }
            _ => Self::ALL
                .into_iter()
                .find(|known| known.kind() == reference.kind),
        }
    }
}

impl fmt::Display for FluxKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.kind())
    }
}

impl FromStr for FluxKind {
    type Err = Error;

    /// Any of its names, as people and the `flux` command use them: kind, plural, aliases, `source git` and `sources git`, with the group after a dot or not. Letter case
    /// does not count.
    fn from_str(text: &str) -> Result<Self> {
        let words: Vec<String> = text
            .to_ascii_lowercase()
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        let name = words.join(" ");
        let singular = match words.as_slice() {
            [group, kind] => format!("{} {kind}", group.strip_suffix('s').unwrap_or(group)),
            _ => name.clone(),
        };
        let is = |kind: &Self| {
            let lower = kind.kind().to_ascii_lowercase();
            let names = [lower.as_str(), kind.plural(), kind.command()];
            let plural_command = format!("{}s", kind.command());
            names.contains(&name.as_str())
                || kind.command() == singular
                || plural_command == name
                || kind.aliases().contains(&name.as_str())
                || name
                    .strip_suffix(kind.group())
                    .and_then(|name| name.strip_suffix('.'))
                    .is_some_and(|name| name == lower || name == kind.plural())
        };
        Self::ALL
            .into_iter()
            .find(is)
            .ok_or_else(|| Error::invalid(format!("no kind of Flux: {text:?}")))
    }
}

/// A typed resource of Flux: what the manager, waits, trees and traces ask of any kind. Written for Flux 2.7.
///
/// It cannot be implemented elsewhere in a useful way: [`FluxKind`] names all kinds.
pub trait FluxResource:
    kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + fmt::Debug
    + Default
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// Which kind it is.
    const KIND: FluxKind;

    /// `status.conditions`; none before a controller has seen it, and for kinds without a status.
    fn conditions(&self) -> &[Condition];

    /// Removes the status, as for `flux export`.
    fn clear_status(&mut self);

    /// `status.observedGeneration`: the generation that was reconciled last. `-1` before the first time, by the definitions' default; `None` where there is no status.
    fn observed_generation(&self) -> Option<i64> {
        None
    }

    /// `status.lastHandledReconcileAt`: the last request that was taken up.
    fn last_handled_reconcile_at(&self) -> Option<&str> {
        None
    }

    /// Whether it is suspended; `None` for kinds that cannot be.
    fn suspended(&self) -> Option<bool> {
        None
    }

    /// Suspends and resumes; `false`, and nothing done, for kinds that cannot be suspended. Resuming removes the field.
    fn set_suspended(&mut self, suspended: bool) -> bool {
        let _ = suspended;
        false
    }

    /// `spec.interval`: how often it is reconciled.
    fn interval(&self) -> Option<&GoDuration> {
        None
    }

    /// `spec.timeout`: how long its operations may take.
    fn timeout(&self) -> Option<&GoDuration> {
        None
    }

    /// What the source offers; `None` for a source that has nothing yet, and for what is no source.
    fn artifact(&self) -> Option<&Artifact> {
        None
    }

    /// Where it takes its content from, as it is written: without a namespace it is in the object's own. A `HelmRelease` names its `chartRef`, or the source of its
    /// `chart`; an `ImagePolicy` its `ImageRepository`.
    fn source_ref(&self) -> Option<ObjectReference> {
        None
    }

    /// `spec.dependsOn`: others of the same kind that must be ready first.
    fn depends_on(&self) -> &[DependencyReference] {
        &[]
    }

    /// `spec.kubeConfig`: the other cluster that it applies to.
    fn kube_config(&self) -> Option<&KubeConfigReference> {
        None
    }

    /// `spec.serviceAccountName`: for whom it acts, or logs in.
    fn service_account_name(&self) -> Option<&str> {
        None
    }

    /// The revision that was applied last: a `Kustomization`'s `lastAppliedRevision`; for a `HelmRelease` the chart version of the newest release in its history.
    fn last_applied_revision(&self) -> Option<&str> {
        None
    }

    /// `status.lastAttemptedRevision`.
    fn last_attempted_revision(&self) -> Option<&str> {
        None
    }

    /// What it has applied; a `Kustomization` keeps it in its status.
    fn inventory(&self) -> Option<&Inventory> {
        None
    }

    /// The condition of that type.
    fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions()
            .iter()
            .find(|condition| condition.kind == kind)
    }

    /// The condition `Ready`. It is about an earlier state of the object as long as the [request](Self::last_handled_reconcile_at) or the
    /// [generation](Self::observed_generation) has not been taken up.
    fn ready(&self) -> Option<&Condition> {
        self.condition(condition::READY)
    }

    /// Where it takes its content from, with its namespace.
    fn resolved_source_ref(&self) -> Option<ObjectReference> {
        let mut reference = self.source_ref()?;
        if reference.namespace.as_deref().is_none_or(str::is_empty) {
            reference.namespace.clone_from(&self.meta().namespace);
        }
        Some(reference)
    }

    /// Which object it is.
    fn id(&self) -> ObjectId {
        let meta = self.meta();
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let (namespace, name) = (text(&meta.namespace), text(&meta.name));
        Self::KIND.object_id(&namespace, &name)
    }

    /// How long [`timeout`](Self::timeout) is; `None` where none is written, or none that can be read.
    fn timeout_duration(&self) -> Option<Duration> {
        self.timeout()?.duration().ok()
    }
}
