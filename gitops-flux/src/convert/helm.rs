//! Helm settings and a `HelmRelease`.

use gitops_core::application::{Application, Helm, IgnoreDifference, Render, Source, SourceKind};
use gitops_core::manifest::yaml;
use gitops_core::{Error, Result};
use serde_json::{Map, Value};

use super::check::{path, refused, variables};
use super::kustomize::{path_from, path_to};
use super::{
    ConvertOptions, PINNED, automated, destination, flag, is_manual, kube_config, list, set, text,
};
use crate::types::{
    CrdsPolicy, DriftDetection, DriftDetectionMode, HelmChartTemplate, HelmRelease, IgnoreRule,
    ObjectReference, ReconcileStrategy, Selector,
};

/// The newest version that is no prerelease.
const NEWEST: &str = "*";

pub(super) fn update(
    app: &Application,
    from: &Source,
    source: ObjectReference,
    options: &ConvertOptions,
    object: &mut HelmRelease,
) -> Result<()> {
    let default = Helm::default();
    let settings = match &from.render {
        Render::Auto => &default,
        Render::Helm(settings) => &**settings,
        _ => return Err(refused("sources[0].render", "a chart is rendered by helm")),
    };
    check(settings)?;
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
            let mut template = spec.chart.take().unwrap_or_default();
            let own = own_version(&template, object.metadata.annotations.as_ref());
            let pinned = template.spec.version.clone();
            chart(from, settings, source, &mut template)?;
            if own == template.spec.version {
                // It may be pinned for the moment.
                template.spec.version = pinned;
            } else if let Some(annotations) = &mut object.metadata.annotations {
                annotations.remove(PINNED);
            }
            spec.chart = Some(template);
        }
    }
    spec.interval.get_or_insert_with(|| options.interval.into());
    if object.metadata.uid.is_none() {
        spec.timeout = Some(options.timeout.into());
    }
    spec.suspend = flag(is_manual(app) || app.suspended);
    spec.kube_config = kube_config(&app.destination.cluster, spec.kube_config.take());
    spec.release_name = Some(text(&settings.release_name).unwrap_or_else(|| app.name.clone()));
    let namespace = text(&settings.namespace).or_else(|| text(&app.destination.namespace));
    spec.target_namespace = Some(namespace.unwrap_or_else(|| "default".to_owned()));
    spec.max_history = app.revision_history_limit.map(i64::from);
    values(settings, &mut spec.values)?;
    drift_detection(app, &mut spec.drift_detection);

    let crds = match settings.skip_crds {
        true => CrdsPolicy::Skip,
        // As `helm template --include-crds` and an apply do.
        false => CrdsPolicy::CreateReplace,
    };
    let retries = app.sync_policy.retry.as_ref().map(|retry| retry.limit);
    let install = spec.install.get_or_insert_default();
    install.crds = Some(crds.clone());
    install.create_namespace = flag(app.sync_policy.has_option("CreateNamespace"));
    install.disable_schema_validation = flag(settings.skip_schema_validation);
    if let Some(retries) = retries {
        install.remediation.get_or_insert_default().retries = Some(retries);
    }
    let upgrade = spec.upgrade.get_or_insert_default();
    upgrade.crds = Some(crds);
    upgrade.disable_schema_validation = flag(settings.skip_schema_validation);
    if let Some(retries) = retries {
        upgrade.remediation.get_or_insert_default().retries = Some(retries);
    }
    Ok(())
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

fn chart(
    from: &Source,
    settings: &Helm,
    source: ObjectReference,
    template: &mut HelmChartTemplate,
) -> Result<()> {
    let spec = &mut template.spec;
    if spec.source_ref.kind != source.kind || spec.source_ref.name != source.name {
        spec.source_ref = source;
    }
    if from.kind == SourceKind::Git {
        spec.chart = path_from(from.path.as_deref()).unwrap_or_else(|| "./".to_owned());
        // A chart in Git changes with its commit, and not with its version alone.
        spec.reconcile_strategy = Some(ReconcileStrategy::Revision);
        spec.version = None;
    } else {
        let name = from.chart.as_deref().filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| refused("sources[0].chart", "it is missing"))?;
        if from.path.is_some() {
            return Err(refused("sources[0].path", "a Helm repository has no paths"));
        }
        name.clone_into(&mut spec.chart);
        spec.version = Some(
            from.target_revision
                .clone()
                .unwrap_or_else(|| NEWEST.to_owned()),
        );
    }
    spec.values_files = list(&files_from(from, &settings.value_files));
    spec.ignore_missing_values_files = flag(settings.ignore_missing_value_files);
    Ok(())
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

fn drift_detection(app: &Application, before: &mut Option<DriftDetection>) {
    let heals = !is_manual(app)
        && app
            .sync_policy
            .automated
            .is_some_and(|automated| automated.self_heal);
    if !heals {
        if let Some(detection) = before.as_mut() {
            detection.mode = detection
                .mode
                .take()
                .filter(|mode| *mode != DriftDetectionMode::Enabled);
            detection.ignore = None;
            if *detection == DriftDetection::default() {
                *before = None;
            }
        }
        return;
    }
    let detection = before.get_or_insert_default();
    detection.mode = Some(DriftDetectionMode::Enabled);
    detection.ignore = list(
        &app.ignore_differences
            .iter()
            .map(rule_from)
            .collect::<Vec<_>>(),
    );
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
