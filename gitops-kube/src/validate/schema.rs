//! Objects against the API server's schemas.

use async_trait::async_trait;
use gitops_core::Result;
use gitops_core::application::Application;
use gitops_core::manifest::{GroupVersionKind, ManifestSet, Object};
use gitops_core::validate::{Context, Finding, Validator, escape};
use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use serde_json::Value;

use super::field;
use super::store::{Compiled, Schemas, from_definition};

/// Finds what does not fit the schema of its kind, without a server: fields of no schema (as `kubectl apply --validate=strict` does), missing fields, wrong types and values, items of lists that repeat
/// each other's keys.
///
/// Codes: `unknown-field`, `missing-field`, `schema-violation`, `unknown-kind`. Kinds that the server does not serve are looked up in the definitions (`CustomResourceDefinition`) among the manifests
/// themselves. Kubernetes' extensions are understood: `x-kubernetes-int-or-string`, `-preserve-unknown-fields`, `-embedded-resource`, `-list-type` and `-list-map-keys`; a null stands for a field that is not
/// there, as it does for the server. Not evaluated are CEL rules (`x-kubernetes-validations`) and what only Go code knows: ask a [`DryRunValidator`](super::DryRunValidator). Messages name no values.
#[derive(Clone, Debug)]
pub struct SchemaValidator {
    schemas: Schemas,
}

impl SchemaValidator {
    /// Validates by these schemas.
    pub fn new(schemas: Schemas) -> Self {
        Self { schemas }
    }

    fn schema(&self, gvk: &GroupVersionKind, manifests: &ManifestSet) -> Result<Option<Compiled>> {
        if let Some(compiled) = self.schemas.compiled(gvk)? {
            return Ok(Some(compiled));
        }
        for object in manifests {
            if object.kind() == "CustomResourceDefinition"
                && object.group() == "apiextensions.k8s.io"
                && let Some(compiled) = from_definition(object, gvk)?
            {
                return Ok(Some(compiled));
            }
        }
        Ok(None)
    }
}

#[async_trait]
impl Validator for SchemaValidator {
    fn name(&self) -> &str {
        "schema"
    }

    /// # Errors
    /// `InvalidInput` for a schema that cannot be used.
    async fn validate(&self, _: &Application, context: &Context<'_>) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        let Some(manifests) = context.manifests else {
            return Ok(findings);
        };
        let mut last: Option<(GroupVersionKind, Option<Compiled>)> = None;
        for object in manifests {
            let gvk = object.gvk();
            let schema = match &last {
                Some((known, schema)) if *known == gvk => schema.clone(),
                _ => self.schema(&gvk, manifests)?,
            };
            match &schema {
                Some(schema) => check(object, schema, &mut findings),
                None => {
                    let message = format!("no schema of {gvk} is known");
                    let finding = Finding::error("unknown-kind", message);
                    findings.push(finding.about(object).at("/apiVersion"));
                }
            }
            last = Some((gvk, schema));
            // Many objects take a while; others may go on.
            tokio::task::yield_now().await;
        }
        Ok(findings)
    }
}

fn check(object: &Object, schema: &Compiled, findings: &mut Vec<Finding>) {
    let value = object.to_value();
    let start = findings.len();
    for error in schema.iter_errors(&value) {
        for (code, pointer, message) in judge(&value, &error) {
            let finding = Finding::error(code, message).about(object).at(pointer);
            // The same field may fail in several parts of a schema.
            if !findings[start..].contains(&finding) {
                findings.push(finding);
            }
        }
    }
}

fn judge(object: &Value, error: &ValidationError<'_>) -> Vec<(&'static str, String, String)> {
    let at = error.instance_path().to_string();
    // A null is a field that is not there, for Go's decoder and for the defaulting of custom resources.
    if error.instance().is_null() && !in_list(object, &at) {
        return Vec::new();
    }
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            unknown(object, &at, unexpected.iter().map(String::as_str))
        }
        // An object of a schema that has no fields at all.
        ValidationErrorKind::FalseSchema => {
            let fields = object.pointer(&at).and_then(Value::as_object);
            let names = fields.into_iter().flatten().map(|(name, _)| name.as_str());
            unknown(object, &at, names)
        }
        ValidationErrorKind::Required { property } => {
            // Whoever writes a status by hand need not write all of it: the server takes none of it.
            if at == "/status" || at.starts_with("/status/") {
                return Vec::new();
            }
            let pointer = format!("{at}/{}", escape(property.as_str().unwrap_or_default()));
            let path = field::from_pointer(object, &pointer);
            vec![("missing-field", pointer, format!("{path} is required"))]
        }
        _ => {
            let path = field::from_pointer(object, &at);
            // Without the value, which may be a secret.
            let message = format!("{path}: {}", error.masked());
            vec![("schema-violation", at, message)]
        }
    }
}

/// Fields of the object at a pointer that are in no schema.
fn unknown<'a>(
    object: &Value,
    at: &str,
    names: impl Iterator<Item = &'a str>,
) -> Vec<(&'static str, String, String)> {
    names
        .map(|name| format!("{at}/{}", escape(name)))
        .filter(|pointer| object.pointer(pointer).is_none_or(|value| !value.is_null()))
        .map(|pointer| {
            let path = field::from_pointer(object, &pointer);
            ("unknown-field", pointer, format!("unknown field {path:?}"))
        })
        .collect()
}

/// Whether the pointer is to an item of a list.
fn in_list(object: &Value, pointer: &str) -> bool {
    let parent = pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
    object.pointer(parent).is_some_and(Value::is_array)
}
