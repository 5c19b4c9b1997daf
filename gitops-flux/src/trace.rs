//! Where an object comes from: `flux trace`, for one object or for hundreds.
//!
//! The rules are those of flux 2.7: an object belongs to the Kustomization that its labels `kustomize.toolkit.fluxcd.io/name` and `/namespace` name, or to the
//! HelmRelease that `helm.toolkit.fluxcd.io/…` name; where it has none of them, its owners are asked (a Pod's ReplicaSet, that one's Deployment). A Kustomization among them counts before a HelmRelease.

mod read;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use gitops_core::error::redact_url;
use gitops_core::manifest::{Object, ObjectId};
use gitops_core::{Error, ErrorKind, Result};
use gitops_kube::cluster::Cluster;
use jiff::Timestamp;
use serde_json::Value;

use self::read::Reader;
use crate::kind::{FluxKind, SOURCE};
use crate::manager::FluxManager;
use crate::view::{self, line};

/// How many owners are followed, one after the other.
const GENERATIONS: usize = 8;

/// An object's way from its source.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// The object asked for.
    pub object: ObjectId,
    /// Its owners up to the one that Flux manages; empty when Flux manages the object itself.
    pub through: Vec<ObjectId>,
    /// The Kustomization or HelmRelease that manages it; `None` when Flux does not.
    pub manager: Option<Stage>,
    /// The chart of a HelmRelease.
    pub chart: Option<Stage>,
    /// The source.
    pub source: Option<Stage>,
}

impl Trace {
    /// Whether Flux manages the object.
    pub fn is_managed(&self) -> bool {
        self.manager.is_some()
    }

    /// The stages from the manager to the source.
    pub fn stages(&self) -> impl Iterator<Item = &Stage> {
        [&self.manager, &self.chart, &self.source]
            .into_iter()
            .flatten()
    }
}

/// One of Flux's objects on the way.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stage {
    /// Which.
    pub id: ObjectId,
    /// Whether it could be read; else `message` says why.
    pub found: bool,
    /// Whether it is ready; `None` when it does not say.
    pub ready: Option<bool>,
    /// The Ready condition's reason.
    pub reason: String,
    /// The Ready condition's message.
    pub message: String,
    /// Since when the Ready condition is what it is.
    pub since: Option<Timestamp>,
    /// Whether it is suspended.
    pub suspended: bool,
    /// A Kustomization's last applied, a HelmRelease's last attempted, a source's artifact's revision.
    pub revision: Option<String>,
    /// What more there is to say, in the words of `flux trace`: `Path`, `URL`, `Branch`, `Chart`, `Origin Revision` …
    pub details: Vec<(String, String)>,
}

impl Stage {
    fn of(object: &Object) -> Self {
        let ready = view::condition(object, "Ready");
        let ready = ready.as_ref();
        Self {
            id: object.id(),
            found: true,
            ready: ready.and_then(|ready| ready.is),
            reason: ready.map_or("", |ready| ready.reason).to_owned(),
            message: ready.map_or("", |ready| ready.message).to_owned(),
            since: ready.and_then(|ready| ready.since),
            suspended: view::suspended(object),
            revision: revision(object).map(str::to_owned),
            details: details(object),
        }
    }

    fn absent(id: ObjectId, why: impl Into<String>) -> Self {
        Self {
            id,
            message: why.into(),
            ..Self::default()
        }
    }
}

impl fmt::Display for Trace {
    /// About what `flux trace` prints; texts that others wrote are made fit for one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |f: &mut fmt::Formatter<'_>, key: &str, value: &str| {
            writeln!(f, "{:<17}{}", format!("{}:", line(key)), line(value))
        };
        row(
            f,
            "Object",
            &format!("{}/{}", self.object.kind, self.object.name),
        )?;
        if !self.object.namespace.is_empty() {
            row(f, "Namespace", &self.object.namespace)?;
        }
        for owner in &self.through {
            row(f, "Through", &format!("{}/{}", owner.kind, owner.name))?;
        }
        let managed = if self.is_managed() {
            "Managed by Flux"
        } else {
            "Not managed by Flux"
        };
        row(f, "Status", managed)?;
        for stage in self.stages() {
            writeln!(f, "---")?;
            row(f, &stage.id.kind, &stage.id.name)?;
            row(f, "Namespace", &stage.id.namespace)?;
            for (key, value) in &stage.details {
                row(f, key, value)?;
            }
            if let Some(revision) = &stage.revision {
                row(f, "Revision", revision)?;
            }
            let since = stage.since.map(|at| at.to_string()).unwrap_or_default();
            let status = match stage.ready {
                _ if !stage.found => "Not found".to_owned(),
                Some(true) => format!("Last reconciled at {since}"),
                Some(false) => format!("Last reconciliation failed at {since}"),
                None => "Unknown".to_owned(),
            };
            row(f, "Status", &status)?;
            if !stage.message.is_empty() {
                row(f, "Message", &stage.message)?;
            }
        }
        Ok(())
    }
}

