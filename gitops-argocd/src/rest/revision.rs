//! What is known of an application's revisions, and what it is linked to and held by.

use gitops_core::Result;
use gitops_core::application::AppRef;
use serde::de::DeserializeOwned;

use super::ArgoCd;
use super::model::{
    ChartDetails, Items, Link, Manifests, OciMetadata, RevisionMetadata, SyncWindows,
};

impl ArgoCd {
    /// Author, date and message of a revision. `source_index` counts from 0; `version_id` is an entry of the history.
    ///
    /// # Errors
    /// `NotFound`, and what reading the repository meets.
    pub async fn revision_metadata(
        &self,
        app: &AppRef,
        revision: &str,
        source_index: Option<i32>,
        version_id: Option<i64>,
    ) -> Result<RevisionMetadata> {
        self.revision(app, revision, "metadata", source_index, version_id)
            .await
    }

    /// Description and maintainers of a chart's version.
    ///
    /// # Errors
    /// As [`revision_metadata`](Self::revision_metadata).
    pub async fn chart_details(
        &self,
        app: &AppRef,
        revision: &str,
        source_index: Option<i32>,
        version_id: Option<i64>,
    ) -> Result<ChartDetails> {
        self.revision(app, revision, "chartdetails", source_index, version_id)
            .await
    }

    /// Annotations of an OCI artifact.
    ///
    /// # Errors
    /// As [`revision_metadata`](Self::revision_metadata).
    pub async fn oci_metadata(
        &self,
        app: &AppRef,
        revision: &str,
        source_index: Option<i32>,
        version_id: Option<i64>,
    ) -> Result<OciMetadata> {
        self.revision(app, revision, "ocimetadata", source_index, version_id)
            .await
    }

    async fn revision<T: DeserializeOwned>(
        &self,
        app: &AppRef,
        revision: &str,
        part: &str,
        source_index: Option<i32>,
        version_id: Option<i64>,
    ) -> Result<T> {
        self.app_json(app, |project| {
            Ok(self
                .get_call(
                    ["applications", &app.name, "revisions", revision, part],
                    format!("describe revision {revision} of application {app}"),
                )
                .query_some("sourceIndex", source_index)
                .query_some("versionId", version_id)
                .of(app, project))
        })
        .await
    }

    /// The manifests of the target revision or of another one (`argocd app manifests`). `revisions` are for the sources at `positions`, from 1; for one source it is
    /// one revision and no position. With `no_cache` they are rendered anew.
    ///
    /// # Errors
    /// What rendering meets.
    pub async fn manifests(
        &self,
        app: &AppRef,
        revisions: &[String],
        positions: &[i64],
        no_cache: bool,
    ) -> Result<Manifests> {
        self.app_json(app, |project| {
            let call = self
                .get_call(
                    ["applications", &app.name, "manifests"],
                    format!("render application {app}"),
                )
                .query_some("noCache", no_cache.then_some(true))
                .of(app, project);
            Ok(match (revisions, positions) {
                ([revision], []) => call.query("revision", revision),
                _ => call
                    .query_each("revisions", revisions)
                    .query_each("sourcePositions", positions),
            })
        })
        .await
    }

    /// Links that the administrator defined.
    ///
    /// # Errors
    /// As [`get_application`](Self::get_application).
    pub async fn links(&self, app: &AppRef) -> Result<Vec<Link>> {
        let links: Items<Link> = self
            .app_json(app, |project| {
                Ok(self
                    .get_call(
                        ["applications", &app.name, "links"],
                        format!("list the links of application {app}"),
                    )
                    .query_text("namespace", &app.namespace)
                    .query_text("project", project))
            })
            .await?;
        Ok(links.items.unwrap_or_default())
    }

    /// The sync windows that concern the application, and whether a sync is allowed now.
    ///
    /// # Errors
    /// As [`get_application`](Self::get_application).
    pub async fn application_sync_windows(&self, app: &AppRef) -> Result<SyncWindows> {
        self.app_json(app, |project| {
            Ok(self
                .get_call(
                    ["applications", &app.name, "syncwindows"],
                    format!("list the sync windows of application {app}"),
                )
                .of(app, project))
        })
        .await
    }
}
