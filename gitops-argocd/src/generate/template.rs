//! Templates: a generator's put over the set's, and filled.

use gitops_core::{Error, Result};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::Params;
use super::budget::Budget;
use super::patch;
use super::strategic::VALUES_OBJECT;
use super::text::{fill, fill_all};
use crate::types::set::{SetTemplate, SetTemplateMeta};
use crate::types::{Application, ApplicationSet};

/// What makes a generated application's deletion take its objects along.
const FINALIZER: &str = "resources-finalizer.argocd.argoproj.io";

/// The set's template below a generator's own: what the generator's leaves empty is the set's. As `mergo.Merge` of mergo 1.0 does it for
/// `mergeGeneratorTemplate` of Argo CD 3.2: mappings are joined, lists are one's or the other's, and `false`, `0` and `""` count as empty.
pub(super) fn combined(own: Option<&SetTemplate>, base: &SetTemplate) -> Result<SetTemplate> {
    let Some(own) = own else {
        return Ok(base.clone());
    };
    let internal = |error| Error::internal("a template is no object").with_source(error);
    let mut combined = serde_json::to_value(own).map_err(internal)?;
    fill_empty(
        &mut combined,
        &serde_json::to_value(base).map_err(internal)?,
    );
    serde_json::from_value(combined).map_err(internal)
}

fn fill_empty(own: &mut Value, base: &Value) {
    match (own, base) {
        (Value::Object(own), Value::Object(base)) => {
            for (key, base) in base {
                match own.get_mut(key) {
                    None => {
                        own.insert(key.clone(), base.clone());
                    }
                    // Bytes to Argo CD, which are not joined.
                    Some(Value::Object(_)) if key == VALUES_OBJECT => {}
                    Some(own) => fill_empty(own, base),
                }
            }
        }
        (own, base) if is_empty(own) && !is_empty(base) => own.clone_from(base),
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

/// A template, ready to be filled again and again.
pub(super) struct Form<'a> {
    set: &'a ApplicationSet,
    unfilled: Application,
    json: Value,
}

impl<'a> Form<'a> {
    pub(super) fn new(set: &'a ApplicationSet, template: SetTemplate) -> Result<Self> {
        let SetTemplateMeta {
            name,
            namespace,
            labels,
            annotations,
            finalizers,
            extra: _,
        } = template.metadata;
        let unfilled = Application {
            metadata: ObjectMeta {
                name,
                namespace,
                labels,
                annotations,
                finalizers,
                ..ObjectMeta::default()
            },
            spec: template.spec,
            ..Application::default()
        };
        let json = serde_json::to_value(&unfilled)
            .map_err(|error| Error::internal("a template is no object").with_source(error))?;
        Ok(Self {
            set,
            unfilled,
            json,
        })
    }

    /// The application for one set of parameters, as `GenerateApplications` and `RenderTemplateParams` of Argo CD 3.2 make it:
    ///
    /// - no parameters at all leave the template as it is, without a finalizer;
    /// - an application without finalizers gets Argo CD's, unless the set preserves resources;
    /// - the patch comes after that;
    /// - the namespace of the application is the set's, whatever the template says.
    pub(super) fn fill(&self, params: &Params, budget: &mut Budget) -> Result<Application> {
        let mut application = if params.is_empty() {
            self.unfilled.clone()
        } else {
            self.filled(params, budget)
                .map_err(|error| error.context("the template"))?
        };
        if let Some(patch) = &self.set.spec.template_patch {
            application = fill(patch, params, budget)
                .and_then(|patch| patch::apply(&application, &patch))
                .map_err(|error| error.context("/spec/templatePatch"))?;
        }
        application
            .metadata
            .namespace
            .clone_from(&self.set.metadata.namespace);
        Ok(application)
    }

    fn filled(&self, params: &Params, budget: &mut Budget) -> Result<Application> {
        let filled = fill_all(&self.json, params, budget)?;
        let mut application: Application = serde_json::from_value(filled)
            .map_err(|_| Error::invalid("filled, it is no application"))?;
        let preserve = self
            .set
            .spec
            .sync_policy
            .as_ref()
            .and_then(|policy| policy.preserve_resources_on_deletion);
        let finalizers = application.metadata.finalizers.get_or_insert_default();
        if finalizers.is_empty() && preserve != Some(true) {
            finalizers.push(FINALIZER.to_owned());
        }
        if finalizers.is_empty() {
            application.metadata.finalizers = None;
        }
        Ok(application)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_generators_template_leaves_empty_is_the_sets() {
        let own: SetTemplate = serde_json::from_value(json!({
            "metadata": {"name": "own", "labels": {"a": "own", "e": ""}, "finalizers": []},
            "spec": {
                "project": "",
                "source": {
                    "repoURL": "own",
                    "helm": {"valuesObject": {"own": true}, "valueFiles": ["own"], "skipCrds": false},
                },
                "destination": {},
                "syncPolicy": {"automated": {"prune": false, "enabled": false}, "retry": {"limit": 0}},
                "revisionHistoryLimit": 0,
            },
        }))
        .unwrap();
        let base: SetTemplate = serde_json::from_value(json!({
            "metadata": {
                "name": "base", "labels": {"a": "base", "b": "base", "e": "base"},
                "annotations": {"x": "base"}, "finalizers": ["base"],
            },
            "spec": {
                "project": "base",
                "source": {
                    "repoURL": "base", "path": "base",
                    "helm": {"valuesObject": {"base": true}, "valueFiles": ["base", "more"], "skipCrds": true},
                    "directory": {"recurse": true},
                },
                "destination": {"server": "base"},
                "syncPolicy": {
                    "automated": {"prune": true, "selfHeal": true, "enabled": true}, "retry": {"limit": 3},
                    "syncOptions": ["base"],
                },
                "revisionHistoryLimit": 3,
                "info": [{"name": "n", "value": "v"}],
            },
        }))
        .unwrap();
        let combined = serde_json::to_value(combined(Some(&own), &base).unwrap()).unwrap();
        assert_eq!(
            combined,
            json!({
                "metadata": {
                    "name": "own", "labels": {"a": "own", "b": "base", "e": "base"},
                    "annotations": {"x": "base"}, "finalizers": ["base"],
                },
                "spec": {
                    "project": "base",
                    "source": {
                        "repoURL": "own", "path": "base",
                        "helm": {"valuesObject": {"own": true}, "valueFiles": ["own"], "skipCrds": true},
                        "directory": {"recurse": true},
                    },
                    "destination": {"server": "base"},
                    "syncPolicy": {
                        "automated": {"prune": true, "selfHeal": true, "enabled": true}, "retry": {"limit": 3},
                        "syncOptions": ["base"],
                    },
                    "revisionHistoryLimit": 3,
                    "info": [{"name": "n", "value": "v"}],
                },
            })
        );
    }
}
