//! Where generators find tokens, passwords and certificates. These are references: nothing secret is in them.

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::super::extra::Extra;

/// One key of a `Secret`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SecretRef {
    /// The `Secret`.
    pub secret_name: String,
    /// The key in it.
    pub key: String,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl SecretRef {
    /// One key of a `Secret`.
    pub fn new(secret_name: impl Into<String>, key: impl Into<String>) -> Self {
        Self {
            secret_name: secret_name.into(),
            key: key.into(),
            extra: Extra::default(),
        }
    }
}

/// One key of a `ConfigMap`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigMapKeyRef {
    /// The `ConfigMap`.
    pub config_map_name: String,
    /// The key in it.
    pub key: String,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl ConfigMapKeyRef {
    /// One key of a `ConfigMap`.
    pub fn new(config_map_name: impl Into<String>, key: impl Into<String>) -> Self {
        Self {
            config_map_name: config_map_name.into(),
            key: key.into(),
            extra: Extra::default(),
        }
    }
}

/// `basicAuth`, of Bitbucket.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BasicAuth {
    /// The user.
    pub username: String,
    /// Where the password is, or the personal access token.
    pub password_ref: Option<SecretRef>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `bearerToken`, of Bitbucket.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BearerToken {
    /// Where the token is.
    pub token_ref: Option<SecretRef>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}