fn revision(object: &Object) -> Option<&str> {
    match object.kind() {
        "Kustomization" => view::text(object, &["status", "lastAppliedRevision"]),
        "HelmRelease" => view::text(object, &["status", "lastAttemptedRevision"]),
        _ => view::text(object, &["status", "artifact", "revision"]),
    }
}

fn details(object: &Object) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    let mut row = |key: &str, path: &[&str]| {
        if let Some(text) = view::text(object, path) {
            rows.push((key.to_owned(), text.to_owned()));
            true
        } else {
            false
        }
    };
    match object.kind() {
        "Kustomization" => {
            row("Target", &["spec", "targetNamespace"]);
            row("Path", &["spec", "path"]);
        }
        "HelmRelease" => {
            row("Target", &["spec", "targetNamespace"]);
        }
        "HelmChart" => {
            row("Chart", &["spec", "chart"]);
            row("Version", &["spec", "version"]);
        }
        "GitRepository" => {
            let _ = row("Commit", &["spec", "ref", "commit"])
                || row("Ref", &["spec", "ref", "name"])
                || row("Tag", &["spec", "ref", "semver"])
                || row("Tag", &["spec", "ref", "tag"])
                || row("Branch", &["spec", "ref", "branch"]);
        }
        "OCIRepository" => {
            let _ = row("Digest", &["spec", "ref", "digest"])
                || row("Tag", &["spec", "ref", "semver"])
                || row("Tag", &["spec", "ref", "tag"]);
        }
        "Bucket" => {
            row("Endpoint", &["spec", "endpoint"]);
            row("Bucket", &["spec", "bucketName"]);
        }
        "ExternalArtifact" => {
            let source = view::at(object, &["spec", "sourceRef"])
                .and_then(|value| view::reference(value, "", "", object.namespace()));
            if let Some(source) = source {
                rows.push(("Source".to_owned(), view::flux_name(&source)));
            }
        }
        _ => {}
    }
    if let Some(url) = view::text(object, &["spec", "url"]) {
        rows.push(("URL".to_owned(), redact_url(url)));
    }
    // What the artifact says of where it was built (pkg/oci).
    let metadata = view::at(object, &["status", "artifact", "metadata"]);
    for (key, annotation) in [
        ("Origin Source", "org.opencontainers.image.source"),
        ("Origin Revision", "org.opencontainers.image.revision"),
    ] {
        let value = metadata
            .and_then(|all| all.get(annotation))
            .and_then(Value::as_str);
        if let Some(value) = value {
            rows.push((key.to_owned(), redact_url(value)));
        }
    }
    rows
}

/// Where one object comes from.
///
/// # Errors
/// `NotFound` when it does not exist; what reading it meets, or, where nothing else says that Flux manages it, reading one of its owners. What Flux does not manage is an answer, not an error.
pub async fn trace(cluster: &dyn Cluster, object: &ObjectId) -> Result<Trace> {
    let mut traces = trace_many(cluster, std::slice::from_ref(object)).await?;
    traces
        .pop()
        .unwrap_or_else(|| Err(Error::internal("no answer")))
}

/// Where each of many objects comes from, in their order. Of each kind met on the way there is at most one LIST, in pages of 1,000 and, but for Flux's own kinds, of metadata only; a few objects
/// of a kind are read one by one, and so are those that a list of their kind, made before, could not know.
///
/// # Errors
/// None for all; each object has its own, as [`trace`] has.
pub async fn trace_many(cluster: &dyn Cluster, objects: &[ObjectId]) -> Result<Vec<Result<Trace>>> {
    let mut reader = Reader::new(cluster);
    reader.read(objects.iter().cloned()).await;
    let mut ways: Vec<Way> = objects.iter().map(|id| Way::new(id.clone())).collect();
    for _ in 0..GENERATIONS {
        let mut owners = BTreeSet::new();
        for way in &mut ways {
            way.step(&reader);
            owners.extend(way.next.iter().map(|owner| owner.id.clone()));
        }
        if owners.is_empty() {
            break;
        }
        reader.read(owners).await;
    }
    reader.read(ways.iter().filter_map(Way::manager)).await;
    let found: BTreeMap<ObjectId, Object> = ways
        .iter()
        .filter_map(Way::manager)
        .filter_map(|id| Some((id.clone(), reader.get(&id).ok()??.clone())))
        .collect();
    let sources = found
        .values()
        .flat_map(|manager| [chart_of(manager), source_of(manager)])
        .flatten();
    reader.read(sources).await;
    Ok(ways.into_iter().map(|way| way.end(&reader)).collect())
}

impl FluxManager {
    /// Where an object comes from: [`trace`].
    ///
    /// # Errors
    /// As there.
    pub async fn trace(&self, object: &ObjectId) -> Result<Trace> {
        trace(self.cluster(), object).await
    }

    /// Where each of many objects comes from: [`trace_many`].
    ///
    /// # Errors
    /// As there.
    pub async fn trace_many(&self, objects: &[ObjectId]) -> Result<Vec<Result<Trace>>> {
        trace_many(self.cluster(), objects).await
    }
}

