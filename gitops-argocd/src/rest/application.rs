//! Applications: `/api/v1/applications`.

use futures::StreamExt;
use futures::stream::BoxStream;
use gitops_core::application::{AppRef, ApplicationStatus};
use gitops_core::backend::{DeleteOptions, Propagation};
use gitops_core::{Error, Result};
use reqwest::Method;
use serde_json::{Value, json};

use super::ArgoCd;
use super::answer::{decode, unreadable};
use super::call::{Call, Refresh};
use super::resource::PatchType;
use super::stream::parts;
use crate::access::records;
use crate::types::{Application, ApplicationList, ApplicationSpec, lean};

/// Which applications.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApplicationQuery {
    /// Only the one of this name. Argo CD answers one, any of them, where applications of several namespaces have it: name the namespace, too.
    pub name: Option<String>,
    /// Only those of these projects; empty means all that the caller may see.
    pub projects: Vec<String>,
    /// A label selector, as `kubectl -l` takes it.
    pub selector: Option<String>,
    /// Only those with this repository.
    pub repo: Option<String>,
    /// Only those whose resource is in this namespace.
    pub namespace: Option<String>,
    /// Watches only: tell what happened after this version, and nothing of what is.
    pub resource_version: Option<String>,
}

/// How an application is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CreateOptions {
    /// Replace one that is there.
    pub upsert: bool,
    /// Do not ask whether its sources and destination can be reached.
    pub skip_validation: bool,
}

/// The parts of a list that a status needs and Argo CD can leave the rest out for; the server knows no revisions, conditions, history or messages here.
const SUMMARY: &str = "metadata.resourceVersion,items.metadata.name,items.metadata.namespace,items.metadata.labels,items.metadata.deletionTimestamp,\
items.spec,items.status.sync.status,items.status.health,items.status.resources,items.status.operationState.phase,\
items.status.operationState.startedAt,items.status.operationState.finishedAt";

