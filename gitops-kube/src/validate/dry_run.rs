//! What the API server says to a dry run.

use std::collections::HashSet;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use gitops_core::application::Application;
use gitops_core::backend::Severity;
use gitops_core::manifest::{GroupKind, ManifestSet, Object};
use gitops_core::validate::{Context, Finding, Validator};
use gitops_core::{Error, ErrorKind, Result, ResultExt};

use super::field;
use crate::cluster::{Cluster, FieldValidation, WriteParams};

/// How a [`DryRunValidator`] asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DryRunOptions {
    /// The field manager that the objects will be applied by.
    pub field_manager: String,
    /// Take fields of other managers for granted; without it a conflict is a finding (`field-conflict`).
    pub force: bool,
    /// How many objects are asked about at the same time.
    pub concurrency: usize,
}

impl Default for DryRunOptions {
    fn default() -> Self {
        Self {
            field_manager: "gitops-validate".into(),
            force: true,
            concurrency: 8,
        }
    }
}

/// Applies each rendered object by a server-side apply that is not stored (`dryRun=All`, `fieldValidation=Strict`), and finds what the API server refuses: fields of no schema, invalid
/// values, changes of immutable fields, admission webhooks and policies, quotas.
///
/// Codes: `unknown-field`, `invalid-field`, `unknown-kind`, `admission-denied`, `field-conflict`; `not-checked` (information only) for objects whose namespace or kind the same manifests make,
/// which no dry run can see.
///
/// It uses the network, and needs the rights that a sync needs. A server that cannot be reached, or rights that are missing, are an error: nobody looked.
#[derive(Clone, Debug)]
pub struct DryRunValidator<C> {
    cluster: C,
    options: DryRunOptions,
}

impl<C: Cluster> DryRunValidator<C> {
    /// Asks `cluster`.
    pub fn new(cluster: C) -> Self {
        Self::with_options(cluster, DryRunOptions::default())
    }

    /// Asks `cluster`, with other options.
    pub fn with_options(cluster: C, options: DryRunOptions) -> Self {
        Self { cluster, options }
    }

    async fn check(&self, app: &Application, object: &Object, made: &Made) -> Result<Vec<Finding>> {
        let gvk = object.gvk();
        let kind = match self.cluster.resolve(&gvk).await {
            Ok(kind) => kind,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(vec![match made.kinds.contains(&gvk.group_kind()) {
                    true => not_checked(object, "the same manifests make its kind"),
                    false => {
                        let message = format!("the API server does not serve {gvk}");
                        Finding::error("unknown-kind", message)
                            .about(object)
                            .at("/apiVersion")
                    }
                }]);
            }
            Err(error) => return Err(error),
        };
        let mut applied = object.clone();
        if !kind.is_namespaced() {
            applied.set_namespace("");
        } else if object.namespace().is_empty() {
            applied.set_namespace(match app.destination.namespace.as_str() {
                "" => "default",
                namespace => namespace,
            });
        }
        let params = WriteParams {
            field_manager: self.options.field_manager.clone(),
            dry_run: true,
            force: self.options.force,
            validation: Some(FieldValidation::Strict),
        };
        match self.cluster.apply(&kind, &applied, &params).await {
            Ok(_) => Ok(Vec::new()),
            Err(error) => self.judge(app, object, &applied, made, error),
        }
    }

    /// What an answer says about the object; an error when it says nothing about it.
    fn judge(
        &self,
        app: &Application,
        object: &Object,
        applied: &Object,
        made: &Made,
        error: Error,
    ) -> Result<Vec<Finding>> {
        let message = error.message().to_owned();
        let finding = |code: &str| vec![Finding::error(code, &*message).about(object)];
        match error.kind() {
            ErrorKind::NotFound if message.contains("namespaces \"") => {
                let namespace = applied.namespace();
                let makes = app.sync_policy.has_option("CreateNamespace")
                    && namespace == app.destination.namespace;
                Ok(match makes || made.namespaces.contains(namespace) {
                    true => vec![not_checked(
                        object,
                        "its namespace is made by the same sync",
                    )],
                    false => {
                        let message = format!("the namespace {namespace} does not exist");
                        vec![
                            Finding::error("invalid-field", message)
                                .about(object)
                                .at("/metadata/namespace"),
                        ]
                    }
                })
            }
            ErrorKind::InvalidInput => Ok(invalid(object, &message)),
            ErrorKind::Conflict => Ok(finding("field-conflict")),
            ErrorKind::PermissionDenied if !is_unauthorized(&message) => {
                Ok(finding("admission-denied"))
            }
            _ => Err(error),
        }
    }
}

