//! What a text asks for: sync and compare options, hooks, approvals. What is not known here is kept as it came.

pub mod annotation;
pub mod finalizer;
mod resource;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use gitops_core::backend::Propagation;
use gitops_core::error::{Error, Result};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use self::resource::ResourceAnnotations;

/// One option of a sync: of an application (`spec.syncPolicy.syncOptions`), or of a resource (annotation [`annotation::SYNC_OPTIONS`]).
///
/// Argo CD compares the whole text: `createNamespace=true` and `CreateNamespace=yes` are options it does not know, and are [`Other`](Self::Other) here.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SyncOption {
    /// Make the destination's namespace. Of an application.
    CreateNamespace(bool),
    /// Let the API server check manifests, as by default.
    Validate(bool),
    /// Do not dry-run what has a kind the cluster does not know.
    SkipDryRunOnMissingResource(bool),
    /// Whether it may be pruned. Of a resource.
    Prune(Removal),
    /// Whether it is deleted with its application. Of a resource.
    Delete(Removal),
    /// Prune after everything else.
    PruneLast(bool),
    /// How pruning treats what depends on the pruned. Of an application.
    PrunePropagationPolicy(Propagation),
    /// Apply only what differs. Of an application.
    ApplyOutOfSyncOnly(bool),
    /// Replace or create, instead of patching.
    Replace(bool),
    /// Delete and make anew what cannot be patched. Of a resource.
    Force(bool),
    /// Apply on the server.
    ServerSideApply(bool),
    /// Before the first apply on the server, take over the fields that were applied by a client; as by default. The controller of 3.2 does not read
    /// `DisableClientSideApplyMigration=true`, which its documentation has instead.
    ClientSideApplyMigration(bool),
    /// Fail when a resource belongs to another application. Of an application.
    FailOnSharedResource(bool),
    /// Leave what `ignoreDifferences` names as it is. Of an application.
    RespectIgnoreDifferences(bool),
    /// What is not known here.
    Other(String),
}

/// Whether something may be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Removal {
    /// `true`, as by default.
    Allowed,
    /// `false`.
    Never,
    /// `confirm`: once somebody has approved ([`DeletionApproval`]).
    Confirm,
}

/// One option of a comparison, in the annotation [`annotation::COMPARE_OPTIONS`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CompareOption {
    /// That Git does not name it does not make the application out of sync. Of a resource.
    IgnoreExtraneous,
    /// Compare with a dry-run of an apply on the server. Of an application.
    ServerSideDiff(bool),
    /// Count what webhooks change, too. Of an application.
    IncludeMutationWebhook(bool),
    /// What is not known here.
    Other(String),
}

/// When a hook runs, in the annotation [`annotation::HOOK`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HookType {
    /// Before anything is applied.
    PreSync,
    /// With the manifests.
    Sync,
    /// After everything is applied and healthy.
    PostSync,
    /// After the sync failed.
    SyncFail,
    /// After the application's resources are deleted.
    PostDelete,
    /// Never: the resource is left out.
    Skip,
    /// What is not known here. Argo CD takes the resource for a hook that never runs.
    Other(String),
}

/// When a hook is deleted, in the annotation [`annotation::HOOK_DELETE_POLICY`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HookDeletePolicy {
    /// After it went well.
    HookSucceeded,
    /// After it failed.
    HookFailed,
    /// Before it is made again; as by default.
    BeforeHookCreation,
    /// What is not known here.
    Other(String),
}

