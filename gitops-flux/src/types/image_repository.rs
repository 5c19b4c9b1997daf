//! The kind `ImageRepository`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::extra::Extra;
use super::resource::{at_intervals, flux_kind, handled, suspendable, timed};
use super::{AccessFrom, AuthProvider, Condition, GoDuration, LocalObjectReference};

flux_kind! {
    /// A repository of images whose tags are looked at.
    ImageRepository(ImageRepositorySpec, ImageRepositoryStatus) {
        handled!();
        suspendable!();
        at_intervals!();
        timed!();

        fn service_account_name(&self) -> Option<&str> {
            self.spec.service_account_name.as_deref()
        }
    }
}

/// `spec` of an `ImageRepository`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageRepositorySpec {
    /// The image, without a tag.
    pub image: String,
    /// How often the registry is looked at. The definition requires it.
    pub interval: Option<GoDuration>,
    /// How long a look may take; `interval` by default.
    pub timeout: Option<GoDuration>,
    /// The Secret with the credentials, of type `kubernetes.io/dockerconfigjson`.
    pub secret_ref: Option<LocalObjectReference>,
    /// The Secret with the proxy's address and credentials.
    pub proxy_secret_ref: Option<LocalObjectReference>,
    /// The service account whose pull secrets, or workload identity, log in.
    pub service_account_name: Option<String>,
    /// The Secret with certificates: `ca.crt`, `tls.crt`, `tls.key`.
    pub cert_secret_ref: Option<LocalObjectReference>,
    /// Whether it is left alone.
    pub suspend: Option<bool>,
    /// Who of other namespaces may use it.
    pub access_from: Option<AccessFrom>,
    /// Regular expressions of tags that do not count; signatures of cosign by default.
    pub exclusion_list: Option<Vec<String>>,
    /// How it logs in: `generic`, `aws`, `azure` or `gcp`.
    pub provider: Option<AuthProvider>,
    /// Whether the registry may speak HTTP.
    pub insecure: Option<bool>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `status` of an `ImageRepository`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageRepositoryStatus {
    /// Conditions.
    pub conditions: Option<Vec<Condition>>,
    /// The generation that was reconciled last.
    pub observed_generation: Option<i64>,
    /// The image with all that is usually left out: `docker.io/library/alpine` for `alpine`.
    pub canonical_image_name: Option<String>,
    /// What was seen last.
    pub last_scan_result: Option<ScanResult>,
    /// `exclusionList` as it was used.
    pub observed_exclusion_list: Option<Vec<String>>,
    /// The last request that was taken up.
    pub last_handled_reconcile_at: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What was seen in a registry.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScanResult {
    /// A digest of all tags.
    pub revision: Option<String>,
    /// How many tags there are.
    pub tag_count: i64,
    /// When that was.
    pub scan_time: Option<Time>,
    /// Some tags, the last in the order of the alphabet.
    pub latest_tags: Option<Vec<String>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}
