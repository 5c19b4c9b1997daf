//! The kind `ExternalArtifact`.

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::extra::Extra;
use super::resource::{flux_kind, offers_artifact};
use super::{Artifact, Condition, ObjectReference};

flux_kind! {
    /// An artifact that somebody else makes, for a `Kustomization` or `HelmRelease` to apply.
    ExternalArtifact(ExternalArtifactSpec, ExternalArtifactStatus) {
        offers_artifact!();

        fn source_ref(&self) -> Option<ObjectReference> {
            self.spec.source_ref.clone()
        }
    }
}

/// `spec` of an `ExternalArtifact`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExternalArtifactSpec {
    /// The resource that it is made for.
    pub source_ref: Option<ObjectReference>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `status` of an `ExternalArtifact`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExternalArtifactStatus {
    /// What it offers.
    pub artifact: Option<Artifact>,
    /// Conditions.
    pub conditions: Option<Vec<Condition>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}