impl ArgoCd {
    pub(super) fn applications<'a>(
        &'a self,
        query: &ApplicationQuery,
        path: &[&str],
        what: &str,
    ) -> Call<'a> {
        self.get_call(path.iter().copied(), what)
            .query_some("name", query.name.as_deref())
            .query_each("projects", &query.projects)
            .query_some("selector", query.selector.as_deref())
            .query_some("repo", query.repo.as_deref())
            .query_some("appNamespace", query.namespace.as_deref())
    }

    /// The applications that match and that the caller may see, whole (`argocd app list`). The server answers from its cache, without pages.
    ///
    /// # Errors
    /// `InvalidInput` for a selector that is none.
    pub async fn list_applications(&self, query: &ApplicationQuery) -> Result<Vec<Application>> {
        let list: ApplicationList = self
            .applications(query, &["applications"], "list applications")
            .json()
            .await?;
        Ok(list.items.unwrap_or_default())
    }

    /// The states of the applications that match: the same answer, read into [lean] types.
    ///
    /// # Errors
    /// As [`list_applications`](Self::list_applications).
    pub async fn list_statuses(
        &self,
        query: &ApplicationQuery,
    ) -> Result<Vec<(AppRef, ApplicationStatus)>> {
        Ok(statuses(self.list_lean(query).await?))
    }

    /// The states of the applications that match, in a smaller answer: the server leaves out revisions, conditions, the history and messages of operations.
    ///
    /// # Errors
    /// As [`list_applications`](Self::list_applications).
    pub async fn list_summaries(
        &self,
        query: &ApplicationQuery,
    ) -> Result<Vec<(AppRef, ApplicationStatus)>> {
        let what = "list applications";
        let body = self
            .applications(query, &["applications"], what)
            .query("fields", SUMMARY)
            .bytes()
            .await?;
        Ok(statuses(decode(&body, what)?))
    }

    pub(crate) async fn list_records(
        &self,
        query: &ApplicationQuery,
    ) -> Result<Vec<Result<Application>>> {
        let what = "list applications";
        let body = self
            .applications(query, &["applications"], what)
            .bytes()
            .await?;
        let (records, _) = records(&body).map_err(|error| unreadable(error, what))?;
        Ok(records)
    }

    pub(crate) async fn list_lean(
        &self,
        query: &ApplicationQuery,
    ) -> Result<lean::ApplicationList> {
        let what = "list applications";
        let body = self
            .applications(query, &["applications"], what)
            .bytes()
            .await?;
        decode(&body, what)
    }

    /// The application (`argocd app get`).
    ///
    /// # Errors
    /// `NotFound` when it is not there, or the caller may not see it: Argo CD does not tell one from the other.
    pub async fn get_application(&self, app: &AppRef) -> Result<Application> {
        self.app_json(app, |project| {
            Ok(self
                .get_call(
                    ["applications", &app.name],
                    format!("get application {app}"),
                )
                .of(app, project))
        })
        .await
    }

    pub(crate) async fn get_lean(&self, app: &AppRef) -> Result<lean::Application> {
        self.app_json(app, |project| {
            Ok(self
                .get_call(
                    ["applications", &app.name],
                    format!("get application {app}"),
                )
                .of(app, project))
        })
        .await
    }

    /// Has it compared anew and waits for that (`argocd app get --refresh`, `--hard-refresh`).
    ///
    /// # Errors
    /// As [`get_application`](Self::get_application); `Timeout` when no controller does it in [`Config::timeout`](super::Config::timeout).
    pub async fn refresh_application(&self, app: &AppRef, refresh: Refresh) -> Result<Application> {
        self.app_json(app, |project| {
            Ok(self
                .get_call(
                    ["applications", &app.name],
                    format!("refresh application {app}"),
                )
                .query("refresh", refresh.as_str())
                .of(app, project))
        })
        .await
    }

    /// Makes an application (`argocd app create`). One that is there with the same specification is fine.
    ///
    /// # Errors
    /// `AlreadyExists` for one that is there and different, without `upsert`; `InvalidInput`, `PermissionDenied`.
    pub async fn create_application(
        &self,
        app: &Application,
        options: CreateOptions,
    ) -> Result<Application> {
        let made: Application = self
            .call(
                Method::POST,
                ["applications"],
                format!("create application {}", app.name()),
            )
            .query_some("upsert", options.upsert.then_some(true))
            .query_some("validate", options.skip_validation.then_some(false))
            .body(app)?
            .json()
            .await?;
        // As the caller names it, and as the server does.
        let name = AppRef::namespaced(app.namespace(), app.name());
        self.know(name, &made.spec.project);
        self.remember(&made);
        Ok(made)
    }

    /// Replaces specification, labels, annotations and finalizers. The API does not compare versions: what somebody else wrote meanwhile is replaced
    /// ([`KubeArgoCd`](crate::KubeArgoCd) does).
    ///
    /// # Errors
    /// As [`create_application`](Self::create_application), and `NotFound`.
    pub async fn update_application(
        &self,
        app: &Application,
        skip_validation: bool,
    ) -> Result<Application> {
        let name = &AppRef::namespaced(app.namespace(), app.name());
        let made: Application = self
            .app_json(name, |project| {
                self.call(
                    Method::PUT,
                    ["applications", &name.name],
                    format!("update application {name}"),
                )
                .query_some("validate", skip_validation.then_some(false))
                .query_text("project", project)
                .body(app)
            })
            .await?;
        self.know(name.clone(), &made.spec.project);
        self.remember(&made);
        Ok(made)
    }

    /// Replaces the specification (`argocd app set`).
    ///
    /// # Errors
    /// As [`update_application`](Self::update_application).
    pub async fn update_application_spec(
        &self,
        app: &AppRef,
        spec: &ApplicationSpec,
        skip_validation: bool,
    ) -> Result<ApplicationSpec> {
        self.app_json(app, |project| {
            self.call(
                Method::PUT,
                ["applications", &app.name, "spec"],
                format!("update application {app}"),
            )
            .query_some("validate", skip_validation.then_some(false))
            .of(app, project)
            .body(spec)
        })
        .await
    }

    /// Patches the application (`argocd app patch`). The server takes what a patch changes of specification, labels, annotations and finalizers.
    ///
    /// # Errors
    /// As [`update_application`](Self::update_application); `InvalidInput` for a patch that does not fit.
    pub async fn patch_application(
        &self,
        app: &AppRef,
        patch: &Value,
        kind: PatchType,
    ) -> Result<Application> {
        let kind = match kind {
            PatchType::Json => "json",
            PatchType::Merge => "merge",
            PatchType::Strategic => {
                return Err(Error::invalid(
                    "applications take JSON patches and merge patches",
                ));
            }
        };
        self.app_json(app, |project| {
            self.call(
                Method::PATCH,
                ["applications", &app.name],
                format!("patch application {app}"),
            )
            .body(&json!({
                "name": app.name,
                "patch": patch.to_string(),
                "patchType": kind,
                "appNamespace": app.namespace,
                "project": project,
            }))
        })
        .await
    }

    /// Deletes the application, with what it deployed unless told otherwise (`argocd app delete`). The deletion goes on after the answer.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`; `InvalidInput` for [`Propagation::Orphan`] with a cascade, which Argo CD does not have.
    pub async fn delete_application(&self, app: &AppRef, options: &DeleteOptions) -> Result<()> {
        let policy = match (options.cascade, options.propagation) {
            (false, _) => None,
            (true, Propagation::Foreground) => Some("foreground"),
            (true, Propagation::Background) => Some("background"),
            (true, Propagation::Orphan) => {
                return Err(Error::invalid(
                    "a cascade that leaves the resources is no cascade: delete without one",
                ));
            }
        };
        let result = self
            .app_json::<Value>(app, |project| {
                Ok(self
                    .call(
                        Method::DELETE,
                        ["applications", &app.name],
                        format!("delete application {app}"),
                    )
                    .query("cascade", options.cascade.to_string())
                    .query_some("propagationPolicy", policy)
                    .of(app, project))
            })
            .await;
        result.map(drop)
    }

    /// Changes of the applications that match, over one connection. Without `resource_version`, or for one application, what is comes first, as `ADDED`. The server tells
    /// no past, and drops events when it is far behind: when the stream ends or errs, list again. [`ArgoCdBackend`](crate::ArgoCdBackend) does all that.
    ///
    /// # Errors
    /// As [`list_applications`](Self::list_applications); the last item may be one, too.
    pub async fn watch_applications(
        &self,
        query: &ApplicationQuery,
    ) -> Result<BoxStream<'static, Result<lean::WatchEvent>>> {
        let call = self
            .applications(query, &["stream", "applications"], "watch applications")
            .query_some("resourceVersion", query.resource_version.as_deref());
        let (response, what) = call.stream().await?;
        let events = parts::<lean::WatchEvent>(response, what, self.0.config.max_answer);
        let client = self.clone();
        Ok(events
            .inspect(move |event| {
                if let Ok(event) = event {
                    client.remember_lean(&event.application);
                }
            })
            .boxed())
    }
}

fn statuses(list: lean::ApplicationList) -> Vec<(AppRef, ApplicationStatus)> {
    list.items
        .into_iter()
        .map(|app| (app.app_ref(), app.into_status()))
        .collect()
}
