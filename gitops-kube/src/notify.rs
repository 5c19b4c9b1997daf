//! Kubernetes Events about applications.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gitops_core::application::AppRef;
use gitops_core::backend::{EventKind, Severity, SyncEvent};
use gitops_core::manifest::{GroupVersionKind, Object};
use gitops_core::notify::Notifier;
use gitops_core::{Error, ErrorKind, Result};
use jiff::Timestamp;
use quick_cache::sync::Cache;
use serde_json::{Value, json};

use crate::cluster::{ApiKind, Cluster, ObjectKey, Patch, Scope, WriteParams};
use crate::store::config_map_of;

/// Who reports, in Kubernetes' words the `reportingController`.
const CONTROLLER: &str = "gitops-rs.dev/gitops";
/// What the API server takes of a note (`pkg/apis/core/validation/events.go`, `NoteLengthLimit`), in bytes.
const MAX_NOTE: usize = 1024;
/// What it takes of names (`ReportingInstanceLengthLimit`), in bytes.
const MAX_INSTANCE: usize = 128;
/// A repetition after so long is an Event of its own, as client-go has it (`tools/events`, v0.34).
const SERIES: Duration = Duration::from_secs(6 * 60);
/// Of so many Events it is known whether the next one repeats them.
const REMEMBERED: usize = 4096;

/// Makes an Event (`events.k8s.io/v1`) of each event, about the ConfigMap in which a [`ConfigMapStore`](crate::store::ConfigMapStore) keeps the application; so
/// `kubectl describe` shows them with it, and `kubectl events` in its namespace.
///
/// The reason is the event's name (`SyncStarted`, `SyncSucceeded`, `SyncFailed`, `SyncRefused`, `StatusChanged` …), the note what happened, cut off at 1 KiB, and the type
/// is `Warning` unless the severity is `Info`. What repeats an event of the last six minutes word for word makes its series longer instead of a new Event; client-go's
/// recorder looks at the reason only, and keeps the first note. Events are kept for an hour by most API servers. A filter keeps away what nobody reads, such as an Event
/// for each resource.
///
/// # Rights
/// `get` on `configmaps`, `create` and `patch` on `events` of `events.k8s.io`, in the namespace of the store.
pub struct EventNotifier {
    cluster: Arc<dyn Cluster>,
    namespace: String,
    instance: String,
    recent: Cache<Key, Told>,
}

/// What makes two events the same.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    app: AppRef,
    reason: String,
    note: String,
}

#[derive(Clone)]
struct Told {
    name: String,
    count: u32,
    last: Timestamp,
}

impl fmt::Debug for EventNotifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventNotifier")
            .field("namespace", &self.namespace)
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

impl EventNotifier {
    /// Tells of applications whose store is in `namespace`; `instance` is who reports, such as the pod's name.
    ///
    /// # Errors
    /// `InvalidInput` for an instance that is empty or longer than 128 bytes.
    pub fn new(
        cluster: Arc<dyn Cluster>,
        namespace: impl Into<String>,
        instance: impl Into<String>,
    ) -> Result<Self> {
        let instance = instance.into();
        if instance.is_empty() || instance.len() > MAX_INSTANCE {
            return Err(Error::invalid(format!(
                "an instance that reports events has a name of 1 to {MAX_INSTANCE} bytes"
            )));
        }
        Ok(Self {
            cluster,
            namespace: namespace.into(),
            instance,
            recent: Cache::new(REMEMBERED),
        })
    }

