//! Applications: `/api/v1/applications`.

use std::fmt;

use futures::StreamExt;
use futures::stream::BoxStream;
use gitops_core::application::{AppRef, ApplicationStatus};
use gitops_core::backend::{DeleteOptions, Propagation};
use gitops_core::{Error, ErrorKind, Result};
use reqwest::{Method, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use serde_with::skip_serializing_none;

use super::ArgoCd;
use super::answer::{decode, unreadable};
use super::call::{Call, Refresh};
use super::model::{
    ChartDetails, Items, Link, Manifests, OciMetadata, RevisionMetadata, SyncWindows,
};
use super::resource::PatchType;
use super::stream::parts;
use crate::access::records;
use crate::types::{
    Application, ApplicationList, ApplicationSpec, Info, RetryStrategy, SyncOperationResource,
    SyncStrategy, lean,
};

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

/// What a sync is asked for (`ApplicationSyncRequest`).
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SyncRequest {
    /// The revision; refused with auto-sync on, unless it is the target revision.
    pub revision: Option<String>,
    /// Only say what would be done.
    pub dry_run: Option<bool>,
    /// Delete what Git no longer names.
    pub prune: Option<bool>,
    /// With hooks (the default), or `kubectl apply` alone.
    pub strategy: Option<SyncStrategy>,
    /// Only these resources.
    pub resources: Option<Vec<SyncOperationResource>>,
    /// Manifests instead of Git's, as JSON; refused with auto-sync on.
    pub manifests: Option<Vec<String>>,
    /// Notes that the operation keeps.
    pub infos: Option<Vec<Info>>,
    /// How it is tried again; the application's by default.
    pub retry_strategy: Option<RetryStrategy>,
    /// Options instead of the application's.
    pub sync_options: Option<SyncOptionsItems>,
    /// Positions of sources, from 1, for [`revisions`](Self::revisions).
    pub source_positions: Option<Vec<i64>>,
    /// A revision for each of [`source_positions`](Self::source_positions).
    pub revisions: Option<Vec<String>>,
}

impl fmt::Debug for SyncRequest {
    /// Manifests may be secrets: only how many there are is printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncRequest")
            .field("revision", &self.revision)
            .field("dry_run", &self.dry_run)
            .field("prune", &self.prune)
            .field("strategy", &self.strategy)
            .field("resources", &self.resources)
            .field("manifests", &self.manifests.as_ref().map(Vec::len))
            .field("infos", &self.infos)
            .field("retry_strategy", &self.retry_strategy)
            .field("sync_options", &self.sync_options)
            .field("source_positions", &self.source_positions)
            .field("revisions", &self.revisions)
            .finish()
    }
}

/// Sync options, as the API wraps them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SyncOptionsItems {
    /// The options, such as `CreateNamespace=true`.
    pub items: Vec<String>,
}

/// What a rollback is asked for. It is refused with auto-sync on, and runs no hooks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RollbackRequest {
    /// The entry of the history.
    pub id: i64,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Delete what that revision does not name.
    pub prune: bool,
}

/// The parts of a list that a status needs and Argo CD can leave the rest out for; the server knows no revisions, conditions, history or messages here.
const SUMMARY: &str = "metadata.resourceVersion,items.metadata.name,items.metadata.namespace,items.metadata.labels,items.metadata.deletionTimestamp,\
items.spec,items.status.sync.status,items.status.health,items.status.resources,items.status.operationState.phase,\
items.status.operationState.startedAt,items.status.operationState.finishedAt";

/// What is needed to learn an application's project.
const PROJECT: &str = "items.metadata.name,items.metadata.namespace,items.spec";

