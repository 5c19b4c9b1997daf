//! Between Argo CD's `Application` and core's.
//!
//! Core's model holds every field of `spec` and of the record's own metadata, so that a conversion there and back loses nothing that Argo CD would act on. What
//! differs is how things that mean the same are written: an empty section is no section, `spec.source` and a list of one source are the same, and so are the URL
//! `https://kubernetes.default.svc` and core's `InCluster`. What core has no place for, `extra`, stays when an application is [updated](Application::update_from).
//!
//! Core's `suspended` has no field in Argo CD: it is the annotation [`SUSPENDED`], with automated sync turned off (`enabled: false`, argo-cd 3.1).

use std::collections::BTreeMap;
use std::time::Duration;

use gitops_core::application as core;
use gitops_core::{Error, Result};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::application::{
    Application, ApplicationSpec, Destination, DrySource, HydrateTo, Info,
    ResourceIgnoreDifferences, SourceHydrator, SyncSource,
};
use super::policy::{
    Backoff, ManagedNamespaceMetadata, RetryStrategy, SyncPolicy, SyncPolicyAutomated,
};
use super::source::{
    EnvEntry, HelmFileParameter, HelmParameter, JsonnetVar, KustomizePatch, KustomizeReplica,
    PluginParameter, Source, SourceDirectory, SourceHelm, SourceJsonnet, SourceKustomize,
    SourcePlugin,
};
use super::status::RevisionHistory;

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

// Destinations, policies.

fn destination_to_core(destination: &Destination) -> core::Destination {
    let cluster = match (&destination.name, &destination.server) {
        (Some(name), _) if !name.is_empty() => core::ClusterRef::Name(name.clone()),
        (_, Some(server)) if !server.is_empty() && server != IN_CLUSTER => {
            core::ClusterRef::Server(server.clone())
        }
        _ => core::ClusterRef::InCluster,
    };
    core::Destination {
        cluster,
        namespace: or_empty(destination.namespace.as_ref()),
    }
}

fn destination_from_core(destination: &core::Destination) -> Destination {
    let made = match &destination.cluster {
        core::ClusterRef::InCluster => Destination::server(IN_CLUSTER),
        core::ClusterRef::Server(server) => Destination::server(server),
        core::ClusterRef::Name(name) => Destination::name(name),
    };
    Destination {
        namespace: text(&destination.namespace),
        ..made
    }
}

fn policy_to_core(policy: Option<&SyncPolicy>) -> Result<core::SyncPolicy> {
    let Some(policy) = policy else {
        return Ok(core::SyncPolicy::default());
    };
    Ok(core::SyncPolicy {
        automated: policy.automated.as_ref().map(|automated| core::Automated {
            prune: automated.prune.unwrap_or_default(),
            self_heal: automated.self_heal.unwrap_or_default(),
            allow_empty: automated.allow_empty.unwrap_or_default(),
            enabled: automated.enabled,
        }),
        options: or_empty(policy.sync_options.as_ref()),
        retry: policy
            .retry
            .as_ref()
            .map(|retry| {
                Ok::<_, Error>(core::Retry {
                    limit: retry.limit.unwrap_or_default(),
                    backoff: backoff_to_core(retry.backoff.as_ref())?,
                    refresh: retry.refresh.unwrap_or_default(),
                })
            })
            .transpose()?,
        managed_namespace_metadata: policy.managed_namespace_metadata.as_ref().map(|metadata| {
            core::ManagedNamespaceMetadata {
                labels: or_empty(metadata.labels.as_ref()),
                annotations: or_empty(metadata.annotations.as_ref()),
            }
        }),
    })
}

