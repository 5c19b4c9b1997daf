//! Who may use a project.

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::super::extra::Extra;

/// A role.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProjectRole {
    /// The name.
    pub name: String,
    /// A description for people.
    pub description: Option<String>,
    /// What it may do, as Casbin's policies (`p, proj:…`).
    pub policies: Option<Vec<String>>,
    /// Its tokens. Argo CD keeps them in `status` too.
    pub jwt_tokens: Option<Vec<JwtToken>>,
    /// The groups of single sign-on that have it.
    pub groups: Option<Vec<String>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl ProjectRole {
    /// A role that may do nothing yet.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    /// Adds a policy, such as `p, proj:team:role, applications, sync, team/*, allow`.
    #[must_use]
    pub fn policy(mut self, policy: impl Into<String>) -> Self {
        self.policies.get_or_insert_default().push(policy.into());
        self
    }

    /// Gives it to a group of single sign-on.
    #[must_use]
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.groups.get_or_insert_default().push(group.into());
        self
    }

    /// Sets the description.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }
}

/// What is remembered of a token; the token itself is not.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JwtToken {
    /// When it was made, in seconds since 1970.
    pub iat: i64,
    /// When it runs out, in seconds since 1970.
    pub exp: Option<i64>,
    /// Its number.
    pub id: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Tokens of a role.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JwtTokens {
    /// The tokens.
    pub items: Option<Vec<JwtToken>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}
