//! The resources of an application: managed resources, the tree, single ones, actions, events, logs.

use futures::StreamExt;
use futures::stream::BoxStream;
use gitops_core::application::AppRef;
use gitops_core::{Error, Result};
use jiff::Timestamp;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ArgoCd;
use super::call::Call;
use super::model::{Items, Link, ManagedResource, ResourceAction, ResourceTree};
use super::stream::parts;

/// One resource of an application, with the version to speak of it in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct ResourceRef {
    /// The API group; empty is the core group.
    pub group: String,
    /// The API version.
    pub version: String,
    /// The kind.
    pub kind: String,
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

/// The form of a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PatchType {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Kubernetes' own.
    Strategic,
}

impl PatchType {
    fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json-patch+json",
            Self::Merge => "application/merge-patch+json",
            Self::Strategic => "application/strategic-merge-patch+json",
        }
    }
}

/// Which log lines (`argocd app logs`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Only pods of this resource; empty fields match all.
    pub group: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub resource_name: String,
    /// The pods' namespace.
    pub namespace: String,
    /// Only this pod.
    pub pod_name: Option<String>,
    /// Only this container.
    pub container: Option<String>,
    /// Only lines of the last seconds.
    pub since_seconds: Option<i64>,
    /// Only the last lines of each container.
    pub tail_lines: Option<i64>,
    /// Go on with new lines.
    pub follow: bool,
    /// Only lines until this time.
    pub until_time: Option<Timestamp>,
    /// Only lines with this text; a leading `!` means without it.
    pub filter: Option<String>,
    /// Whether the filter tells upper from lower case.
    pub match_case: bool,
    /// The log of the container that ran before.
    pub previous: bool,
}

