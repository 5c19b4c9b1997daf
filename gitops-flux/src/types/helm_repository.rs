//! The kind `HelmRepository`.

use std::fmt;

use gitops_core::error::redact_url;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::extra::Extra;
use super::resource::{
    at_intervals, flux_kind, handled, offers_artifact, setters, suspendable, timed,
};
use super::{
    AccessFrom, Artifact, AuthProvider, Condition, GoDuration, HelmRepositoryType,
    LocalObjectReference,
};

flux_kind! {
    /// A Helm repository as a source of charts. One of type `oci` is never reconciled: it has no status, and charts of it ask the registry themselves.
    HelmRepository(HelmRepositorySpec, HelmRepositoryStatus) {
        handled!();
        suspendable!();
        at_intervals!();
        timed!();
        offers_artifact!();
    }
}

impl HelmRepository {
    setters!(HelmRepositorySpec: interval, secret);

    /// Sets the URL: `https://`, `http://`, or `oci://`, which sets the type too.
    #[must_use]
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.spec.url = url.into();
        if self.spec.url.starts_with("oci://") {
            self.spec.kind = Some(HelmRepositoryType::Oci);
        }
        self
    }

    /// Whether it is a registry, for which nothing is reconciled.
    pub fn is_oci(&self) -> bool {
        self.spec.kind == Some(HelmRepositoryType::Oci)
    }
}

/// `spec` of a `HelmRepository`.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HelmRepositorySpec {
    /// The URL: `https://`, `http://` or `oci://`.
    pub url: String,
    /// The Secret with the credentials: `username` and `password`.
    pub secret_ref: Option<LocalObjectReference>,
    /// The Secret with certificates: `ca.crt`, `tls.crt`, `tls.key`.
    pub cert_secret_ref: Option<LocalObjectReference>,
    /// Whether credentials are sent to other hosts that the index names, too.
    pub pass_credentials: Option<bool>,
    /// How often the index is looked at.
    pub interval: Option<GoDuration>,
    /// Whether the registry may speak HTTP (type `oci` only).
    pub insecure: Option<bool>,
    /// How long fetching the index may take; 60 s by default.
    pub timeout: Option<GoDuration>,
    /// Whether it is left alone.
    pub suspend: Option<bool>,
    /// Who of other namespaces may use it; not enforced by Flux.
    pub access_from: Option<AccessFrom>,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: Option<HelmRepositoryType>,
    /// How it logs in: `generic`, `aws`, `azure` or `gcp` (type `oci` only).
    pub provider: Option<AuthProvider>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl fmt::Debug for HelmRepositorySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HelmRepositorySpec")
            .field("url", &redact_url(&self.url))
            .field("secret_ref", &self.secret_ref)
            .field("cert_secret_ref", &self.cert_secret_ref)
            .field("pass_credentials", &self.pass_credentials)
            .field("interval", &self.interval)
            .field("insecure", &self.insecure)
            .field("timeout", &self.timeout)
            .field("suspend", &self.suspend)
            .field("access_from", &self.access_from)
            .field("kind", &self.kind)
            .field("provider", &self.provider)
            .field("extra", &self.extra)
            .finish()
    }
}

/// `status` of a `HelmRepository`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HelmRepositoryStatus {
    /// The generation that was reconciled last.
    pub observed_generation: Option<i64>,
    /// Conditions.
    pub conditions: Option<Vec<Condition>>,
    /// Where the newest index is, more or less; the artifact says exactly.
    pub url: Option<String>,
    /// The index.
    pub artifact: Option<Artifact>,
    /// The last request that was taken up.
    pub last_handled_reconcile_at: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}
