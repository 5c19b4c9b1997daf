//! `selector` of a generator.

use gitops_core::{Error, Result};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::Params;
use super::go::flattened;
use super::names::qualified_name;

/// Rules for parameters, all of which must hold. As `LabelSelectorAsSelector` of Argo CD 3.2 (`applicationset/utils/selector.go`): Kubernetes' label selectors, but
/// values may be any texts. The parameters are flattened for it, so that `values.stage` and `list.0` can be asked for; a key is still a label's key, which
/// `path[0]` is not.
pub(super) struct Selector(Vec<Requirement>);

struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

impl Selector {
    /// Reads it.
    pub(super) fn new(selector: &LabelSelector) -> Result<Self> {
        let labels = selector.match_labels.iter().flatten();
        let mut requirements = labels
            .map(|(key, value)| Requirement::new(key, Operator::In, vec![value.clone()]))
            .collect::<Result<Vec<_>>>()?;
        for expression in selector.match_expressions.iter().flatten() {
            let operator = match expression.operator.as_str() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    return Err(Error::invalid(format!(
                        "{other:?} is not an operator; there are In, NotIn, Exists and DoesNotExist"
                    )));
                }
            };
            let values = expression.values.clone().unwrap_or_default();
            requirements.push(Requirement::new(&expression.key, operator, values)?);
        }
        Ok(Self(requirements))
    }

    pub(super) fn matches(&self, params: &Params) -> bool {
        self.0.iter().all(|requirement| requirement.matches(params))
    }
}

impl Requirement {
    fn new(key: &str, operator: Operator, values: Vec<String>) -> Result<Self> {
        qualified_name(key)
            .map_err(|why| Error::invalid(format!("{key:?} cannot be a label's key: {why}")))?;
        match (&operator, values.is_empty()) {
            (Operator::In | Operator::NotIn, true) => Err(Error::invalid(format!(
                "key {key:?}: In and NotIn need values"
            ))),
            (Operator::Exists | Operator::DoesNotExist, false) => Err(Error::invalid(format!(
                "key {key:?}: Exists and DoesNotExist take no values"
            ))),
            _ => Ok(Self {
                key: key.to_owned(),
                operator,
                values,
            }),
        }
    }

    fn matches(&self, params: &Params) -> bool {
        let value = flattened(params, &self.key);
        match (&self.operator, value) {
            (Operator::In, Some(value)) => self.values.contains(&value),
            (Operator::NotIn, Some(value)) => !self.values.contains(&value),
            (Operator::Exists, Some(_)) | (Operator::NotIn | Operator::DoesNotExist, None) => true,
            (Operator::DoesNotExist, Some(_)) | (Operator::In | Operator::Exists, None) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules() {
        let params: Params = serde_json::from_value(json!({
            "env": "prod", "values.stage": "a", "deep": {"n": 1, "list": ["x"]}, "url": "https://h/x y",
        }))
        .unwrap();
        for (selector, expected) in [
            (json!({}), true),
            (json!({"matchLabels": {"env": "prod"}}), true),
            (json!({"matchLabels": {"env": "dev"}}), false),
            (json!({"matchLabels": {"none": ""}}), false),
            (json!({"matchLabels": {"url": "https://h/x y"}}), true),
            (
                json!({"matchLabels": {"env": "prod", "values.stage": "b"}}),
                false,
            ),
            (
                json!({"matchLabels": {"deep.n": "1", "deep.list.0": "x"}}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "env", "operator": "In", "values": ["a", "prod"]}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "env", "operator": "NotIn", "values": ["prod"]}]}),
                false,
            ),
            (
                json!({"matchExpressions": [{"key": "none", "operator": "NotIn", "values": ["prod"]}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "env", "operator": "Exists"}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "deep", "operator": "Exists"}]}),
                false,
            ),
            (
                json!({"matchExpressions": [{"key": "none", "operator": "DoesNotExist"}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "env", "operator": "DoesNotExist", "values": []}]}),
                false,
            ),
        ] {
            let parsed = serde_json::from_value(selector.clone()).unwrap();
            let selector_ = Selector::new(&parsed).unwrap();
            assert_eq!(selector_.matches(&params), expected, "{selector}");
        }
    }

    #[test]
    fn refused() {
        for selector in [
            json!({"matchLabels": {"path[0]": "a"}}),
            json!({"matchExpressions": [{"key": "env", "operator": "Gt", "values": ["1"]}]}),
            json!({"matchExpressions": [{"key": "env", "operator": "in", "values": ["1"]}]}),
            json!({"matchExpressions": [{"key": "env", "operator": "In"}]}),
            json!({"matchExpressions": [{"key": "env", "operator": "NotIn", "values": []}]}),
            json!({"matchExpressions": [{"key": "env", "operator": "Exists", "values": ["a"]}]}),
        ] {
            let parsed = serde_json::from_value(selector.clone()).unwrap();
            assert!(Selector::new(&parsed).is_err(), "{selector}");
        }
    }
}