impl ArgoCd {
    fn applications<'a>(&'a self, query: &ApplicationQuery, path: &[&str], what: &str) -> Call<'a> {
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

    /// Starts a sync (`argocd app sync`).
    ///
    /// # Errors
    /// `OperationInProgress`; `PermissionDenied` for a closed sync window too; `Conflict` for an application that is being deleted, and for another revision than
    /// the target revision with auto-sync on.
    pub async fn sync_application(
        &self,
        app: &AppRef,
        request: &SyncRequest,
    ) -> Result<Application> {
        self.started(app, "sync", format!("sync application {app}"), request)
            .await
    }

    /// Starts a rollback to an entry of the history (`argocd app rollback`).
    ///
    /// # Errors
    /// `OperationInProgress`; `InvalidInput` for an entry that is not there; `Conflict` with auto-sync on, and for an application that is being deleted.
    pub async fn rollback_application(
        &self,
        app: &AppRef,
        request: &RollbackRequest,
    ) -> Result<Application> {
        self.started(
            app,
            "rollback",
            format!("roll application {app} back"),
            request,
        )
        .await
    }

    async fn started(
        &self,
        app: &AppRef,
        call: &str,
        what: String,
        request: &impl Serialize,
    ) -> Result<Application> {
        let body = serde_json::to_value(request)
            .map_err(|error| Error::internal("the request cannot be written").with_source(error))?;
        self.app_json(app, |project| {
            let mut body = body.clone();
            body["name"] = json!(app.name);
            body["appNamespace"] = json!(app.namespace);
            body["project"] = json!(project);
            self.call(Method::POST, ["applications", &app.name, call], &*what)
                .body(&body)
        })
        .await
    }

    /// Asks the running operation to stop (`argocd app terminate-op`). It stops later.
    ///
    /// # Errors
    /// `InvalidInput` when none runs.
    pub async fn terminate_operation(&self, app: &AppRef) -> Result<()> {
        self.app_json::<Value>(app, |project| {
            Ok(self
                .call(
                    Method::DELETE,
                    ["applications", &app.name, "operation"],
                    format!("terminate the operation of application {app}"),
                )
                .of(app, project))
        })
        .await
        .map(drop)
    }

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

    // The project of an application.

    fn remember(&self, app: &Application) {
        let name = AppRef::namespaced(app.namespace(), app.name());
        self.know(name, &app.spec.project);
    }

    pub(crate) fn remember_lean(&self, app: &lean::Application) {
        self.know(app.app_ref(), &app.spec.project);
    }

    fn know(&self, app: AppRef, project: &str) {
        if project.is_empty() || app.name.is_empty() {
            return;
        }
        // Callers name applications of the server's own namespace with or without it.
        let is_own = self
            .0
            .namespace
            .get()
            .is_some_and(|own| *own == app.namespace);
        let short = is_own.then(|| AppRef::new(&*app.name));
        for name in short.into_iter().chain([app]) {
            let known = self.0.projects.get(&name);
            if known.as_deref() != Some(project) {
                self.0.projects.insert(name, project.to_owned());
            }
        }
    }

    /// Argo CD's own namespace; none where the server does not say, as it does not to nobody in particular.
    pub(super) async fn own_namespace(&self) -> Result<Option<String>> {
        if let Some(own) = self.0.namespace.get() {
            return Ok(Some(own.clone()));
        }
        let own = self.settings().await?.controller_namespace;
        if own.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.0.namespace.get_or_init(|| own).clone()))
    }

    /// The application's project, asked for once.
    pub(crate) async fn project_of(&self, app: &AppRef) -> Result<String> {
        match self.0.projects.get(app) {
            Some(project) => Ok(project),
            None => self.look_project_up(app).await,
        }
    }

    async fn look_project_up(&self, app: &AppRef) -> Result<String> {
        let what = "look an application's project up";
        // Without a namespace the server would answer any one application of that name.
        let namespace = match &*app.namespace {
            "" => self.own_namespace().await?,
            namespace => Some(namespace.to_owned()),
        };
        let query = ApplicationQuery {
            name: Some(app.name.clone()),
            namespace: namespace.clone(),
            ..ApplicationQuery::default()
        };
        let body = self
            .applications(&query, &["applications"], what)
            .query("fields", PROJECT)
            .bytes()
            .await?;
        let list: lean::ApplicationList = decode(&body, what)?;
        let found = list.items.into_iter().find(|found| {
            found.metadata.name == app.name
                && namespace
                    .as_ref()
                    .is_none_or(|namespace| found.metadata.namespace == *namespace)
        });
        match found {
            Some(found) => {
                let project = match found.spec.project {
                    project if project.is_empty() => "default".to_owned(),
                    project => project,
                };
                self.0.projects.insert(app.clone(), project.clone());
                Ok(project)
            }
            None => {
                self.0.projects.remove(app);
                Err(Error::not_found(format!(
                    "there is no application {app}, or this account may not see it"
                )))
            }
        }
    }

    /// The answer to what `make` makes for the application's project; once more where it has moved to another project.
    pub(super) async fn app_json<'a, T: DeserializeOwned>(
        &'a self,
        app: &AppRef,
        make: impl Fn(&str) -> Result<Call<'a>> + Send + Sync,
    ) -> Result<T> {
        self.with_project(app, make, |call| async move { call.json().await })
            .await
    }

    /// The same for an answer in parts.
    pub(super) async fn app_stream<'a>(
        &'a self,
        app: &AppRef,
        make: impl Fn(&str) -> Result<Call<'a>> + Send + Sync,
    ) -> Result<(Response, String)> {
        self.with_project(app, make, Call::stream).await
    }

    async fn with_project<'a, T, F: Future<Output = Result<T>> + Send>(
        &'a self,
        app: &AppRef,
        make: impl Fn(&str) -> Result<Call<'a>> + Send + Sync,
        send: impl Fn(Call<'a>) -> F + Send + Sync,
    ) -> Result<T> {
        let project = self.project_of(app).await?;
        match send(make(&project)?).await {
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::PermissionDenied | ErrorKind::NotFound
                ) =>
            {
                let now = self.look_project_up(app).await?;
                if now == project {
                    return Err(error);
                }
                send(make(&now)?).await
            }
            result => result,
        }
    }
}

fn statuses(list: lean::ApplicationList) -> Vec<(AppRef, ApplicationStatus)> {
    list.items
        .into_iter()
        .map(|app| (app.app_ref(), app.into_status()))
        .collect()
}
