//! Between Argo CD's `Application` and core's.
//!
//! Core's model holds every field of `spec` and of the record's own metadata, so that a conversion there and back loses nothing that Argo CD would act on. What
//! differs is how things that mean the same are written: an empty section is no section, `spec.source` and a list of one source are the same, and so are the URL
//! `https://kubernetes.default.svc` and core's `InCluster`. What core has no place for, `extra`, stays when an application is [updated](Application::update_from).
//!
//! Core's `suspended` has no field in Argo CD: it is the annotation [`SUSPENDED`], with automated sync turned off (`enabled: false`, argo-cd 3.1).

mod policy;
mod source;

use std::collections::BTreeMap;

use gitops_core::application as core;
use gitops_core::{Error, Result};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use self::policy::{
    destination_from_core, destination_to_core, hydrate_from_core, hydrate_to_core,
    ignore_from_core, ignore_to_core, policy_from_core, policy_to_core,
};
use self::source::source_to_core;
use super::application::{Application, ApplicationSpec, Info};
use super::source::Source;
use super::status::RevisionHistory;

pub(crate) use self::policy::backoff_from_core;
pub(crate) use self::source::source_from_core;

/// The annotation of a suspended application; its value is what `automated.enabled` was (`true`, `false`, or `unset`), for when it is resumed.
pub const SUSPENDED: &str = "gitops.rs/suspended";

/// The cluster that Argo CD runs in, as a destination names it.
pub const IN_CLUSTER: &str = "https://kubernetes.default.svc";

/// Annotations that are questions to the controllers, gone once they are answered: they are nobody's state.
const TRANSIENT: [&str; 2] = [super::annotation::REFRESH, super::annotation::HYDRATE];

// Options and their absence.

fn text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn flag(flag: bool) -> Option<bool> {
    flag.then_some(true)
}

fn list<T, U>(items: &[T], convert: impl Fn(&T) -> U) -> Option<Vec<U>> {
    (!items.is_empty()).then(|| items.iter().map(convert).collect())
}

fn texts(items: &[String]) -> Option<Vec<String>> {
    list(items, String::clone)
}

fn map(items: &BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    (!items.is_empty()).then(|| items.clone())
}

fn each<T, U>(items: Option<&Vec<T>>, convert: impl Fn(&T) -> U) -> Vec<U> {
    items.into_iter().flatten().map(convert).collect()
}

fn or_empty<T: Clone + Default>(value: Option<&T>) -> T {
    value.cloned().unwrap_or_default()
}

/// A point in time as this SDK has it.
pub(crate) fn timestamp(time: &Time) -> Option<Timestamp> {
    Timestamp::from_nanosecond(time.0.as_nanosecond()).ok()
}

impl From<&core::Application> for Application {
    fn from(app: &core::Application) -> Self {
        let mut made = Self::default();
        made.update_from(app);
        made
    }
}

impl TryFrom<&Application> for core::Application {
    type Error = Error;

    fn try_from(app: &Application) -> Result<Self> {
        let mut annotations = or_empty(app.metadata.annotations.as_ref());
        // With automated sync on again the annotation is of a suspension that somebody ended.
        let suspended = annotations
            .remove(SUSPENDED)
            .filter(|_| !app.spec.is_automated());
        for name in TRANSIENT {
            annotations.remove(name);
        }
        let sources = app.spec.all_sources();
        let limit = app.spec.revision_history_limit;
        let mut sync_policy = policy_to_core(app.spec.sync_policy.as_ref())?;
        if let (Some(before), Some(automated)) = (&suspended, &mut sync_policy.automated) {
            automated.enabled = enabled_before(before);
        }
        Ok(Self {
            name: or_empty(app.metadata.name.as_ref()),
            namespace: or_empty(app.metadata.namespace.as_ref()),
            project: app.spec.project.clone(),
            labels: or_empty(app.metadata.labels.as_ref()),
            annotations,
            finalizers: or_empty(app.metadata.finalizers.as_ref()),
            sources: sources.iter().map(source_to_core).collect::<Result<_>>()?,
            hydrate: app.spec.source_hydrator.as_ref().map(hydrate_to_core),
            destination: destination_to_core(&app.spec.destination),
            sync_policy,
            revision_history_limit: limit
                .map(|limit| {
                    u32::try_from(limit).map_err(|error| {
                        Error::invalid(format!("spec.revisionHistoryLimit is {limit}"))
                            .with_source(error)
                    })
                })
                .transpose()?,
            ignore_differences: each(app.spec.ignore_differences.as_ref(), ignore_to_core),
            info: each(app.spec.info.as_ref(), |info| core::Info {
                name: info.name.clone(),
                value: info.value.clone(),
            }),
            suspended: suspended.is_some(),
        })
    }
}

