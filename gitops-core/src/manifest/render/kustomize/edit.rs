//! Settings of a source, put into the kustomization as Argo CD 3.2 does (`util/kustomize/kustomize.go`): by `kustomize edit`, in its order.

use std::ffi::OsString;

use serde_json::{Map, Value};

use super::super::paths::{self, join_inside, shown};
use super::super::{KUSTOMIZATIONS, RenderRequest, build_env};
use super::walk::Walk;
use super::{Build, is_kubectl};
use crate::application::{Kustomize, KustomizeReplica};
use crate::error::{Error, Result};
use crate::manifest::{Tree, yaml};

/// The components to add: those of the settings, without missing ones where these are to be ignored.
pub(super) fn components(
    settings: &Kustomize,
    tree: &Tree,
    dir: &str,
    walk: &mut Walk<'_>,
) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for component in &settings.components {
        let missing = match join_inside(dir, component) {
            Some(path) => paths::resolve(tree, &path)?.is_none(),
            None => false,
        };
        if missing && settings.ignore_missing_components {
            continue;
        }
        walk.reference(dir, "the application's components", component)?;
        found.push(component.clone());
    }
    Ok(found)
}

/// Looks at the settings' patches: what they load, and what they hold that no message may.
pub(super) fn patches(settings: &Kustomize, dir: &str, walk: &mut Walk<'_>) -> Result<()> {
    for patch in &settings.patches {
        walk.patch(dir, "the application's patches", patch)?;
    }
    Ok(())
}

impl Build<'_> {
    /// Puts the settings in.
    pub(super) async fn edit(&self, settings: &Kustomize, components: &[String]) -> Result<()> {
        for (what, args) in commands(self.request, settings, components)? {
            if is_kubectl(&self.program) {
                return Err(Error::unsupported(
                    &format!(
                        "the kustomize setting {what:?}, which takes `kustomize edit`: install kustomize"
                    ),
                    "kubectl",
                ));
            }
            let args: Vec<OsString> = ["edit".into()]
                .into_iter()
                .chain(args.into_iter().map(OsString::from))
                .collect();
            self.run(&format!("kustomize edit ({what})"), args).await?;
        }
        // `kustomize edit` has no command for patches in this form.
        if !settings.patches.is_empty() {
            self.add_patches(&settings.patches)?;
        }
        Ok(())
    }

    fn add_patches(&self, patches: &[Value]) -> Result<()> {
        let dir = self.work.tree().join(&self.dir);
        let Some(name) = KUSTOMIZATIONS.iter().find(|name| dir.join(name).is_file()) else {
            return Err(Error::not_found(format!(
                "{} has no kustomization file",
                shown(&self.request.tree, &self.dir)
            )));
        };
        let failed =
            |error| Error::internal("cannot rewrite a kustomization file").with_source(error);
        let file = dir.join(name);
        let shown = shown(&self.request.tree, &paths::join(&self.dir, name));
        let mut kustomization =
            match yaml::parse_value(&shown, &std::fs::read(&file).map_err(failed)?)? {
                Value::Null => Map::new(),
                Value::Object(map) => map,
                _ => return Err(Error::invalid(format!("{shown}: expected an object"))),
            };
        match kustomization.entry("patches").or_insert(Value::Null) {
            Value::Array(list) => list.extend(patches.iter().cloned()),
            empty @ Value::Null => *empty = Value::Array(patches.to_vec()),
            _ => return Err(Error::invalid(format!("{shown}: patches must be a list"))),
        }
        // JSON is YAML. The link that it may be is replaced, not what it leads to.
        let text = serde_json::to_vec_pretty(&kustomization).map_err(|error| {
            Error::internal("cannot write a kustomization file").with_source(error)
        })?;
        std::fs::remove_file(&file).map_err(failed)?;
        std::fs::write(&file, text).map_err(failed)
    }
}

/// The `kustomize edit` commands, each with the setting that it is for. Operands come behind `--`.
pub(super) fn commands(
    request: &RenderRequest,
    settings: &Kustomize,
    components: &[String],
) -> Result<Vec<(&'static str, Vec<String>)>> {
    let env = build_env::variables(request);
    let expand = |text: &String| build_env::substitute(text, &env);
    let mut commands = Vec::new();
    let mut add = |what, command: &[&str], operands: Vec<String>| {
        if !operands.is_empty() {
            let mut args: Vec<String> = command.iter().map(|&arg| arg.to_owned()).collect();
            args.push("--".to_owned());
            args.extend(operands);
            commands.push((what, args));
        }
    };
    let one = |text: &String| {
        if text.is_empty() {
            Vec::new()
        } else {
            vec![text.clone()]
        }
    };
    add(
        "namePrefix",
        &["set", "nameprefix"],
        one(&settings.name_prefix),
    );
    add(
        "nameSuffix",
        &["set", "namesuffix"],
        one(&settings.name_suffix),
    );
    add(
        "images",
        &["set", "image"],
        settings.images.iter().map(expand).collect(),
    );
    let replicas = settings
        .replicas
        .iter()
        .map(replica)
        .collect::<Result<_>>()?;
    add("replicas", &["set", "replicas"], replicas);
    let mut label = vec!["add", "label"];
    for (on, flag) in [
        (settings.force_common_labels, "--force"),
        (settings.label_without_selector, "--without-selector"),
        (settings.label_include_templates, "--include-templates"),
    ] {
        if on {
            label.push(flag);
        }
    }
    let labels = settings
        .common_labels
        .iter()
        .map(|(key, value)| format!("{key}:{}", expand(value)))
        .collect();
    add("commonLabels", &label, labels);
    let mut annotation = vec!["add", "annotation"];
    if settings.force_common_annotations {
        annotation.push("--force");
    }
    let annotations = settings
        .common_annotations
        .iter()
        .map(|(key, value)| match settings.common_annotations_envsubst {
            true => format!("{key}:{}", expand(value)),
            false => format!("{key}:{value}"),
        })
        .collect();
    add("commonAnnotations", &annotation, annotations);
    add("namespace", &["set", "namespace"], one(&settings.namespace));
    add("components", &["add", "component"], components.to_vec());
    Ok(commands)
}

/// `NAME=COUNT`.
fn replica(replica: &KustomizeReplica) -> Result<String> {
    let count = match &replica.count {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    match count {
        Some(count) => Ok(format!("{}={count}", replica.name)),
        None => Err(Error::invalid(format!(
            "kustomize setting replicas: the count of {:?} is not a number",
            replica.name
        ))),
    }
}
