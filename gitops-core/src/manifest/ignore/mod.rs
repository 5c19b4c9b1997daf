//! Differences that do not count.
//!
//! The rules are Argo CD's `ignoreDifferences` (argo-cd 3.2, `docs/user-guide/diffing.md`, `util/argo/normalizers/diff_normalizer.go` and
//! `util/argo/managedfields`): JSON pointers, jq path expressions, and the fields of named field managers.

#[cfg(feature = "jq")]
mod jq;
mod path;

use self::path::Path;
use super::diff::Owners;
use super::object::{Object, ObjectId};
use crate::application::IgnoreDifference;
use crate::error::{Error, Result};
use globset::{GlobBuilder, GlobMatcher};

/// What is ignored, ready to be asked.
#[derive(Clone, Debug, Default)]
pub struct IgnoreRules {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    group: GlobMatcher,
    kind: GlobMatcher,
    name: String,
    namespace: String,
    pointers: Vec<Path>,
    #[cfg(feature = "jq")]
    expressions: Vec<jq::Expression>,
    managers: Vec<String>,
}

impl IgnoreRules {
    /// Reads rules.
    ///
    /// # Errors
    /// `InvalidInput` for a pointer or an expression that cannot be read; `Unsupported` for a jq expression without the feature `jq`.
    pub fn new<'a>(list: impl IntoIterator<Item = &'a IgnoreDifference>) -> Result<Self> {
        let rules = list.into_iter().map(Rule::new).collect::<Result<_>>()?;
        Ok(Self { rules })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether there is one for `id`.
    pub fn concern(&self, id: &ObjectId) -> bool {
        self.of(id).next().is_some()
    }

    fn of<'r>(&'r self, id: &'r ObjectId) -> impl Iterator<Item = &'r Rule> {
        self.rules.iter().filter(|rule| rule.matches(id))
    }

    /// `object` without what is ignored of it; what managers own is known from `live`, and stays when that is `None`.
    pub fn strip(&self, object: &Object, live: Option<&Object>) -> Object {
        let id = object.id();
        let mut stripped = object.clone();
        let owners = live.map(Owners::of);
        for rule in self.of(&id) {
            // What an earlier rule removed is nothing for a later one.
            let mut paths = rule.paths(&stripped);
            // A list's later entries go first: removing one moves those behind it.
            paths.sort_by(|a, b| b.cmp(a));
            for path in &paths {
                path.remove(stripped.value_mut());
            }
        }
        if let Some(owners) = owners {
            for pointer in self.managed(&id, &owners) {
                Path::of_pointer(pointer).remove(stripped.value_mut());
            }
        }
        stripped
    }

    /// `desired` with what is ignored as it is in `live`: applied, it leaves that alone (`RespectIgnoreDifferences=true`).
    pub fn respect(&self, desired: &Object, live: &Object) -> Object {
        let id = desired.id();
        let mut respectful = desired.clone();
        for rule in self.of(&id) {
            let here = rule.paths(&respectful);
            let there = rule.paths(live);
            // An expression that selects among a list's entries finds them at other places: pair by pair.
            let paired = here.len() == there.len();
            for (index, path) in here.iter().enumerate().rev() {
                let from = if paired { &there[index] } else { path };
                match from.get(live.value()) {
                    Some(value) => path.set(respectful.value_mut(), value.clone()),
                    None => path.remove(respectful.value_mut()),
                }
            }
            if here.is_empty() {
                for path in &there {
                    if let Some(value) = path.get(live.value()) {
                        path.set(respectful.value_mut(), value.clone());
                    }
                }
            }
        }
        let owners = Owners::of(live);
        for pointer in self.managed(&id, &owners) {
            let path = Path::of_pointer(pointer);
            if let Some(value) = path.get(live.value())
                && path.get(respectful.value()).is_some()
            {
                path.set(respectful.value_mut(), value.clone());
            }
        }
        respectful
    }

    /// The fields of managers whose fields are ignored, deepest and last first.
    fn managed<'o>(&self, id: &ObjectId, owners: &'o Owners) -> Vec<&'o str> {
        let mut pointers: Vec<&str> = owners
            .iter()
            .filter(|(_, manager)| {
                self.of(id)
                    .any(|rule| rule.managers.iter().any(|one| one == manager))
            })
            .map(|(pointer, _)| pointer)
            .collect();
        pointers.sort_by_key(|pointer| std::cmp::Reverse(Path::of_pointer(pointer)));
        pointers
    }
}

impl Rule {
    fn new(rule: &IgnoreDifference) -> Result<Self> {
        #[cfg(not(feature = "jq"))]
        if let Some(expression) = rule.jq_path_expressions.first() {
            return Err(Error::unsupported(
                &format!("ignoring differences by the jq expression {expression:?}"),
                "a build without the feature jq",
            ));
        }
        Ok(Self {
            group: glob(&rule.group)?,
            kind: glob(&rule.kind)?,
            name: rule.name.clone(),
            namespace: rule.namespace.clone(),
            pointers: rule
                .json_pointers
                .iter()
                .map(|pointer| Path::parse(pointer))
                .collect::<Result<_>>()?,
            #[cfg(feature = "jq")]
            expressions: rule
                .jq_path_expressions
                .iter()
                .map(|expression| jq::Expression::new(expression))
                .collect::<Result<_>>()?,
            managers: rule.managed_fields_managers.clone(),
        })
    }

    fn matches(&self, id: &ObjectId) -> bool {
        let named = |wanted: &str, found: &str| wanted.is_empty() || wanted == found;
        self.group.is_match(&id.group)
            && self.kind.is_match(&id.kind)
            && named(&self.name, &id.name)
            && named(&self.namespace, &id.namespace)
    }

    /// Where in `object` is what this rule ignores, the managers' fields left out.
    fn paths(&self, object: &Object) -> Vec<Path> {
        let paths = self.pointers.iter().cloned();
        #[cfg(feature = "jq")]
        let paths = {
            let value = serde_json::Value::Object(object.value().clone());
            let found: Vec<Path> = self
                .expressions
                .iter()
                .flat_map(|expression| expression.paths(&value))
                .collect();
            paths.chain(found)
        };
        paths
            .filter(|path| path.get(object.value()).is_some())
            .collect()
    }
}

fn glob(pattern: &str) -> Result<GlobMatcher> {
    GlobBuilder::new(pattern)
        .build()
        .map(|glob| glob.compile_matcher())
        .map_err(|error| {
            Error::invalid(format!("ignoreDifferences: {pattern:?} is no pattern"))
                .with_source(error)
        })
}
