//! The generator that reads a Git repository.

use std::collections::BTreeMap;
use std::fmt;

use gitops_core::error::redact_url;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::super::extra::{Extra, Hidden};
use super::template::SetTemplate;

/// `git`: parameters from a repository's directories, or from its JSON and YAML files.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GitGenerator {
    /// The repository.
    #[serde(rename = "repoURL")]
    pub repo_url: String,
    /// Each directory makes one set of parameters.
    pub directories: Option<Vec<GitDirectory>>,
    /// Each file makes one set of parameters, or several.
    pub files: Option<Vec<GitFile>>,
    /// The revision.
    pub revision: String,
    /// How often it looks; every 3 minutes by default.
    pub requeue_after_seconds: Option<i64>,
    /// Put over the set's own template.
    pub template: Option<Box<SetTemplate>>,
    /// Put before the names of the parameters about the path, and a dot.
    pub path_param_prefix: Option<String>,
    /// More parameters, under `values`.
    pub values: Option<BTreeMap<String, String>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl fmt::Debug for GitGenerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GitGenerator")
            .field("repo_url", &redact_url(&self.repo_url))
            .field("directories", &self.directories)
            .field("files", &self.files)
            .field("revision", &self.revision)
            .field("requeue_after_seconds", &self.requeue_after_seconds)
            .field("template", &self.template)
            .field("path_param_prefix", &self.path_param_prefix)
            .field("values", &Hidden::keys(&self.values))
            .field("extra", &self.extra)
            .finish()
    }
}

/// One of `directories`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GitDirectory {
    /// A glob.
    pub path: String,
    /// Leave these out; it wins over those that take them.
    pub exclude: Option<bool>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl GitDirectory {
    /// The directories that match a glob.
    pub fn new(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            ..Self::default()
        }
    }

    /// All but the directories that match a glob.
    pub fn exclude(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            exclude: Some(true),
            ..Self::default()
        }
    }
}

impl<T: Into<String>> From<T> for GitDirectory {
    fn from(path: T) -> Self {
        Self::new(path)
    }
}

/// One of `files`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GitFile {
    /// A glob.
    pub path: String,
    /// Leave these out; it wins over those that take them.
    pub exclude: Option<bool>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl GitFile {
    /// The files that match a glob.
    pub fn new(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            ..Self::default()
        }
    }

    /// All but the files that match a glob.
    pub fn exclude(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            exclude: Some(true),
            ..Self::default()
        }
    }
}

impl<T: Into<String>> From<T> for GitFile {
    fn from(path: T) -> Self {
        Self::new(path)
    }
}
