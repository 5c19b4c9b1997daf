//! What the API answers and takes besides the custom resources. Secrets are read into a type that does not show them.
//!
//! What is printed for debugging are URLs without credentials, users not at all (a user may be a token), states of resources not at all (a Secret's is one).

mod application;
mod cluster;
mod repository;

use gitops_core::SecretString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize, Serializer};

use crate::types::{AppProject, Extra};

pub use self::application::*;
pub use self::cluster::*;
pub use self::repository::*;

/// A list; `null` for none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
pub struct Items<T> {
    /// What is in it.
    #[serde(default = "nothing")]
    pub items: Option<Vec<T>>,
}

fn nothing<T>() -> Option<Vec<T>> {
    None
}

/// A thing with a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Named {
    /// The name.
    pub name: String,
}

/// For the one place where a secret is sent: the body of a request.
fn exposed<S: Serializer>(secret: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    match secret {
        Some(secret) => serializer.serialize_some(secret.expose()),
        None => serializer.serialize_none(),
    }
}

/// A project and what belongs to it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DetailedProject {
    /// The projects that it inherits from.
    pub global_projects: Option<Vec<AppProject>>,
    /// The project.
    pub project: Option<AppProject>,
    /// Its repositories.
    pub repositories: Option<Vec<Repository>>,
    /// Its clusters.
    pub clusters: Option<Vec<Cluster>>,
}

/// Whether something could be reached.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConnectionState {
    /// `Successful`, `Failed`, `Unknown`.
    pub status: String,
    /// Why, for people.
    pub message: String,
    /// When it was tried.
    pub attempted_at: Option<Time>,
}

/// The server's settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Settings {
    /// Where people reach it.
    pub url: String,
    /// The label that marks an application's resources.
    pub app_label_key: String,
    /// How resources are marked: `annotation`, `label`, `annotation+label`.
    pub tracking_method: String,
    /// The controller's namespace.
    pub controller_namespace: String,
    /// Applications outside of it.
    pub apps_in_any_namespace_enabled: bool,
    /// Terminals in pods.
    pub exec_enabled: bool,
    /// Whether nobody can log in with a password.
    pub user_logins_disabled: bool,
    /// What passwords must look like.
    pub password_pattern: String,
    /// Rendering to Git.
    pub hydrator_enabled: bool,
    /// Syncs under service accounts of their own.
    pub impersonation_enabled: bool,
    /// All the rest.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Versions of the server and its tools.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Version {
    /// Argo CD's, such as `v3.2.11+a1b2c3d`.
    pub version: String,
    /// When it was built.
    pub build_date: String,
    /// From which commit.
    pub git_commit: String,
    /// From which tag.
    pub git_tag: String,
    /// Whether it was built from exactly that.
    pub git_tree_state: String,
    /// Go's.
    pub go_version: String,
    /// Of which compiler.
    pub compiler: String,
    /// For which platform.
    pub platform: String,
    /// Kustomize's.
    pub kustomize_version: String,
    /// Helm's.
    pub helm_version: String,
    /// kubectl's.
    pub kubectl_version: String,
    /// Jsonnet's.
    pub jsonnet_version: String,
}
