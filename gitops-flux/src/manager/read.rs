//! Reading objects.

use gitops_core::{Error, ErrorKind, Result, ResultExt as _};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::request::{Request, collection, object as path_of, with_query};
use super::{FluxManager, FluxRef, unreadable};
use crate::{FluxKind, FluxResource};

/// Which objects to list or watch. By default: all of the manager's namespace, as the `flux` command does without `--all-namespaces`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListOptions {
    /// Their namespace; empty (the default) means the manager's own, `None` all.
    pub namespace: Option<String>,
    /// A label selector in Kubernetes' syntax (equality- and set-based).
    pub labels: Option<String>,
}

impl Default for ListOptions {
    fn default() -> Self {
        Self::namespace("")
    }
}

impl ListOptions {
    /// Those of one namespace; an empty one means the manager's own.
    pub fn namespace(namespace: impl Into<String>) -> Self {
        Self {
            namespace: Some(namespace.into()),
            labels: None,
        }
    }

    /// Those of all namespaces.
    pub fn everywhere() -> Self {
        Self {
            namespace: None,
            labels: None,
        }
    }

    /// Only those with these labels, in Kubernetes' syntax.
    #[must_use]
    pub fn labels(mut self, selector: impl Into<String>) -> Self {
        self.labels = Some(selector.into());
        self
    }
}

/// What a list found.
#[derive(Clone, Debug, PartialEq)]
pub struct FluxList<K> {
    /// The objects, in the API server's order: by namespace and name.
    pub items: Vec<K>,
    /// Those that are there and cannot be read as the kind. They hide no other.
    pub unreadable: Vec<Unreadable>,
    /// The resource version of the list.
    pub resource_version: String,
}

/// An object that is there and cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Which one; the name is empty where not even that can be read.
    pub object: FluxRef,
    /// Why: the field and what is wrong with it, never its value.
    pub reason: String,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(default)]
    metadata: PageMetadata,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PageMetadata {
    resource_version: Option<String>,
    #[serde(rename = "continue")]
    continue_token: Option<String>,
}

impl FluxManager {
    /// The object.
    ///
    /// # Errors
    /// `NotFound`; `Integrity` when it is there and cannot be read as the kind.
    pub async fn get<K: FluxResource>(&self, namespace: &str, name: &str) -> Result<K> {
        let object = self.resolve(&FluxRef::to::<K>(namespace, name));
        let request = Request::get(object.kind, path_of(&object)?);
        let answer = self.requests.again(&request).await;
        let answer = answer.context(|| format!("get {object}"))?;
        serde_json::from_slice(answer.bytes()).map_err(|error| unreadable(&object, error))
    }

    /// The object as the API server sends it, whether it can be read as its kind or not.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_value(&self, object: &FluxRef) -> Result<Value> {
        let object = self.resolve(object);
        let request = Request::get(object.kind, path_of(&object)?);
        let answer = async { self.requests.again(&request).await?.value() };
        answer.await.context(|| format!("get {object}"))
    }

    /// The object as the API server sends it, or `None` when it is not there. A kind that is not installed is an error all the same.
    pub(crate) async fn find_value(&self, object: &FluxRef) -> Result<Option<Value>> {
        match self.get_value(object).await {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.kind() == ErrorKind::NotFound && !says_not_installed(&error) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The objects of a kind. One that cannot be read is told beside the others.
    ///
    /// `K` may be one of the kinds, or anything else that reads the same objects, such as the lean types for long lists: see [`list_as`](Self::list_as).
    ///
    /// # Errors
    /// `NotFound` when the kind is not installed; `PermissionDenied`.
    pub async fn list<K: FluxResource>(&self, options: &ListOptions) -> Result<FluxList<K>> {
        self.list_as(K::KIND, options).await
    }

    /// The objects of a kind, read as `T`.
    ///
    /// # Errors
    /// Those of [`list`](Self::list).
    pub async fn list_as<T: serde::de::DeserializeOwned>(
        &self,
        kind: FluxKind,
        options: &ListOptions,
    ) -> Result<FluxList<T>> {
        self.pages(kind, options)
            .await
            .context(|| format!("list {kind}"))
    }

    async fn pages<T: serde::de::DeserializeOwned>(
        &self,
        kind: FluxKind,
        options: &ListOptions,
    ) -> Result<FluxList<T>> {
        let namespace = options.namespace.as_deref();
        let path = collection(kind, namespace.map(|name| self.namespace_or_own(name)))?;
        let mut list = FluxList {
            items: Vec::new(),
            unreadable: Vec::new(),
            resource_version: String::new(),
        };
        let mut continue_token: Option<String> = None;
        let mut restarts = 0;
        loop {
            let limit = self.options().page.to_string();
            let mut query = vec![("limit", limit.as_str())];
            query.extend(
                options
                    .labels
                    .iter()
                    .map(|labels| ("labelSelector", labels.as_str())),
            );
            query.extend(
                continue_token
                    .iter()
                    .map(|token| ("continue", token.as_str())),
            );
            let request = Request::get(kind, with_query(&path, &query));
            let answer = match self.requests.again(&request).await {
                // The continue token grew too old: begin again.
                Err(error)
                    if error.kind() == ErrorKind::Conflict
                        && continue_token.is_some()
                        && restarts < 3 =>
                {
                    restarts += 1;
                    continue_token = None;
                    list.items.clear();
                    list.unreadable.clear();
                    continue;
                }
                other => other?,
            };
            let page: Page<'_> = serde_json::from_slice(answer.bytes()).map_err(|error| {
                Error::unavailable("the API server's answer cannot be read").with_source(error)
            })?;
            let items = page.items.unwrap_or_default();
            list.items.reserve(items.len());
            for item in items {
                match serde_json::from_str(item.get()) {
                    Ok(item) => list.items.push(item),
                    Err(error) => list.unreadable.push(describe(kind, item.get(), &error)),
                }
            }
            list.resource_version = page.metadata.resource_version.unwrap_or_default();
            match page
                .metadata
                .continue_token
                .filter(|token| !token.is_empty())
            {
                Some(token) => continue_token = Some(token),
                None => return Ok(list),
            }
        }
    }
}