fn switch(text: &str) -> Option<bool> {
    match text {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

impl Removal {
    fn read(text: &str) -> Option<Self> {
        match text {
            "true" => Some(Self::Allowed),
            "false" => Some(Self::Never),
            "confirm" => Some(Self::Confirm),
            _ => None,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Allowed => "true",
            Self::Never => "false",
            Self::Confirm => "confirm",
        }
    }
}

impl SyncOption {
    fn known(text: &str) -> Option<Self> {
        let (name, value) = text.split_once('=')?;
        Some(match name {
            "CreateNamespace" => Self::CreateNamespace(switch(value)?),
            "Validate" => Self::Validate(switch(value)?),
            "SkipDryRunOnMissingResource" => Self::SkipDryRunOnMissingResource(switch(value)?),
            "Prune" => Self::Prune(Removal::read(value)?),
            "Delete" => Self::Delete(Removal::read(value)?),
            "PruneLast" => Self::PruneLast(switch(value)?),
            "PrunePropagationPolicy" => Self::PrunePropagationPolicy(match value {
                "foreground" => Propagation::Foreground,
                "background" => Propagation::Background,
                "orphan" => Propagation::Orphan,
                _ => return None,
            }),
            "ApplyOutOfSyncOnly" => Self::ApplyOutOfSyncOnly(switch(value)?),
            "Replace" => Self::Replace(switch(value)?),
            "Force" => Self::Force(switch(value)?),
            "ServerSideApply" => Self::ServerSideApply(switch(value)?),
            "ClientSideApplyMigration" => Self::ClientSideApplyMigration(switch(value)?),
            "FailOnSharedResource" => Self::FailOnSharedResource(switch(value)?),
            "RespectIgnoreDifferences" => Self::RespectIgnoreDifferences(switch(value)?),
            _ => return None,
        })
    }

    fn read(text: &str) -> Self {
        Self::known(text).unwrap_or_else(|| Self::Other(text.to_owned()))
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateNamespace(on) => write!(f, "CreateNamespace={on}"),
            Self::Validate(on) => write!(f, "Validate={on}"),
            Self::SkipDryRunOnMissingResource(on) => write!(f, "SkipDryRunOnMissingResource={on}"),
            Self::Prune(removal) => write!(f, "Prune={}", removal.text()),
            Self::Delete(removal) => write!(f, "Delete={}", removal.text()),
            Self::PruneLast(on) => write!(f, "PruneLast={on}"),
            Self::PrunePropagationPolicy(policy) => {
                let policy = match policy {
                    Propagation::Foreground => "foreground",
                    Propagation::Background => "background",
                    Propagation::Orphan => "orphan",
                };
                write!(f, "PrunePropagationPolicy={policy}")
            }
            Self::ApplyOutOfSyncOnly(on) => write!(f, "ApplyOutOfSyncOnly={on}"),
            Self::Replace(on) => write!(f, "Replace={on}"),
            Self::Force(on) => write!(f, "Force={on}"),
            Self::ServerSideApply(on) => write!(f, "ServerSideApply={on}"),
            Self::ClientSideApplyMigration(on) => write!(f, "ClientSideApplyMigration={on}"),
            Self::FailOnSharedResource(on) => write!(f, "FailOnSharedResource={on}"),
            Self::RespectIgnoreDifferences(on) => write!(f, "RespectIgnoreDifferences={on}"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl CompareOption {
    fn read(text: &str) -> Self {
        let known = match text.split_once('=') {
            None if text == "IgnoreExtraneous" => Some(Self::IgnoreExtraneous),
            Some(("ServerSideDiff", value)) => switch(value).map(Self::ServerSideDiff),
            Some(("IncludeMutationWebhook", value)) => {
                switch(value).map(Self::IncludeMutationWebhook)
            }
            _ => None,
        };
        known.unwrap_or_else(|| Self::Other(text.to_owned()))
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IgnoreExtraneous => f.write_str("IgnoreExtraneous"),
            Self::ServerSideDiff(on) => write!(f, "ServerSideDiff={on}"),
            Self::IncludeMutationWebhook(on) => write!(f, "IncludeMutationWebhook={on}"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl HookType {
    fn read(text: &str) -> Self {
        match text {
            "PreSync" => Self::PreSync,
            "Sync" => Self::Sync,
            "PostSync" => Self::PostSync,
            "SyncFail" => Self::SyncFail,
            "PostDelete" => Self::PostDelete,
            "Skip" => Self::Skip,
            other => Self::Other(other.to_owned()),
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PreSync => "PreSync",
            Self::Sync => "Sync",
            Self::PostSync => "PostSync",
            Self::SyncFail => "SyncFail",
            Self::PostDelete => "PostDelete",
            Self::Skip => "Skip",
            Self::Other(text) => text,
        })
    }
}

impl HookDeletePolicy {
    fn read(text: &str) -> Self {
        match text {
            "HookSucceeded" => Self::HookSucceeded,
            "HookFailed" => Self::HookFailed,
            "BeforeHookCreation" => Self::BeforeHookCreation,
            other => Self::Other(other.to_owned()),
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HookSucceeded => "HookSucceeded",
            Self::HookFailed => "HookFailed",
            Self::BeforeHookCreation => "BeforeHookCreation",
            Self::Other(text) => text,
        })
    }
}

macro_rules! as_text {
    ($($kind:ident),* $(,)?) => {$(
        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.write(f)
            }
        }

        impl From<&str> for $kind {
            fn from(text: &str) -> Self {
                Self::read(text)
            }
        }

        impl FromStr for $kind {
            type Err = Infallible;

            fn from_str(text: &str) -> Result<Self, Infallible> {
                Ok(Self::read(text))
            }
        }

        impl Serialize for $kind {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer).map(|text| Self::read(&text))
            }
        }
    )*};
}

as_text!(SyncOption, CompareOption, HookType, HookDeletePolicy);

/// When somebody approved that what needs it ([`Removal::Confirm`]) is pruned or deleted: the annotation [`annotation::DELETION_APPROVED`] of the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeletionApproval(pub Timestamp);

impl DeletionApproval {
    /// Approved now.
    pub fn now() -> Self {
        Self(Timestamp::now())
    }

    /// What an application's annotations say. Like Argo CD, takes what is no time for no approval.
    pub fn of(annotations: &BTreeMap<String, String>) -> Option<Self> {
        annotations.get(annotation::DELETION_APPROVED)?.parse().ok()
    }

    /// Whether it is for what was asked for `since` then: the sync or the deletion must not be younger than the approval.
    pub fn confirms(self, since: Timestamp) -> bool {
        self.0 >= since
    }
}

impl fmt::Display for DeletionApproval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // In whole seconds, as the CLI writes it.
        write!(f, "{}", self.0.strftime("%Y-%m-%dT%H:%M:%SZ"))
    }
}

impl FromStr for DeletionApproval {
    type Err = Error;

    /// Reads RFC 3339, and none of the other forms of ISO 8601: neither does Argo CD.
    fn from_str(text: &str) -> Result<Self> {
        let form: String = text
            .chars()
            .map(|c| if c.is_ascii_digit() { '0' } else { c })
            .collect();
        let rest = form.strip_prefix("0000-00-00T00:00:00").map(|rest| {
            let fraction = rest.strip_prefix('.');
            fraction.map_or(rest, |digits| digits.trim_start_matches('0'))
        });
        matches!(rest, Some("Z" | "+00:00" | "-00:00"))
            .then(|| text.parse().ok())
            .flatten()
            .map(Self)
            .ok_or_else(|| Error::invalid(format!("{text:?} is no time in the form of RFC 3339")))
    }
}

#[cfg(test)]
mod tests;
