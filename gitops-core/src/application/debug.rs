//! What `Debug` prints of an application: URLs without credentials, and of values that may be secrets only their names.

use std::fmt;

use super::destination::ClusterRef;
use super::source::{
    EnvVar, Helm, HelmFileParameter, HelmParameter, JsonnetVar, Kustomize, PluginParameter, Source,
};
use crate::error::redact_url;

/// Files and components may be named by URLs.
fn redacted(places: &[String]) -> Vec<String> {
    places.iter().map(|place| redact_url(place)).collect()
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("repo_url", &redact_url(&self.repo_url))
            .field("kind", &self.kind)
            .field("target_revision", &self.target_revision)
            .field("path", &self.path)
            .field("chart", &self.chart)
            .field("ref_name", &self.ref_name)
            .field("name", &self.name)
            .field("render", &self.render)
            .finish()
    }
}

impl fmt::Debug for ClusterRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InCluster => f.write_str("InCluster"),
            Self::Server(url) => f.debug_tuple("Server").field(&redact_url(url)).finish(),
            Self::Name(name) => f.debug_tuple("Name").field(name).finish(),
        }
    }
}

impl fmt::Debug for JsonnetVar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonnetVar")
            .field("name", &self.name)
            .field("code", &self.code)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Kustomize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kustomize")
            .field("name_prefix", &self.name_prefix)
            .field("name_suffix", &self.name_suffix)
            .field("images", &self.images)
            .field("common_labels", &self.common_labels)
            .field("common_annotations", &self.common_annotations.keys())
            .field("namespace", &self.namespace)
            .field("replicas", &self.replicas)
            // A patch of a Secret holds what the Secret holds.
            .field("patches", &self.patches.len())
            .field("components", &redacted(&self.components))
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Helm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Helm")
            .field("release_name", &self.release_name)
            .field("version", &self.version)
            .field("namespace", &self.namespace)
            .field("value_files", &redacted(&self.value_files))
            .field(
                "has_values",
                &(!self.values.is_empty() || self.values_object.is_some()),
            )
            .field("parameters", &self.parameters)
            .field("file_parameters", &self.file_parameters)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for HelmParameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HelmParameter")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for HelmFileParameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HelmFileParameter")
            .field("name", &self.name)
            .field("path", &redact_url(&self.path))
            .finish()
    }
}

impl fmt::Debug for EnvVar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnvVar")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for PluginParameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginParameter")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