fn policy_from_core(policy: &core::SyncPolicy) -> Option<SyncPolicy> {
    if *policy == core::SyncPolicy::default() {
        return None;
    }
    Some(SyncPolicy {
        automated: policy.automated.map(|automated| SyncPolicyAutomated {
            prune: flag(automated.prune),
            self_heal: flag(automated.self_heal),
            allow_empty: flag(automated.allow_empty),
            enabled: automated.enabled,
            ..SyncPolicyAutomated::default()
        }),
        sync_options: texts(&policy.options),
        retry: policy.retry.as_ref().map(|retry| RetryStrategy {
            limit: Some(retry.limit),
            backoff: Some(backoff_from_core(&retry.backoff)),
            refresh: flag(retry.refresh),
            ..RetryStrategy::default()
        }),
        managed_namespace_metadata: policy.managed_namespace_metadata.as_ref().map(|metadata| {
            ManagedNamespaceMetadata {
                labels: map(&metadata.labels),
                annotations: map(&metadata.annotations),
                ..ManagedNamespaceMetadata::default()
            }
        }),
        ..SyncPolicy::default()
    })
}

/// A duration as Argo CD reads it: Go's form, or digits alone for seconds (`parseStringToDuration` of argo-cd 3.2).
fn duration(field: &str, text: &str) -> Result<Duration> {
    let parsed = match text.parse::<u64>() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => text
            .parse::<SignedDuration>()
            .ok()
            .and_then(|duration| duration.try_into().ok()),
    };
    parsed.ok_or_else(|| Error::invalid(format!("{field}: {text:?} is no duration such as 5s")))
}

/// In Go's form.
pub(crate) fn duration_text(duration: Duration) -> String {
    if duration.subsec_nanos() == 0 {
        format!("{}s", duration.as_secs())
    } else if duration.subsec_nanos().is_multiple_of(1_000_000) {
        format!("{}ms", duration.as_millis())
    } else {
        format!("{}ns", duration.as_nanos())
    }
}

fn backoff_to_core(backoff: Option<&Backoff>) -> Result<core::Backoff> {
    let mut made = core::Backoff::default();
    let Some(backoff) = backoff else {
        return Ok(made);
    };
    if let Some(text) = backoff.duration.as_deref().filter(|text| !text.is_empty()) {
        made.duration = duration("retry.backoff.duration", text)?;
    }
    if let Some(factor) = backoff.factor {
        made.factor = u32::try_from(factor).map_err(|error| {
            Error::invalid(format!("retry.backoff.factor is {factor}")).with_source(error)
        })?;
    }
    if let Some(text) = backoff
        .max_duration
        .as_deref()
        .filter(|text| !text.is_empty())
    {
        made.max_duration = duration("retry.backoff.maxDuration", text)?;
    }
    Ok(made)
}

pub(crate) fn backoff_from_core(backoff: &core::Backoff) -> Backoff {
    Backoff {
        duration: Some(duration_text(backoff.duration)),
        factor: Some(i64::from(backoff.factor)),
        max_duration: Some(duration_text(backoff.max_duration)),
        ..Backoff::default()
    }
}

fn ignore_to_core(ignore: &ResourceIgnoreDifferences) -> core::IgnoreDifference {
    core::IgnoreDifference {
        group: or_empty(ignore.group.as_ref()),
        kind: ignore.kind.clone(),
        name: or_empty(ignore.name.as_ref()),
        namespace: or_empty(ignore.namespace.as_ref()),
        json_pointers: or_empty(ignore.json_pointers.as_ref()),
        jq_path_expressions: or_empty(ignore.jq_path_expressions.as_ref()),
        managed_fields_managers: or_empty(ignore.managed_fields_managers.as_ref()),
    }
}

fn ignore_from_core(ignore: &core::IgnoreDifference) -> ResourceIgnoreDifferences {
    ResourceIgnoreDifferences {
        group: text(&ignore.group),
        kind: ignore.kind.clone(),
        name: text(&ignore.name),
        namespace: text(&ignore.namespace),
        json_pointers: texts(&ignore.json_pointers),
        jq_path_expressions: texts(&ignore.jq_path_expressions),
        managed_fields_managers: texts(&ignore.managed_fields_managers),
        ..ResourceIgnoreDifferences::default()
    }
}

fn hydrate_to_core(hydrator: &SourceHydrator) -> core::Hydrate {
    core::Hydrate {
        dry_source: core::Source::git(&hydrator.dry_source.repo_url)
            .path(&hydrator.dry_source.path)
            .revision(&hydrator.dry_source.target_revision),
        sync_branch: hydrator.sync_source.target_branch.clone(),
        sync_path: hydrator.sync_source.path.clone(),
        hydrate_to_branch: hydrator
            .hydrate_to
            .as_ref()
            .map(|to| to.target_branch.clone()),
    }
}

