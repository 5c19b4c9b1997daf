//! The kind `OCIRepository`.

use std::fmt;

use gitops_core::error::redact_url;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::extra::Extra;
use super::resource::{
    at_intervals, flux_kind, handled, offers_artifact, setters, suspendable, timed,
};
use super::{
    Artifact, AuthProvider, Condition, GoDuration, LayerOperation, LocalObjectReference,
    VerificationProvider,
};

flux_kind! {
    /// An OCI artifact as a source.
    OCIRepository(OciRepositorySpec, OciRepositoryStatus) {
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

impl OCIRepository {
    setters!(OciRepositorySpec: interval, secret);

    /// Sets the URL: `oci://<registry>/<repository>`, without a tag.
    #[must_use]
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.spec.url = url.into();
        self
    }

    /// Follows a tag.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.spec.oci_ref.get_or_insert_default().tag = Some(tag.into());
        self
    }

    /// Follows the newest tag of a semver range.
    #[must_use]
    pub fn semver(mut self, range: impl Into<String>) -> Self {
        self.spec.oci_ref.get_or_insert_default().semver = Some(range.into());
        self
    }

    /// Stays at a digest: `sha256:…`.
    #[must_use]
    pub fn digest(mut self, digest: impl Into<String>) -> Self {
        self.spec.oci_ref.get_or_insert_default().digest = Some(digest.into());
        self
    }

    /// Allows a registry over HTTP, or one whose certificate nobody checks.
    #[must_use]
    pub fn insecure(mut self) -> Self {
        self.spec.insecure = Some(true);
        self
    }
}

/// `spec` of an `OCIRepository`.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OciRepositorySpec {
    /// The URL: `oci://<registry>/<repository>`, without a tag.
    pub url: String,
    /// What is pulled; the tag `latest` by default.
    #[serde(rename = "ref")]
    pub oci_ref: Option<OciRepositoryRef>,
    /// Which layer is taken; the first by default.
    pub layer_selector: Option<OciLayerSelector>,
    /// How it logs in: `generic`, `aws`, `azure` or `gcp`.
    pub provider: Option<AuthProvider>,
    /// The Secret with the credentials, of type `kubernetes.io/dockerconfigjson`.
    pub secret_ref: Option<LocalObjectReference>,
    /// Whose signature it must have.
    pub verify: Option<OciRepositoryVerification>,
    /// The service account whose pull secrets, or workload identity, log in.
    pub service_account_name: Option<String>,
    /// The Secret with certificates: `ca.crt`, `tls.crt`, `tls.key`.
    pub cert_secret_ref: Option<LocalObjectReference>,
    /// The Secret with the proxy's address and credentials.
    pub proxy_secret_ref: Option<LocalObjectReference>,
    /// How often the registry is looked at. The definition requires it.
    pub interval: Option<GoDuration>,
    /// How long a pull may take; 60 s by default.
    pub timeout: Option<GoDuration>,
    /// What is left out, as `.sourceignore`.
    pub ignore: Option<String>,
    /// Whether the registry may speak HTTP.
    pub insecure: Option<bool>,
    /// Whether it is left alone.
    pub suspend: Option<bool>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl fmt::Debug for OciRepositorySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OciRepositorySpec")
            .field("url", &redact_url(&self.url))
            .field("oci_ref", &self.oci_ref)
            .field("layer_selector", &self.layer_selector)
            .field("provider", &self.provider)
            .field("secret_ref", &self.secret_ref)
            .field("verify", &self.verify)
            .field("service_account_name", &self.service_account_name)
            .field("cert_secret_ref", &self.cert_secret_ref)
            .field("proxy_secret_ref", &self.proxy_secret_ref)
            .field("interval", &self.interval)
            .field("timeout", &self.timeout)
            .field("ignore", &self.ignore)
            .field("insecure", &self.insecure)
            .field("suspend", &self.suspend)
            .field("extra", &self.extra)
            .finish()
    }
}

/// What is pulled of a repository. The digest wins over the range, and the range over the tag.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OciRepositoryRef {
    /// A digest: `sha256:…`.
    pub digest: Option<String>,
    /// The newest tag of a semver range.
    pub semver: Option<String>,
    /// A regular expression that tags of the range must match.
    pub semver_filter: Option<String>,
    /// A tag.
    pub tag: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Which layer of an artifact is taken.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OciLayerSelector {
    /// The first of that media type.
    pub media_type: Option<String>,
    /// What is done with it; `extract` by default.
    pub operation: Option<LayerOperation>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Whose signature an OCI artifact must have.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OciRepositoryVerification {
    /// What signed it; `cosign` by default. The definition requires it.
    pub provider: Option<VerificationProvider>,
    /// The Secret with the public keys; without it, signatures are keyless.
    pub secret_ref: Option<LocalObjectReference>,
    /// Who may have signed without a key; one of them is enough.
    #[serde(rename = "matchOIDCIdentity")]
    pub match_oidc_identity: Option<Vec<OidcIdentityMatch>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Who may have signed without a key, by regular expressions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OidcIdentityMatch {
    /// Who says who they are.
    pub issuer: String,
    /// Who they are.
    pub subject: String,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `status` of an `OCIRepository`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OciRepositoryStatus {
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
    /// `layerSelector` as it was used.
    pub observed_layer_selector: Option<OciLayerSelector>,
    /// The last request that was taken up.
    pub last_handled_reconcile_at: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}
