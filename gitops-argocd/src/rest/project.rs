//! Projects: `/api/v1/projects`.

use std::time::Duration;

use gitops_core::{Result, SecretString};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ArgoCd;
use super::account::TokenAnswer;
use super::model::{DetailedProject, Items, Link};
use crate::types::{AppProject, SyncWindow};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Windows {
    windows: Option<Vec<SyncWindow>>,
}

impl ArgoCd {
    /// The projects that the caller may see (`argocd proj list`).
    ///
    /// # Errors
    /// `Unauthenticated`.
    pub async fn list_projects(&self) -> Result<Vec<AppProject>> {
        let items: Items<AppProject> = self.get_call(["projects"], "list projects").json().await?;
        Ok(items.items.unwrap_or_default())
    }

    /// A project (`argocd proj get`).
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`.
    pub async fn get_project(&self, name: &str) -> Result<AppProject> {
        self.get_call(["projects", name], format!("get project {name}"))
            .json()
            .await
    }

    /// A project with its global projects, repositories and clusters.
    ///
    /// # Errors
    /// As [`get_project`](Self::get_project).
    pub async fn get_detailed_project(&self, name: &str) -> Result<DetailedProject> {
        self.get_call(
            ["projects", name, "detailed"],
            format!("get project {name} in detail"),
        )
        .json()
        .await
    }

    /// Makes a project (`argocd proj create`).
    ///
    /// # Errors
    /// `AlreadyExists` for one that is there and different, without `upsert`; `InvalidInput`, `PermissionDenied`.
    pub async fn create_project(&self, project: &AppProject, upsert: bool) -> Result<AppProject> {
        self.call(
            Method::POST,
            ["projects"],
            format!("create project {}", project.name()),
        )
        .body(&json!({"project": project, "upsert": upsert}))?
        .json()
        .await
    }

    /// Replaces a project (`argocd proj edit`, `set`, `add-source`, `allow-cluster-resource` … are all this). The version that it was read with is compared.
    ///
    /// # Errors
    /// `Conflict` when somebody else wrote it meanwhile; `NotFound`, `InvalidInput`, `PermissionDenied`.
    pub async fn update_project(&self, project: &AppProject) -> Result<AppProject> {
        self.call(
            Method::PUT,
            ["projects", project.name()],
            format!("update project {}", project.name()),
        )
        .body(&json!({"project": project}))?
        .json()
        .await
    }

    /// Deletes a project without applications (`argocd proj delete`).
    ///
    /// # Errors
    /// `InvalidInput` while applications belong to it; `NotFound`, `PermissionDenied`.
    pub async fn delete_project(&self, name: &str) -> Result<()> {
        self.call(
            Method::DELETE,
            ["projects", name],
            format!("delete project {name}"),
        )
        .json::<Value>()
        .await
        .map(drop)
    }

    /// The global projects that a project inherits from.
    ///
    /// # Errors
    /// As [`get_project`](Self::get_project).
    pub async fn global_projects(&self, name: &str) -> Result<Vec<AppProject>> {
        let items: Items<AppProject> = self
            .get_call(
                ["projects", name, "globalprojects"],
                format!("list the global projects of {name}"),
            )
            .json()
            .await?;
        Ok(items.items.unwrap_or_default())
    }

    /// Kubernetes' events about a project.
    ///
    /// # Errors
    /// As [`get_project`](Self::get_project).
    pub async fn project_events(
        &self,
        name: &str,
    ) -> Result<Vec<k8s_openapi::api::core::v1::Event>> {
        let items: Items<_> = self
            .get_call(
                ["projects", name, "events"],
                format!("list events of project {name}"),
            )
            .json()
            .await?;
        Ok(items.items.unwrap_or_default())
    }

    /// The sync windows of a project that are open now (`argocd proj windows list` lists them all, from the project itself).
    ///
    /// # Errors
    /// As [`get_project`](Self::get_project).
    pub async fn active_sync_windows(&self, name: &str) -> Result<Vec<SyncWindow>> {
        let answer: Windows = self
            .get_call(
                ["projects", name, "syncwindows"],
                format!("list the active sync windows of project {name}"),
            )
            .json()
            .await?;
        Ok(answer.windows.unwrap_or_default())
    }

    /// Links of a project that the administrator defined.
    ///
    /// # Errors
    /// As [`get_project`](Self::get_project).
    pub async fn project_links(&self, name: &str) -> Result<Vec<Link>> {
        let items: Items<Link> = self
            .get_call(
                ["projects", name, "links"],
                format!("list the links of project {name}"),
            )
            .json()
            .await?;
        Ok(items.items.unwrap_or_default())
    }

    /// Makes a token for a role (`argocd proj role create-token`); without `expires_in` it does not end.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`; `InvalidInput` for a role or an id that does not fit.
    pub async fn create_role_token(
        &self,
        project: &str,
        role: &str,
        id: Option<&str>,
        expires_in: Option<Duration>,
    ) -> Result<SecretString> {
        let answer: TokenAnswer = self
            .call(
                Method::POST,
                ["projects", project, "roles", role, "token"],
                format!("make a token for role {role} of project {project}"),
            )
            .body(&json!({
                "project": project,
                "role": role,
                "id": id.unwrap_or_default(),
                "expiresIn": expires_in.map_or(0, |time| time.as_secs()),
            }))?
            .json()
            .await?;
        Ok(answer.token)
    }

    /// Deletes a role's token, named by when it was made (`iat`) and, if it has one, its id (`argocd proj role delete-token`).
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`.
    pub async fn delete_role_token(
        &self,
        project: &str,
        role: &str,
        issued_at: i64,
        id: Option<&str>,
    ) -> Result<()> {
        self.call(
            Method::DELETE,
            [
                "projects",
                project,
                "roles",
                role,
                "token",
                &issued_at.to_string(),
            ],
            format!("delete a token of role {role} of project {project}"),
        )
        .query_some("id", id)
        .json::<Value>()
        .await
        .map(drop)
    }
}
