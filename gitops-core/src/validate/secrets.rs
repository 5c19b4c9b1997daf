//! Secrets that lie open in Git.

use async_trait::async_trait;
use base64::Engine;
use serde_json::{Map, Value};

use super::allow::Pattern;
use super::{Context, Finding, Validator, escape, objects};
use crate::application::Application;
use crate::error::Result;
use crate::manifest::Object;

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Finds Secrets whose values stand in the rendered manifests as they are (`plain-text-secret`), and private keys in objects of any kind (`private-key`). The values never appear in a finding.
///
/// SealedSecrets and ExternalSecrets are other kinds and pass; so do values that SOPS encrypted (`ENC[…]`), empty ones, and those that match a placeholder that is named here, such as
/// `<path:*` of argocd-vault-plugin.
#[derive(Clone, Debug, Default)]
pub struct NoPlainTextSecrets {
    placeholders: Vec<Pattern>,
}

impl NoPlainTextSecrets {
    /// Without placeholders.
    pub fn new() -> Self {
        Self::default()
    }

    /// Values that match this glob as a whole are placeholders, which something fills in later.
    ///
    /// # Errors
    /// `InvalidInput` for a glob that cannot be read.
    pub fn placeholder(mut self, glob: &str) -> Result<Self> {
        self.placeholders.push(Pattern::new(glob, false)?);
        Ok(self)
    }

    fn is_harmless(&self, value: &str) -> bool {
        value.is_empty()
            || (value.starts_with("ENC[") && value.ends_with(']'))
            || self
                .placeholders
                .iter()
                .any(|pattern| pattern.covers(value))
    }

    fn secret(&self, object: &Object, findings: &mut Vec<Finding>) {
        for field in ["data", "stringData"] {
            let Some(entries) = object.value().get(field).and_then(Value::as_object) else {
                continue;
            };
            for (key, value) in entries {
                let harmless = match value {
                    Value::Null => true,
                    Value::String(text) => {
                        self.is_harmless(text)
                            || (field == "data"
                                && decoded(text).is_some_and(|text| self.is_harmless(&text)))
                    }
                    // No Secret of Kubernetes, but a value all the same.
                    _ => false,
                };
                if !harmless {
                    let message = format!("the Secret's value {key:?} stands in Git as it is");
                    let finding = Finding::error("plain-text-secret", message);
                    findings.push(
                        finding
                            .about(object)
                            .at(format!("/{field}/{}", escape(key))),
                    );
                }
            }
        }
        if object
            .annotation(LAST_APPLIED)
            .is_some_and(|text| text.contains("ata\""))
        {
            let message = format!("the annotation {LAST_APPLIED} repeats the Secret's values");
            let pointer = format!("/metadata/annotations/{}", escape(LAST_APPLIED));
            let finding = Finding::error("plain-text-secret", message);
            findings.push(finding.about(object).at(pointer));
        }
    }
}

#[async_trait]
impl Validator for NoPlainTextSecrets {
    fn name(&self) -> &str {
        "no-plain-text-secrets"
    }

    async fn validate(&self, _: &Application, context: &Context<'_>) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        for object in objects(context) {
            if object.group().is_empty() && object.kind() == "Secret" {
                self.secret(object, &mut findings);
            } else {
                keys(object, object.value(), &mut String::new(), &mut findings);
            }
        }
        Ok(findings)
    }
}

fn decoded(text: &str) -> Option<String> {
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(text.trim())
        .ok()?;
    String::from_utf8(bytes).ok()
}

/// Private keys in any text below `map`.
fn keys(
    object: &Object,
    map: &Map<String, Value>,
    pointer: &mut String,
    findings: &mut Vec<Finding>,
) {
    for (key, value) in map {
        step(object, value, &escape(key), pointer, findings);
    }
}

fn step(
    object: &Object,
    value: &Value,
    part: &str,
    pointer: &mut String,
    findings: &mut Vec<Finding>,
) {
    let length = pointer.len();
    pointer.push('/');
    pointer.push_str(part);
    match value {
        Value::String(text) if has_private_key(text) => {
            let message = "a private key stands in Git as it is";
            let finding = Finding::error("private-key", message);
            findings.push(finding.about(object).at(pointer.as_str()));
        }
        Value::Object(map) => keys(object, map, pointer, findings),
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                step(object, item, &at.to_string(), pointer, findings);
            }
        }
        _ => {}
    }
    pointer.truncate(length);
}

/// A PEM block of a private key (RFC 7468, OpenSSH, PGP), with something in it.
fn has_private_key(text: &str) -> bool {
    text.match_indices("-----BEGIN ").any(|(at, _)| {
        let label = &text[at + 11..];
        let Some((label, body)) = label.split_once("-----") else {
            return false;
        };
        let body = body.split("-----END").next().unwrap_or_default();
        // Documentation leaves the body out or writes three dots.
        label.len() < 64
            && (label.ends_with("PRIVATE KEY") || label == "PGP PRIVATE KEY BLOCK")
            && body.bytes().filter(u8::is_ascii_alphanumeric).count() >= 32
    })
}
