//! The kind `Kustomization`.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::extra::{Extra, Hidden};
use super::resource::{at_intervals, flux_kind, handled, setters, suspendable, timed};
use super::{
    CommonMetadata, Condition, CustomHealthCheck, DeletionPolicy, DependencyReference, GoDuration,
    Image, Inventory, KubeConfigReference, LocalObjectReference, ObjectReference, Patch, Snapshot,
};

flux_kind! {
    /// Manifests of a source, applied.
    ///
    /// ```
    /// use gitops_flux::types::{Kustomization, ObjectReference};
    ///
    /// let app = Kustomization::new("my-app")
    ///     .in_namespace("flux-system")
    ///     .source(ObjectReference::new("GitRepository", "gitops-repo"))
    ///     .path("./k8s/my-app")
    ///     .prune(true)
    ///     .interval("10m0s");
    /// assert_eq!(app.spec.path.as_deref(), Some("./k8s/my-app"));
    /// ```
    Kustomization(KustomizationSpec, KustomizationStatus) {
        handled!();
        suspendable!();
        at_intervals!();
        timed!();

        fn source_ref(&self) -> Option<ObjectReference> {
            Some(self.spec.source_ref.clone())
        }

        fn depends_on(&self) -> &[DependencyReference] {
            self.spec.depends_on.as_deref().unwrap_or_default()
        }

        fn kube_config(&self) -> Option<&KubeConfigReference> {
            self.spec.kube_config.as_ref()
        }

        fn service_account_name(&self) -> Option<&str> {
            self.spec.service_account_name.as_deref()
        }

        fn last_applied_revision(&self) -> Option<&str> {
            self.status.as_ref()?.last_applied_revision.as_deref()
        }

        fn last_attempted_revision(&self) -> Option<&str> {
            self.status.as_ref()?.last_attempted_revision.as_deref()
        }

        fn inventory(&self) -> Option<&Inventory> {
            self.status.as_ref()?.inventory.as_ref()
        }
    }
}

impl Kustomization {
    setters!(KustomizationSpec: interval, timeout, target_namespace);

    /// Sets the source: a `GitRepository`, `OCIRepository`, `Bucket` or `ExternalArtifact`.
    #[must_use]
    pub fn source(mut self, source: ObjectReference) -> Self {
        self.spec.source_ref = source;
        self
    }

    /// Sets the directory within the source.
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.spec.path = Some(path.into());
        self
    }

    /// Whether what the source no longer has is deleted.
    #[must_use]
    pub fn prune(mut self, prune: bool) -> Self {
        self.spec.prune = Some(prune);
        self
    }

    /// Whether it is ready only when all that it applied is healthy.
    #[must_use]
    pub fn wait(mut self, wait: bool) -> Self {
        self.spec.wait = Some(wait);
        self
    }

    /// Adds another one of the same namespace that must be ready first.
    #[must_use]
    pub fn depends_on(mut self, name: impl Into<String>) -> Self {
        self.spec
            .depends_on
            .get_or_insert_default()
            .push(DependencyReference {
                name: name.into(),
                ..DependencyReference::default()
            });
        self
    }

    /// Sets a variable that is substituted after the build.
    #[must_use]
    pub fn substitute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.spec
            .post_build
            .get_or_insert_default()
            .substitute
            .get_or_insert_default()
            .insert(name.into(), value.into());
        self
    }

    /// Adds an object of the same namespace that must be healthy.
    #[must_use]
    pub fn health_check(mut self, object: ObjectReference) -> Self {
        self.spec.health_checks.get_or_insert_default().push(object);
        self
    }

    /// Sets the service account in whose name it is applied.
    #[must_use]
    pub fn service_account(mut self, name: impl Into<String>) -> Self {
        self.spec.service_account_name = Some(name.into());
        self
    }
}