fn hydrate_from_core(hydrate: &core::Hydrate) -> SourceHydrator {
    SourceHydrator {
        dry_source: DrySource {
            repo_url: hydrate.dry_source.repo_url.clone(),
            target_revision: or_empty(hydrate.dry_source.target_revision.as_ref()),
            path: or_empty(hydrate.dry_source.path.as_ref()),
            ..DrySource::default()
        },
        sync_source: SyncSource {
            target_branch: hydrate.sync_branch.clone(),
            path: hydrate.sync_path.clone(),
            ..SyncSource::default()
        },
        hydrate_to: hydrate.hydrate_to_branch.as_ref().map(|branch| HydrateTo {
            target_branch: branch.clone(),
            ..HydrateTo::default()
        }),
        ..SourceHydrator::default()
    }
}

// Sources.

fn source_to_core(source: &Source) -> Result<core::Source> {
    let kind = if source.repo_url.starts_with("oci://") {
        core::SourceKind::Oci
    } else if source
        .chart
        .as_deref()
        .is_some_and(|chart| !chart.is_empty())
    {
        core::SourceKind::Helm
    } else {
        core::SourceKind::Git
    };
    let mut renders = Vec::new();
    if let Some(helm) = &source.helm {
        renders.push(core::Render::Helm(Box::new(helm_to_core(helm))));
    }
    if let Some(kustomize) = &source.kustomize {
        renders.push(core::Render::Kustomize(Box::new(kustomize_to_core(
            kustomize,
        )?)));
    }
    if let Some(directory) = &source.directory {
        renders.push(core::Render::Directory(directory_to_core(directory)));
    }
    if let Some(plugin) = &source.plugin {
        renders.push(core::Render::Plugin(plugin_to_core(plugin)));
    }
    // As `ExplicitType` of argo-cd 3.2.
    if renders.len() > 1 {
        return Err(Error::invalid(
            "a source names more than one of helm, kustomize, directory and plugin",
        ));
    }
    Ok(core::Source {
        repo_url: source.repo_url.clone(),
        kind,
        target_revision: source.target_revision.clone(),
        path: source.path.clone(),
        chart: source.chart.clone(),
        ref_name: source.ref_name.clone(),
        name: source.name.clone(),
        render: renders.pop().unwrap_or_default(),
    })
}

pub(crate) fn source_from_core(source: &core::Source) -> Source {
    let mut made = Source {
        repo_url: source.repo_url.clone(),
        path: source.path.clone(),
        target_revision: source.target_revision.clone(),
        chart: source.chart.clone(),
        ref_name: source.ref_name.clone(),
        name: source.name.clone(),
        ..Source::default()
    };
    match &source.render {
        core::Render::Helm(helm) => made.helm = Some(helm_from_core(helm)),
        core::Render::Kustomize(kustomize) => {
            made.kustomize = Some(kustomize_from_core(kustomize));
        }
        core::Render::Directory(directory) => {
            made.directory = Some(directory_from_core(directory));
        }
        core::Render::Plugin(plugin) => made.plugin = Some(plugin_from_core(plugin)),
        _ => {}
    }
    made
}

fn helm_to_core(helm: &SourceHelm) -> core::Helm {
    core::Helm {
        release_name: or_empty(helm.release_name.as_ref()),
        value_files: or_empty(helm.value_files.as_ref()),
        ignore_missing_value_files: helm.ignore_missing_value_files.unwrap_or_default(),
        values: or_empty(helm.values.as_ref()),
        values_object: helm.values_object.clone(),
        parameters: each(helm.parameters.as_ref(), |parameter| core::HelmParameter {
            name: or_empty(parameter.name.as_ref()),
            value: or_empty(parameter.value.as_ref()),
            force_string: parameter.force_string.unwrap_or_default(),
        }),
        file_parameters: each(helm.file_parameters.as_ref(), |parameter| {
            core::HelmFileParameter {
                name: or_empty(parameter.name.as_ref()),
                path: or_empty(parameter.path.as_ref()),
            }
        }),
        version: or_empty(helm.version.as_ref()),
        pass_credentials: helm.pass_credentials.unwrap_or_default(),
        skip_crds: helm.skip_crds.unwrap_or_default(),
        skip_tests: helm.skip_tests.unwrap_or_default(),
        skip_schema_validation: helm.skip_schema_validation.unwrap_or_default(),
        namespace: or_empty(helm.namespace.as_ref()),
        kube_version: or_empty(helm.kube_version.as_ref()),
        api_versions: or_empty(helm.api_versions.as_ref()),
    }
}

