//! Helm settings and a `HelmRelease`.

use gitops_core::application::{Application, Helm, IgnoreDifference, Render, Source, SourceKind};
use gitops_core::manifest::yaml;
use gitops_core::{Error, Result};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value};

use super::check::{path, refused, variables};
use super::kustomize::{path_from, path_to};
use super::{
    ConvertOptions, PINNED, automated, destination, flag, is_manual, kube_config, list, same, set,
    text,
};
use crate::types::annotation::SHARD;
use crate::types::{
    CrdsPolicy, DriftDetection, DriftDetectionMode, HelmChartTemplate, HelmRelease,
    HelmReleaseSpec, IgnoreRule, ObjectReference, ReconcileStrategy, Selector,
};

/// The newest version that is no prerelease.
const NEWEST: &str = "*";

/// Writes what the application changes of what the objects said of it before.
pub(super) fn update(
    app: &Application,
    was: Option<&Application>,
    from: &Source,
    source: ObjectReference,
    options: &ConvertOptions,
    runs: bool,
    object: &mut HelmRelease,
) -> Result<()> {
    let settings = &settings(from)?;
    check(settings)?;
    let before = was.and_then(|was| was.sources.first());
    let known = before.and_then(|before| self::settings(before).ok());
    let known = known.as_ref();
    let spec = &mut object.spec;
    match from.kind {
        SourceKind::Oci => {
            if !settings.value_files.is_empty() {
                return Err(refused(
                    "sources[0].render.helm.valueFiles",
                    "a chart of an OCIRepository takes none; say the values",
                ));
            }
            if from.path.is_some() || from.chart.is_some() {
                return Err(refused(
                    "sources[0].path",
                    "a chart of a registry is named by its URL alone",
                ));
            }
            spec.chart = None;
            if let Some(annotations) = &mut object.metadata.annotations {
                annotations.remove(PINNED);
            }
            if spec
                .chart_ref
                .as_ref()
                .is_none_or(|before| before.name != source.name || before.kind != source.kind)
            {
                spec.chart_ref = Some(source);
            }
        }
        _ => {
            spec.chart_ref = None;
            let before = before.filter(|before| before.kind == from.kind);
            let mut template = spec.chart.take().unwrap_or_default();
            chart(from, before, settings, known, source, &mut template)?;
            version(from, before, runs, &mut object.metadata, &mut template);
            let shard = |app: &Application| app.labels.get(SHARD).cloned();
            if was.and_then(shard) != shard(app)
                && let Some(key) = shard(app)
            {
                let metadata = template.metadata.get_or_insert_default();
                let labels = metadata.labels.get_or_insert_default();
                labels.insert(SHARD.to_owned(), key);
            }
            spec.chart = Some(template);
        }
    }
    spec.interval.get_or_insert_with(|| options.interval.into());
    if was.is_none() {
        spec.timeout = Some(options.timeout.into());
    }
    spec.kube_config = kube_config(&app.destination.cluster, spec.kube_config.take());
    if !same(known, settings, |settings| &settings.release_name) {
        spec.release_name = Some(text(&settings.release_name).unwrap_or_else(|| app.name.clone()));
    }
    if !same(known, settings, |settings| &settings.namespace)
        || !same(was, app, |app| &app.destination.namespace)
    {
        let namespace = text(&settings.namespace).or_else(|| text(&app.destination.namespace));
        let namespace = namespace.unwrap_or_else(|| "default".to_owned());
        // Where it is already, without being told, it stays: helm would make another release of it.
        let is_there = was.is_some()
            && spec.target_namespace.as_deref().is_none_or(str::is_empty)
            && object.metadata.namespace.as_ref() == Some(&namespace);
        if !is_there {
            spec.target_namespace = Some(namespace);
            // Else its name would be of its namespace.
            spec.release_name.get_or_insert_with(|| app.name.clone());
        }
    }
    if !same(was, app, |app| app.revision_history_limit) {
        spec.max_history = app.revision_history_limit.map(i64::from);
    }
    let given = |settings: &'_ Helm| {
        let (object, text) = (settings.values_object.clone(), settings.values.clone());
        (object, text, settings.parameters.clone())
    };
    if known.map(given) != Some(given(settings)) {
        values(settings, &mut spec.values)?;
    }
    drift_detection(app, was, &mut spec.drift_detection);
    actions(app, was, settings, known, spec);
    Ok(())
}

