//! Flux's custom resources, written by hand after the API modules of Flux 2.7.
//!
//! | group | kinds |
//! | --- | --- |
//! | `source.toolkit.fluxcd.io/v1` | [`GitRepository`], [`OCIRepository`], [`Bucket`], [`HelmRepository`], [`HelmChart`], [`ExternalArtifact`] |
//! | `kustomize.toolkit.fluxcd.io/v1` | [`Kustomization`] |
//! | `helm.toolkit.fluxcd.io/v2` | [`HelmRelease`] |
//! | `notification.toolkit.fluxcd.io` | [`Alert`], [`Provider`] (`v1beta3`), [`Receiver`] (`v1`) |
//! | `image.toolkit.fluxcd.io/v1` | [`ImageRepository`], [`ImagePolicy`], [`ImageUpdateAutomation`] |
//!
//! What a newer server sends and these types do not know is kept in `extra` and written back; words that they do not know are `Other`. Optional fields are `Option`s, as in
//! `k8s-openapi`: what was not there is not written, and what was there is, be it empty. `Debug` prints no values that may be secret: credentials in URLs, Helm's values,
//! variables, patches, addresses of notifications.
//!
//! The notification and image controllers cannot be built for this project's tests: their kinds are tested as resources only.

mod alert;
mod bucket;
mod duration;
mod external_artifact;
mod git_repository;
mod helm_chart;
mod helm_release;
mod helm_repository;
mod image_policy;
mod image_repository;
mod image_update;
mod inventory;
mod kustomization;
pub mod lean;
mod list;
pub(crate) mod meta;
mod oci_repository;
mod patch;
mod provider;
mod receiver;
pub(crate) mod resource;
pub mod upgrade;
mod values;

use gitops_core::extra;
pub use gitops_core::extra::Extra;

pub use self::alert::{Alert, AlertSpec};
pub use self::bucket::{Bucket, BucketSpec, BucketStatus, BucketStsSpec};
pub use self::duration::GoDuration;
pub use self::external_artifact::{ExternalArtifact, ExternalArtifactSpec, ExternalArtifactStatus};
pub use self::git_repository::{
    GitRepository, GitRepositoryInclude, GitRepositoryRef, GitRepositorySpec, GitRepositoryStatus,
    GitRepositoryVerification,
};
pub use self::helm_chart::{HelmChart, HelmChartSpec, HelmChartStatus};
pub use self::helm_release::{
    DriftDetection, Filter, HelmChartTemplate, HelmChartTemplateMetadata, HelmChartTemplateSpec,
    HelmChartTemplateVerification, HelmRelease, HelmReleaseSpec, HelmReleaseStatus, IgnoreRule,
    Install, InstallRemediation, PostRenderKustomize, PostRenderer, ReleaseSnapshot, Rollback,
    Strategy, Test, TestHookStatus, Uninstall, Upgrade, UpgradeRemediation, ValuesReference,
};
pub use self::helm_repository::{HelmRepository, HelmRepositorySpec, HelmRepositoryStatus};
pub use self::image_policy::{
    ImagePolicy, ImagePolicyChoice, ImagePolicySpec, ImagePolicyStatus, ImageRef, OrderPolicy,
    SemverPolicy, TagFilter,
};
pub use self::image_repository::{
    ImageRepository, ImageRepositorySpec, ImageRepositoryStatus, ScanResult,
};
pub use self::image_update::{
    CommitSpec, CommitUser, GitCheckoutSpec, GitSpec, ImageUpdateAutomation,
    ImageUpdateAutomationSpec, ImageUpdateAutomationStatus, PushSpec, SigningKey, UpdateStrategy,
};
pub use self::inventory::{Inventory, InventoryEntry};
pub use self::kustomization::{
    Decryption, Kustomization, KustomizationSpec, KustomizationStatus, PostBuild,
    SubstituteReference,
};
pub use self::list::{List, Unreadable, read_list};
pub use self::meta::{
    AccessFrom, Artifact, CommonMetadata, Condition, CrossNamespaceObjectReference,
    DependencyReference, KubeConfigReference, LocalObjectReference, LocalSourceReference,
    NamespaceSelector, NamespacedObjectReference, ObjectReference, SecretKeyReference, Snapshot,
    time, timestamp,
};
pub use self::oci_repository::{
    OCIRepository, OciLayerSelector, OciRepositoryRef, OciRepositorySpec, OciRepositoryStatus,
    OciRepositoryVerification, OidcIdentityMatch,
};
pub use self::patch::{CustomHealthCheck, Image, Patch, Selector};
pub use self::provider::{Provider, ProviderSpec};
pub use self::receiver::{Receiver, ReceiverSpec, ReceiverStatus};
pub use self::values::service::{ProviderType, ReceiverType};
pub use self::values::{
    ActionStrategy, AuthProvider, CrdsPolicy, DeletionPolicy, DeletionPropagation,
    DriftDetectionMode, EventSeverity, GitVerificationMode, HelmRepositoryType, LayerOperation,
    PolicyOrder, ReconcileStrategy, ReflectionPolicy, ReleaseAction, RemediationStrategy,
    StsProvider, UpdateStrategyName, VerificationProvider,
};

