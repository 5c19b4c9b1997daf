//! What matrix and merge make of sets of parameters.

use std::collections::{BTreeSet, HashMap};

use gitops_core::{Error, Result};
use serde_json::Value;

use super::Params;
use super::budget::Budget;
use super::go::{numbers_through_float, print};

/// Two sets as one, as `CombineStringMaps` of Argo CD 3.2: all values become texts, and a parameter that both have must be the same in both.
pub(super) fn pair(first: &Params, second: &Params, budget: &mut Budget) -> Result<Params> {
    let mut combined = Params::new();
    for (key, value) in first.iter().chain(second) {
        let text = print(value);
        budget.spend(key.len() + text.len())?;
        let previous = combined.insert(key.clone(), Value::String(text));
        if previous.is_some_and(|previous| combined.get(key) != Some(&previous)) {
            return Err(Error::invalid(format!(
                "both generators make the parameter {key:?}, with different values"
            )));
        }
    }
    Ok(combined)
}

/// The sets of one generator, found by the values of the merge keys.
pub(super) struct ByKey {
    sets: Vec<Params>,
    index: HashMap<String, usize>,
}

impl ByKey {
    /// As `getParamSetsByMergeKey` of Argo CD 3.2: a parameter that is missing is null, and no two sets may have the same values.
    pub(super) fn new(keys: &[String], sets: Vec<Params>) -> Result<Self> {
        let keys: BTreeSet<&String> = keys.iter().collect();
        if keys.is_empty() {
            return Err(Error::invalid("it has no mergeKeys"));
        }
        let mut index = HashMap::with_capacity(sets.len());
        for (number, set) in sets.iter().enumerate() {
            let values = keys.iter().map(|key| {
                let mut value = set.get(*key).cloned().unwrap_or_default();
                numbers_through_float(&mut value);
                value
            });
            let values = Value::Array(values.collect()).to_string();
            if let Some(other) = index.insert(values, number) {
                return Err(Error::invalid(format!(
                    "sets of parameters {other} and {number} have the same values of the mergeKeys, or lack them both"
                )));
            }
        }
        Ok(Self { sets, index })
    }

    /// Puts the parameters of others over those with the same values.
    pub(super) fn merge(&mut self, others: &Self, budget: &mut Budget) -> Result<()> {
        for (values, number) in &self.index {
            let Some(other) = others.index.get(values).map(|number| &others.sets[*number]) else {
                continue;
            };
            let set = &mut self.sets[*number];
            for (key, value) in other {
                super::list::spend_value(value, budget)?;
                set.insert(key.clone(), value.clone());
            }
        }
        Ok(())
    }

    /// The sets in their order. Argo CD's are in none.
    pub(super) fn into_sets(self) -> Vec<Params> {
        self.sets
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn params(value: Value) -> Params {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn pairs_are_texts() {
        let first = params(json!({"a": "1", "n": 1_000_000, "deep": {"x": [1, null]}}));
        let second = params(json!({"b": true, "a": 1}));
        assert_eq!(
            pair(&first, &second, &mut Budget::default()).unwrap(),
            params(json!({"a": "1", "b": "true", "n": "1e+06", "deep": "map[x:[1 <nil>]]"}))
        );
        let third = params(json!({"a": "2"}));
        let error = pair(&first, &third, &mut Budget::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "both generators make the parameter \"a\", with different values"
        );
    }

    #[test]
    fn merging() {
        let keys = ["k".to_owned(), "l".to_owned(), "k".to_owned()];
        let sets = |value: Value| serde_json::from_value::<Vec<Params>>(value).unwrap();
        let mut base = ByKey::new(
            &keys,
            sets(json!([
                {"k": "1", "l": "1", "a": "base"}, {"k": "2", "a": "base"}, {"k": 3.0, "a": "base"},
            ])),
        )
        .unwrap();
        let others = ByKey::new(
            &keys,
            sets(json!([
                {"k": "2", "a": "over", "b": "more"}, {"k": 3, "a": "over"}, {"k": "3", "a": "no"},
                {"k": "1", "a": "no"}, {"l": "1", "a": "no"},
            ])),
        )
        .unwrap();
        base.merge(&others, &mut Budget::default()).unwrap();
        assert_eq!(
            base.into_sets(),
            sets(json!([
                {"k": "1", "l": "1", "a": "base"}, {"k": "2", "a": "over", "b": "more"}, {"k": 3, "a": "over"},
            ]))
        );
    }

    #[test]
    fn keys_must_tell_sets_apart() {
        let sets = |value: Value| serde_json::from_value::<Vec<Params>>(value).unwrap();
        assert!(ByKey::new(&[], Vec::new()).is_err());
        for equal in [
            json!([{"k": "1"}, {"k": "1"}]),
            json!([{"a": "1"}, {"b": "1"}]),
        ] {
            assert!(ByKey::new(&["k".to_owned()], sets(equal)).is_err());
        }
        assert!(ByKey::new(&["k".to_owned()], sets(json!([{"k": "1"}, {"k": 1}]))).is_ok());
    }
}
