//! Between core's `Application` and Flux's resources: a source, and a `Kustomization` or a `HelmRelease` that applies it.
//!
//! What `put` accepted comes back equal. What Flux has fields for is in those fields, where others see and may change it; what it has none for and what changes nothing
//! about the deployment (a project, notes, how a URL is written) is kept in the annotation [`KEPT`]; what Flux would do differently is refused with `InvalidInput` that names
//! the field. Objects that others made are read as applications too.
//!
//! # What is refused
//!
//! | field | why |
//! | --- | --- |
//! | several `sources`, `hydrate`, `render.plugin`, `render.directory.{include,exclude,jsonnet}` | Flux has nothing of the kind |
//! | `targetRevision` of Git that is empty or `HEAD` | Flux follows `master` then, and never the default branch |
//! | `kustomize.{commonLabels` in selectors or templates`,commonAnnotations,commonAnnotationsEnvsubst,replicas,version,kubeVersion,apiVersions}`, patches by `path` or with `options` | `commonMetadata` changes metadata only; the rest Flux has not |
//! | `helm.{fileParameters,kubeVersion,apiVersions}`, `helm.parameters` that are lists, indexes or `null` | values would mean something else |
//! | `automated` without `selfHeal` (Kustomization), without `prune` (HelmRelease) | Flux repairs drift at each interval; helm deletes what a chart no longer names |
//! | `ignoreDifferences` with automated sync (Kustomization), or with more than JSON pointers (HelmRelease) | Flux would repair what they ignore |
//! | sync options that change how objects are applied | Flux applies them on the server, always |
//! | `destination` by a server's URL | Flux reaches other clusters by a Secret: name it |
//! | URLs with credentials | they would be readable to all who may read sources |

mod check;
mod helm;
mod kept;
mod kustomize;
mod parts;
mod revision;
mod set;
mod source;
mod suspend;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use gitops_core::application::{Application, Automated, ClusterRef, Destination};
use gitops_core::{Error, Result};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

#[cfg(feature = "git")]
pub(crate) use self::check::has_credentials;
pub(crate) use self::check::option_is_fulfilled;
pub use self::parts::{Parts, SourceObject, Workload};
pub(crate) use self::revision::{GitTarget, OciTarget, is_commit, reported};
pub(crate) use self::source::{PINNED, own_target};
pub(crate) use self::suspend::{is_paused, suspension};
use crate::types::annotation::SHARD;

/// The annotation with what Flux has no field for.
pub const KEPT: &str = "gitops.rs/kept";
/// The annotation of a source that was made for an application; its value is the application's name.
pub const APPLICATION: &str = "gitops.rs/application";
/// The annotation of what is synced only when somebody asks (`manual`): between syncs `spec.suspend` is true.
pub const SYNC: &str = "gitops.rs/sync";
/// The value of [`SYNC`] for what is synced only when somebody asks.
pub const MANUAL: &str = "manual";
/// The value of [`SYNC`] for what is suspended, so that it is known while an operation runs.
pub const SUSPENDED: &str = "suspended";
/// The annotation with the running or last operation.
pub(crate) const OPERATION: &str = "gitops.rs/operation";
/// The annotation of a workload that is being put together with its source: a name for the put.
pub(crate) const PUTTING: &str = "gitops.rs/putting";
/// The annotation of a workload that is suspended only while it is put: the generation that this suspension made. In any other generation somebody has changed it since, and it says nothing.
pub(crate) const PAUSED: &str = "gitops.rs/paused";
/// What our own annotations begin with.
pub(crate) const PREFIX: &str = "gitops.rs/";

/// Annotations that are questions to the controllers, or copies that `kubectl` makes: they are nobody's state.
const TRANSIENT: [&str; 4] = [
    "reconcile.fluxcd.io/requestedAt",
    "reconcile.fluxcd.io/forceAt",
    "reconcile.fluxcd.io/resetAt",
    "kubectl.kubernetes.io/last-applied-configuration",
];

