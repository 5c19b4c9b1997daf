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
}

impl Default for ConvertOptions {
    /// 1 minute, 10 minutes, 5 minutes; no credentials.
    fn default() -> Self {
        Self {
            source_interval: Duration::from_secs(60),
            interval: Duration::from_secs(600),
            timeout: Duration::from_secs(300),
            credentials: Credentials::default(),
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

/// The objects of an application. With `before`, what they are at present: what core has no place for, and intervals, stay as they are.
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
    metadata(made.workload.metadata_mut(), app);
    source::update(app, source, options, &mut made)?;
    let source_name = made.source_reference(app);
    match &mut made.workload {
        Workload::Kustomization(object) => {
            kustomize::update(app, source, source_name, options, object)?
        }
        Workload::HelmRelease(object) => helm::update(app, source, source_name, options, object)?,
    }
    keep(app, &mut made)?;
    Ok(made)
}

/// Labels and annotations of the workload; those of ours and of the controllers stay.
fn metadata(meta: &mut ObjectMeta, app: &Application) {
    meta.name = Some(app.name.clone());
    if !app.namespace.is_empty() {
        meta.namespace = Some(app.namespace.clone());
    }
    meta.labels = (!app.labels.is_empty()).then(|| app.labels.clone());
    let mut annotations = app.annotations.clone();
    for (key, value) in meta.annotations.take().unwrap_or_default() {
        if key.starts_with(PREFIX) || TRANSIENT.contains(&key.as_str()) {
            annotations.insert(key, value);
        }
    }
    match (is_manual(app), app.suspended) {
        (true, _) => annotations.insert(SYNC.to_owned(), MANUAL.to_owned()),
        (false, true) => annotations.insert(SYNC.to_owned(), SUSPENDED.to_owned()),
        (false, false) => annotations.remove(SYNC),
    };
    meta.annotations = Some(annotations);
}

/// Writes down what the objects do not say, and makes sure that all comes back.
fn keep(app: &Application, made: &mut Parts) -> Result<()> {
    let annotations = made
        .workload
        .metadata_mut()
        .annotations
        .get_or_insert_default();
    annotations.remove(KEPT);
    let mut app = app.clone();
    app.namespace.clear();
    let json = |app: &Application| {
        serde_json::to_value(app)
            .map_err(|error| Error::internal("an application is no JSON").with_source(error))
    };
    let mut shown = read(made)?;
    shown.namespace.clear();
    let kept = kept::difference(&json(&shown)?, &json(&app)?)?;
    let annotations = made
        .workload
        .metadata_mut()
        .annotations
        .get_or_insert_default();
    if let Some(kept) = kept {
        annotations.insert(KEPT.to_owned(), kept);
    }
    if annotations.is_empty() {
        made.workload.metadata_mut().annotations = None;
    }
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
    // While an operation runs nothing is suspended, whatever it is otherwise.
    let is_suspended =
        parts.workload.is_suspended() || (noted == Some(SUSPENDED) && is_running(&annotations));
    let visible: BTreeMap<_, _> = annotations
        .into_iter()
        .filter(|(key, _)| !key.starts_with(PREFIX) && !TRANSIENT.contains(&key.as_str()))
        .collect();
    let mut app = Application {
        name: meta.name.clone().unwrap_or_default(),
        namespace: meta.namespace.clone().unwrap_or_default(),
        labels: meta.labels.clone().unwrap_or_default(),
        annotations: visible,
        suspended: !is_manual && is_suspended,
        ..Application::default()
    };
    let mut read = source::read(parts);
    match &parts.workload {
        Workload::Kustomization(object) => kustomize::read(object, &mut read, &mut app),
        Workload::HelmRelease(object) => helm::read(object, &mut read, &mut app),
    }
    app.sources = vec![read];
    if is_manual {
        app.sync_policy.automated = None;
    }
    Ok(app)
}

/// Whether an operation of the backend is noted that has not ended.
fn is_running(annotations: &BTreeMap<String, String>) -> bool {
    let record = annotations.get(OPERATION);
    let record = record.and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
    record.is_some_and(|record| record["step"] != "ended")
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