fn helm_from_core(helm: &core::Helm) -> SourceHelm {
    SourceHelm {
        value_files: texts(&helm.value_files),
        parameters: list(&helm.parameters, |parameter| HelmParameter {
            name: text(&parameter.name),
            value: Some(parameter.value.clone()),
            force_string: flag(parameter.force_string),
            ..HelmParameter::default()
        }),
        release_name: text(&helm.release_name),
        values: text(&helm.values),
        file_parameters: list(&helm.file_parameters, |parameter| HelmFileParameter {
            name: text(&parameter.name),
            path: text(&parameter.path),
            ..HelmFileParameter::default()
        }),
        version: text(&helm.version),
        pass_credentials: flag(helm.pass_credentials),
        ignore_missing_value_files: flag(helm.ignore_missing_value_files),
        skip_crds: flag(helm.skip_crds),
        values_object: helm.values_object.clone(),
        namespace: text(&helm.namespace),
        kube_version: text(&helm.kube_version),
        api_versions: texts(&helm.api_versions),
        skip_tests: flag(helm.skip_tests),
        skip_schema_validation: flag(helm.skip_schema_validation),
        ..SourceHelm::default()
    }
}

fn kustomize_to_core(kustomize: &SourceKustomize) -> Result<core::Kustomize> {
    let patches = kustomize
        .patches
        .iter()
        .flatten()
        .map(serde_json::to_value)
        .collect::<Result<_, _>>()
        .map_err(|error| Error::internal("a patch cannot be written").with_source(error))?;
    Ok(core::Kustomize {
        name_prefix: or_empty(kustomize.name_prefix.as_ref()),
        name_suffix: or_empty(kustomize.name_suffix.as_ref()),
        images: or_empty(kustomize.images.as_ref()),
        common_labels: or_empty(kustomize.common_labels.as_ref()),
        force_common_labels: kustomize.force_common_labels.unwrap_or_default(),
        label_without_selector: kustomize.label_without_selector.unwrap_or_default(),
        label_include_templates: kustomize.label_include_templates.unwrap_or_default(),
        common_annotations: or_empty(kustomize.common_annotations.as_ref()),
        force_common_annotations: kustomize.force_common_annotations.unwrap_or_default(),
        common_annotations_envsubst: kustomize.common_annotations_envsubst.unwrap_or_default(),
        namespace: or_empty(kustomize.namespace.as_ref()),
        replicas: each(kustomize.replicas.as_ref(), |replica| {
            core::KustomizeReplica {
                name: replica.name.clone(),
                count: match &replica.count {
                    IntOrString::Int(count) => Value::from(*count),
                    IntOrString::String(count) => Value::from(count.clone()),
                },
            }
        }),
        patches,
        components: or_empty(kustomize.components.as_ref()),
        ignore_missing_components: kustomize.ignore_missing_components.unwrap_or_default(),
        version: or_empty(kustomize.version.as_ref()),
        kube_version: or_empty(kustomize.kube_version.as_ref()),
        api_versions: or_empty(kustomize.api_versions.as_ref()),
    })
}