/// Types of conditions.
pub mod condition {
    /// Whether the object is as asked for.
    pub const READY: &str = "Ready";
    /// Whether its controller is at work on it.
    pub const RECONCILING: &str = "Reconciling";
    /// Whether it cannot go on until somebody changes something.
    pub const STALLED: &str = "Stalled";
    /// Whether what was applied is healthy (`Kustomization`).
    pub const HEALTHY: &str = "Healthy";
    /// Whether the artifact is stored (sources).
    pub const ARTIFACT_IN_STORAGE: &str = "ArtifactInStorage";
    /// Whether there is something newer than the artifact (sources).
    pub const ARTIFACT_OUTDATED: &str = "ArtifactOutdated";
    /// Whether the signature is right (sources).
    pub const SOURCE_VERIFIED: &str = "SourceVerified";
    /// Whether fetching failed (sources).
    pub const FETCH_FAILED: &str = "FetchFailed";
    /// Whether packing failed (sources).
    pub const BUILD_FAILED: &str = "BuildFailed";
    /// Whether storing failed (sources).
    pub const STORAGE_OPERATION_FAILED: &str = "StorageOperationFailed";
    /// Whether an included repository is missing (`GitRepository`).
    pub const INCLUDE_UNAVAILABLE: &str = "IncludeUnavailable";
    /// How the last install, upgrade or test went (`HelmRelease`).
    pub const RELEASED: &str = "Released";
    /// How the last test went (`HelmRelease`).
    pub const TEST_SUCCESS: &str = "TestSuccess";
    /// How the last remedy went (`HelmRelease`).
    pub const REMEDIATED: &str = "Remediated";
}

/// Annotations, labels and finalizers.
pub mod annotation {
    /// A request to reconcile: any text that was not there before.
    pub const RECONCILE: &str = "reconcile.fluxcd.io/requestedAt";
    /// A request to release in any case; its value must be that of [`RECONCILE`] (`HelmRelease`).
    pub const FORCE: &str = "reconcile.fluxcd.io/forceAt";
    /// A request to forget failures; its value must be that of [`RECONCILE`] (`HelmRelease`).
    pub const RESET: &str = "reconcile.fluxcd.io/resetAt";
    /// A label of ConfigMaps and Secrets whose changes reconcile what uses them: `Enabled`.
    pub const WATCH: &str = "reconcile.fluxcd.io/watch";
    /// How an object is applied: `Override`, `Merge`, `IfNotPresent`, `Ignore`.
    pub const SSA: &str = "kustomize.toolkit.fluxcd.io/ssa";
    /// `Enabled`: the object is made anew where a field that cannot change has changed.
    pub const KUSTOMIZE_FORCE: &str = "kustomize.toolkit.fluxcd.io/force";
    /// `Disabled`: the object is never deleted.
    pub const PRUNE: &str = "kustomize.toolkit.fluxcd.io/prune";
    /// `disabled`: the object is not applied.
    pub const KUSTOMIZE_RECONCILE: &str = "kustomize.toolkit.fluxcd.io/reconcile";
    /// `disabled`: no variables are substituted in the object.
    pub const SUBSTITUTE: &str = "kustomize.toolkit.fluxcd.io/substitute";
    /// `disabled`: differences of the object do not count (`HelmRelease`).
    pub const DRIFT_DETECTION: &str = "helm.toolkit.fluxcd.io/driftDetection";
    /// A label: the `Kustomization` that applied an object.
    pub const KUSTOMIZATION_NAME: &str = "kustomize.toolkit.fluxcd.io/name";
    /// A label: the namespace of that `Kustomization`.
    pub const KUSTOMIZATION_NAMESPACE: &str = "kustomize.toolkit.fluxcd.io/namespace";
    /// A label: the `HelmRelease` that applied an object.
    pub const HELM_RELEASE_NAME: &str = "helm.toolkit.fluxcd.io/name";
    /// A label: the namespace of that `HelmRelease`.
    pub const HELM_RELEASE_NAMESPACE: &str = "helm.toolkit.fluxcd.io/namespace";
    /// A label: which of several controllers acts on an object.
    pub const SHARD: &str = "sharding.fluxcd.io/key";
    /// The finalizer of Flux's controllers.
    pub const FINALIZER: &str = "finalizers.fluxcd.io";
}
