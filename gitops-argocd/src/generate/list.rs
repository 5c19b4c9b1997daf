//! The list generator.

use gitops_core::manifest::yaml;
use gitops_core::{Error, Result};
use serde_json::{Map, Value};

use super::Params;
use super::budget::{Budget, check_count};
use crate::types::set::ListGenerator;

/// The parameters of a list, as Argo CD 3.2 makes them without Go templates (`applicationset/generators/list.go`): elements hold texts, and `values`, a mapping of
/// texts, whose keys become `values.key`. What `elementsYaml` says comes after them, and is taken as it is, of whatever types.
pub(super) fn params(list: &ListGenerator, budget: &mut Budget) -> Result<Vec<Params>> {
    let mut sets = Vec::new();
    let elements = list.elements.as_deref().unwrap_or_default();
    check_count(elements.len())?;
    for (index, element) in elements.iter().enumerate() {
        let set = element_params(element, budget)
            .map_err(|error| error.context(format!("element {index}")))?;
        sets.push(set);
    }
    if let Some(text) = list
        .elements_yaml
        .as_deref()
        .filter(|text| !text.is_empty())
    {
        let elements = from_yaml(text).map_err(|error| error.context("elementsYaml"))?;
        check_count(sets.len() + elements.len())?;
        for element in elements {
            for (key, value) in &element {
                spend_value(value, budget)?;
                budget.spend(key.len())?;
            }
            sets.push(element.into_iter().collect());
        }
    }
    Ok(sets)
}

fn element_params(element: &Map<String, Value>, budget: &mut Budget) -> Result<Params> {
    let mut params = Params::new();
    let mut put = |key: String, value: &Value| match value {
        Value::String(text) => {
            budget.spend(key.len() + text.len())?;
            params.insert(key, value.clone());
            Ok(())
        }
        _ => Err(Error::invalid(format!(
            "the value of {key:?} is not a text, as it must be without Go templates"
        ))),
    };
    for (key, value) in element {
        match (key.as_str(), value) {
            ("values", Value::Object(values)) => {
                for (key, value) in values {
                    put(format!("values.{key}"), value)?;
                }
            }
            ("values", _) => return Err(Error::invalid("values is not a mapping")),
            _ => put(key.clone(), value)?,
        }
    }
    Ok(params)
}

/// The first document, as in sigs.k8s.io/yaml.
fn from_yaml(text: &str) -> Result<Vec<Map<String, Value>>> {
    let first = yaml::parse_values("elementsYaml", text.as_bytes())?
        .into_iter()
        .next();
    let Some(document) = first else {
        return Ok(Vec::new());
    };
    let Value::Array(elements) = document.value else {
        return Err(Error::invalid("it is not a list"));
    };
    let element = |(index, element)| match element {
        Value::Object(map) => Ok(map),
        Value::Null => Ok(Map::new()),
        _ => Err(Error::invalid(format!("element {index} is not a mapping"))),
    };
    elements.into_iter().enumerate().map(element).collect()
}

/// Counts a value as what it takes.
pub(super) fn spend_value(value: &Value, budget: &mut Budget) -> Result<()> {
    match value {
        Value::String(text) => budget.spend(text.len()),
        Value::Array(items) => items.iter().try_for_each(|item| spend_value(item, budget)),
        Value::Object(map) => map.iter().try_for_each(|(key, value)| {
            budget.spend(key.len())?;
            spend_value(value, budget)
        }),
        _ => budget.spend(0),
    }
}
