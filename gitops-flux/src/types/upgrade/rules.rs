//! What became of fields.

use gitops_core::error::{Error, Result};
use gitops_core::manifest::yaml;
use serde_json::{Map, Value, json};

use super::Change;
use crate::kind::FluxKind;

pub(super) fn apply(
    kind: FluxKind,
    version: &str,
    document: &mut Value,
    changes: &mut Vec<Change>,
) -> Result<()> {
    let mut spec = At::of(document, "spec", changes);
    match kind {
        FluxKind::GitRepository => {
            spec.leave_out(
                "gitImplementation",
                "it has had no effect since source-controller 0.33",
            );
            spec.leave_out("accessFrom", "it never had an effect");
            spec.old_head();
        }
        FluxKind::Bucket => spec.leave_out("accessFrom", "it never had an effect"),
        FluxKind::HelmChart => {
            spec.leave_out("accessFrom", "it never had an effect");
            spec.values_file()?;
        }
        FluxKind::Kustomization => {
            spec.leave_out("validation", "the API server always validates");
            spec.patches()?;
        }
        FluxKind::HelmRelease => {
            let mut chart = At::of(document, "spec.chart.spec", changes);
            chart.values_file()?;
            let renderers = document.pointer("/spec/postRenderers");
            let count = renderers.and_then(Value::as_array).map_or(0, Vec::len);
            for at in 0..count {
                let path = format!("spec.postRenderers.{at}.kustomize");
                At::of(document, &path, changes).patches()?;
            }
        }
        FluxKind::Alert | FluxKind::Provider => {
            let mut all = At::of(document, "", changes);
            all.leave_out("status", "the kind has none since v1beta3");
        }
        FluxKind::ImagePolicy => At::of(document, "status", changes).latest_image(),
        FluxKind::ImageUpdateAutomation if version == "v1beta1" => spec.message()?,
        _ => {}
    }
    if kind.is_source() {
        At::of(document, "status.artifact", changes).checksum();
        let included = document.pointer("/status/includedArtifacts");
        let count = included.and_then(Value::as_array).map_or(0, Vec::len);
        for at in 0..count {
            let path = format!("status.includedArtifacts.{at}");
            At::of(document, &path, changes).checksum();
        }
    }
    Ok(())
}

/// An object within a document, if it is there.
struct At<'a> {
    path: String,
    map: Option<&'a mut Map<String, Value>>,
    changes: &'a mut Vec<Change>,
}

impl<'a> At<'a> {
    fn of(document: &'a mut Value, path: &str, changes: &'a mut Vec<Change>) -> Self {
        let mut steps = path.split('.').filter(|step| !step.is_empty());
        let value = steps.try_fold(document, |value, step| match step.parse::<usize>() {
            Ok(at) => value.get_mut(at),
            Err(_) => value.get_mut(step),
        });
        Self {
            path: path.to_owned(),
            map: value.and_then(Value::as_object_mut),
            changes,
        }
    }

    fn field(&self, name: &str) -> String {
        match self.path.is_empty() {
            true => name.to_owned(),
            false => format!("{}.{name}", self.path),
        }
    }

    /// Takes the field out; `null` is what is not there.
    fn take(&mut self, name: &str) -> Option<Value> {
        let value = self.map.as_mut()?.remove(name)?;
        (!value.is_null()).then_some(value)
    }

    fn tell(&mut self, field: &str, to: Option<&str>, why: &'static str) {
        let change = Change {
            field: self.field(field),
            to: to.map(|to| self.field(to)),
            why,
        };
        self.changes.push(change);
    }

    fn no(&self, name: &str, what: &str) -> Error {
        Error::invalid(format!("{} {what}", self.field(name)))
    }

    fn leave_out(&mut self, name: &str, why: &'static str) {
        if self.take(name).is_some() {
            self.tell(name, None, why);
        }
    }

    /// `verify.mode`.
    fn old_head(&mut self) {
        let map = self.map.as_mut();
        let mode = map
            .and_then(|map| map.get_mut("verify"))
            .and_then(|verify| verify.get_mut("mode"));
        if let Some(mode) = mode.filter(|mode| **mode == "head") {
            *mode = "HEAD".into();
            self.tell("verify.mode", Some("verify.mode"), "head is now HEAD");
        }
    }

