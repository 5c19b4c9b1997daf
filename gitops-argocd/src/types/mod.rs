//! Argo CD's custom resources, written by hand after `pkg/apis/application/v1alpha1` of argo-cd 3.2.
//!
//! | kind | type |
//! | --- | --- |
//! | `Application` | [`Application`] |
//! | `AppProject` | [`AppProject`] |
//! | `ApplicationSet` | [`ApplicationSet`] |
//!
//! What a newer server sends and these types do not know is kept in `extra` and written back. Optional fields are `Option`s, as in `k8s-openapi`: what was not
//! there is not written, and what was there is, be it empty. `Debug` prints no values that may be secret: Helm's values and parameters, plugins' environments, patches.

mod application;
pub mod convert;
mod extra;
#[cfg(feature = "kube")]
mod kube;
pub mod lean;
mod operation;
mod options;
mod policy;
mod project;
pub mod set;
mod source;
mod status;

pub use self::application::{
    Application, ApplicationList, ApplicationSpec, Destination, DrySource, HydrateTo, Info,
    ResourceIgnoreDifferences, SourceHydrator, SyncSource,
};
pub(crate) use self::convert::backoff_from_core;
pub use self::extra::Extra;
pub use self::operation::{
    Operation, OperationInitiator, OperationState, ResourceResult, SyncOperation,
    SyncOperationResource, SyncOperationResult, SyncStrategy, SyncStrategyApply, SyncStrategyHook,
};
pub use self::options::{
    CompareOption, DeletionApproval, HookDeletePolicy, HookType, Removal, ResourceAnnotations,
    SyncOption, annotation, finalizer,
};
pub use self::policy::{
    Backoff, ManagedNamespaceMetadata, RetryStrategy, SyncPolicy, SyncPolicyAutomated,
};
pub use self::project::{
    AppProject, AppProjectList, AppProjectSpec, AppProjectStatus, DestinationServiceAccount,
    GroupKind, JwtToken, JwtTokens, OrphanedResourceKey, OrphanedResources, ProjectRole,
    SignatureKey, SyncWindow,
};
pub use self::set::ApplicationSet;
pub use self::source::{
    EnvEntry, HelmFileParameter, HelmParameter, JsonnetVar, KustomizePatch, KustomizeReplica,
    KustomizeSelector, PluginParameter, Source, SourceDirectory, SourceHelm, SourceJsonnet,
    SourceKustomize, SourcePlugin,
};
pub use self::status::{
    ApplicationCondition, ApplicationStatus, ApplicationSummary, ComparedTo, HealthStatus,
    HydrateOperation, ResourceStatus, RevisionHistory, SourceHydratorStatus,
    SuccessfulHydrateOperation, SyncStatus,
};

/// The group of Argo CD's resources.
pub const GROUP: &str = "argoproj.io";
/// Their version.
pub const VERSION: &str = "v1alpha1";

pub(crate) fn api_version() -> String {
    format!("{GROUP}/{VERSION}")
}