/// How a source is rendered, where that is by helm.
fn settings(from: &Source) -> Result<Helm> {
    match &from.render {
        Render::Auto => Ok(Helm::default()),
        Render::Helm(settings) => Ok((**settings).clone()),
        _ => Err(refused("sources[0].render", "a chart is rendered by helm")),
    }
}

/// What helm is told when it installs and upgrades.
fn actions(
    app: &Application,
    was: Option<&Application>,
    settings: &Helm,
    known: Option<&Helm>,
    spec: &mut HelmReleaseSpec,
) {
    if !same(known, settings, |settings| settings.skip_crds) {
        let crds = match settings.skip_crds {
            true => CrdsPolicy::Skip,
            // As `helm template --include-crds` and an apply do.
            false => CrdsPolicy::CreateReplace,
        };
        spec.install.get_or_insert_default().crds = Some(crds.clone());
        spec.upgrade.get_or_insert_default().crds = Some(crds);
    }
    let creates = |app: &Application| app.sync_policy.has_option("CreateNamespace");
    if !same(was, app, creates) {
        spec.install.get_or_insert_default().create_namespace = flag(creates(app));
    }
    if !same(known, settings, |settings| settings.skip_schema_validation) {
        let skip = flag(settings.skip_schema_validation);
        spec.install
            .get_or_insert_default()
            .disable_schema_validation = skip;
        spec.upgrade
            .get_or_insert_default()
            .disable_schema_validation = skip;
    }
    let retries = |app: &Application| app.sync_policy.retry.as_ref().map(|retry| retry.limit);
    if !same(was, app, retries)
        && let Some(retries) = retries(app)
    {
        let install = spec.install.get_or_insert_default();
        install.remediation.get_or_insert_default().retries = Some(retries);
        let upgrade = spec.upgrade.get_or_insert_default();
        upgrade.remediation.get_or_insert_default().retries = Some(retries);
    }
}

/// The version of the chart, whatever it is pinned to for the moment.
fn own_version(
    template: &HelmChartTemplate,
    annotations: Option<&std::collections::BTreeMap<String, String>>,
) -> Option<String> {
    match annotations.and_then(|annotations| annotations.get(PINNED)) {
        Some(noted) => text(noted),
        None => template.spec.version.clone(),
    }
}

fn check(settings: &Helm) -> Result<()> {
    let field = |name: &str| format!("sources[0].render.helm.{name}");
    for (name, is_set, why) in [
        (
            "fileParameters",
            !settings.file_parameters.is_empty(),
            "a HelmRelease has none",
        ),
        (
            "kubeVersion",
            !settings.kube_version.is_empty(),
            "helm takes the cluster's own",
        ),
        (
            "apiVersions",
            !settings.api_versions.is_empty(),
            "helm takes the cluster's own",
        ),
        (
            "version",
            !matches!(settings.version.as_str(), "" | "v3"),
            "Flux has helm 3",
        ),
    ] {
        if is_set {
            return Err(refused(&field(name), why));
        }
    }
    for (n, file) in settings.value_files.iter().enumerate() {
        let field = field(&format!("valueFiles[{n}]"));
        if file.contains("://") || file.starts_with('$') {
            return Err(refused(
                &field,
                "Flux takes value files of the chart's source only",
            ));
        }
        path(&field, file)?;
    }
    for parameter in &settings.parameters {
        variables(&field("parameters"), &parameter.value)?;
    }
    variables(&field("values"), &settings.values)?;
    variables(&field("releaseName"), &settings.release_name)
}