/// One line of a log.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LogEntry {
    /// The line.
    pub content: String,
    /// When it was written, as RFC 3339.
    pub time_stamp_str: String,
    /// By which pod.
    pub pod_name: String,
    /// Whether nothing comes after it: such an entry has no line.
    pub last: bool,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Manifest {
    manifest: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Actions {
    actions: Option<Vec<ResourceAction>>,
}

impl ResourceRef {
    fn add_to<'a>(&self, call: Call<'a>, name: &'static str) -> Call<'a> {
        call.query_text("namespace", &self.namespace)
            .query_text(name, &self.name)
            .query_text("version", &self.version)
            .query_text("group", &self.group)
            .query_text("kind", &self.kind)
    }
}

impl ArgoCd {
    /// Desired, live and predicted state of each managed resource; hooks are not among them (`argocd app diff`). `only` selects by its non-empty fields.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable` while the controller has not compared it yet.
    pub async fn managed_resources(
        &self,
        app: &AppRef,
        only: &ResourceRef,
    ) -> Result<Vec<ManagedResource>> {
        let items: Items<ManagedResource> = self
            .app_json(app, |project| {
                let call = self
                    .get_call(
                        ["applications", &app.name, "managed-resources"],
                        format!("compare application {app}"),
                    )
                    .of(app, project);
                Ok(only.add_to(call, "name"))
            })
            .await?;
        Ok(items.items.unwrap_or_default())
    }

    /// All resources, with what they made in turn: replica sets, pods … (`argocd app resources`).
    ///
    /// # Errors
    /// As [`managed_resources`](Self::managed_resources).
    pub async fn resource_tree(&self, app: &AppRef) -> Result<ResourceTree> {
        self.app_json(app, |project| {
            Ok(self
                .get_call(
                    ["applications", &app.name, "resource-tree"],
                    format!("read the resource tree of application {app}"),
                )
                .of(app, project))
        })
        .await
    }

    /// The tree, and again whenever it changes.
    ///
    /// # Errors
    /// As [`resource_tree`](Self::resource_tree); the last item may be one, too.
    pub async fn watch_resource_tree(
        &self,
        app: &AppRef,
    ) -> Result<BoxStream<'static, Result<ResourceTree>>> {
        let (response, what) = self
            .app_stream(app, |project| {
                Ok(self
                    .get_call(
                        ["stream", "applications", &app.name, "resource-tree"],
                        format!("watch the resource tree of application {app}"),
                    )
                    .of(app, project))
            })
            .await?;
        Ok(parts(response, what, self.0.config.max_answer))
    }

    /// One resource as it is in the cluster, Secrets' values masked (`argocd app get-resource`).
    ///
    /// # Errors
    /// `NotFound`, also for what does not belong to the application.
    pub async fn get_resource(&self, app: &AppRef, resource: &ResourceRef) -> Result<Value> {
        let answer: Manifest = self
            .app_json(app, |project| {
                Ok(self.resource(Method::GET, app, project, resource, "read"))
            })
            .await?;
        manifest(&answer)
    }

    /// Patches one resource in the cluster (`argocd app patch-resource`).
    ///
    /// # Errors
    /// `NotFound`; what the cluster says.
    pub async fn patch_resource(
        &self,
        app: &AppRef,
        resource: &ResourceRef,
        patch: &Value,
        kind: PatchType,
    ) -> Result<Value> {
        let answer: Manifest = self
            .app_json(app, |project| {
                self.resource(Method::POST, app, project, resource, "patch")
                    .query("patchType", kind.media_type())
                    // A text that is JSON, as JSON.
                    .body(&patch.to_string())
            })
            .await?;
        manifest(&answer)
    }

    /// Deletes one resource in the cluster (`argocd app delete-resource`): with `force` at once, with `orphan` without what it made.
    ///
    /// # Errors
    /// `NotFound`; what the cluster says.
    pub async fn delete_resource(
        &self,
        app: &AppRef,
        resource: &ResourceRef,
        force: bool,
        orphan: bool,
    ) -> Result<()> {
        self.app_json::<Value>(app, |project| {
            Ok(self
                .resource(Method::DELETE, app, project, resource, "delete")
                .query_some("force", force.then_some(true))
                .query_some("orphan", orphan.then_some(true)))
        })
        .await
        .map(drop)
    }

    /// What can be done with one resource (`argocd app actions list`).
    ///
    /// # Errors
    /// As [`get_resource`](Self::get_resource).
    pub async fn resource_actions(
        &self,
        app: &AppRef,
        resource: &ResourceRef,
    ) -> Result<Vec<ResourceAction>> {
        let answer: Actions = self
            .app_json(app, |project| {
                let call = self
                    .get_call(
                        ["applications", &app.name, "resource", "actions"],
                        format!("list actions of a resource of application {app}"),
                    )
                    .of(app, project);
                Ok(resource.add_to(call, "resourceName"))
            })
            .await?;
        Ok(answer.actions.unwrap_or_default())
    }

    /// Does one of them, such as `restart` of a Deployment (`argocd app actions run`). Parameters need argo-cd 3.1.
    ///
    /// # Errors
    /// `InvalidInput` for an action that the resource does not have; what the cluster says.
    pub async fn run_resource_action(
        &self,
        app: &AppRef,
        resource: &ResourceRef,
        action: &str,
        parameters: &[(String, String)],
    ) -> Result<()> {
        let what = format!("run {action} on a resource of application {app}");
        self.app_json::<Value>(app, |project| {
            if parameters.is_empty() {
                // The form that older servers know, too.
                let call = self
                    .call(
                        Method::POST,
                        ["applications", &app.name, "resource", "actions"],
                        &*what,
                    )
                    .of(app, project);
                return resource.add_to(call, "resourceName").body(&action);
            }
            let parameters: Vec<_> = parameters
                .iter()
                .map(|(name, value)| json!({"name": name, "value": value}))
                .collect();
            self.call(
                Method::POST,
                ["applications", &app.name, "resource", "actions", "v2"],
                &*what,
            )
            .body(&json!({
                "name": app.name,
                "namespace": resource.namespace,
                "resourceName": resource.name,
                "version": resource.version,
                "group": resource.group,
                "kind": resource.kind,
                "action": action,
                "appNamespace": app.namespace,
                "project": project,
                "resourceActionParameters": parameters,
            }))
        })
        .await
        .map(drop)
    }

    /// Links of one resource that the administrator defined.
    ///
    /// # Errors
    /// As [`get_resource`](Self::get_resource).
    pub async fn resource_links(&self, app: &AppRef, resource: &ResourceRef) -> Result<Vec<Link>> {
        let links: Items<Link> = self
            .app_json(app, |project| {
                let call = self
                    .get_call(
                        ["applications", &app.name, "resource", "links"],
                        format!("list the links of a resource of application {app}"),
                    )
                    .of(app, project);
                Ok(resource.add_to(call, "resourceName"))
            })
            .await?;
        Ok(links.items.unwrap_or_default())
    }

    /// Kubernetes' events about the application, or about one of its resources.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn events(
        &self,
        app: &AppRef,
        resource: Option<(&ResourceRef, &str)>,
    ) -> Result<Vec<k8s_openapi::api::core::v1::Event>> {
        let events: Items<_> = self
            .app_json(app, |project| {
                let call = self
                    .get_call(
                        ["applications", &app.name, "events"],
                        format!("list events of application {app}"),
                    )
                    .of(app, project);
                Ok(match resource {
                    Some((resource, uid)) => call
                        .query_text("resourceNamespace", &resource.namespace)
                        .query_text("resourceName", &resource.name)
                        .query_text("resourceUID", uid),
                    None => call,
                })
            })
            .await?;
        Ok(events.items.unwrap_or_default())
    }

    /// The logs of the application's pods, line by line; the stream ends after the last one, at once where no pod matches. With `follow` it goes on until the pods end or it is
    /// dropped.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` for too many pods; the last item may be one, too: `Unavailable` for a log that was cut.
    pub async fn logs(
        &self,
        app: &AppRef,
        query: &LogQuery,
    ) -> Result<BoxStream<'static, Result<LogEntry>>> {
        let (response, what) = self
            .app_stream(app, |project| {
                Ok(self
                    .get_call(
                        ["applications", &app.name, "logs"],
                        format!("read logs of application {app}"),
                    )
                    .query_text("group", &query.group)
                    .query_text("kind", &query.kind)
                    .query_text("resourceName", &query.resource_name)
                    .query_text("namespace", &query.namespace)
                    .query_some("podName", query.pod_name.as_deref())
                    .query_some("container", query.container.as_deref())
                    .query_some("sinceSeconds", query.since_seconds)
                    .query_some("tailLines", query.tail_lines)
                    .query_some("follow", query.follow.then_some(true))
                    .query_some("untilTime", query.until_time)
                    .query_some("filter", query.filter.as_deref())
                    .query_some("matchCase", query.match_case.then_some(true))
                    .query_some("previous", query.previous.then_some(true))
                    .of(app, project))
            })
            .await?;
        let entries = parts::<LogEntry>(response, what.clone(), self.0.config.max_answer);
        Ok(whole(entries, what))
    }

    fn resource<'a>(
        &'a self,
        method: Method,
        app: &AppRef,
        project: &str,
        resource: &ResourceRef,
        what: &str,
    ) -> Call<'a> {
        let call = self
            .call(
                method,
                ["applications", &app.name, "resource"],
                format!(
                    "{what} {} {} of application {app}",
                    resource.kind, resource.name
                ),
            )
            .of(app, project);
        resource.add_to(call, "resourceName")
    }
}

fn manifest(answer: &Manifest) -> Result<Value> {
    serde_json::from_str(&answer.manifest)
        .map_err(|error| Error::integrity("the resource is no JSON").with_source(error))
}

/// The entries before the last one. A log that has begun and ends without it was cut (argo-cd 3.2, `PodLogs`, which sends nothing where no pod matches).
fn whole(
    entries: BoxStream<'static, Result<LogEntry>>,
    what: String,
) -> BoxStream<'static, Result<LogEntry>> {
    futures::stream::unfold(Some((entries, what, false)), |state| async move {
        let (mut entries, what, begun) = state?;
        match entries.next().await {
            Some(Ok(entry)) if entry.last => None,
            Some(Ok(entry)) => Some((Ok(entry), Some((entries, what, true)))),
            Some(Err(error)) => Some((Err(error), None)),
            None if begun => {
                let cut = Error::unavailable("the log ends before its last entry");
                Some((Err(cut.context(what)), None))
            }
            None => None,
        }
    })
    .boxed()
}
