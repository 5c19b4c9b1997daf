//! What Flux's controllers reported about their objects: `flux events`.
//!
//! The rules are those of flux 2.7: Kubernetes Events about an object of Flux's kinds and, with it, about what it refers to (a Kustomization's source, a HelmRelease's source and chart,
//! an Alert's provider, an ImagePolicy's repository), in the order of time. Kubernetes keeps Events for an hour unless the API server is told otherwise.

use std::collections::BTreeSet;
use std::fmt;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use gitops_core::manifest::{Object, ObjectId};
use gitops_core::{Error, Result, ResultExt as _};
use gitops_kube::cluster::{ApiKind, Cluster, ListParams, ObjectKey, Scope, WatchEvent};
use jiff::Timestamp;

use crate::kind::{FluxKind, IMAGE, NOTIFICATION, SOURCE};
use crate::manager::FluxManager;
use crate::trace::source_of;
use crate::view;

/// Which events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventsOptions {
    /// Only this namespace, and those of what is referred to; `None`: all. For a [`FluxManager`], an empty one means its own.
    pub namespace: Option<String>,
    /// Only about objects of this kind.
    pub kind: Option<FluxKind>,
    /// Only about the object of this name; `kind` and `namespace` are needed with it.
    pub name: Option<String>,
    /// With a name: also what the object refers to.
    pub references: bool,
    /// Only events of this type.
    pub severity: Option<Severity>,
    /// At most so many, the latest (1,000).
    pub limit: usize,
}

impl Default for EventsOptions {
    fn default() -> Self {
        Self {
            namespace: None,
            kind: None,
            name: None,
            references: true,
            severity: None,
            limit: 1000,
        }
    }
}

impl EventsOptions {
    /// Events about one object and what it refers to.
    pub fn about(kind: FluxKind, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: Some(namespace.into()),
            kind: Some(kind),
            name: Some(name.into()),
            ..Self::default()
        }
    }

    /// Events of a namespace.
    pub fn in_namespace(namespace: impl Into<String>) -> Self {
        Self {
            namespace: Some(namespace.into()),
            ..Self::default()
        }
    }
}

/// The type of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// `Normal`.
    Normal,
    /// `Warning`.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        })
    }
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRecord {
    /// When it was last seen.
    pub at: Option<Timestamp>,
    /// Its type.
    pub severity: Severity,
    /// Its reason (`ReconciliationSucceeded`, `ArtifactFailed`, `DependencyNotReady` …).
    pub reason: String,
    /// The object it is about.
    pub object: ObjectId,
    /// What happened.
    pub message: String,
    /// How often it was seen.
    pub count: u64,
    /// The controller that reported it.
    pub controller: String,
    /// The revision that it is about, where the controller says it (annotation `<group>/revision`).
    pub revision: Option<String>,
}

impl fmt::Display for EventRecord {
    /// One line, control characters escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(at) = self.at {
            write!(f, "{at} ")?;
        }
        let object = view::line(&view::flux_name(&self.object));
        let (reason, message) = (view::line(&self.reason), view::line(&self.message));
        write!(f, "{} {reason} {object} {message}", self.severity)
    }
}

fn read(event: &Object) -> Option<EventRecord> {
    let involved = |key: &str| {
        view::text(event, &["involvedObject", key])
            .unwrap_or_default()
            .to_owned()
    };
    let kind: FluxKind = involved("kind").parse().ok()?;
    let time = |path: &[&str]| view::text(event, path).and_then(|text| text.parse().ok());
    let api = involved("apiVersion");
    let group = api.split_once('/').map_or("", |(group, _)| group);
    if !group.is_empty() && group != kind.group() {
        return None;
    }
    Some(EventRecord {
        at: time(&["series", "lastObservedTime"])
            .or_else(|| time(&["lastTimestamp"]))
            .or_else(|| time(&["eventTime"])),
        severity: match view::text(event, &["type"]) {
            Some("Warning") => Severity::Warning,
            _ => Severity::Normal,
        },
        reason: view::text(event, &["reason"])
            .unwrap_or_default()
            .to_owned(),
        object: kind.object_id(&involved("namespace"), &involved("name")),
        message: view::text(event, &["message"])
            .unwrap_or_default()
            .to_owned(),
        count: view::at(event, &["series", "count"])
            .or_else(|| view::at(event, &["count"]))
            .and_then(serde_json::Value::as_u64)
            .unwrap_or(1),
        controller: view::text(event, &["source", "component"])
            .or_else(|| view::text(event, &["reportingComponent"]))
            .unwrap_or_default()
            .to_owned(),
        revision: event
            .annotation(&format!("{}/revision", kind.group()))
            .map(str::to_owned),
    })
}