struct Owner {
    id: ObjectId,
    uid: String,
    /// Who it owns on this way.
    way: Vec<ObjectId>,
}

/// One object's way up its owners.
struct Way {
    object: ObjectId,
    kustomization: Option<(ObjectId, Vec<ObjectId>)>,
    release: Option<(ObjectId, Vec<ObjectId>)>,
    next: Vec<Owner>,
    seen: BTreeSet<ObjectId>,
    /// Why the first owner that could not be read could not.
    unread: Option<Error>,
}

impl Way {
    fn new(object: ObjectId) -> Self {
        Self {
            next: vec![Owner {
                id: object.clone(),
                uid: String::new(),
                way: Vec::new(),
            }],
            seen: BTreeSet::from([object.clone()]),
            object,
            kustomization: None,
            release: None,
            unread: None,
        }
    }

    /// Looks at those that were read, and names their owners as the next.
    fn step(&mut self, reader: &Reader<'_>) {
        for owner in std::mem::take(&mut self.next) {
            let object = match reader.get(&owner.id) {
                Ok(Some(object)) => object,
                Ok(None) => continue,
                // The kind is gone, and its objects with it.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => {
                    let error = error.context(format!("read {}", owner.id));
                    self.unread.get_or_insert(error);
                    continue;
                }
            };
            // A name that was used again: another object than the one that owned it.
            if !owner.uid.is_empty() && object.uid() != owner.uid {
                continue;
            }
            let named = |kind: FluxKind| {
                let label = |key: &str| object.label(&format!("{}/{key}", kind.group()));
                Some(kind.object_id(label("namespace")?, label("name")?))
            };
            if let Some(id) = named(FluxKind::Kustomization) {
                self.kustomization = Some((id, owner.way));
                self.next.clear();
                return;
            }
            if self.release.is_none()
                && let Some(id) = named(FluxKind::HelmRelease)
            {
                self.release = Some((id, owner.way.clone()));
            }
            for (id, uid) in owners(object) {
                if self.seen.insert(id.clone()) {
                    let mut way = owner.way.clone();
                    way.push(id.clone());
                    self.next.push(Owner { id, uid, way });
                }
            }
        }
    }

    fn manager(&self) -> Option<ObjectId> {
        self.kustomization
            .as_ref()
            .or(self.release.as_ref())
            .map(|(id, _)| id.clone())
    }

    fn end(self, reader: &Reader<'_>) -> Result<Trace> {
        match reader.get(&self.object) {
            Ok(Some(_)) => {}
            Ok(None) => {
                return Err(Error::not_found(format!("{} does not exist", self.object)));
            }
            Err(error) => return Err(error.context(format!("read {}", self.object))),
        }
        let mut trace = Trace {
            object: self.object,
            through: Vec::new(),
            manager: None,
            chart: None,
            source: None,
        };
        let Some((id, through)) = self.kustomization.or(self.release) else {
            // An owner that cannot be read may be Flux's.
            return match self.unread {
                Some(error) => Err(error.context(format!(
                    "whether Flux manages {} is not known",
                    trace.object
                ))),
                None => Ok(trace),
            };
        };
        trace.through = through;
        trace.manager = Some(reader.stage(&id));
        if let Ok(Some(manager)) = reader.get(&id) {
            trace.chart = chart_of(manager).map(|id| reader.stage(&id));
            trace.source = source_of(manager).map(|id| reader.stage(&id));
        }
        Ok(trace)
    }
}

/// The owners that an object names; they are in its namespace, or cluster-scoped.
fn owners(object: &Object) -> Vec<(ObjectId, String)> {
    let references = view::at(object, &["metadata", "ownerReferences"]).and_then(Value::as_array);
    references
        .into_iter()
        .flatten()
        .filter_map(|reference| {
            let field = |key: &str| reference.get(key).and_then(Value::as_str);
            let group = field("apiVersion")?
                .split_once('/')
                .map_or("", |(group, _)| group);
            let id = ObjectId::new(group, field("kind")?, object.namespace(), field("name")?);
            Some((id, field("uid").unwrap_or_default().to_owned()))
        })
        .collect()
}

/// The HelmChart that helm-controller made for a HelmRelease (`status.helmChart`).
fn chart_of(manager: &Object) -> Option<ObjectId> {
    let (namespace, name) = view::text(manager, &["status", "helmChart"])?.split_once('/')?;
    Some(FluxKind::HelmChart.object_id(namespace, name))
}

/// The source that a Kustomization or a HelmRelease names.
pub(crate) fn source_of(manager: &Object) -> Option<ObjectId> {
    let path: &[&str] = match manager.kind() {
        "Kustomization" => &["spec", "sourceRef"],
        _ if view::at(manager, &["spec", "chart"]).is_some() => {
            &["spec", "chart", "spec", "sourceRef"]
        }
        _ => &["spec", "chartRef"],
    };
    let value = view::at(manager, path)?;
    view::reference(value, SOURCE, "", manager.namespace())
}
