//! Templates of commit messages: `{name}` stands for a value, `{{` and `}}` for braces.

use std::collections::BTreeMap;

use gitops_core::{Error, Result};

/// Fills `template`; values are not read again, so a value may hold braces.
pub(crate) fn fill(template: &str, values: &BTreeMap<&str, String>) -> Result<String> {
    let mut text = String::new();
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        text.push_str(&rest[..at]);
        let brace = &rest[at..];
        if let Some(after) = brace
            .strip_prefix("{{")
            .or_else(|| brace.strip_prefix("}}"))
        {
            text.push_str(&brace[..1]);
            rest = after;
            continue;
        }
        let name = brace
            .strip_prefix('{')
            .and_then(|inner| inner.split_once('}'));
        let Some((name, after)) = name else {
            return Err(Error::invalid(format!(
                "message template {template:?}: a brace stands alone"
            )));
        };
        let value = values.get(name).ok_or_else(|| {
            Error::invalid(format!(
                "message template {template:?}: {{{name}}} is unknown"
            ))
        })?;
        text.push_str(value);
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_braces_and_errors() {
        let values = BTreeMap::from([("a", "{b}".to_owned())]);
        assert_eq!(fill("x {a} {{a}}", &values).unwrap(), "x {b} {a}");
        for bad in ["{", "{b}", "a}", "{a"] {
            assert!(fill(bad, &values).is_err(), "{bad}");
        }
    }
}
