//! Words with a meaning. One that a newer server writes and that is not known here is kept as `Other`, and written back.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($(#[$word_doc:meta])* $word:ident = $text:literal),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$word_doc])* #[doc = concat!("`", $text, "`.")] $word,)*
            /// What is not known here, as it was written.
            Other(String),
        }

        impl $name {
            /// All that are known here.
            pub const ALL: &[Self] = &[$(Self::$word),*];

            /// As Flux writes it.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$word => $text,)*
                    Self::Other(text) => text,
                }
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                match text {
                    $($text => Self::$word,)*
                    text => Self::Other(text.to_owned()),
                }
            }
        }

        impl FromStr for $name {
            type Err = Infallible;

            fn from_str(text: &str) -> Result<Self, Infallible> {
                Ok(text.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(Word).map(|text: String| Self::from(text.as_str()))
            }
        }
    )*};
}

struct Word;

impl serde::de::Visitor<'_> for Word {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a word")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_string<E: serde::de::Error>(self, text: String) -> Result<String, E> {
        Ok(text)
    }
}

words! {
    /// How a source logs in.
    AuthProvider {
        /// By the Secret that is named, or not at all.
        Generic = "generic",
        /// By the workload's identity at AWS.
        Aws = "aws",
        /// By the workload's identity at Azure.
        Azure = "azure",
        /// By the workload's identity at Google Cloud.
        Gcp = "gcp",
        /// As a GitHub App (Git only).
        GitHub = "github",
    }

    /// Which objects of Git carry the signature.
    GitVerificationMode {
        /// The commit, as earlier versions write it.
        OldHead = "head",
        /// The commit.
        Head = "HEAD",
        /// The tag.
        Tag = "Tag",
        /// Both.
        TagAndHead = "TagAndHEAD",
    }

    /// What signed an OCI artifact.
    VerificationProvider {
        /// Cosign.
        Cosign = "cosign",
        /// Notation.
        Notation = "notation",
    }

    /// What is done with the layer of an OCI artifact.
    LayerOperation {
        /// It is unpacked and its files are the source.
        Extract = "extract",
        /// It is the source as it is.
        Copy = "copy",
    }

    /// Who gives out temporary credentials for a bucket.
    StsProvider {
        /// AWS.
        Aws = "aws",
        /// An LDAP endpoint, as MinIO has it.
        Ldap = "ldap",
    }

    /// What a Helm repository is.
    HelmRepositoryType {
        /// An index over HTTP.
        Default = "default",
        /// A registry; nothing is fetched for the repository itself.
        Oci = "oci",
    }

    /// What makes a new artifact of a chart.
    ReconcileStrategy {
        /// Another version of the chart.
        ChartVersion = "ChartVersion",
        /// Another revision of the source.
        Revision = "Revision",
    }

    /// What happens to the objects of a `Kustomization` that is deleted.
    DeletionPolicy {
        /// Deleted when `prune` is on, else left.
        MirrorPrune = "MirrorPrune",
        /// Deleted.
        Delete = "Delete",
        /// Deleted, and waited for until they are gone.
        WaitForTermination = "WaitForTermination",
        /// Left.
        Orphan = "Orphan",
    }

    /// What is done with definitions of a chart's `crds/`.
    CrdsPolicy {
        /// Nothing.
        Skip = "Skip",
        /// New ones are created, old ones left as they are.
        Create = "Create",
        /// New ones are created and old ones replaced; none is deleted.
        CreateReplace = "CreateReplace",
    }

    /// What is done about a difference between a release and the cluster.
    DriftDetectionMode {
        /// It is repaired by an upgrade.
        Enabled = "enabled",
        /// It is told.
        Warn = "warn",
        /// Nobody looks.
        Disabled = "disabled",
    }

    /// How a failed upgrade is remedied.
    RemediationStrategy {
        /// By going back.
        Rollback = "rollback",
        /// By uninstalling.
        Uninstall = "uninstall",
    }

    /// What a failed install or upgrade leads to.
    ActionStrategy {
        /// Remediation.
        RemediateOnFailure = "RemediateOnFailure",
        /// Another try, without remediation.
        RetryOnFailure = "RetryOnFailure",
    }

    /// How an uninstall deletes what depends on what is deleted.
    DeletionPropagation {
        /// Afterwards.
        Background = "background",
        /// Before.
        Foreground = "foreground",
        /// Not.
        Orphan = "orphan",
    }

    /// What a `HelmRelease` did last.
    ReleaseAction {
        /// An install.
        Install = "install",
        /// An upgrade.
        Upgrade = "upgrade",
    }

    /// How grave an event must be to be told.
    EventSeverity {
        /// All are told.
        Info = "info",
        /// Errors only.
        Error = "error",
    }

    /// When the digest of an image is looked up.
    ReflectionPolicy {
        /// At each interval.
        Always = "Always",
        /// When the tag changes.
        IfNotPresent = "IfNotPresent",
        /// Never.
        Never = "Never",
    }

    /// An order of tags.
    PolicyOrder {
        /// The last is the newest.
        Asc = "asc",
        /// The first is the newest.
        Desc = "desc",
    }

    /// How an `ImageUpdateAutomation` finds what to write.
    UpdateStrategyName {
        /// By markers in comments.
        Setters = "Setters",
    }
}