/// What new objects get where an application says nothing. Objects that are there keep what they have.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvertOptions {
    /// How often a source looks for something new.
    pub source_interval: Duration,
    /// How often what is applied is compared and repaired.
    pub interval: Duration,
    /// How long applying and becoming healthy may take.
    pub timeout: Duration,
    /// Which Secret (of the application's own namespace) has the credentials for a repository.
    pub credentials: Credentials,
    /// Registries, `HOST` or `HOST:PORT`, that speak plain HTTP: an `OCIRepository`, or a `HelmRepository` of type `oci`, of one of them gets `insecure: true`, unless somebody has set it.
    pub insecure: Vec<String>,
    /// The service account, of the application's own namespace, in whose name a new workload applies. Without one it applies with all rights of Flux's controller, unless that has a
    /// `--default-service-account`.
    pub service_account: Option<String>,
    /// Labels of new sources and workloads, besides those of the application, which win. They stay when the application is put again, and are not shown as the application's own.
    pub labels: BTreeMap<String, String>,
}

impl ConvertOptions {
    fn is_insecure(&self, url: &str) -> bool {
        let origin = source::origin(url);
        let host = origin.split_once("://").map_or("", |(_, host)| host);
        self.insecure
            .iter()
            .any(|insecure| insecure.eq_ignore_ascii_case(host))
    }
}

impl Default for ConvertOptions {
    /// 1 minute, 10 minutes, 5 minutes; no credentials, no plain registries, no service account, no labels.
    fn default() -> Self {
        Self {
            source_interval: Duration::from_secs(60),
            interval: Duration::from_secs(600),
            timeout: Duration::from_secs(300),
            credentials: Credentials::default(),
            insecure: Vec::new(),
            service_account: None,
            labels: BTreeMap::new(),
        }
    }
}

/// Names of Secrets by the beginning of a repository's URL; the longest that fits counts. The Secrets themselves are nobody's business here.
#[derive(Clone, Default, PartialEq)]
pub struct Credentials(Vec<(String, String)>);

impl Credentials {
    /// Uses `secret` for what is at `url` or below it: a whole host (`https://git.example.com`), an organisation, or one repository.
    #[must_use]
    pub fn with(mut self, url: impl Into<String>, secret: impl Into<String>) -> Self {
        let mut url = url.into();
        url.truncate(url.trim_end_matches('/').len());
        self.0.push((url, secret.into()));
        self
    }

    /// The Secret for a URL: a beginning ends where a part of the path ends.
    fn find(&self, url: &str) -> Option<&str> {
        let fits = |base: &str| {
            url.strip_prefix(base)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.0
            .iter()
            .filter(|(base, _)| fits(base))
            .max_by_key(|(base, _)| base.len())
            .map(|(_, secret)| secret.as_str())
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let urls = self
            .0
            .iter()
            .map(|(url, secret)| (gitops_core::error::redact_url(url), secret));
        f.debug_map().entries(urls).finish()
    }
}

/// Whether nothing may be synced unless somebody asks.
pub(crate) fn is_manual(app: &Application) -> bool {
    !app.sync_policy
        .automated
        .is_some_and(|automated| automated.is_enabled())
}

/// The objects of an application. With `before`, what they are at present: what core has no place for, intervals, and all that the application does not change stay as they are.
///
/// An application that was read from objects, and is written over them unchanged, changes nothing in them, whoever made them.
///
/// # Errors
/// `InvalidInput` for what Flux would do differently, naming the field; `Conflict` when the application uses a source that was not made for it and asks for another one.
pub fn to_flux(
    app: &Application,
    options: &ConvertOptions,
    before: Option<&Parts>,
) -> Result<Parts> {
    check::all(app)?;
    let [source] = app.sources.as_slice() else {
        return Err(Error::invalid("sources: exactly one is needed"));
    };
    let mut made = match before {
        Some(before) => before.clone(),
        None => Parts::new(app, source),
    };
    if made.workload.is_helm() != source::is_helm(source) {
        return Err(Error::invalid(
            "sources[0]: an application does not change between Kustomization and HelmRelease; delete it first",
        ));
    }
    // What the objects say by now; a damaged annotation is replaced.
    let was = match before {
        Some(before) => Some(to_application(before).or_else(|_| read(before))?),
        None => None,
    };
    let was = was.as_ref();
    let runs = running(made.workload.metadata()).is_some();
    metadata(made.workload.metadata_mut(), app, options, was.is_none());
    suspend::write(&mut made.workload, app);
    source::update(app, was, source, options, &mut made)?;
    let source_name = made.source_reference(app);
    match &mut made.workload {
        Workload::Kustomization(object) => {
            kustomize::update(app, was, source, source_name, options, runs, object)?
        }
        Workload::HelmRelease(object) => {
            helm::update(app, was, source, source_name, options, runs, object)?
        }
    }
    if was.is_none() && options.service_account.is_some() {
        let account = options.service_account.clone();
        match &mut made.workload {
            Workload::Kustomization(object) => object.spec.service_account_name = account,
            Workload::HelmRelease(object) => object.spec.service_account_name = account,
        }
    }
    keep(app, &mut made)?;
    Ok(made)
}

/// Whether the objects say already what the application says there: then it stays as somebody wrote it.
fn same<'a, S, T: PartialEq>(was: Option<&'a S>, now: &'a S, of: impl Fn(&'a S) -> T) -> bool {
    was.is_some_and(|was| of(was) == of(now))
}

