//! What is to be deployed: [`Application`], and what became of it: [`ApplicationStatus`].
//!
//! The model is a superset of Argo CD's `Application` (argo-cd 3.2, `pkg/apis/application/v1alpha1/types.go`): whatever
//! that holds has its place here, so that a conversion drops nothing.

mod debug;
mod destination;
mod policy;
mod source;
mod status;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::destination::{ClusterRef, Destination};
pub use self::policy::{
    Automated, Backoff, IgnoreDifference, ManagedNamespaceMetadata, Retry, SyncPolicy,
};
pub use self::source::{
    Directory, EnvVar, Helm, HelmFileParameter, HelmParameter, Hydrate, Jsonnet, JsonnetVar,
    Kustomize, KustomizeReplica, Plugin, PluginParameter, Render, Source, SourceKind,
};
pub use self::status::{
    ApplicationStatus, Condition, Health, HealthStatus, HistoryEntry, OperationPhase,
    OperationStatus, ResourceStatus, SyncStatus,
};

/// Names an application: its name, and the namespace that it is kept in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AppRef {
    /// The namespace of the application's own record (not of what it deploys); empty means the backend's default.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl AppRef {
    /// An application in the backend's default namespace.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            namespace: String::new(),
            name: name.into(),
        }
    }

    /// An application in `namespace`.
    pub fn namespaced(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for AppRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.name)
    }
}

impl From<&str> for AppRef {
    /// `namespace/name`, or a name alone.
    fn from(text: &str) -> Self {
        match text.split_once('/') {
            Some((namespace, name)) => Self::namespaced(namespace, name),
            None => Self::new(text),
        }
    }
}

/// A name and a value, shown to people (`spec.info` of Argo CD).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
}

/// An application: from where, to where, and how.
///
/// ```
/// use gitops_core::application::{Application, Automated, Source};
///
/// let app = Application::new("shop")
///     .source(Source::git("https://example.com/org/repo").path("deploy/prod").revision("main"))
///     .in_namespace("shop")
///     .automated(Automated::default().prune(true).self_heal(true));
/// assert_eq!(app.sources[0].path.as_deref(), Some("deploy/prod"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Application {
    /// The name, unique in its namespace.
    pub name: String,
    /// The namespace of the record itself; empty means the backend's default.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The project that it belongs to; empty means `default`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub project: String,
    /// Labels of the record.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the record.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Finalizers of the record (`resources-finalizer.argocd.argoproj.io` asks for a cascading delete).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub finalizers: Vec<String>,
    /// Where the manifests come from, in order; what a later source says of one object wins.
    #[serde(default)]
    pub sources: Vec<Source>,
    /// A source whose rendered manifests are committed to Git before they are synced (Argo CD's `sourceHydrator`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hydrate: Option<Hydrate>,
    /// Where they go.
    #[serde(default)]
    pub destination: Destination,
    /// When and how they are synced.
    #[serde(default)]
    pub sync_policy: SyncPolicy,
    /// How many syncs the history keeps; `None` means 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision_history_limit: Option<u32>,
    /// Differences that do not count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore_differences: Vec<IgnoreDifference>,
    /// Notes for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub info: Vec<Info>,
    /// Nothing is synced while it is suspended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspended: bool,
}

impl Application {
    /// An application with no source yet, for the cluster that the caller runs against.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    /// How others name it.
    pub fn app_ref(&self) -> AppRef {
        AppRef::namespaced(&*self.namespace, &*self.name)
    }

    /// Adds a source.
    #[must_use]
    pub fn source(mut self, source: Source) -> Self {
        self.sources.push(source);
        self
    }

    /// Sets the destination.
    #[must_use]
    pub fn destination(mut self, destination: Destination) -> Self {
        self.destination = destination;
        self
    }

    /// Sets the destination's namespace.
    #[must_use]
    pub fn in_namespace(mut self, namespace: impl Into<String>) -> Self {
        self.destination.namespace = namespace.into();
        self
    }

    /// Turns automated sync on.
    #[must_use]
    pub fn automated(mut self, automated: Automated) -> Self {
        self.sync_policy.automated = Some(automated);
        self
    }

    /// Adds a sync option, such as `CreateNamespace=true`.
    #[must_use]
    pub fn sync_option(mut self, option: impl Into<String>) -> Self {
        self.sync_policy.options.push(option.into());
        self
    }

    /// How many syncs the history keeps.
    pub fn history_limit(&self) -> usize {
        self.revision_history_limit.unwrap_or(10) as usize
    }
}