/// The `type` of a `Provider` and of a `Receiver`.
pub(super) mod service {
    use super::*;

    words! {
        /// Where a `Provider` tells events.
        ProviderType {
            /// A chat.
            Slack = "slack",
            /// A chat.
            Discord = "discord",
            /// A chat.
            MsTeams = "msteams",
            /// A chat.
            Rocket = "rocket",
            /// Any HTTP endpoint.
            Generic = "generic",
            /// Any HTTP endpoint, with a signature.
            GenericHmac = "generic-hmac",
            /// Commit statuses.
            GitHub = "github",
            /// Commit statuses.
            GitLab = "gitlab",
            /// Commit statuses.
            Gitea = "gitea",
            /// Commit statuses.
            BitbucketServer = "bitbucketserver",
            /// Commit statuses.
            Bitbucket = "bitbucket",
            /// Commit statuses.
            AzureDevOps = "azuredevops",
            /// A chat.
            GoogleChat = "googlechat",
            /// A queue.
            GooglePubSub = "googlepubsub",
            /// A chat.
            Webex = "webex",
            /// Errors.
            Sentry = "sentry",
            /// A queue.
            AzureEventHub = "azureeventhub",
            /// A chat.
            Telegram = "telegram",
            /// A chat.
            Lark = "lark",
            /// A chat.
            Matrix = "matrix",
            /// Alerts.
            OpsGenie = "opsgenie",
            /// Alerts.
            Alertmanager = "alertmanager",
            /// Annotations of dashboards.
            Grafana = "grafana",
            /// Workflows.
            GitHubDispatch = "githubdispatch",
            /// Alerts.
            PagerDuty = "pagerduty",
            /// Events.
            DataDog = "datadog",
            /// A queue.
            Nats = "nats",
            /// A chat.
            Zulip = "zulip",
            /// Traces.
            Otel = "otel",
        }

        /// Whose webhooks a `Receiver` takes.
        ReceiverType {
            /// Anyone who knows the path.
            Generic = "generic",
            /// Anyone who signs.
            GenericHmac = "generic-hmac",
            /// A forge.
            GitHub = "github",
            /// A forge.
            GitLab = "gitlab",
            /// A forge.
            Bitbucket = "bitbucket",
            /// A registry.
            Harbor = "harbor",
            /// A registry.
            DockerHub = "dockerhub",
            /// A registry.
            Quay = "quay",
            /// A registry.
            Gcr = "gcr",
            /// A registry.
            Nexus = "nexus",
            /// A registry.
            Acr = "acr",
            /// Events of pipelines.
            CdEvents = "cdevents",
        }
    }

    impl Default for ProviderType {
        fn default() -> Self {
            Self::Other(String::new())
        }
    }

    impl Default for ReceiverType {
        fn default() -> Self {
            Self::Other(String::new())
        }
    }
}