/// `spec` of a `Kustomization`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KustomizationSpec {
    /// Labels and annotations for all objects.
    pub common_metadata: Option<CommonMetadata>,
    /// Others that must be ready first.
    pub depends_on: Option<Vec<DependencyReference>>,
    /// How Secrets in the source are decrypted.
    pub decryption: Option<Decryption>,
    /// How often it is applied. The definition requires it.
    pub interval: Option<GoDuration>,
    /// How soon it is tried again after a failure; `interval` by default.
    pub retry_interval: Option<GoDuration>,
    /// The other cluster that it is applied to.
    pub kube_config: Option<KubeConfigReference>,
    /// The directory within the source; its root by default.
    pub path: Option<String>,
    /// What happens to what Kustomize built.
    pub post_build: Option<PostBuild>,
    /// Whether what the source no longer has is deleted. The definition requires it.
    pub prune: Option<bool>,
    /// What happens to the objects when it is deleted itself; `MirrorPrune` by default.
    pub deletion_policy: Option<DeletionPolicy>,
    /// Objects that must be healthy; none of them counts when `wait` is set.
    pub health_checks: Option<Vec<ObjectReference>>,
    /// A prefix for all names.
    pub name_prefix: Option<String>,
    /// A suffix for all names.
    pub name_suffix: Option<String>,
    /// Patches.
    pub patches: Option<Vec<Patch>>,
    /// Other names, tags or digests for images.
    pub images: Option<Vec<Image>>,
    /// The service account in whose name it is applied.
    pub service_account_name: Option<String>,
    /// The source.
    pub source_ref: ObjectReference,
    /// Whether it is left alone.
    pub suspend: Option<bool>,
    /// The namespace of all objects.
    pub target_namespace: Option<String>,
    /// How long applying and the health checks may take; by default `interval` less 30 s, and never less than 30 s.
    pub timeout: Option<GoDuration>,
    /// Whether objects are made anew where a field that cannot change has changed.
    pub force: Option<bool>,
    /// Whether all objects must be healthy.
    pub wait: Option<bool>,
    /// Components of Kustomize, by paths relative to `path`.
    pub components: Option<Vec<String>>,
    /// Whether components may be missing.
    pub ignore_missing_components: Option<bool>,
    /// The health of custom resources, by CEL expressions.
    pub health_check_exprs: Option<Vec<CustomHealthCheck>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// How Secrets in a source are decrypted.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Decryption {
    /// By what: `sops`.
    pub provider: String,
    /// The service account that reaches key services.
    pub service_account_name: Option<String>,
    /// The Secret with the keys.
    pub secret_ref: Option<LocalObjectReference>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What happens to what Kustomize built. `Debug` prints the names of variables, not their values.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PostBuild {
    /// Variables; they win over those of `substituteFrom`.
    pub substitute: Option<BTreeMap<String, String>>,
    /// ConfigMaps and Secrets with variables; later ones win.
    pub substitute_from: Option<Vec<SubstituteReference>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl fmt::Debug for PostBuild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostBuild")
            .field("substitute", &Hidden::keys(&self.substitute))
            .field("substitute_from", &self.substitute_from)
            .field("extra", &self.extra)
            .finish()
    }
}

/// A ConfigMap or Secret with variables.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubstituteReference {
    /// `Secret` or `ConfigMap`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Whether it may be missing.
    pub optional: Option<bool>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `status` of a `Kustomization`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KustomizationStatus {
    /// The last request that was taken up.
    pub last_handled_reconcile_at: Option<String>,
    /// The generation that was reconciled last; after a failure the one before stays.
    pub observed_generation: Option<i64>,
    /// Conditions.
    pub conditions: Option<Vec<Condition>>,
    /// The revision of the artifact that was applied last.
    pub last_applied_revision: Option<String>,
    /// The revision of what the artifact was made of, such as the commit of an OCI artifact.
    pub last_applied_origin_revision: Option<String>,
    /// The revision of the artifact that was tried last.
    pub last_attempted_revision: Option<String>,
    /// What was applied.
    pub inventory: Option<Inventory>,
    /// The last reconciliations, the newest first.
    pub history: Option<Vec<Snapshot>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}