impl Application {
    /// Makes this application what `app` says, and keeps what core has no place for: unknown fields, the status, the operation, and metadata that the server manages.
    /// The sources keep their unknown fields where their repository, path and chart stay the same.
    pub fn update_from(&mut self, app: &core::Application) {
        let mut annotations = app.annotations.clone();
        for name in TRANSIENT {
            if let Some(value) = self.annotation_value(name) {
                annotations.insert(name.to_owned(), value.to_owned());
            }
        }
        let mut policy = policy_from_core(&app.sync_policy);
        if app.suspended {
            let before = app
                .sync_policy
                .automated
                .and_then(|automated| automated.enabled);
            annotations.insert(SUSPENDED.to_owned(), enabled_name(before).to_owned());
            if let Some(automated) = policy.as_mut().and_then(|policy| policy.automated.as_mut()) {
                automated.enabled = Some(false);
            }
        }
        let metadata = &mut self.metadata;
        metadata.name = text(&app.name);
        if !app.namespace.is_empty() {
            metadata.namespace = Some(app.namespace.clone());
        }
        metadata.labels = map(&app.labels);
        metadata.annotations = map(&annotations);
        metadata.finalizers = texts(&app.finalizers);

        let old = std::mem::take(&mut self.spec);
        let before: Vec<Source> = old.all_sources().to_vec();
        let mut sources: Vec<Source> = app.sources.iter().map(source_from_core).collect();
        for (source, before) in sources.iter_mut().zip(&before) {
            keep_unknown(source, before);
        }
        let (source, sources) = match sources.len() {
            0 => (None, None),
            // One source in a list stays in a list: its revisions are reported in lists, too.
            1 if old.sources.as_ref().is_none_or(Vec::is_empty) => (sources.pop(), None),
            _ => (None, Some(sources)),
        };
        if let (Some(policy), Some(before)) = (&mut policy, old.sync_policy) {
            policy.extra = before.extra;
            if let (Some(automated), Some(before)) = (&mut policy.automated, before.automated) {
                automated.extra = before.extra;
            }
            if let (Some(retry), Some(before)) = (&mut policy.retry, before.retry) {
                retry.extra = before.extra;
            }
        }
        let mut destination = destination_from_core(&app.destination);
        destination.extra = old.destination.extra;
        self.spec = ApplicationSpec {
            source,
            sources,
            destination,
            project: if app.project.is_empty() {
                "default".to_owned()
            } else {
                app.project.clone()
            },
            sync_policy: policy,
            ignore_differences: list(&app.ignore_differences, ignore_from_core),
            info: list(&app.info, |info| Info {
                name: info.name.clone(),
                value: info.value.clone(),
                ..Info::default()
            }),
            revision_history_limit: app.revision_history_limit.map(i64::from),
            source_hydrator: app.hydrate.as_ref().map(hydrate_from_core),
            extra: old.extra,
        };
    }

    pub(crate) fn annotation_value(&self, name: &str) -> Option<&str> {
        self.metadata
            .annotations
            .as_ref()?
            .get(name)
            .map(String::as_str)
    }
}

/// The name of an `enabled` in [`SUSPENDED`].
pub(crate) fn enabled_name(enabled: Option<bool>) -> &'static str {
    match enabled {
        Some(true) => "true",
        Some(false) => "false",
        None => "unset",
    }
}

/// What [`enabled_name`] named.
pub(crate) fn enabled_before(name: &str) -> Option<bool> {
    name.parse().ok()
}

fn keep_unknown(source: &mut Source, before: &Source) {
    if source.repo_url != before.repo_url
        || source.path != before.path
        || source.chart != before.chart
    {
        return;
    }
    source.extra = before.extra.clone();
    if let (Some(new), Some(old)) = (&mut source.helm, &before.helm) {
        new.extra = old.extra.clone();
    }
    if let (Some(new), Some(old)) = (&mut source.kustomize, &before.kustomize) {
        new.extra = old.extra.clone();
    }
    if let (Some(new), Some(old)) = (&mut source.directory, &before.directory) {
        new.extra = old.extra.clone();
    }
    if let (Some(new), Some(old)) = (&mut source.plugin, &before.plugin) {
        new.extra = old.extra.clone();
    }
}

impl TryFrom<&RevisionHistory> for core::HistoryEntry {
    type Error = Error;

    fn try_from(entry: &RevisionHistory) -> Result<Self> {
        let sources = match (&entry.sources, &entry.source) {
            (Some(sources), _) if !sources.is_empty() => sources.as_slice(),
            (_, Some(source)) => std::slice::from_ref(source),
            _ => &[],
        };
        Ok(Self {
            id: entry.id,
            revisions: super::lean::revisions(
                or_empty(entry.revisions.as_ref()),
                or_empty(entry.revision.as_ref()),
            ),
            sources: sources.iter().map(source_to_core).collect::<Result<_>>()?,
            started_at: entry.deploy_started_at.as_ref().and_then(timestamp),
            deployed_at: entry.deployed_at.as_ref().and_then(timestamp),
            initiated_by: entry
                .initiated_by
                .as_ref()
                .and_then(|who| who.username.clone())
                .unwrap_or_default(),
        })
    }
}
