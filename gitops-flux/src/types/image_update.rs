//! The kind `ImageUpdateAutomation`.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::extra::{Extra, Hidden};
use super::resource::{at_intervals, flux_kind, handled, suspendable};
use super::{
    Condition, GitRepositoryRef, GoDuration, ImageRef, LocalObjectReference, ObjectReference,
    UpdateStrategyName,
};

flux_kind! {
    /// The newest images of policies, written to a Git repository.
    ImageUpdateAutomation(ImageUpdateAutomationSpec, ImageUpdateAutomationStatus) {
        handled!();
        suspendable!();
        at_intervals!();

        fn source_ref(&self) -> Option<ObjectReference> {
            Some(self.spec.source_ref.clone())
        }
    }
}

/// `spec` of an `ImageUpdateAutomation`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageUpdateAutomationSpec {
    /// The `GitRepository`.
    pub source_ref: ObjectReference,
    /// How it is checked out, committed and pushed.
    pub git: Option<GitSpec>,
    /// How often it runs. The definition requires it.
    pub interval: Option<GoDuration>,
    /// Which policies count; all of the namespace by default.
    pub policy_selector: Option<LabelSelector>,
    /// How it finds what to write.
    pub update: Option<UpdateStrategy>,
    /// Whether it is left alone.
    pub suspend: Option<bool>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// How a repository is checked out, committed and pushed.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GitSpec {
    /// What is checked out; as the `GitRepository` says by default.
    pub checkout: Option<GitCheckoutSpec>,
    /// How it is committed.
    pub commit: CommitSpec,
    /// Where it is pushed; back to the branch that was checked out by default.
    pub push: Option<PushSpec>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What is checked out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GitCheckoutSpec {
    /// The branch, tag or commit.
    #[serde(rename = "ref")]
    pub git_ref: GitRepositoryRef,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// How it is committed.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CommitSpec {
    /// Who.
    pub author: CommitUser,
    /// With which key it is signed.
    pub signing_key: Option<SigningKey>,
    /// The message, as a template of Go.
    pub message_template: Option<String>,
    /// More values for the message.
    pub message_template_values: Option<BTreeMap<String, String>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// An author.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CommitUser {
    /// The name.
    pub name: Option<String>,
    /// The address.
    pub email: String,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A key for signatures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SigningKey {
    /// The Secret with the key pair, under `git.asc`.
    pub secret_ref: LocalObjectReference,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Where it is pushed. `Debug` prints the names of options, not their values.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PushSpec {
    /// The branch; it is made when it is not there.
    pub branch: Option<String>,
    /// A refspec, which is pushed too.
    pub refspec: Option<String>,
    /// Options for the server.
    pub options: Option<BTreeMap<String, String>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl fmt::Debug for PushSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushSpec")
            .field("branch", &self.branch)
            .field("refspec", &self.refspec)
            .field("options", &Hidden::keys(&self.options))
            .field("extra", &self.extra)
            .finish()
    }
}

/// How it finds what to write.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UpdateStrategy {
    /// By what.
    pub strategy: Option<UpdateStrategyName>,
    /// The directory within the repository; its root by default.
    pub path: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `status` of an `ImageUpdateAutomation`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageUpdateAutomationStatus {
    /// When it ran to its end last.
    pub last_automation_run_time: Option<Time>,
    /// The commit that was pushed last.
    pub last_push_commit: Option<String>,
    /// When that was.
    pub last_push_time: Option<Time>,
    /// The generation that was reconciled last.
    pub observed_generation: Option<i64>,
    /// Conditions.
    pub conditions: Option<Vec<Condition>>,
    /// The policies that counted, with their newest images.
    pub observed_policies: Option<BTreeMap<String, ImageRef>>,
    /// The revision of the source that it ran on.
    pub observed_source_revision: Option<String>,
    /// The last request that was taken up.
    pub last_handled_reconcile_at: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}
