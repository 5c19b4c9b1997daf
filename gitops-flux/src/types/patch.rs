//! What Kustomize is told.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::extra::Extra;

/// Another name, tag or digest for an image.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Image {
    /// The image's name, without a tag, as manifests have it.
    pub name: String,
    /// The name instead.
    pub new_name: Option<String>,
    /// The tag instead.
    pub new_tag: Option<String>,
    /// The digest instead; it wins over the tag.
    pub digest: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A patch: strategic merge or JSON 6902, as YAML.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Patch {
    /// The patch itself.
    pub patch: String,
    /// What it applies to; a strategic merge patch may name it itself.
    pub target: Option<Selector>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl fmt::Debug for Patch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patch")
            .field("target", &self.target)
            .field("extra", &self.extra)
            .finish_non_exhaustive()
    }
}

/// Objects by what they are; all that is given must fit. Names are regular expressions.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Selector {
    /// The API group.
    pub group: Option<String>,
    /// The API version.
    pub version: Option<String>,
    /// The kind.
    pub kind: Option<String>,
    /// The namespace.
    pub namespace: Option<String>,
    /// The name.
    pub name: Option<String>,
    /// A selector of annotations.
    pub annotation_selector: Option<String>,
    /// A selector of labels.
    pub label_selector: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The health of objects of one kind, by CEL expressions over the object.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CustomHealthCheck {
    /// Group and version.
    pub api_version: String,
    /// The kind.
    pub kind: String,
    /// True when it is as it should be.
    pub current: String,
    /// True while it is on its way.
    pub in_progress: Option<String>,
    /// True when it failed.
    pub failed: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}