    /// The list `name`, made where it is not there.
    fn list(&mut self, name: &str) -> Result<&mut Vec<Value>> {
        let error = self.no(name, "is no list");
        let Some(map) = self.map.as_mut() else {
            return Err(error);
        };
        let value = map.entry(name).or_insert_with(|| json!([]));
        if value.is_null() {
            *value = json!([]);
        }
        value.as_array_mut().ok_or(error)
    }

    /// It was merged before the others.
    fn values_file(&mut self) -> Result<()> {
        let Some(file) = self.take("valuesFile").filter(|file| *file != "") else {
            return Ok(());
        };
        self.list("valuesFiles")?.insert(0, file);
        self.tell(
            "valuesFile",
            Some("valuesFiles"),
            "it is merged before the others",
        );
        Ok(())
    }

    /// Kustomize applies strategic merges before `patches`, and JSON 6902 after them.
    fn patches(&mut self) -> Result<()> {
        if let Some(merges) = self.take("patchesStrategicMerge") {
            let name = "patchesStrategicMerge";
            let Value::Array(merges) = merges else {
                return Err(self.no(name, "is no list"));
            };
            let patches = merges.into_iter().map(|merge| match merge {
                // As Kustomize takes it: the YAML itself.
                Value::String(text) => json!({"patch": text}),
                merge => json!({"patch": yaml::to_yaml(&merge)}),
            });
            let patches: Vec<Value> = patches.collect();
            self.list("patches")?.splice(0..0, patches);
            self.tell(name, Some("patches"), "they are applied before the others");
        }
        if let Some(patches) = self.take("patchesJson6902") {
            let name = "patchesJson6902";
            let Value::Array(patches) = patches else {
                return Err(self.no(name, "is no list"));
            };
            for patch in patches {
                let Value::Object(mut patch) = patch else {
                    return Err(self.no(name, "has an item that is no patch"));
                };
                match patch.get_mut("patch") {
                    Some(Value::String(_)) => {}
                    Some(operations) => *operations = yaml::to_yaml(operations).into(),
                    None => return Err(self.no(name, "has an item without a patch")),
                }
                self.list("patches")?.push(Value::Object(patch));
            }
            self.tell(name, Some("patches"), "they are applied after the others");
        }
        Ok(())
    }

    /// The SHA-256 of the artifact.
    fn checksum(&mut self) {
        let Some(checksum) = self.take("checksum") else {
            return;
        };
        let Some(map) = self.map.as_mut() else {
            return;
        };
        let has_digest = map.get("digest").is_some_and(|digest| *digest != "");
        match checksum.as_str().filter(|text| !text.is_empty()) {
            Some(text) if !has_digest => {
                // source-controller 0.35 wrote the algorithm into it already.
                let digest = match text.contains(':') {
                    true => text.to_owned(),
                    false => format!("sha256:{text}"),
                };
                map.insert("digest".to_owned(), digest.into());
                self.tell("checksum", Some("digest"), "it is the SHA-256");
            }
            _ => self.tell("checksum", None, "the digest says the same"),
        }
    }

    /// `<image>:<tag>`.
    fn latest_image(&mut self) {
        let Some(image) = self.take("latestImage") else {
            return;
        };
        let parts = image.as_str().and_then(|image| image.rsplit_once(':'));
        let known = self
            .map
            .as_ref()
            .is_some_and(|map| map.get("latestRef").is_some_and(|latest| !latest.is_null()));
        match (parts, &mut self.map) {
            (Some((name, tag)), Some(map)) if !known && !tag.contains('/') => {
                map.insert("latestRef".to_owned(), json!({"name": name, "tag": tag}));
                self.tell("latestImage", Some("latestRef"), "it has parts now");
            }
            _ => self.tell("latestImage", None, "the controller writes latestRef"),
        }
    }

    /// `.Updated` went, and `.Changed`, which replaces it, has another form.
    fn message(&mut self) -> Result<()> {
        let template = self
            .map
            .as_ref()
            .and_then(|map| map.get("git")?.get("commit")?.get("messageTemplate"));
        let uses = template
            .and_then(Value::as_str)
            .is_some_and(|template| template.contains(".Updated"));
        match uses {
            true => Err(self.no(
                "git.commit.messageTemplate",
                "uses .Updated, which has no equal; .Changed has another form",
            )),
            false => Ok(()),
        }
    }
}
