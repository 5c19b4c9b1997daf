//! Application sets: `/api/v1/applicationsets`.

use gitops_core::application::AppRef;
use gitops_core::{Error, Result};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ArgoCd;
use super::model::{Items, ResourceTree};
use crate::types::{Application, ApplicationSet};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Generated {
    applications: Option<Vec<Application>>,
}

impl ArgoCd {
    /// The application sets of `projects` (all where there is none) with these labels (`argocd appset list`).
    ///
    /// # Errors
    /// `InvalidInput` for a selector that is none.
    pub async fn list_application_sets(
        &self,
        projects: &[String],
        selector: Option<&str>,
        namespace: Option<&str>,
    ) -> Result<Vec<ApplicationSet>> {
        let items: Items<ApplicationSet> = self
            .get_call(["applicationsets"], "list application sets")
            .query_each("projects", projects)
            .query_some("selector", selector)
            .query_some("appsetNamespace", namespace)
            .json()
            .await?;
        Ok(items.items.unwrap_or_default())
    }

    /// An application set (`argocd appset get`).
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`.
    pub async fn get_application_set(&self, set: &AppRef) -> Result<ApplicationSet> {
        self.get_call(
            ["applicationsets", &set.name],
            format!("get application set {set}"),
        )
        .query_text("appsetNamespace", &set.namespace)
        .json()
        .await
    }

    /// Makes an application set (`argocd appset create`); with `upsert` it replaces one that is there, with `dry_run` it only says what would be.
    ///
    /// # Errors
    /// `AlreadyExists` for one that is there and different, without `upsert`; `InvalidInput`, `PermissionDenied`.
    pub async fn create_application_set(
        &self,
        set: &ApplicationSet,
        upsert: bool,
        dry_run: bool,
    ) -> Result<ApplicationSet> {
        self.call(
            Method::POST,
            ["applicationsets"],
            format!("create application set {}", name_of(set)?),
        )
        .query_some("upsert", upsert.then_some(true))
        .query_some("dryRun", dry_run.then_some(true))
        .body(set)?
        .json()
        .await
    }

    /// Deletes an application set, and with it its applications unless it preserves them (`argocd appset delete`).
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`.
    pub async fn delete_application_set(&self, set: &AppRef) -> Result<()> {
        self.call(
            Method::DELETE,
            ["applicationsets", &set.name],
            format!("delete application set {set}"),
        )
        .query_text("appsetNamespace", &set.namespace)
        .json::<Value>()
        .await
        .map(drop)
    }

    /// The applications that the server would generate from `set`, which need not be there (`argocd appset generate`). Every generator and Go templates work;
    /// what needs no server, [`generate`](crate::generate) does here.
    ///
    /// # Errors
    /// `InvalidInput`, and what generators meet.
    pub async fn generate_applications(&self, set: &ApplicationSet) -> Result<Vec<Application>> {
        let generated: Generated = self
            .call(
                Method::POST,
                ["applicationsets", "generate"],
                format!("generate the applications of {}", name_of(set)?),
            )
            .body(&json!({"applicationSet": set}))?
            .json()
            .await?;
        Ok(generated.applications.unwrap_or_default())
    }

    /// The applications of a set and their state.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`.
    pub async fn application_set_tree(&self, set: &AppRef) -> Result<ResourceTree> {
        self.get_call(
            ["applicationsets", &set.name, "resource-tree"],
            format!("read the tree of application set {set}"),
        )
        .query_text("appsetNamespace", &set.namespace)
        .json()
        .await
    }
}

fn name_of(set: &ApplicationSet) -> Result<&str> {
    set.metadata
        .name
        .as_deref()
        .filter(|name| !name.is_empty())
        .ok_or_else(|| Error::invalid("the application set has no name"))
}
