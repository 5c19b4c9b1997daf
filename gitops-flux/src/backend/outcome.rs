//! What an operation did to each resource, as far as Flux tells.
//!
//! kustomize-controller 1.7 keeps no list of what it changed: it writes events, with a line for each object that it made, changed or deleted, and an inventory of all. Events may be missing; then
//! what is new in the inventory is taken for created, and what is not, for unchanged.

use std::collections::BTreeMap;
use std::time::Duration;

use gitops_core::backend::ResourceAction;
use gitops_core::manifest::ObjectId;
use jiff::Timestamp;

use super::FluxBackend;
use super::access::Loaded;
use super::record::Record;
use crate::convert::Workload;
use crate::events::{EventRecord, EventsOptions, events};
use crate::kind::{FluxKind, FluxResource as _};
use crate::types::InventoryEntry;

/// Events are written beside the status, and may come a moment later.
const LATER: Duration = Duration::from_millis(400);
/// How often they are looked for once more.
const LOOKS: usize = 5;
/// The reasons of events that are written before a run is over, or of one that is put off (kustomize-controller 1.7).
const BEFORE_THE_END: [&str; 2] = ["Progressing", "DependencyNotReady"];

/// What the workload has in its inventory.
pub(super) fn inventory(workload: &Workload) -> Vec<InventoryEntry> {
    match workload {
        Workload::Kustomization(object) => object
            .inventory()
            .map(|inventory| inventory.entries.clone())
            .unwrap_or_default(),
        Workload::HelmRelease(_) => Vec::new(),
    }
}

/// `Kind/namespace/name action`, as `ssa.ChangeSetEntry` prints it.
fn line(line: &str) -> Option<(String, ResourceAction)> {
    let (subject, action) = line.trim().rsplit_once(' ')?;
    let action = match action {
        "created" => ResourceAction::Created,
        "configured" => ResourceAction::Updated,
        "deleted" => ResourceAction::Pruned,
        _ => return None,
    };
    subject.contains('/').then(|| (subject.to_owned(), action))
}

fn subject(id: &ObjectId) -> String {
    match id.namespace.is_empty() {
        true => format!("{}/{}", id.kind, id.name),
        false => format!("{}/{}/{}", id.kind, id.namespace, id.name),
    }
}

/// What events say.
#[derive(Default)]
struct Told {
    actions: BTreeMap<String, ResourceAction>,
    /// More will not come: a controller writes events one after the other, and that of the run's end is there.
    all: bool,
}

async fn told(backend: &FluxBackend, loaded: &Loaded, record: &Record) -> Told {
    let workload = loaded.workload_ref();
    let options = EventsOptions::about(workload.kind, &*workload.namespace, &*workload.name);
    match events(backend.manager.cluster(), &options).await {
        Ok(found) => heard(&found, workload.kind, record.started_at),
        Err(_) => Told {
            all: true,
            ..Told::default()
        },
    }
}

/// What events say of the runs of a workload of this kind since then.
fn heard(events: &[EventRecord], kind: FluxKind, since: Timestamp) -> Told {
    let mut told = Told::default();
    // Their times have no fractions.
    let since = since.as_second();
    for event in events {
        if event.at.is_none_or(|at| at.as_second() < since) {
            continue;
        }
        told.all |= event.object.kind == kind.kind() && !BEFORE_THE_END.contains(&&*event.reason);
        told.actions.extend(event.message.lines().filter_map(line));
    }
    told
}

/// Each resource with what happened to it: those of the inventory, then those that are gone from it.
pub(super) async fn resources(
    backend: &FluxBackend,
    loaded: &Loaded,
    record: &Record,
    before: Option<&[InventoryEntry]>,
) -> Vec<(String, ResourceAction)> {
    let now = inventory(loaded.workload());
    if now.is_empty() && before.is_none_or(<[_]>::is_empty) {
        return Vec::new();
    }
    let mut said = told(backend, loaded, record).await;
    for _ in 0..LOOKS {
        if !said.actions.is_empty() {
            break;
        }
        tokio::time::sleep(LATER).await;
        said = told(backend, loaded, record).await;
        if said.all {
            break;
        }
    }
    let said = said.actions;
    let has = |all: &[InventoryEntry], id: &str| all.iter().any(|entry| entry.id == id);
    let said_of = |entry: &InventoryEntry| {
        let id = entry.object_id().ok()?;
        said.get(&subject(&id)).copied()
    };
    let mut all: Vec<_> = now
        .iter()
        .map(|entry| {
            let is_new = before.is_some_and(|before| !has(before, &entry.id));
            let action = said_of(entry).unwrap_or(match is_new {
                true => ResourceAction::Created,
                false => ResourceAction::Unchanged,
            });
            (entry.id.clone(), action)
        })
        .collect();
    for entry in before
        .into_iter()
        .flatten()
        .filter(|entry| !has(&now, &entry.id))
    {
        let action = said_of(entry).unwrap_or(match record.ask.prune {
            true => ResourceAction::Pruned,
            false => ResourceAction::PruneSkipped,
        });
        all.push((entry.id.clone(), action));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Severity;

    #[test]
    fn all_is_told_with_the_end_of_a_run() {
        let event = |at: i64, kind: FluxKind, reason: &str, message: &str| EventRecord {
            at: Timestamp::from_second(at).ok(),
            severity: Severity::Normal,
            reason: reason.to_owned(),
            object: kind.object_id("a", "app"),
            message: message.to_owned(),
            count: 1,
            controller: String::new(),
            revision: None,
        };
        let kind = FluxKind::Kustomization;
        let since = Timestamp::from_second(5).unwrap();
        let mut events = vec![
            event(
                4,
                kind,
                "ReconciliationSucceeded",
                "Reconciliation finished in 1s",
            ),
            event(5, FluxKind::GitRepository, "NewArtifact", "stored artifact"),
        ];
        let told = heard(&events, kind, since);
        assert!(told.actions.is_empty() && !told.all);
        events.push(event(5, kind, "Progressing", "ConfigMap/a/b configured"));
        let told = heard(&events, kind, since);
        assert_eq!(told.actions["ConfigMap/a/b"], ResourceAction::Updated);
        assert!(!told.all);
        events.push(event(
            6,
            kind,
            "ReconciliationSucceeded",
            "Reconciliation finished in 1s",
        ));
        assert!(heard(&events, kind, since).all);
    }

    #[test]
    fn lines_of_events_are_read() {
        let created = Some(("ConfigMap/a/b".to_owned(), ResourceAction::Created));
        assert_eq!(line("ConfigMap/a/b created"), created);
        let pruned = Some(("ClusterRole/x:y".to_owned(), ResourceAction::Pruned));
        assert_eq!(line("ClusterRole/x:y deleted"), pruned);
        for other in [
            "Health check passed in 1s",
            "",
            "created",
            "ConfigMap/a/b unchanged",
        ] {
            assert_eq!(line(other), None, "{other}");
        }
        assert_eq!(
            subject(&ObjectId::new("", "ConfigMap", "a", "b")),
            "ConfigMap/a/b"
        );
        assert_eq!(
            subject(&ObjectId::new("", "Namespace", "", "b")),
            "Namespace/b"
        );
    }
}