#[async_trait]
impl<C: Cluster> Validator for DryRunValidator<C> {
    fn name(&self) -> &str {
        "dry-run"
    }

    /// # Errors
    /// When the API server cannot be reached, does not let us, or answers something that is not about an object.
    ///
    /// # Cancellation
    /// Dropping the future stops asking; nothing is stored in any case.
    async fn validate(&self, app: &Application, context: &Context<'_>) -> Result<Vec<Finding>> {
        let Some(manifests) = context.manifests else {
            return Ok(Vec::new());
        };
        let made = &Made::by(manifests);
        let checks: Vec<_> = manifests
            .iter()
            .map(|object| async move {
                let checked = self.check(app, object, made).await;
                checked.context(|| format!("dry run of {}", object.id()))
            })
            .collect();
        let found: Vec<Vec<Finding>> = stream::iter(checks)
            .buffered(self.options.concurrency.max(1))
            .try_collect()
            .await?;
        Ok(found.into_iter().flatten().collect())
    }
}

/// What the manifests make, which a dry run of others does not see.
struct Made {
    namespaces: HashSet<String>,
    kinds: HashSet<GroupKind>,
}

impl Made {
    fn by(manifests: &ManifestSet) -> Self {
        let mut made = Self {
            namespaces: HashSet::new(),
            kinds: HashSet::new(),
        };
        for object in manifests {
            match (object.group(), object.kind()) {
                ("", "Namespace") => {
                    made.namespaces.insert(object.name().to_owned());
                }
                ("apiextensions.k8s.io", "CustomResourceDefinition") => {
                    let text = |pointer: &str| {
                        let value = object.pointer(pointer).and_then(|value| value.as_str());
                        value.unwrap_or_default().to_owned()
                    };
                    let kind = GroupKind::new(text("/spec/group"), text("/spec/names/kind"));
                    made.kinds.insert(kind);
                }
                _ => {}
            }
        }
        made
    }
}

fn not_checked(object: &Object, why: &str) -> Finding {
    let message = format!("the API server could not be asked: {why}");
    Finding::new("not-checked", Severity::Info, message).about(object)
}

/// Whether it is the authorizer that forbids, who says which user may not do what (apiserver 0.34, `forbiddenMessage` in `pkg/endpoints/handlers/responsewriters/errors.go`:
/// `… is forbidden: User "U" cannot patch resource "R" …`); all else that forbids is admission, whose messages may have any words in their middle.
fn is_unauthorized(message: &str) -> bool {
    message
        .split_once("forbidden: User \"")
        .filter(|(before, _)| !before.contains(": "))
        .and_then(|(_, rest)| rest.split_once("\" cannot "))
        .and_then(|(_, denied)| denied.split_once(' '))
        .is_some_and(|(_, what)| what.starts_with("resource \"") || what.starts_with("path \""))
}

/// The types of apimachinery's `field.Error` (0.34, `pkg/util/validation/field/errors.go`), as messages write them.
const TYPES: [&str; 10] = [
    "Required value",
    "Invalid value",
    "Unsupported value",
    "Duplicate value",
    "Not found",
    "Forbidden",
    "Too long",
    "Too many",
    "Too few",
    "Internal error",
];