/// What is written beside the chart's own `values.yaml`, with the path in front where the chart is in Git.
fn files_from(from: &Source, files: &[String]) -> Vec<String> {
    if files.is_empty() {
        return Vec::new();
    }
    let folder = match from.kind {
        SourceKind::Git => {
            path_from(from.path.as_deref()).map_or_else(|| "./".to_owned(), |path| path + "/")
        }
        _ => String::new(),
    };
    std::iter::once("values.yaml")
        .chain(files.iter().map(String::as_str))
        .map(|file| format!("{folder}{file}"))
        .collect()
}

/// The chart, but for its version. `before` is a source of the same kind.
fn chart(
    from: &Source,
    before: Option<&Source>,
    settings: &Helm,
    known: Option<&Helm>,
    source: ObjectReference,
    template: &mut HelmChartTemplate,
) -> Result<()> {
    let spec = &mut template.spec;
    if spec.source_ref.kind != source.kind || spec.source_ref.name != source.name {
        spec.source_ref = source;
    }
    let path = |from: &Source| path_to(from.path.as_deref());
    let is_there = before.is_some_and(|before| path(before) == path(from));
    if from.kind == SourceKind::Git {
        if !is_there {
            spec.chart = path_from(from.path.as_deref()).unwrap_or_else(|| "./".to_owned());
        }
        if before.is_none() {
            // A chart in Git changes with its commit, and not with its version alone.
            spec.reconcile_strategy = Some(ReconcileStrategy::Revision);
        }
    } else {
        let name = from.chart.as_deref().filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| refused("sources[0].chart", "it is missing"))?;
        if from.path.is_some() {
            return Err(refused("sources[0].path", "a Helm repository has no paths"));
        }
        name.clone_into(&mut spec.chart);
        if before.is_none() {
            spec.reconcile_strategy = None;
        }
    }
    if !is_there || !same(known, settings, |settings| &settings.value_files) {
        spec.values_files = list(&files_from(from, &settings.value_files));
    }
    if !same(known, settings, |known| known.ignore_missing_value_files) {
        spec.ignore_missing_values_files = flag(settings.ignore_missing_value_files);
    }
    Ok(())
}

/// The version of the chart. One that is pinned for an operation that runs stays so, and is another afterwards.
fn version(
    from: &Source,
    before: Option<&Source>,
    runs: bool,
    meta: &mut ObjectMeta,
    template: &mut HelmChartTemplate,
) {
    let wanted = match from.kind {
        SourceKind::Git => None,
        _ => Some(from.target_revision.as_deref().unwrap_or(NEWEST).to_owned()),
    };
    let is_same = same(before, from, |source| &source.target_revision);
    let own = own_version(template, meta.annotations.as_ref());
    let wanted = if is_same { own } else { wanted };
    match &mut meta.annotations {
        Some(annotations) if annotations.contains_key(PINNED) => match runs {
            true => {
                annotations.insert(PINNED.to_owned(), wanted.unwrap_or_default());
            }
            // Nobody lets it go any more.
            false => {
                annotations.remove(PINNED);
                template.spec.version = wanted;
            }
        },
        _ => template.spec.version = wanted,
    }
}

/// The values that helm gets on top of the files'.
fn values(settings: &Helm, before: &mut Option<Value>) -> Result<()> {
    let field = "sources[0].render.helm.values";
    let mut values = match (&settings.values_object, settings.values.as_str()) {
        (Some(object), _) => object.clone(),
        (None, "") => Map::new(),
        (None, text) => {
            // The text may be secret: no message quotes it.
            let broken = || Error::invalid(format!("{field}: no YAML with a map"));
            match yaml::parse_value("values", text.as_bytes()).map_err(|_| broken())? {
                Value::Object(map) => map,
                Value::Null => Map::new(),
                _ => return Err(broken()),
            }
        }
    };
    set::apply(
        "sources[0].render.helm.parameters",
        &settings.parameters,
        &mut values,
    )?;
    *before = (!values.is_empty()).then_some(Value::Object(values));
    Ok(())
}

