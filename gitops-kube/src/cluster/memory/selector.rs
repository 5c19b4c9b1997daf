//! Label and field selectors (apimachinery, `pkg/labels` and `pkg/fields`).

use std::collections::BTreeSet;

use gitops_core::{Error, Result};
use serde_json::Value;

/// A parsed label selector.
#[derive(Clone, Debug, Default)]
pub(super) struct Labels(Vec<Requirement>);

#[derive(Clone, Debug)]
enum Requirement {
    Exists(String),
    Absent(String),
    In(String, BTreeSet<String>),
    NotIn(String, BTreeSet<String>),
}

impl Labels {
    /// # Errors
    /// `InvalidInput` when it is no selector.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let invalid = || {
            Error::invalid(format!(
                "unable to parse requirement: {text:?} is no label selector"
            ))
        };
        let mut requirements = Vec::new();
        for part in split(text) {
            let part = part.trim();
            if part.is_empty() {
                if text.trim().is_empty() {
                    continue;
                }
                return Err(invalid());
            }
            let requirement = if let Some(open) = part.find('(') {
                let values = part[open + 1..].strip_suffix(')').ok_or_else(invalid)?;
                let values = values.split(',').map(|v| v.trim().to_owned()).collect();
                match part[..open].split_whitespace().collect::<Vec<_>>()[..] {
                    [key, "in"] => Requirement::In(key.to_owned(), values),
                    [key, "notin"] => Requirement::NotIn(key.to_owned(), values),
                    _ => return Err(invalid()),
                }
            } else if let Some((key, value)) = part.split_once("!=") {
                Requirement::NotIn(
                    key.trim().to_owned(),
                    BTreeSet::from([value.trim().to_owned()]),
                )
            } else if let Some((key, value)) = part.split_once('=') {
                let value = value.strip_prefix('=').unwrap_or(value).trim();
                Requirement::In(key.trim().to_owned(), BTreeSet::from([value.to_owned()]))
            } else if let Some(key) = part.strip_prefix('!') {
                Requirement::Absent(key.trim().to_owned())
            } else {
                Requirement::Exists(part.to_owned())
            };
            let key = match &requirement {
                Requirement::Exists(key)
                | Requirement::Absent(key)
                | Requirement::In(key, _)
                | Requirement::NotIn(key, _) => key,
            };
            if key.is_empty() || key.contains(char::is_whitespace) {
                return Err(invalid());
            }
            requirements.push(requirement);
        }
        Ok(Self(requirements))
    }

    pub(super) fn matches(&self, object: &Value) -> bool {
        let labels = object.pointer("/metadata/labels");
        let label = |key: &str| labels.and_then(|labels| labels.get(key)?.as_str());
        self.0.iter().all(|requirement| match requirement {
            Requirement::Exists(key) => label(key).is_some(),
            Requirement::Absent(key) => label(key).is_none(),
            Requirement::In(key, values) => label(key).is_some_and(|value| values.contains(value)),
            // A label that is not there is "not in" as well.
            Requirement::NotIn(key, values) => {
                label(key).is_none_or(|value| !values.contains(value))
            }
        })
    }
}

/// Splits at the commas outside parentheses.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0usize, 0);
    for (at, char) in text.char_indices() {
        match char {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// A parsed field selector.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields(Vec<(String, bool, String)>);

impl Fields {
    /// # Errors
    /// `InvalidInput` when it is no selector, or for a field that the kind cannot be selected by.
    pub(super) fn parse(text: &str, kind: &str) -> Result<Self> {
        let mut terms = Vec::new();
        for part in text.split(',').filter(|part| !part.trim().is_empty()) {
            let (field, equal, value) = if let Some((field, value)) = part.split_once("!=") {
                (field, false, value)
            } else if let Some((field, value)) = part.split_once('=') {
                (field, true, value.strip_prefix('=').unwrap_or(value))
            } else {
                return Err(Error::invalid(format!("invalid selector: {part:?}")));
            };
            let known = match field {
                "metadata.name" | "metadata.namespace" => true,
                "status.phase" => matches!(kind, "Pod" | "Namespace"),
                "spec.nodeName" | "spec.serviceAccountName" | "spec.restartPolicy" => kind == "Pod",
                "type" => kind == "Secret",
                "involvedObject.name" | "involvedObject.kind" | "involvedObject.uid" | "reason" => {
                    kind == "Event"
                }
                _ => false,
            };
            if !known {
                return Err(Error::invalid(format!(
                    "field label not supported: {field}"
                )));
            }
            terms.push((
                format!("/{}", field.replace('.', "/")),
                equal,
                value.to_owned(),
            ));
        }
        Ok(Self(terms))
    }

    pub(super) fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|(pointer, equal, wanted)| {
            let found = object
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default();
            (found == wanted) == *equal
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn label_selectors_select() {
        let object = json!({"metadata": {"labels": {"app": "web", "tier": "front"}}});
        for (selector, matches) in [
            ("", true),
            ("app", true),
            ("!app", false),
            ("app=web", true),
            ("app == web, tier=front", true),
            ("app!=web", false),
            ("missing!=x", true),
            ("app in (api, web)", true),
            ("app notin (api,web),tier", false),
            ("missing notin (x)", true),
            ("missing in (x)", false),
        ] {
            let labels = Labels::parse(selector).unwrap();
            assert_eq!(labels.matches(&object), matches, "{selector}");
        }
        for bad in ["app in (a", "a b", "=x", "a,,b"] {
            assert!(Labels::parse(bad).is_err(), "{bad}");
        }
    }
}
