//! The kind `Bucket`.

use std::fmt;

use gitops_core::error::redact_url;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::extra::Extra;
use super::resource::{at_intervals, flux_kind, handled, offers_artifact, suspendable, timed};
use super::{Artifact, AuthProvider, Condition, GoDuration, LocalObjectReference, StsProvider};

flux_kind! {
    /// A bucket of an object store as a source.
    Bucket(BucketSpec, BucketStatus) {
        handled!();
        suspendable!();
        at_intervals!();
        timed!();
        offers_artifact!();

        fn service_account_name(&self) -> Option<&str> {
            self.spec.service_account_name.as_deref()
        }
    }
}

/// `spec` of a `Bucket`.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BucketSpec {
    /// Whose bucket it is: `generic` (S3 with keys), `aws`, `gcp` or `azure`.
    pub provider: Option<AuthProvider>,
    /// The bucket's name.
    pub bucket_name: String,
    /// Where the object store is.
    pub endpoint: String,
    /// Who gives out temporary credentials.
    pub sts: Option<BucketStsSpec>,
    /// Whether the object store may speak HTTP.
    pub insecure: Option<bool>,
    /// The region.
    pub region: Option<String>,
    /// Only objects whose keys begin so.
    pub prefix: Option<String>,
    /// The Secret with the credentials: `accesskey` and `secretkey`.
    pub secret_ref: Option<LocalObjectReference>,
    /// The service account whose workload identity logs in.
    pub service_account_name: Option<String>,
    /// The Secret with certificates: `ca.crt`, `tls.crt`, `tls.key`.
    pub cert_secret_ref: Option<LocalObjectReference>,
    /// The Secret with the proxy's address and credentials.
    pub proxy_secret_ref: Option<LocalObjectReference>,
    /// How often the bucket is looked at. The definition requires it.
    pub interval: Option<GoDuration>,
    /// How long a download may take; 60 s by default.
    pub timeout: Option<GoDuration>,
    /// What is left out, as `.sourceignore`.
    pub ignore: Option<String>,
    /// Whether it is left alone.
    pub suspend: Option<bool>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl fmt::Debug for BucketSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BucketSpec")
            .field("provider", &self.provider)
            .field("bucket_name", &self.bucket_name)
            .field("endpoint", &redact_url(&self.endpoint))
            .field("sts", &self.sts)
            .field("insecure", &self.insecure)
            .field("region", &self.region)
            .field("prefix", &self.prefix)
            .field("secret_ref", &self.secret_ref)
            .field("service_account_name", &self.service_account_name)
            .field("cert_secret_ref", &self.cert_secret_ref)
            .field("proxy_secret_ref", &self.proxy_secret_ref)
            .field("interval", &self.interval)
            .field("timeout", &self.timeout)
            .field("ignore", &self.ignore)
            .field("suspend", &self.suspend)
            .field("extra", &self.extra)
            .finish()
    }
}

/// Who gives out temporary credentials for a bucket.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BucketStsSpec {
    /// What it is. The definition requires it.
    pub provider: Option<StsProvider>,
    /// Where it is.
    pub endpoint: String,
    /// The Secret with its credentials: `username` and `password` (`ldap` only).
    pub secret_ref: Option<LocalObjectReference>,
    /// The Secret with certificates (`ldap` only).
    pub cert_secret_ref: Option<LocalObjectReference>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl fmt::Debug for BucketStsSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BucketStsSpec")
            .field("provider", &self.provider)
            .field("endpoint", &redact_url(&self.endpoint))
            .field("secret_ref", &self.secret_ref)
            .field("cert_secret_ref", &self.cert_secret_ref)
            .field("extra", &self.extra)
            .finish()
    }
}

/// `status` of a `Bucket`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BucketStatus {
    /// The generation that was reconciled last.
    pub observed_generation: Option<i64>,
    /// Conditions.
    pub conditions: Option<Vec<Condition>>,
    /// Where the newest artifact is, more or less; the artifact says exactly.
    pub url: Option<String>,
    /// What it offers.
    pub artifact: Option<Artifact>,
    /// `ignore` as it was used.
    pub observed_ignore: Option<String>,
    /// The last request that was taken up.
    pub last_handled_reconcile_at: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}
