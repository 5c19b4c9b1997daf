//! What a Kustomization would change if it were reconciled with other manifests: `flux diff kustomization`.
//!
//! The rules are those of flux 2.7 and fluxcd/pkg `ssa` 0.61: every built object is applied in a server-side dry run as kustomize-controller would, and compared with the one in the cluster
//! without its status; what is in the inventory and no longer built would be deleted, if `spec.prune` says so. Objects with `kustomize.toolkit.fluxcd.io/reconcile: disabled` or `ssa: Ignore` are
//! skipped, those with `ssa: IfNotPresent` once they are there; an immutable field that differs means that the object is made anew where `force` says so. Secrets are masked; of Secrets that SOPS
//! encrypted only the keys are compared. Nothing is changed; admission webhooks that allow dry runs are called.

use std::collections::BTreeSet;
use std::fmt;

use futures::StreamExt as _;
use gitops_core::manifest::diff::{Color, ObjectDiff};
use gitops_core::manifest::{Object, ObjectId};
use gitops_core::{Error, ErrorKind, Result};
use gitops_kube::cluster::{Cluster, ObjectKey, WriteParams};
use serde_json::Value;

use crate::kind::{FluxResource as _, KUSTOMIZE};
use crate::manager::FluxManager;
use crate::types::Kustomization;
use crate::view::{self, line};

/// As whom kustomize-controller applies.
const CONTROLLER: &str = "kustomize-controller";
/// How many dry runs are under way at once.
const AT_ONCE: usize = 8;

/// What would happen to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DiffAction {
    /// It would be made.
    Created,
    /// It would be changed.
    Changed,
    /// It would be deleted and made again: an immutable field differs, and `force` is set.
    Recreated,
    /// Nothing.
    Unchanged,
    /// It is not looked at: its labels or annotations say so.
    Skipped,
    /// It would be deleted.
    Deleted,
    /// It is no longer built, and would be left where it is.
    Kept,
    /// The dry run failed: applying it would, too.
    Failed,
}

impl DiffAction {
    fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Changed => "drifted",
            Self::Recreated => "recreated",
            Self::Unchanged => "unchanged",
            Self::Skipped => "skipped",
            Self::Deleted => "deleted",
            Self::Kept => "kept",
            Self::Failed => "failed",
        }
    }
}

/// One object's part of a [`DiffReport`].
#[derive(Clone, Debug)]
pub struct DiffEntry {
    /// The object.
    pub id: ObjectId,
    /// What would happen to it.
    pub action: DiffAction,
    /// Why, where that is not plain.
    pub reason: Option<String>,
    /// The fields; for changed objects. Secrets are masked.
    pub diff: Option<ObjectDiff>,
}

impl DiffEntry {
    fn new(id: ObjectId, action: DiffAction) -> Self {
        Self {
            id,
            action,
            reason: None,
            diff: None,
        }
    }

    fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }
}

/// What would change.
#[derive(Clone, Debug, Default)]
pub struct DiffReport {
    /// The built objects in their order, then what would be pruned.
    pub entries: Vec<DiffEntry>,
    /// The entries of the inventory that cannot be read: what would be pruned may be missing above. kustomize-controller fails at them.
    pub unreadable: Vec<String>,
}

impl DiffReport {
    /// The entries with an action.
    pub fn of(&self, action: DiffAction) -> impl Iterator<Item = &DiffEntry> {
        self.entries
            .iter()
            .filter(move |entry| entry.action == action)
    }

    /// Whether anything would change.
    pub fn has_changes(&self) -> bool {
        self.entries.iter().any(|entry| {
            matches!(
                entry.action,
                DiffAction::Created
                    | DiffAction::Changed
                    | DiffAction::Recreated
                    | DiffAction::Deleted
            )
        })
    }

    /// As `flux diff` exits: 0 for no change, 1 for changes, 2 when a dry run failed or the inventory cannot be read.
    pub fn exit_code(&self) -> i32 {
        if self.of(DiffAction::Failed).next().is_some() || !self.unreadable.is_empty() {
            2
        } else {
            i32::from(self.has_changes())
        }
    }

    /// For people: a line for each object that something would happen to, and the fields of those that would change.
    pub fn text(&self, color: Color) -> String {
        use fmt::Write as _;
        let mut text = String::new();
        for entry in &self.entries {
            if entry.action == DiffAction::Unchanged {
                continue;
            }
            let name = line(&view::flux_name(&entry.id));
            // Writing to a String cannot fail.
            let _ = write!(text, "► {name} {}", entry.action.word());
            if let Some(reason) = &entry.reason {
                let _ = write!(text, ": {}", line(reason));
            }
            text.push('\n');
            if let Some(diff) = &entry.diff {
                text.push_str(&diff.text(color));
            }
        }
        for entry in &self.unreadable {
            let _ = writeln!(
                text,
                "✗ the inventory's entry {entry:?} cannot be read: what would be pruned is not known"
            );
        }
        text
    }
}