/// Labels and annotations of the workload; those of ours and of the controllers stay.
fn metadata(meta: &mut ObjectMeta, app: &Application, options: &ConvertOptions, is_new: bool) {
    meta.name = Some(app.name.clone());
    if !app.namespace.is_empty() {
        meta.namespace = Some(app.namespace.clone());
    }
    let mut labels = app.labels.clone();
    let mut others = meta.labels.take().unwrap_or_default();
    // Which controller acts on it is not for an application to forget.
    others.retain(|key, _| key == SHARD || options.labels.contains_key(key));
    if is_new {
        others.extend(options.labels.clone());
    }
    for (key, value) in others {
        labels.entry(key).or_insert(value);
    }
    meta.labels = (!labels.is_empty()).then_some(labels);
    let mut annotations = app.annotations.clone();
    for (key, value) in meta.annotations.take().unwrap_or_default() {
        if key.starts_with(PREFIX) || TRANSIENT.contains(&key.as_str()) {
            annotations.insert(key, value);
        }
    }
    annotations.remove(PUTTING);
    meta.annotations = Some(annotations);
}

/// What the objects do not say of the application, as it is kept with them.
fn to_keep(app: &Application, made: &Parts) -> Result<Option<String>> {
    let json = |app: &Application| {
        let mut app = app.clone();
        app.namespace.clear();
        serde_json::to_value(app)
            .map_err(|error| Error::internal("an application is no JSON").with_source(error))
    };
    kept::difference(&json(&read(made)?)?, &json(app)?)
}

/// Writes down what the objects do not say, and makes sure that all comes back.
fn keep(app: &Application, made: &mut Parts) -> Result<()> {
    let kept = to_keep(app, made)?;
    let meta = made.workload.metadata_mut();
    let annotations = meta.annotations.get_or_insert_default();
    match kept {
        Some(kept) => annotations.insert(KEPT.to_owned(), kept),
        None => annotations.remove(KEPT),
    };
    if annotations.is_empty() {
        meta.annotations = None;
    }
    let mut app = app.clone();
    app.namespace.clear();
    let mut back = to_application(made)?;
    back.namespace.clear();
    if back != app {
        return Err(Error::internal(
            "the application does not come back from Flux's objects as it was",
        ));
    }
    Ok(())
}