/// Whether the kind's definition is missing, and not the object.
pub(crate) fn says_not_installed(error: &Error) -> bool {
    error
        .message()
        .starts_with("the cluster does not know the kind")
}

/// Names an object that cannot be read as its kind.
pub(super) fn describe(kind: FluxKind, item: &str, error: &serde_json::Error) -> Unreadable {
    let value: Value = serde_json::from_str(item).unwrap_or_default();
    describe_value(kind, &value, error)
}

pub(super) fn describe_value(
    kind: FluxKind,
    item: &Value,
    error: &serde_json::Error,
) -> Unreadable {
    let field = |name: &str| item["metadata"][name].as_str().unwrap_or_default();
    Unreadable {
        object: FluxRef::new(kind, field("namespace"), field("name")),
        reason: without_values(&error.to_string()),
    }
}

/// serde quotes a value of a wrong type, texts as ``invalid type: string "hunter2", expected a boolean``, others as ``integer `42` ``, and what no variant is called as ``variant `x` ``.
pub(super) fn without_values(message: &str) -> String {
    /// What stands before a value in backticks; the names of fields stand in them too.
    const VALUES: [&str; 5] = [
        "integer ",
        "boolean ",
        "floating point ",
        "character ",
        "unknown variant ",
    ];
    let mut kept = String::with_capacity(message.len());
    let mut quoted: Option<char> = None;
    let mut escaped = false;
    for c in message.chars() {
        match (quoted, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some('"'), '\\') => escaped = true,
            (Some(end), c) if c == end => {
                quoted = None;
                kept.push(c);
            }
            (Some(_), _) => {}
            (None, '"') => {
                quoted = Some(c);
                kept.push_str("\"…");
            }
            (None, '`') if VALUES.iter().any(|before| kept.ends_with(before)) => {
                quoted = Some(c);
                kept.push_str("`…");
            }
            (None, c) => kept.push(c),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_quote_no_values() {
        #[derive(Debug, Deserialize)]
        #[allow(dead_code)]
        enum Mode {
            Own,
        }
        let text = |value: &str| serde_json::from_str::<String>(value).unwrap_err();
        let told = [
            serde_json::from_str::<bool>(r#""hun\"ter42""#).unwrap_err(),
            text("4242"),
            text("42.5"),
            serde_json::from_str::<u8>("4242").unwrap_err(),
            serde_json::from_str::<Mode>("\"ter42\"").unwrap_err(),
        ]
        .map(|error| without_values(&error.to_string()));
        for told in &told {
            let (what, _) = told.split_once(" at line").unwrap();
            assert!(!what.contains("42"), "{told}");
        }
        assert!(
            told[0].starts_with("invalid type: string \"…\", expected a boolean"),
            "{told:?}"
        );
        assert!(
            told[1].starts_with("invalid type: integer `…`, expected a string"),
            "{told:?}"
        );
        assert!(
            told[4].starts_with("unknown variant `…`, expected `Own`"),
            "{told:?}"
        );
        let told = text("true").to_string();
        assert!(!without_values(&told).contains("true"), "{told}");
        // Names of fields are no values.
        assert_eq!(
            without_values("missing field `interval`"),
            "missing field `interval`"
        );
    }

    #[test]
    fn nothing_said_is_the_managers_own_namespace() {
        assert_eq!(ListOptions::default().namespace.as_deref(), Some(""));
        assert_eq!(ListOptions::everywhere().namespace, None);
    }
}
