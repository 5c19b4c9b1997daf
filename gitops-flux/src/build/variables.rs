//! The variables of post-build substitution.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use gitops_core::{Error, Result, SecretString};

/// Variables and their values, as kustomize-controller 1.7 takes them (`pkg/kustomize` 1.24, `kustomize_varsub.go`): line feeds are taken
/// out of values, and a later value of the same name wins.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Variables {
    values: BTreeMap<String, SecretString>,
    /// Names whose values are no text.
    binary: BTreeSet<String>,
}

impl fmt::Debug for Variables {
    /// By name only: values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.values.keys().chain(&self.binary))
            .finish()
    }
}

impl Variables {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a variable. Line feeds of the value are left out.
    pub fn set(&mut self, name: impl Into<String>, value: &str) {
        let name = name.into();
        self.binary.remove(&name);
        self.values.insert(name, value.replace('\n', "").into());
    }

    /// Sets a variable to bytes. Those that are no UTF-8 are an error once an expression uses them, not before.
    pub fn set_bytes(&mut self, name: impl Into<String>, value: &[u8]) {
        match std::str::from_utf8(value) {
            Ok(value) => self.set(name, value),
            Err(_) => {
                let name = name.into();
                self.values.remove(&name);
                self.binary.insert(name);
            }
        }
    }

    /// Whether there is none; then nothing is substituted at all, not even `$$`.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.binary.is_empty()
    }

    /// The names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().chain(&self.binary).map(String::as_str)
    }

    /// A variable's value.
    ///
    /// # Errors
    /// `InvalidInput` for one that is no text.
    pub fn get(&self, name: &str) -> Result<Option<&str>> {
        if self.binary.contains(name) {
            return Err(Error::invalid(format!(
                "the value of variable {name:?} is no UTF-8"
            )));
        }
        Ok(self.values.get(name).map(SecretString::expose))
    }

    /// Checks the names: an ASCII letter or `_`, then letters, digits and `_`.
    ///
    /// # Errors
    /// `InvalidInput`, with the first name that is none.
    pub fn check_names(&self) -> Result<()> {
        match self.names().find(|name| !is_name(name)) {
            Some(name) => Err(Error::invalid(format!(
                "{name:?} is no name of a variable: it must match ^[_[:alpha:]][_[:alpha:][:digit:]]*$"
            ))),
            None => Ok(()),
        }
    }
}

impl<K: Into<String>, V: AsRef<str>> FromIterator<(K, V)> for Variables {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut variables = Self::default();
        variables.extend(pairs);
        variables
    }
}

impl<K: Into<String>, V: AsRef<str>> Extend<(K, V)> for Variables {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, pairs: I) {
        for (name, value) in pairs {
            self.set(name, value.as_ref());
        }
    }
}

fn is_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_and_values_hidden() {
        for good in ["_", "a", "A_1", "_9"] {
            Variables::from_iter([(good, "")]).check_names().unwrap();
        }
        for bad in ["", "1a", "a-b", "a.b", "é", "a b"] {
            let error = Variables::from_iter([(bad, "canary")])
                .check_names()
                .unwrap_err();
            assert!(!error.to_string().contains("canary"));
        }
        let shown = format!("{:?}", Variables::from_iter([("a", "canary")]));
        assert_eq!(shown, "{\"a\"}");
    }

    #[test]
    fn line_feeds_go_and_later_values_win() {
        let mut variables = Variables::from_iter([("a", "x\ny\n"), ("a", "z")]);
        assert_eq!(variables.get("a").unwrap(), Some("z"));
        variables.set("a", "x\r\ny");
        assert_eq!(variables.get("a").unwrap(), Some("x\ry"));
        variables.set_bytes("a", b"\xff");
        assert!(variables.get("a").is_err());
        variables.set_bytes("a", b"t");
        assert_eq!(variables.get("a").unwrap(), Some("t"));
    }
}
