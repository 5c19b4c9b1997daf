//! Accounts and the session: `/api/v1/account`, `/api/v1/session`.

use std::time::Duration;

use gitops_core::{Result, SecretString};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ArgoCd;
use super::model::Items;

/// A local account.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Account {
    /// The name.
    pub name: String,
    /// Whether it may be used.
    pub enabled: bool,
    /// `login`, `apiKey`.
    pub capabilities: Option<Vec<String>>,
    /// Its tokens.
    pub tokens: Option<Vec<AccountToken>>,
}

/// What is known of a token: not the token itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AccountToken {
    /// Its id.
    pub id: String,
    /// When it was made, in seconds since 1970.
    pub issued_at: i64,
    /// When it ends, in seconds since 1970; 0 for never.
    pub expires_at: i64,
}

/// Who is calling.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UserInfo {
    /// Whether anybody is.
    pub logged_in: bool,
    /// The user.
    pub username: String,
    /// Who says so.
    pub iss: String,
    /// The user's groups.
    pub groups: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct TokenAnswer {
    pub(super) token: SecretString,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CanI {
    value: String,
}

impl ArgoCd {
    /// Who is calling (`argocd account get-user-info`).
    ///
    /// # Errors
    /// What reaching the server meets.
    pub async fn user_info(&self) -> Result<UserInfo> {
        self.get_call(["session", "userinfo"], "ask who is calling")
            .json()
            .await
    }

    /// Ends the session of the token in use: the server revokes it, and refuses it from then on. (`argocd logout` only forgets its copy.) A client that has a user and
    /// password begins a new session with its next call. API tokens without an end are not revoked; they are [deleted](Self::delete_account_token).
    ///
    /// # Errors
    /// `Unauthenticated` when there is no token; what reaching the server meets.
    pub async fn log_out(&self) -> Result<()> {
        self.end_session().await
    }

    /// The local accounts that the caller may see (`argocd account list`).
    ///
    /// # Errors
    /// `Unauthenticated`.
    pub async fn list_accounts(&self) -> Result<Vec<Account>> {
        let items: Items<Account> = self.get_call(["account"], "list accounts").json().await?;
        Ok(items.items.unwrap_or_default())
    }

    /// A local account (`argocd account get`).
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`.
    pub async fn get_account(&self, name: &str) -> Result<Account> {
        self.get_call(["account", name], format!("get account {name}"))
            .json()
            .await
    }

    /// Changes an account's password (`argocd account update-password`); `current` is the caller's own.
    ///
    /// # Errors
    /// `InvalidInput` for a password that the server's pattern refuses; `Unauthenticated`, `PermissionDenied`.
    pub async fn update_password(
        &self,
        name: &str,
        current: &SecretString,
        new: &SecretString,
    ) -> Result<()> {
        self.call(
            Method::PUT,
            ["account", "password"],
            format!("change the password of {name}"),
        )
        .body(&json!({
            "name": name,
            "currentPassword": current.expose(),
            "newPassword": new.expose(),
        }))?
        .done()
        .await
    }

    /// Whether the caller may do `action` with `resource` (`argocd account can-i`); `subresource` as RBAC has it: `project/application`, or `*`.
    ///
    /// # Errors
    /// `InvalidInput` for a resource or an action that Argo CD does not have.
    pub async fn can_i(&self, resource: &str, action: &str, subresource: &str) -> Result<bool> {
        let answer: CanI = self
            .get_call(
                ["account", "can-i", resource, action, subresource],
                format!("ask for the right to {action} {resource}"),
            )
            .json()
            .await?;
        Ok(answer.value == "yes")
    }

    /// Makes a token for an account with the capability `apiKey` (`argocd account generate-token`); without `expires_in` it does not end.
    ///
    /// # Errors
    /// `AlreadyExists` for an id that is taken; `NotFound`, `PermissionDenied`.
    pub async fn create_account_token(
        &self,
        name: &str,
        id: Option<&str>,
        expires_in: Option<Duration>,
    ) -> Result<SecretString> {
        let answer: TokenAnswer = self
            .call(
                Method::POST,
                ["account", name, "token"],
                format!("make a token for {name}"),
            )
            .body(&json!({
                "name": name,
                "id": id.unwrap_or_default(),
                "expiresIn": expires_in.map_or(0, |time| time.as_secs()),
            }))?
            .json()
            .await?;
        Ok(answer.token)
    }

    /// Deletes a token (`argocd account delete-token`).
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`.
    pub async fn delete_account_token(&self, name: &str, id: &str) -> Result<()> {
        self.call(
            Method::DELETE,
            ["account", name, "token", id],
            format!("delete a token of {name}"),
        )
        .json::<Value>()
        .await
        .map(drop)
    }
}
