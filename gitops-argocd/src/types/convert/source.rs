//! Sources.

use gitops_core::application as core;
use gitops_core::{Error, Result};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::{each, flag, list, map, or_empty, text, texts};
use crate::types::source::{
    EnvEntry, HelmFileParameter, HelmParameter, JsonnetVar, KustomizePatch, KustomizeReplica,
    PluginParameter, Source, SourceDirectory, SourceHelm, SourceJsonnet, SourceKustomize,
    SourcePlugin,
};

pub(super) fn source_to_core(source: &Source) -> Result<core::Source> {
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

pub(super) fn helm_to_core(helm: &SourceHelm) -> core::Helm {
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

pub(super) fn helm_from_core(helm: &core::Helm) -> SourceHelm {
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

pub(super) fn kustomize_to_core(kustomize: &SourceKustomize) -> Result<core::Kustomize> {
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

pub(super) fn kustomize_from_core(kustomize: &core::Kustomize) -> SourceKustomize {
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

pub(super) fn directory_to_core(directory: &SourceDirectory) -> core::Directory {
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

pub(super) fn directory_from_core(directory: &core::Directory) -> SourceDirectory {
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

pub(super) fn plugin_to_core(plugin: &SourcePlugin) -> core::Plugin {
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

pub(super) fn plugin_from_core(plugin: &core::Plugin) -> SourcePlugin {
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