impl fmt::Display for DiffReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(Color::Never))
    }
}

/// Compares what was built for `kustomization` with `cluster`, which is the one that it delivers to: with `spec.kubeConfig`, the other one.
///
/// `built` is what kustomize-controller would apply, as the builder makes it of an artifact or of a local directory; `kustomization` says what it has in its inventory, and whether it
/// prunes and forces. One read and one dry run per object, eight at once. Dropping the future stops.
///
/// # Errors
/// None but `InvalidInput` for an object that is built twice: what goes wrong with one object is its entry, and what cannot be read of the inventory is told in the report.
pub async fn diff(
    cluster: &dyn Cluster,
    kustomization: &Kustomization,
    built: impl IntoIterator<Item = Object>,
) -> Result<DiffReport> {
    let mut built: Vec<Object> = built.into_iter().collect();
    let mut ids = BTreeSet::new();
    for object in &mut built {
        own(kustomization, object);
        if !ids.insert(object.id()) {
            return Err(Error::invalid(format!("{} is built twice", object.id())));
        }
    }
    let ids = &ids;
    let force = kustomization.spec.force == Some(true);
    // Collected first, so that the whole can be sent to another thread.
    let compared: Vec<_> = built
        .iter()
        .map(|object| compare(cluster, object, force, &built))
        .collect();
    let mut entries: Vec<DiffEntry> = futures::stream::iter(compared)
        .buffered(AT_ONCE)
        .collect()
        .await;
    let (mut stale, mut unreadable) = (Vec::new(), Vec::new());
    let inventory = kustomization.inventory();
    for entry in inventory.iter().flat_map(|inventory| &inventory.entries) {
        match entry.object_id() {
            Ok(id) if ids.contains(&id) => {}
            Ok(id) => stale.push(prune(cluster, kustomization, id)),
            Err(_) => unreadable.push(entry.id.clone()),
        }
    }
    let mut pruned = futures::stream::iter(stale).buffered(AT_ONCE);
    while let Some(entry) = pruned.next().await {
        entries.extend(entry);
    }
    Ok(DiffReport {
        entries,
        unreadable,
    })
}

impl FluxManager {
    /// What would change in the manager's own cluster: [`diff`].
    ///
    /// # Errors
    /// As there; `Unsupported` for a Kustomization that delivers to another cluster, which [`diff`] takes.
    pub async fn diff(
        &self,
        kustomization: &Kustomization,
        built: impl IntoIterator<Item = Object>,
    ) -> Result<DiffReport> {
        if kustomization.kube_config().is_some() {
            return Err(Error::unsupported(
                "a diff against another cluster",
                &kustomization.id().to_string(),
            ));
        }
        diff(self.cluster(), kustomization, built).await
    }
}

/// Gives an object the labels by which kustomize-controller knows its own.
fn own(kustomization: &Kustomization, object: &mut Object) {
    let id = kustomization.id();
    object.set_label(&format!("{KUSTOMIZE}/name"), id.name);
    object.set_label(&format!("{KUSTOMIZE}/namespace"), id.namespace);
}

/// Whether labels or annotations say so; letter case does not count (pkg/ssa, `AnyInMetadata`).
fn says(object: &Object, key: &str, value: &str) -> bool {
    let key = format!("{KUSTOMIZE}/{key}");
    [object.label(&key), object.annotation(&key)]
        .into_iter()
        .flatten()
        .any(|found| found.eq_ignore_ascii_case(value))
}

async fn compare(
    cluster: &dyn Cluster,
    object: &Object,
    force: bool,
    built: &[Object],
) -> DiffEntry {
    let entry = |action| DiffEntry::new(object.id(), action);
    match try_compare(cluster, object, force).await {
        Ok(done) => done,
        Err(error) => match comes_with(object, &error, built) {
            Some(with) => entry(DiffAction::Created).because(format!("with {with}")),
            None => entry(DiffAction::Failed).because(error.to_string()),
        },
    }
}

