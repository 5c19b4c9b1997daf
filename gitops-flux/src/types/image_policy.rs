//! The kind `ImagePolicy`.

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::extra::Extra;
use super::resource::{at_intervals, flux_kind, handled, suspendable};
use super::{
    Condition, GoDuration, NamespacedObjectReference, ObjectReference, PolicyOrder,
    ReflectionPolicy,
};
use crate::kind::FluxKind;

flux_kind! {
    /// Which tag of an `ImageRepository` is the newest.
    ImagePolicy(ImagePolicySpec, ImagePolicyStatus) {
        handled!();
        suspendable!();
        at_intervals!();

        fn source_ref(&self) -> Option<ObjectReference> {
            let repository = &self.spec.image_repository_ref;
            Some(ObjectReference {
                kind: FluxKind::ImageRepository.kind().to_owned(),
                name: repository.name.clone(),
                namespace: repository.namespace.clone(),
                ..ObjectReference::default()
            })
        }
    }
}

/// `spec` of an `ImagePolicy`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImagePolicySpec {
    /// The `ImageRepository`.
    pub image_repository_ref: NamespacedObjectReference,
    /// How tags are ordered.
    pub policy: ImagePolicyChoice,
    /// Which tags count, and by which part of them.
    pub filter_tags: Option<TagFilter>,
    /// When the digest is looked up; `Never` by default.
    pub digest_reflection_policy: Option<ReflectionPolicy>,
    /// How often the digest is looked up (`Always` only).
    pub interval: Option<GoDuration>,
    /// Whether it is left alone.
    pub suspend: Option<bool>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// How tags are ordered: exactly one of the three.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImagePolicyChoice {
    /// As versions.
    pub semver: Option<SemverPolicy>,
    /// By the alphabet.
    pub alphabetical: Option<OrderPolicy>,
    /// As numbers.
    pub numerical: Option<OrderPolicy>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Tags as versions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SemverPolicy {
    /// The semver range that they must be in.
    pub range: String,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Tags by the alphabet, or as numbers.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OrderPolicy {
    /// Which end is the newest; the last by default.
    pub order: Option<PolicyOrder>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Which tags count.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TagFilter {
    /// A regular expression that they must match.
    pub pattern: Option<String>,
    /// What of the match is ordered, such as `$timestamp`.
    pub extract: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// An image with its tag.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageRef {
    /// The image.
    pub name: String,
    /// The tag.
    pub tag: String,
    /// The digest, where it was looked up.
    pub digest: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `status` of an `ImagePolicy`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImagePolicyStatus {
    /// The newest.
    pub latest_ref: Option<ImageRef>,
    /// The newest before.
    pub observed_previous_ref: Option<ImageRef>,
    /// The generation that was reconciled last.
    pub observed_generation: Option<i64>,
    /// Conditions.
    pub conditions: Option<Vec<Condition>>,
    /// The last request that was taken up.
    pub last_handled_reconcile_at: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}
