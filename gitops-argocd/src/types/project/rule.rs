//! What a project allows, when, and as whom.

use std::fmt;

use gitops_core::error::redact_url;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::super::extra::Extra;

/// A kind, whatever its version.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupKind {
    /// The API group: a glob; empty for the core group.
    pub group: String,
    /// The kind: a glob.
    pub kind: String,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl GroupKind {
    /// A kind, whatever its version.
    pub fn new(group: impl Into<String>, kind: impl Into<String>) -> Self {
        Self {
            group: group.into(),
            kind: kind.into(),
            extra: Extra::default(),
        }
    }
}

/// `orphanedResources`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OrphanedResources {
    /// Whether they make a condition.
    pub warn: Option<bool>,
    /// Those that do not count.
    pub ignore: Option<Vec<OrphanedResourceKey>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// One of `ignore`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OrphanedResourceKey {
    /// The API group: a glob.
    pub group: Option<String>,
    /// The kind: a glob.
    pub kind: Option<String>,
    /// The name: a glob.
    pub name: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// One of `syncWindows`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SyncWindow {
    /// `allow`, or `deny`.
    pub kind: Option<String>,
    /// When it opens, as cron writes it.
    pub schedule: Option<String>,
    /// How long it is open, as Go writes it (`1h30m`).
    pub duration: Option<String>,
    /// The applications, by name: globs.
    pub applications: Option<Vec<String>>,
    /// The applications, by their destination's namespace: globs.
    pub namespaces: Option<Vec<String>>,
    /// The applications, by their cluster's name or URL: globs.
    pub clusters: Option<Vec<String>>,
    /// Syncs that a person asks for are allowed all the same.
    pub manual_sync: Option<bool>,
    /// The time zone of the schedule; UTC by default.
    pub time_zone: Option<String>,
    /// Applications, namespaces and clusters must all fit; one is enough by default.
    pub and_operator: Option<bool>,
    /// A description for people.
    pub description: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl SyncWindow {
    /// Applications may be synced only in it. Says nothing yet about which applications.
    pub fn allow(schedule: impl Into<String>, duration: impl Into<String>) -> Self {
        Self {
            kind: Some("allow".to_owned()),
            schedule: Some(schedule.into()),
            duration: Some(duration.into()),
            ..Self::default()
        }
    }

    /// Applications must not be synced in it. Says nothing yet about which applications.
    pub fn deny(schedule: impl Into<String>, duration: impl Into<String>) -> Self {
        Self {
            kind: Some("deny".to_owned()),
            ..Self::allow(schedule, duration)
        }
    }

    /// Adds applications, by name.
    #[must_use]
    pub fn application(mut self, name: impl Into<String>) -> Self {
        self.applications.get_or_insert_default().push(name.into());
        self
    }
}

/// One of `signatureKeys`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SignatureKey {
    /// The key's number, in hexadecimal digits.
    #[serde(rename = "keyID")]
    pub key_id: String,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// One of `destinationServiceAccounts`.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DestinationServiceAccount {
    /// The API server's URL: a glob.
    pub server: String,
    /// The namespace: a glob.
    pub namespace: Option<String>,
    /// The service account; with its namespace and `:` before it where that is another.
    pub default_service_account: String,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl fmt::Debug for DestinationServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DestinationServiceAccount")
            .field("server", &redact_url(&self.server))
            .field("namespace", &self.namespace)
            .field("default_service_account", &self.default_service_account)
            .field("extra", &self.extra)
            .finish()
    }
}
