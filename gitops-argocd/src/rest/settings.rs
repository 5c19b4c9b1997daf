//! The server itself: `/api/v1/settings`, `/api/version`, `/api/v1/notifications`.

use gitops_core::Result;
use serde::Deserialize;

use super::ArgoCd;
use super::model::{Items, Named, Settings, Version};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Plugins {
    plugins: Option<Vec<Named>>,
}

fn names(items: Option<Vec<Named>>) -> Vec<String> {
    items
        .unwrap_or_default()
        .into_iter()
        .map(|item| item.name)
        .collect()
}

impl ArgoCd {
    /// The server's settings; to nobody in particular it tells a part of them.
    ///
    /// # Errors
    /// What reaching the server meets.
    pub async fn settings(&self) -> Result<Settings> {
        self.get_call(["settings"], "read the settings")
            .json()
            .await
    }

    /// The config management plugins.
    ///
    /// # Errors
    /// `Unauthenticated`.
    pub async fn plugins(&self) -> Result<Vec<String>> {
        let answer: Plugins = self
            .get_call(["settings", "plugins"], "list plugins")
            .json()
            .await?;
        Ok(names(answer.plugins))
    }

    /// The server's version (`argocd version`); to nobody in particular it tells the version alone.
    ///
    /// # Errors
    /// What reaching the server meets.
    pub async fn version(&self) -> Result<Version> {
        self.version_call("read the version").json().await
    }

    /// The notification services that are set up.
    ///
    /// # Errors
    /// `Unauthenticated`.
    pub async fn notification_services(&self) -> Result<Vec<String>> {
        self.notifications("services").await
    }

    /// The notification templates.
    ///
    /// # Errors
    /// `Unauthenticated`.
    pub async fn notification_templates(&self) -> Result<Vec<String>> {
        self.notifications("templates").await
    }

    /// The notification triggers.
    ///
    /// # Errors
    /// `Unauthenticated`.
    pub async fn notification_triggers(&self) -> Result<Vec<String>> {
        self.notifications("triggers").await
    }

    async fn notifications(&self, what: &str) -> Result<Vec<String>> {
        let items: Items<Named> = self
            .get_call(["notifications", what], format!("list notification {what}"))
            .json()
            .await?;
        Ok(names(items.items))
    }
}