fn event_kind() -> ApiKind {
    view::native("", "Event", "events", Scope::Namespaced)
}

fn params(namespace: Option<&str>, kind: Option<&str>, name: Option<&str>) -> ListParams {
    let fields: Vec<String> = [("kind", kind), ("name", name)]
        .into_iter()
        .filter_map(|(key, value)| Some(format!("involvedObject.{key}={}", value?)))
        .collect();
    ListParams {
        namespace: namespace.map(str::to_owned),
        fields: (!fields.is_empty()).then(|| fields.join(",")),
        ..ListParams::default()
    }
}

/// The lists that an answer is made of.
async fn selections(cluster: &dyn Cluster, options: &EventsOptions) -> Result<Vec<ListParams>> {
    if options.namespace.as_deref() == Some("") {
        return Err(Error::invalid(
            "the namespace of events is empty; none at all means all of them",
        ));
    }
    let mut all = vec![params(
        options.namespace.as_deref(),
        options.kind.map(FluxKind::kind),
        options.name.as_deref(),
    )];
    let Some(name) = &options.name else {
        return Ok(all);
    };
    let (Some(kind), Some(namespace)) = (options.kind, &options.namespace) else {
        return Err(Error::invalid(
            "events about an object need its kind and its namespace",
        ));
    };
    if options.references {
        let id = kind.object_id(namespace, name);
        let served = view::served(kind);
        let key = ObjectKey {
            kind: &served,
            namespace,
            name,
        };
        // The object may be gone, and its events are still there.
        let object = cluster.get(key).await.context(|| format!("get {id}"))?;
        let references = object.map(|object| references(&object));
        for id in references.into_iter().flatten() {
            all.push(params(Some(&id.namespace), Some(&id.kind), Some(&id.name)));
        }
    }
    Ok(all)
}

/// What an object refers to, as far as `flux events` looks.
fn references(object: &Object) -> BTreeSet<ObjectId> {
    let own = |path: &[&str], group: &str, kind: &str| {
        view::at(object, path)
            .and_then(|value| view::reference(value, group, kind, object.namespace()))
    };
    let mut ids = BTreeSet::new();
    match object.kind() {
        "Kustomization" => ids.extend(source_of(object)),
        "HelmRelease" => {
            ids.extend(source_of(object));
            if view::at(object, &["spec", "chart"]).is_some() {
                let chart = format!("{}-{}", object.namespace(), object.name());
                // helm-controller makes the chart in the source's namespace.
                let namespace = view::text(object, &["status", "helmChart"])
                    .and_then(|chart| chart.split_once('/'))
                    .map(|(namespace, _)| namespace.to_owned())
                    .or_else(|| source_of(object).map(|source| source.namespace));
                ids.extend(
                    namespace.map(|namespace| FluxKind::HelmChart.object_id(&namespace, &chart)),
                );
            }
        }
        "HelmChart" => ids.extend(own(&["spec", "sourceRef"], SOURCE, "")),
        "Alert" => ids.extend(own(&["spec", "providerRef"], NOTIFICATION, "Provider")),
        "ImagePolicy" => ids.extend(own(
            &["spec", "imageRepositoryRef"],
            IMAGE,
            "ImageRepository",
        )),
        _ => {}
    }
    ids
}

impl FluxManager {
    /// What the controllers reported: [`events`].
    ///
    /// # Errors
    /// As there.
    pub async fn events(&self, options: &EventsOptions) -> Result<Vec<EventRecord>> {
        events(self.cluster(), &self.named(options)).await
    }