async fn try_compare(cluster: &dyn Cluster, object: &Object, force: bool) -> Result<DiffEntry> {
    let entry = |action| DiffEntry::new(object.id(), action);
    let disabled =
        |object: &Object| says(object, "reconcile", "disabled") || says(object, "ssa", "ignore");
    if disabled(object) {
        return Ok(entry(DiffAction::Skipped));
    }
    let kind = cluster.resolve(&object.gvk()).await?;
    let key = ObjectKey {
        kind: &kind,
        namespace: object.namespace(),
        name: object.name(),
    };
    let live = cluster.get(key).await?;
    if let Some(live) = &live {
        if disabled(live) {
            return Ok(entry(DiffAction::Skipped).because("in the cluster it is marked so"));
        }
        if says(object, "ssa", "ifnotpresent") {
            return Ok(entry(DiffAction::Skipped).because("it is there"));
        }
    }
    let params = WriteParams {
        field_manager: CONTROLLER.to_owned(),
        dry_run: true,
        force: true,
        ..WriteParams::default()
    };
    let predicted = match cluster.apply(&kind, object, &params).await {
        Ok(predicted) => predicted,
        Err(error) if is_immutable(&error) && (force || says(object, "force", "enabled")) => {
            return Ok(entry(DiffAction::Recreated).because(error.to_string()));
        }
        Err(error) => return Err(error),
    };
    let Some(live) = live else {
        return Ok(entry(DiffAction::Created));
    };
    if is_encrypted(object) {
        return Ok(if data_keys(&live) == data_keys(&predicted) {
            entry(DiffAction::Unchanged)
        } else {
            entry(DiffAction::Changed).because("its keys differ; the values are encrypted")
        });
    }
    let diff = ObjectDiff::between(Some(&live), Some(&predicted));
    if diff.is_empty() {
        return Ok(entry(DiffAction::Unchanged));
    }
    Ok(DiffEntry {
        diff: Some(diff),
        ..entry(DiffAction::Changed)
    })
}

/// What Kubernetes says of fields that cannot be changed (fluxcd/pkg `ssa/errors`).
fn is_immutable(error: &Error) -> bool {
    error.kind() == ErrorKind::InvalidInput
        && [
            "is immutable",
            "are immutable",
            "Forbidden: updates to",
            "may not change once set",
        ]
        .iter()
        .any(|text| error.message().contains(text))
}

/// The built object without which this one cannot be there yet: its namespace, or its kind's definition.
fn comes_with(object: &Object, error: &Error, built: &[Object]) -> Option<ObjectId> {
    if error.kind() != ErrorKind::NotFound {
        return None;
    }
    let brings = |other: &Object| match other.kind() {
        "Namespace" => other.group().is_empty() && other.name() == object.namespace(),
        "CustomResourceDefinition" => {
            view::text(other, &["spec", "group"]) == Some(object.group())
                && view::text(other, &["spec", "names", "kind"]) == Some(object.kind())
        }
        _ => false,
    };
    built.iter().find(|other| brings(other)).map(Object::id)
}

/// Whether a Secret holds values that SOPS encrypted: the builder leaves them so without the key, and marks them as `**SOPS**` as the command does.
fn is_encrypted(object: &Object) -> bool {
    if object.kind() != "Secret" || !object.group().is_empty() {
        return false;
    }
    let marked = |value: &Value| {
        use base64::Engine as _;
        value.as_str().is_some_and(|text| {
            let plain = base64::engine::general_purpose::STANDARD.decode(text);
            text.contains("**SOPS**")
                || text.starts_with("ENC[")
                || plain.is_ok_and(|bytes| bytes.windows(8).any(|part| part == b"**SOPS**"))
        })
    };
    object.value().contains_key("sops")
        || ["data", "stringData"].iter().any(|field| {
            view::at(object, &[field])
                .and_then(Value::as_object)
                .is_some_and(|data| data.values().any(marked))
        })
}

fn data_keys(object: &Object) -> BTreeSet<&String> {
    ["data", "stringData"]
        .iter()
        .filter_map(|field| view::at(object, &[field])?.as_object())
        .flat_map(|data| data.keys())
        .collect()
}

/// What would become of an object that is in the inventory and no longer built; none when it is gone.
async fn prune(
    cluster: &dyn Cluster,
    kustomization: &Kustomization,
    id: ObjectId,
) -> Option<DiffEntry> {
    let entry = |action| DiffEntry::new(id.clone(), action);
    let read = async {
        let kind = cluster.resolve_any(&id.group_kind()).await?;
        let key = ObjectKey {
            kind: &kind,
            namespace: &id.namespace,
            name: &id.name,
        };
        cluster.get(key).await
    };
    let live = match read.await {
        Ok(live) => live?,
        // The kind is gone, and its objects with it.
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => return Some(entry(DiffAction::Failed).because(error.to_string())),
    };
    let own = kustomization.id();
    let label = |key: &str| live.label(&format!("{KUSTOMIZE}/{key}"));
    let kept = if kustomization.spec.prune != Some(true) {
        Some("the Kustomization does not prune")
    } else if says(&live, "prune", "disabled") || says(&live, "reconcile", "disabled") {
        Some("it is marked so")
    } else if label("name") != Some(&own.name) || label("namespace") != Some(&own.namespace) {
        Some("it does not have the Kustomization's labels")
    } else {
        None
    };
    Some(match kept {
        Some(why) => entry(DiffAction::Kept).because(why),
        None => entry(DiffAction::Deleted),
    })
}
