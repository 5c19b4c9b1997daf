//! Placeholders in texts.

use gitops_core::{Error, Result};
use serde_json::Value;

use super::Params;
use super::budget::Budget;
use super::go::through_float;

/// As deep as Kubernetes' clients read JSON.
const MAX_DEPTH: usize = 128;

/// Fills the placeholders `{{name}}` of a text, by the rules of `Render.Replace` of Argo CD 3.2 without Go templates (`valyala/fasttemplate` 1.2):
///
/// - blanks around the name do not count;
/// - a placeholder stays as it is when no parameter has its name, or one that is no text;
/// - what a parameter says is not read again;
/// - a `{{` that nothing closes is an error, but only when some line of the text has a placeholder.
pub(super) fn fill(text: &str, params: &Params, budget: &mut Budget) -> Result<String> {
    if !has_placeholder(text) {
        budget.spend(text.len())?;
        return Ok(text.to_owned());
    }
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let (tag, after) = after
            .split_once("}}")
            .ok_or_else(|| Error::invalid("a {{ has no }} after it"))?;
        filled.push_str(before);
        match params.get(tag.trim()) {
            Some(Value::String(value)) if !tag.trim().is_empty() => {
                budget.spend(value.len())?;
                filled.push_str(value);
            }
            _ => {
                filled.push_str("{{");
                filled.push_str(tag);
                filled.push_str("}}");
            }
        }
        rest = after;
    }
    filled.push_str(rest);
    budget.spend(text.len())?;
    Ok(filled)
}

fn has_placeholder(text: &str) -> bool {
    text.split('\n').any(|line| {
        line.split_once("{{")
            .is_some_and(|(_, after)| after.contains("}}"))
    })
}

/// Fills the placeholders of all texts in a value, and of all keys of mappings, as `Render.deeplyReplace` of Argo CD 3.2.
///
/// That function also takes numbers of unknown types through float64, and leaves out what is null in mappings.
pub(super) fn fill_all(value: &Value, params: &Params, budget: &mut Budget) -> Result<Value> {
    fill_below(value, params, budget, 0)
}

fn fill_below(value: &Value, params: &Params, budget: &mut Budget, depth: usize) -> Result<Value> {
    if depth > MAX_DEPTH {
        return Err(Error::invalid(format!(
            "values nest more than {MAX_DEPTH} deep"
        )));
    }
    Ok(match value {
        Value::String(text) => Value::String(fill(text, params, budget)?),
        Value::Array(items) => {
            let mut filled = Vec::with_capacity(items.len());
            for item in items {
                filled.push(fill_below(item, params, budget, depth + 1)?);
            }
            Value::Array(filled)
        }
        Value::Object(map) => {
            let mut filled = serde_json::Map::new();
            for (key, value) in map.iter().filter(|(_, value)| !value.is_null()) {
                let value = fill_below(value, params, budget, depth + 1)?;
                filled.insert(fill(key, params, budget)?, value);
            }
            Value::Object(filled)
        }
        Value::Number(number) => {
            budget.spend(0)?;
            Value::Number(through_float(number))
        }
        Value::Null | Value::Bool(_) => {
            budget.spend(0)?;
            value.clone()
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn params() -> Params {
        [
            ("name", json!("web")),
            ("path.basename", json!("dir")),
            ("path[0]", json!("seg")),
            ("empty", json!("")),
            ("again", json!("{{name}}")),
            ("number", json!(1)),
            ("", json!("nothing")),
            ("a b", json!("two words")),
            ("{{name", json!("braces")),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
    }

    #[test]
    fn placeholders() {
        for (text, filled) in [
            ("", "no"),
            ("plain", "no"),
            ("{{name}}", "web"),
            ("a-{{name}}-b", "a-web-b"),
            ("{{name}}{{name}}", "webweb"),
            ("{{ name }}", "web"),
            ("{{\tname\u{a0}}}", "web"),
            ("{{path.basename}}/{{path[0]}}", "dir/seg"),
            ("{{a b}}", "two words"),
            ("x{{empty}}y", "xy"),
            // Not read again.
            ("{{again}}", "{{name}}"),
            // Unknown, empty, and not a text: left as they are, blanks too.
            ("{{ unknown }}", "no"),
            ("{{}}", "no"),
            ("{{ }}", "no"),
            ("{{number}}", "no"),
            ("{{.name}}", "no"),
            ("{{Name}}", "no"),
            ("{{name | upper}}", "no"),
            // Not placeholders.
            ("{name}", "no"),
            ("{{name}", "no"),
            ("}}{{", "no"),
            ("{{name", "no"),
            ("name}}", "no"),
            ("a }} b {{name}}", "a }} b web"),
            // The first braces close, and the first ones open.
            ("{{{name}}}", "no"),
            ("{{{{name}}}}", "braces}}"),
            // Over lines: only together with one within a line.
            ("{{\nname}}", "no"),
            ("{{name}} {{\nname\n}}", "web web"),
            ("{{name\n{{x", "no"),
        ] {
            let expected = if filled == "no" { text } else { filled };
            let result = fill(text, &params(), &mut Budget::default());
            assert_eq!(result.unwrap(), expected, "{text:?}");
        }
    }

    #[test]
    fn braces_that_nothing_closes() {
        for text in ["{{name}} {{", "{{name}}\n{{x", "{{x}}{{y"] {
            let error = fill(text, &params(), &mut Budget::default()).unwrap_err();
            assert_eq!(
                error.kind(),
                gitops_core::ErrorKind::InvalidInput,
                "{text:?}"
            );
        }
    }

    #[test]
    fn all_texts_and_keys() {
        let value = json!({
            "{{name}}": ["{{name}}", 1.0, null, {"x": null, "y": "{{path[0]}}"}],
            "b": true,
        });
        assert_eq!(
            fill_all(&value, &params(), &mut Budget::default()).unwrap(),
            json!({"web": ["web", 1, null, {"y": "seg"}], "b": true})
        );
    }

    #[test]
    fn too_deep() {
        let mut value = json!("{{name}}");
        for _ in 0..200 {
            value = json!([value]);
        }
        assert!(fill_all(&value, &params(), &mut Budget::default()).is_err());
    }

    #[test]
    fn what_placeholders_multiply_is_bounded() {
        let mut params = Params::new();
        params.insert("x".to_owned(), json!("x".repeat(1 << 20)));
        let error = fill(&"{{x}}".repeat(1000), &params, &mut Budget::default()).unwrap_err();
        assert_eq!(error.kind(), gitops_core::ErrorKind::InvalidInput);
    }

    proptest! {
        #[test]
        fn any_text_fills(text in "[{}a \\n.\\[0\\]é]{0,40}", value in "[{}a]{0,6}") {
            let mut params = Params::new();
            params.insert("a".to_owned(), Value::String(value));
            if let Ok(filled) = fill(&text, &params, &mut Budget::default()) {
                // What has no placeholder for `a` stays.
                if !text.contains('a') {
                    prop_assert_eq!(filled, text);
                }
            }
        }

        #[test]
        fn a_known_placeholder_is_filled(before in "[a-z }]{0,8}", after in "[a-z }]{0,8}", blanks in " {0,3}") {
            let mut params = Params::new();
            params.insert("key".to_owned(), json!("value"));
            let text = format!("{before}{{{{{blanks}key{blanks}}}}}{after}");
            let filled = fill(&text, &params, &mut Budget::default()).unwrap();
            prop_assert_eq!(filled, format!("{before}value{after}"));
        }
    }
}