fn kustomize_from_core(kustomize: &core::Kustomize) -> SourceKustomize {
    SourceKustomize {
        name_prefix: text(&kustomize.name_prefix),
        name_suffix: text(&kustomize.name_suffix),
        images: texts(&kustomize.images),
        common_labels: map(&kustomize.common_labels),
        version: text(&kustomize.version),
        common_annotations: map(&kustomize.common_annotations),
        force_common_labels: flag(kustomize.force_common_labels),
        force_common_annotations: flag(kustomize.force_common_annotations),
        namespace: text(&kustomize.namespace),
        common_annotations_envsubst: flag(kustomize.common_annotations_envsubst),
        replicas: list(&kustomize.replicas, |replica| KustomizeReplica {
            name: replica.name.clone(),
            count: match &replica.count {
                Value::String(count) => IntOrString::String(count.clone()),
                // The API server refuses what is no whole number of 32 bits; as a text it says what it was.
                count => count
                    .as_i64()
                    .and_then(|count| i32::try_from(count).ok())
                    .map_or_else(|| IntOrString::String(count.to_string()), IntOrString::Int),
            },
            ..KustomizeReplica::default()
        }),
        patches: list(&kustomize.patches, |patch| {
            // What is no patch of kustomize's form is kept as it is: the server says what is wrong with it.
            serde_json::from_value(patch.clone()).unwrap_or_else(|_| KustomizePatch {
                patch: Some(patch.to_string()),
                ..KustomizePatch::default()
            })
        }),
        components: texts(&kustomize.components),
        ignore_missing_components: flag(kustomize.ignore_missing_components),
        label_without_selector: flag(kustomize.label_without_selector),
        kube_version: text(&kustomize.kube_version),
        api_versions: texts(&kustomize.api_versions),
        label_include_templates: flag(kustomize.label_include_templates),
        ..SourceKustomize::default()
    }
}

fn directory_to_core(directory: &SourceDirectory) -> core::Directory {
    let vars = |vars: Option<&Vec<JsonnetVar>>| {
        each(vars, |var| core::JsonnetVar {
            name: var.name.clone(),
            value: var.value.clone(),
            code: var.code.unwrap_or_default(),
        })
    };
    core::Directory {
        recurse: directory.recurse.unwrap_or_default(),
        include: directory.include.clone(),
        exclude: directory.exclude.clone(),
        jsonnet: directory.jsonnet.as_ref().map(|jsonnet| core::Jsonnet {
            ext_vars: vars(jsonnet.ext_vars.as_ref()),
            tlas: vars(jsonnet.tlas.as_ref()),
            libs: or_empty(jsonnet.libs.as_ref()),
        }),
    }
}

fn directory_from_core(directory: &core::Directory) -> SourceDirectory {
    let vars = |vars: &[core::JsonnetVar]| {
        list(vars, |var| JsonnetVar {
            name: var.name.clone(),
            value: var.value.clone(),
            code: flag(var.code),
            ..JsonnetVar::default()
        })
    };
    SourceDirectory {
        recurse: flag(directory.recurse),
        jsonnet: directory.jsonnet.as_ref().map(|jsonnet| SourceJsonnet {
            ext_vars: vars(&jsonnet.ext_vars),
            tlas: vars(&jsonnet.tlas),
            libs: texts(&jsonnet.libs),
            ..SourceJsonnet::default()
        }),
        exclude: directory.exclude.clone(),
        include: directory.include.clone(),
        ..SourceDirectory::default()
    }
}

fn plugin_to_core(plugin: &SourcePlugin) -> core::Plugin {
    core::Plugin {
        name: or_empty(plugin.name.as_ref()),
        env: each(plugin.env.as_ref(), |entry| core::EnvVar {
            name: entry.name.clone(),
            value: entry.value.clone(),
        }),
        parameters: each(plugin.parameters.as_ref(), |parameter| {
            core::PluginParameter {
                name: or_empty(parameter.name.as_ref()),
                string: parameter.string.clone(),
                array: parameter.array.clone(),
                map: parameter.map.clone(),
            }
        }),
    }
}

fn plugin_from_core(plugin: &core::Plugin) -> SourcePlugin {
    SourcePlugin {
        name: text(&plugin.name),
        env: list(&plugin.env, |entry| EnvEntry {
            name: entry.name.clone(),
            value: entry.value.clone(),
            ..EnvEntry::default()
        }),
        parameters: list(&plugin.parameters, |parameter| PluginParameter {
            name: text(&parameter.name),
            string: parameter.string.clone(),
            map: parameter.map.clone(),
            array: parameter.array.clone(),
            ..PluginParameter::default()
        }),
        ..SourcePlugin::default()
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