/// One finding per field that the message names, or one for the object.
fn invalid(object: &Object, message: &str) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    let mut add = |code: &str, path: &str, text: &str| {
        let Some(pointer) = field::to_pointer(object, path) else {
            return;
        };
        let finding = Finding::error(code, text).about(object).at(pointer);
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    };
    // Strict decoding: unknown field "spec.x"
    for part in message.split("unknown field \"").skip(1) {
        if let Some((path, _)) = part.split_once('"') {
            add("unknown-field", path, &format!("unknown field {path:?}"));
        }
    }
    // Server-side apply: .spec.x: field not declared in schema
    for part in message.match_indices(": field not declared in schema") {
        let path = word_before(message, part.0);
        let shown = path.trim_start_matches('.');
        add("unknown-field", path, &format!("unknown field {shown:?}"));
    }
    // Validation: spec.x: Invalid value: …
    let mut starts: Vec<(usize, usize)> = TYPES
        .iter()
        .flat_map(|text| message.match_indices(text))
        .filter_map(|(at, _)| {
            let end = at.checked_sub(2)?;
            (message.get(end..at)? == ": ").then(|| {
                let path = word_before(message, end);
                (end - path.len(), at)
            })
        })
        .collect();
    starts.sort_unstable();
    for (index, (path, text)) in starts.iter().enumerate() {
        let end = starts.get(index + 1).map_or(message.len(), |next| next.0);
        let says = message[*text..end.max(*text)]
            .trim_end_matches(['[', ' ', ','])
            .trim_end_matches(']');
        let path = message[*path..*text - 2].trim_start_matches('[');
        add("invalid-field", path, says);
    }
    if findings.is_empty() {
        findings.push(Finding::error("invalid-field", message).about(object));
    }
    findings
}

/// The word that ends at `end`.
fn word_before(text: &str, end: usize) -> &str {
    let before = &text[..end];
    let start = before.rfind(char::is_whitespace).map_or(0, |at| {
        at + before[at..].chars().next().map_or(1, char::len_utf8)
    });
    before[start..].trim_start_matches('(')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_admission_denies_is_not_taken_for_missing_rights() {
        for (message, unauthorized) in [
            (
                r#"configmaps "x" is forbidden: User "ann" cannot patch resource "configmaps" in API group "" in the namespace "prod""#,
                true,
            ),
            (
                r#"deployments.apps is forbidden: User "system:serviceaccount:a:b" cannot list resource "deployments" in API group "apps" at the cluster scope: RBAC: not found"#,
                true,
            ),
            (
                r#"forbidden: User "system:anonymous" cannot get path "/""#,
                true,
            ),
            (
                r#"admission webhook "policy.example.com" denied the request: images cannot use tag latest"#,
                false,
            ),
            (
                r#"admission webhook "policy.example.com" denied the request: forbidden: User "ann" cannot patch resource "prod""#,
                false,
            ),
            (
                r#"deployments.apps "x" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: the team cannot deploy on Fridays"#,
                false,
            ),
            (
                r#"pods "x" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2"#,
                false,
            ),
        ] {
            assert_eq!(is_unauthorized(message), unauthorized, "{message}");
        }
    }

    #[test]
    fn messages_become_fields() {
        let value = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"},
            "spec": {"template": {"spec": {"containers": [{"name": "a"}]}}}});
        let object = Object::new(value, None).unwrap();
        for (message, expected) in [
            (
                r#"Deployment.apps "x" is invalid: spec.selector: Required value"#,
                vec!["invalid-field /spec/selector Required value"],
            ),
            (
                r#"Deployment.apps "x" is invalid: [spec.selector: Required value, spec.template.metadata.labels: Invalid value: {"a":"b"}: `selector` does not match, spec.template.spec.containers[0].image: Required value]"#,
                vec![
                    "invalid-field /spec/selector Required value",
                    "invalid-field /spec/template/metadata/labels Invalid value: {\"a\":\"b\"}: `selector` does not match",
                    "invalid-field /spec/template/spec/containers/0/image Required value",
                ],
            ),
            (
                r#"failed to create typed patch object (default/x; apps/v1, Kind=Deployment): .spec.template.spec.containers[name="a"].imag: field not declared in schema"#,
                vec![
                    "unknown-field /spec/template/spec/containers/0/imag unknown field \"spec.template.spec.containers[name=\\\"a\\\"].imag\"",
                ],
            ),
            (
                r#"strict decoding error: unknown field "spec.a", unknown field "spec.b""#,
                vec![
                    "unknown-field /spec/a unknown field \"spec.a\"",
                    "unknown-field /spec/b unknown field \"spec.b\"",
                ],
            ),
            (
                "something else: entirely",
                vec!["invalid-field  something else: entirely"],
            ),
            (": Invalid value", vec!["invalid-field  : Invalid value"]),
            ("Invalid value", vec!["invalid-field  Invalid value"]),
        ] {
            let found: Vec<_> = invalid(&object, message)
                .into_iter()
                .map(|f| format!("{} {} {}", f.code, f.pointer.unwrap_or_default(), f.message))
                .collect();
            assert_eq!(found, expected, "{message}");
        }
    }
}