    /// What the controllers report: [`watch_events`].
    ///
    /// # Errors
    /// As there.
    pub async fn watch_events(
        &self,
        options: EventsOptions,
    ) -> Result<BoxStream<'static, Result<EventRecord>>> {
        watch_events(self.cluster(), self.named(&options)).await
    }

    fn named(&self, options: &EventsOptions) -> EventsOptions {
        let namespace = options.namespace.as_deref();
        EventsOptions {
            namespace: namespace.map(|name| self.namespace_or_own(name).to_owned()),
            ..options.clone()
        }
    }
}

/// The events that there are, the oldest first.
///
/// # Errors
/// `InvalidInput` for a name without kind and namespace, and for an empty namespace; what lists meet.
pub async fn events(cluster: &dyn Cluster, options: &EventsOptions) -> Result<Vec<EventRecord>> {
    let mut events = Vec::new();
    let served = event_kind();
    for params in selections(cluster, options).await? {
        // The API server gives them in no order of time: the latest may come last.
        let found = view::fold(
            cluster,
            &served,
            params,
            |kept: &mut Vec<EventRecord>, page| {
                let read = page.iter().filter_map(read);
                kept.extend(read.filter(|event| wanted(options, event)));
                keep_latest(kept, options.limit);
                Ok(())
            },
        );
        events.extend(found.await.context(|| "list events")?);
    }
    keep_latest(&mut events, options.limit);
    Ok(events)
}

fn keep_latest(events: &mut Vec<EventRecord>, limit: usize) {
    events.sort_by_key(|event| event.at);
    let surplus = events.len().saturating_sub(limit);
    events.drain(..surplus);
}

fn wanted(options: &EventsOptions, event: &EventRecord) -> bool {
    options
        .severity
        .is_none_or(|severity| event.severity == severity)
}

/// The events that come, those that there are first, in no order. It goes on after gaps (then events may come again) and after errors, asking less and less often, and ends when it is
/// dropped. What the object refers to is looked up
/// once, at the start.
///
/// # Errors
/// As [`events`]; later ones come in the stream, which goes on: `PermissionDenied` where events may not be read, `Unavailable` and the like.
pub async fn watch_events(
    cluster: &dyn Cluster,
    options: EventsOptions,
) -> Result<BoxStream<'static, Result<EventRecord>>> {
    let streams: Vec<_> = selections(cluster, &options)
        .await?
        .into_iter()
        .map(|params| cluster.watch(&event_kind(), params))
        .collect();
    Ok(futures::stream::select_all(streams)
        .filter_map(move |event| {
            let event = match event {
                Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => read(&object)
                    .filter(|event| wanted(&options, event))
                    .map(Ok),
                Ok(_) => None,
                Err(error) => Some(Err(error)),
            };
            futures::future::ready(event)
        })
        .boxed())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let event = json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"namespace": "shop", "name": "e"}, "type": "Warning",
            "reason": "BuildFailed", "message": "a\u{1b}[2J\nb", "lastTimestamp": "2025-01-02T03:04:05Z",
            "involvedObject": {"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "namespace": "shop", "name": "apps"},
        });
        let event = read(&Object::new(event, None).unwrap()).unwrap();
        assert_eq!(
            event.to_string(),
            "2025-01-02T03:04:05Z Warning BuildFailed Kustomization/shop/apps a\\u{1b}[2J b"
        );
    }

    #[test]
    fn the_latest_are_kept() {
        let event = |at: &str| EventRecord {
            at: at.parse().ok(),
            severity: Severity::Normal,
            reason: String::new(),
            object: FluxKind::Kustomization.object_id("n", "a"),
            message: at.to_owned(),
            count: 1,
            controller: String::new(),
            revision: None,
        };
        let mut events: Vec<EventRecord> = [
            "2025-01-02T00:00:00Z",
            "",
            "2025-01-03T00:00:00Z",
            "2025-01-01T00:00:00Z",
        ]
        .map(event)
        .into();
        keep_latest(&mut events, 2);
        let kept: Vec<&str> = events.iter().map(|event| event.message.as_str()).collect();
        assert_eq!(kept, ["2025-01-02T00:00:00Z", "2025-01-03T00:00:00Z"]);
    }
}