/// The application that the objects are.
///
/// # Errors
/// `Integrity` when the annotation with what Flux has no field for cannot be read, or makes no application.
pub fn to_application(parts: &Parts) -> Result<Application> {
    let app = read(parts)?;
    let annotations = parts.workload.metadata().annotations.as_ref();
    let Some(annotation) = annotations.and_then(|annotations| annotations.get(KEPT)) else {
        return Ok(app);
    };
    let broken = |error| {
        Error::integrity(format!("application {} cannot be read", app.app_ref())).with_source(error)
    };
    let mut value = serde_json::to_value(&app).map_err(broken)?;
    kept::restore(annotation, &mut value)
        .map_err(|error| error.context(format!("application {}", app.app_ref())))?;
    let mut restored: Application = serde_json::from_value(value).map_err(broken)?;
    // Whatever an annotation says, it names no other application.
    restored.name.clone_from(&app.name);
    restored.namespace.clone_from(&app.namespace);
    Ok(restored)
}

/// What the objects say by themselves.
fn read(parts: &Parts) -> Result<Application> {
    let meta = parts.workload.metadata();
    let annotations = meta.annotations.clone().unwrap_or_default();
    let noted = annotations.get(SYNC).map(String::as_str);
    let is_manual = noted == Some(MANUAL);
    let running = running(meta);
    let visible: BTreeMap<_, _> = annotations
        .iter()
        .filter(|(key, _)| !key.starts_with(PREFIX) && !TRANSIENT.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let mut app = Application {
        name: meta.name.clone().unwrap_or_default(),
        namespace: meta.namespace.clone().unwrap_or_default(),
        labels: meta.labels.clone().unwrap_or_default(),
        annotations: visible,
        suspended: !is_manual && suspend::read(&parts.workload),
        ..Application::default()
    };
    let mut read = source::read(parts);
    match &parts.workload {
        Workload::Kustomization(object) => {
            let noted = running.and_then(|record| record["before"]["prune"].as_bool());
            kustomize::read(object, noted, &mut read, &mut app);
        }
        Workload::HelmRelease(object) => helm::read(object, &mut read, &mut app),
    }
    app.sources = vec![read];
    if is_manual {
        app.sync_policy.automated = None;
    }
    Ok(app)
}

/// The record of an operation of the backend that has not ended. What it says of the application is right, and not what it has changed for its time.
fn running(meta: &ObjectMeta) -> Option<serde_json::Value> {
    let record = meta.annotations.as_ref()?.get(OPERATION)?;
    let record: serde_json::Value = serde_json::from_str(record).ok()?;
    (record["step"] != "ended").then_some(record)
}

/// What Flux does by itself, in core's words.
fn automated(prune: bool) -> Option<Automated> {
    Some(
        Automated::default()
            .prune(prune)
            .self_heal(true)
            .allow_empty(true),
    )
}

fn destination(
    kube_config: Option<&crate::types::KubeConfigReference>,
    namespace: Option<&String>,
) -> Destination {
    let secret = kube_config.and_then(|reference| reference.secret_ref.as_ref());
    Destination {
        cluster: secret.map_or(ClusterRef::InCluster, |secret| {
            ClusterRef::Name(secret.name.clone())
        }),
        namespace: namespace.cloned().unwrap_or_default(),
    }
}

/// The reference to another cluster's kubeconfig, keeping what is known of it besides the Secret's name.
fn kube_config(
    cluster: &ClusterRef,
    before: Option<crate::types::KubeConfigReference>,
) -> Option<crate::types::KubeConfigReference> {
    let ClusterRef::Name(name) = cluster else {
        // A ConfigMap is not an application's to name.
        return before.filter(|reference| reference.secret_ref.is_none());
    };
    let mut reference = before.unwrap_or_default();
    let secret = reference.secret_ref.get_or_insert_default();
    secret.name.clone_from(name);
    Some(reference)
}

fn text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn flag(flag: bool) -> Option<bool> {
    flag.then_some(true)
}

fn list<T: Clone>(items: &[T]) -> Option<Vec<T>> {
    (!items.is_empty()).then(|| items.to_vec())
}