fn heals(app: &Application) -> bool {
    !is_manual(app)
        && app
            .sync_policy
            .automated
            .is_some_and(|automated| automated.self_heal)
}

fn drift_detection(
    app: &Application,
    was: Option<&Application>,
    before: &mut Option<DriftDetection>,
) {
    let same_rules = same(was, app, |app| &app.ignore_differences);
    if same_rules && same(was, app, heals) {
        return;
    }
    // Rules that others wrote are none of the application's.
    let is_theirs = same_rules && app.ignore_differences.is_empty();
    if !heals(app) {
        if let Some(detection) = before.as_mut() {
            detection.mode = detection
                .mode
                .take()
                .filter(|mode| *mode != DriftDetectionMode::Enabled);
            if !is_theirs {
                detection.ignore = None;
            }
            if *detection == DriftDetection::default() {
                *before = None;
            }
        }
        return;
    }
    let detection = before.get_or_insert_default();
    detection.mode = Some(DriftDetectionMode::Enabled);
    if !is_theirs {
        let rules: Vec<_> = app.ignore_differences.iter().map(rule_from).collect();
        detection.ignore = list(&rules);
    }
}

fn rule_from(one: &IgnoreDifference) -> IgnoreRule {
    let exact = |text: &str| text_of(text);
    let target = Selector {
        group: exact(&one.group),
        kind: exact(&one.kind),
        name: exact(&one.name),
        namespace: exact(&one.namespace),
        ..Selector::default()
    };
    IgnoreRule {
        paths: one.json_pointers.clone(),
        target: (target != Selector::default()).then_some(target),
        ..IgnoreRule::default()
    }
}

fn text_of(text: &str) -> Option<String> {
    (!text.is_empty() && text != "*").then(|| text.to_owned())
}

pub(super) fn read(object: &HelmRelease, from: &mut Source, app: &mut Application) {
    let spec = &object.spec;
    let mut settings = Helm {
        release_name: spec.release_name.clone().unwrap_or_default(),
        values_object: match &spec.values {
            Some(Value::Object(values)) => Some(values.clone()),
            _ => None,
        },
        skip_crds: spec
            .install
            .as_ref()
            .and_then(|install| install.crds.clone())
            == Some(CrdsPolicy::Skip),
        skip_schema_validation: spec
            .install
            .as_ref()
            .and_then(|install| install.disable_schema_validation)
            .unwrap_or_default(),
        ..Helm::default()
    };
    if let Some(template) = &spec.chart {
        let chart = &template.spec;
        if from.kind == SourceKind::Git {
            from.path = path_to(Some(&chart.chart));
        } else {
            from.chart = Some(chart.chart.clone());
            from.target_revision = own_version(template, object.metadata.annotations.as_ref())
                .filter(|version| version != NEWEST);
        }
        let folder = match from.path.as_deref() {
            Some(path) => format!("{path}/"),
            None => String::new(),
        };
        let files: Vec<_> = chart
            .values_files
            .iter()
            .flatten()
            .map(|file| {
                let file = file.trim_start_matches("./");
                file.strip_prefix(&folder).unwrap_or(file).to_owned()
            })
            .collect();
        settings.value_files = match files.split_first() {
            Some((first, rest)) if first == "values.yaml" => rest.to_vec(),
            _ => files,
        };
        settings.ignore_missing_value_files = chart.ignore_missing_values_files.unwrap_or_default();
    }
    from.render = Render::Helm(Box::new(settings));
    app.destination = destination(spec.kube_config.as_ref(), spec.target_namespace.as_ref());
    app.revision_history_limit = spec.max_history.and_then(|limit| u32::try_from(limit).ok());
    let mut policy = automated(true);
    let detection = spec.drift_detection.as_ref();
    let heals =
        detection.and_then(|detection| detection.mode.clone()) == Some(DriftDetectionMode::Enabled);
    if let Some(policy) = &mut policy {
        policy.self_heal = heals;
    }
    app.sync_policy.automated = policy;
}