    /// Makes the series of an Event longer; whether that Event is still there.
    async fn repeat(&self, told: &Told) -> Result<bool> {
        let kind = kind();
        let key = ObjectKey {
            kind: &kind,
            namespace: &self.namespace,
            name: &told.name,
        };
        let series = json!({"count": told.count, "lastObservedTime": micro(told.last)});
        let patch = Patch::Merge(json!({"series": series}));
        match self.cluster.patch(key, &patch, &params()).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn create(&self, event: &SyncEvent, reason: &str, note: &str, name: &str) -> Result<()> {
        let about = config_map_of(&event.app);
        let config_maps = ApiKind::config_map();
        let key = ObjectKey {
            kind: &config_maps,
            namespace: &self.namespace,
            name: &about,
        };
        let mut regarding = json!({"apiVersion": "v1", "kind": "ConfigMap", "namespace": self.namespace, "name": about});
        // `kubectl describe` asks by UID. Of an application that is gone there is none.
        if let Some(found) = self.cluster.get(key).await? {
            regarding["uid"] = found.value()["metadata"]["uid"].clone();
        }
        let type_ = match event.severity {
            Severity::Info => "Normal",
            _ => "Warning",
        };
        let object: Value = json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"namespace": self.namespace, "name": name},
            "eventTime": micro(event.at),
            "reportingController": CONTROLLER,
            "reportingInstance": self.instance,
            "action": "Sync",
            "reason": reason,
            "type": type_,
            "note": note,
            "regarding": regarding,
        });
        let object = Object::new(object, None)?;
        match self.cluster.create(&kind(), &object, &params()).await {
            // Told before: the answer was lost.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            created => created.map(|_| ()),
        }
    }
}

#[async_trait]
impl Notifier for EventNotifier {
    fn name(&self) -> &str {
        "kubernetes-events"
    }

    async fn notify(&self, event: &SyncEvent) -> Result<()> {
        let (reason, note) = (reason(&event.kind), note(event));
        let key = Key {
            app: event.app.clone(),
            reason: reason.clone(),
            note: note.clone(),
        };
        let before = self
            .recent
            .get(&key)
            .filter(|told| event.at.duration_since(told.last).unsigned_abs() < SERIES);
        let mut told = match before {
            // The same one again, after a failure whose answer was lost.
            Some(told) if told.last == event.at => return Ok(()),
            Some(told) => Told {
                count: told.count.saturating_add(1),
                last: event.at.max(told.last),
                ..told
            },
            None => first(event),
        };
        if told.count == 1 || !self.repeat(&told).await? {
            told = first(event);
            self.create(event, &reason, &note, &told.name).await?;
        }
        self.recent.insert(key, told);
        Ok(())
    }
}

/// Named after the moment, so that the same event has one name however often it is told.
fn first(event: &SyncEvent) -> Told {
    let nanos = event.at.as_nanosecond();
    Told {
        name: format!("{}.{nanos:x}", config_map_of(&event.app)),
        count: 1,
        last: event.at,
    }
}

fn kind() -> ApiKind {
    ApiKind {
        gvk: GroupVersionKind::new("events.k8s.io", "v1", "Event"),
        plural: "events".into(),
        scope: Scope::Namespaced,
        verbs: Vec::new(),
    }
}

fn params() -> WriteParams {
    WriteParams {
        field_manager: "gitops-notify".into(),
        ..WriteParams::default()
    }
}

/// A `MicroTime`: six digits, no more.
fn micro(at: Timestamp) -> String {
    format!("{at:.6}")
}

/// In upper camel case, as Kubernetes' reasons are.
fn reason(kind: &EventKind) -> String {
    if let EventKind::SyncFinished { outcome } = kind {
        return format!("Sync{}", outcome.phase);
    }
    let name = kind.name();
    let first = name.chars().take(1).map(|c| c.to_ascii_uppercase());
    first.chain(name.chars().skip(1)).collect()
}

fn note(event: &SyncEvent) -> String {
    let mut note = format!("{}: {}", event.app, event.kind.text());
    if note.len() > MAX_NOTE {
        let ellipsis = "…";
        let end = note.floor_char_boundary(MAX_NOTE - ellipsis.len());
        note.truncate(end);
        note.push_str(ellipsis);
    }
    note
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str) -> SyncEvent {
        let kind = EventKind::Retrying {
            attempt: 1,
            message: text.into(),
        };
        SyncEvent::now(AppRef::namespaced("prod", "shop"), "1", kind)
    }

    #[test]
    fn notes_fit_and_stay_text() {
        assert_eq!(note(&event("x")), "prod/shop: attempt 1 failed: x");
        for length in 990..1100 {
            let note = note(&event(&"é".repeat(length)));
            assert!(note.len() <= MAX_NOTE && note.ends_with('…'), "{note}");
        }
    }

    #[test]
    fn reasons_are_camel_case() {
        assert_eq!(reason(&EventKind::SyncStarted), "SyncStarted");
        assert_eq!(reason(&event("x").kind), "Retrying");
    }
}
