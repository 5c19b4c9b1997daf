//! The kind `Provider`.

use std::fmt;

use gitops_core::error::redact_url;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::extra::{Extra, Hidden};
use super::resource::{flux_kind, suspendable, timed};
use super::{GoDuration, LocalObjectReference, ProviderType};

flux_kind! {
    /// Where events are told. It has no status since `v1beta3`.
    Provider(ProviderSpec) {
        suspendable!();
        timed!();

        fn service_account_name(&self) -> Option<&str> {
            self.spec.service_account_name.as_deref()
        }
    }
}

/// `spec` of a `Provider`. `Debug` does not print the address, which is a secret with many services.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProviderSpec {
    /// Which service.
    #[serde(rename = "type")]
    pub kind: ProviderType,
    /// Out of use: it is not reconciled.
    pub interval: Option<GoDuration>,
    /// The channel.
    pub channel: Option<String>,
    /// The name under which it writes.
    pub username: Option<String>,
    /// Where the service is; `address` of the Secret wins.
    pub address: Option<String>,
    /// How long telling an event may take; 15 s by default.
    pub timeout: Option<GoDuration>,
    /// The proxy; out of use since `proxySecretRef`.
    pub proxy: Option<String>,
    /// The Secret with the proxy's address and credentials.
    pub proxy_secret_ref: Option<LocalObjectReference>,
    /// The Secret with the credentials: `token`, `address`, `headers` …
    pub secret_ref: Option<LocalObjectReference>,
    /// The service account whose workload identity logs in.
    pub service_account_name: Option<String>,
    /// The Secret with certificates: `ca.crt`, `tls.crt`, `tls.key`.
    pub cert_secret_ref: Option<LocalObjectReference>,
    /// Whether nothing is told.
    pub suspend: Option<bool>,
    /// A CEL expression that makes the name of a commit's status (forges only).
    pub commit_status_expr: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl fmt::Debug for ProviderSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderSpec")
            .field("kind", &self.kind)
            .field("interval", &self.interval)
            .field("channel", &self.channel)
            .field("username", &self.username)
            .field("address", &Hidden::of(&self.address))
            .field("timeout", &self.timeout)
            .field("proxy", &self.proxy.as_deref().map(redact_url))
            .field("proxy_secret_ref", &self.proxy_secret_ref)
            .field("secret_ref", &self.secret_ref)
            .field("service_account_name", &self.service_account_name)
            .field("cert_secret_ref", &self.cert_secret_ref)
            .field("suspend", &self.suspend)
            .field("commit_status_expr", &self.commit_status_expr)
            .field("extra", &self.extra)
            .finish()
    }
}
