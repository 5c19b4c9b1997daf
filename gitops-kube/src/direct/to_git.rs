//! From objects to a repository: what differs is edited in place, what is new gets a file.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use gitops_core::manifest::edit::{self, Edit, Target};
use gitops_core::manifest::render::KUSTOMIZATIONS;
use gitops_core::manifest::{Object, ObjectId, Tree, check_path, yaml};
use gitops_core::{Error, Result};
use gitops_git::Edits;
use serde_json::{Map, Value};

use super::config::Config;

/// What the server adds to an object, which Git does not say.
const SERVER_METADATA: [&str; 8] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Where a new object goes.
#[derive(Clone)]
#[non_exhaustive]
pub enum Layout {
    /// A file name, relative to the configuration's path, made of a template: `{name}`, `{namespace}`, `{kind}` and `{group}`, in lower case.
    /// Objects with one file name share the file. A namespace or group that is empty takes the separator after it along.
    Template(String),
    /// What a function says.
    Custom(Arc<dyn Fn(&Object) -> String + Send + Sync>),
}

impl Default for Layout {
    /// One file for each object: `deployment-web.yaml`, or `shop/deployment-web.yaml` for one that names its namespace.
    fn default() -> Self {
        Self::Template("{namespace}/{kind}-{name}.yaml".into())
    }
}

impl fmt::Debug for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Template(template) => f.debug_tuple("Template").field(template).finish(),
            Self::Custom(_) => f.debug_tuple("Custom").finish_non_exhaustive(),
        }
    }
}

impl Layout {
    /// The file for a new object.
    ///
    /// # Errors
    /// `InvalidInput` for a template with unknown placeholders, and for a path that climbs out.
    pub fn file(&self, object: &Object) -> Result<String> {
        let path = match self {
            Self::Custom(file) => file(object),
            Self::Template(template) => expand(template, &object.id())?,
        };
        check_path(&path)?;
        Ok(path)
    }
}

fn expand(template: &str, id: &ObjectId) -> Result<String> {
    let mut path = String::new();
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        path.push_str(&rest[..open]);
        let Some(length) = rest[open..].find('}') else {
            return Err(Error::invalid(format!(
                "layout {template:?}: a brace is not closed"
            )));
        };
        let value = match &rest[open + 1..open + length] {
            "name" => &id.name,
            "namespace" => &id.namespace,
            "kind" => &id.kind,
            "group" => &id.group,
            other => {
                return Err(Error::invalid(format!(
                    "layout {template:?}: {{{other}}} is none of {{name}}, {{namespace}}, {{kind}}, {{group}}"
                )));
            }
        };
        // A name may hold `:` (RBAC), which some file systems do not take.
        path.push_str(&value.to_ascii_lowercase().replace(':', "_"));
        rest = &rest[open + length + 1..];
        if value.is_empty() {
            rest = rest.strip_prefix(['/', '-', '.', '_']).unwrap_or(rest);
        }
    }
    path.push_str(rest);
    Ok(path)
}

/// Where an object stands in the repository.
#[derive(Clone, Debug)]
struct Place {
    file: String,
    document: usize,
    /// Its position in the document, when that is a list.
    item: Option<usize>,
}

struct Held {
    place: Place,
    value: Value,
}

/// The edits that make `tree` hold the configuration's objects, with paths from the repository's root. With `prune`, what is not wanted is taken away.
pub(super) fn edits(tree: &Tree, config: &Config) -> Result<Edits> {
    let texts = texts(tree)?;
    let held = read(&texts, &config.namespace)?;
    let mut wanted = BTreeMap::new();
    for object in &config.objects {
        let id = normal(object.id(), &config.namespace);
        if wanted.insert(id.clone(), object).is_some() {
            return Err(Error::invalid(format!(
                "{id} is wanted twice, with and without namespace {}",
                config.namespace
            )));
        }
    }
    let mut changes: BTreeMap<String, Changes> = BTreeMap::new();
    for (id, object) in &wanted {
        let mut value = clean(object);
        match held.get(id) {
            Some(held) => {
                name_namespace_as(&held.value, &mut value);
                if !same(&held.value, &value) {
                    changes
                        .entry(held.place.file.clone())
                        .or_default()
                        .edits
                        .push(update(&held.place, value));
                }
            }
            None => changes
                .entry(within(tree, &config.layout.file(object)?))
                .or_default()
                .new
                .push(value),
        }
    }
    if config.prune {
        let gone = held.iter().filter(|(id, _)| !wanted.contains_key(*id));
        for (_, held) in gone {
            changes
                .entry(held.place.file.clone())
                .or_default()
                .gone
                .push(held.place.clone());
        }
    }
    let mut edits = Edits::new();
    for (file, changes) in changes {
        let old = texts.get(&file).copied();
        let left =
            held.values().filter(|held| held.place.file == file).count() - changes.gone.len();
        edits = if left == 0 && changes.new.is_empty() {
            edits.delete(file)
        } else {
            let text = changes.make(&file, old)?;
            edits.put(file, text)
        };
    }
    Ok(edits)
}

#[derive(Default)]
struct Changes {
    edits: Vec<Edit>,
    gone: Vec<Place>,
    new: Vec<Value>,
}

impl Changes {
    fn make(mut self, file: &str, old: Option<&str>) -> Result<String> {
        let Some(old) = old else {
            return Ok(yaml::to_yaml_documents(&self.new));
        };
        // From the end, so that positions stay true.
        self.gone
            .sort_by_key(|place| std::cmp::Reverse((place.document, place.item)));
        let removals = self.gone.iter().map(|place| match place.item {
            None => Edit::RemoveDocument {
                target: Target::Document(place.document),
            },
            Some(item) => Edit::Remove {
                target: Target::Document(place.document),
                pointer: format!("/items/{item}"),
            },
        });
        self.edits.extend(removals);
        self.edits.extend(
            self.new
                .into_iter()
                .map(|value| Edit::AppendDocument { value }),
        );
        edit::edit(file, old, &self.edits)
    }
}

fn update(place: &Place, value: Value) -> Edit {
    let target = Target::Document(place.document);
    match place.item {
        None => Edit::Update { target, value },
        Some(item) => Edit::Set {
            target,
            pointer: format!("/items/{item}"),
            value,
        },
    }
}

/// The manifest files, as text, by their path from the root.
fn texts(tree: &Tree) -> Result<BTreeMap<String, &str>> {
    let mut texts = BTreeMap::new();
    for (path, entry) in tree.iter() {
        let name = path.rsplit('/').next().unwrap_or(path);
        if KUSTOMIZATIONS.contains(&name) || name == "Chart.yaml" {
            return Err(Error::unsupported(
                &format!(
                    "writing to a path that is rendered ({})",
                    within(tree, path)
                ),
                "sync_to_git",
            ));
        }
        let extension = name.rsplit_once('.').map(|(_, extension)| extension);
        if !matches!(extension, Some("yaml" | "yml" | "json")) {
            continue;
        }
        // A link leads to a file that is read under its own name, or out of the path.
        let Some(bytes) = entry.bytes() else { continue };
        let file = within(tree, path);
        let text = std::str::from_utf8(bytes)
            .map_err(|error| Error::invalid(format!("{file} is not UTF-8")).with_source(error))?;
        texts.insert(file, text);
    }
    Ok(texts)
}

/// An identity in which the namespace of objects without one is left out.
fn normal(mut id: ObjectId, namespace: &str) -> ObjectId {
    if id.namespace == namespace {
        id.namespace.clear();
    }
    id
}

/// Lets `value` name its namespace if, and only if, the file does.
fn name_namespace_as(held: &Value, value: &mut Value) {
    let metadata = value.get_mut("metadata").and_then(Value::as_object_mut);
    let (Some(metadata), name) = (metadata, held.pointer("/metadata/namespace")) else {
        return;
    };
    match name {
        Some(name) => metadata.insert("namespace".into(), name.clone()),
        None => metadata.remove("namespace"),
    };
}

fn read(texts: &BTreeMap<String, &str>, namespace: &str) -> Result<BTreeMap<ObjectId, Held>> {
    let mut held: BTreeMap<ObjectId, Held> = BTreeMap::new();
    for (file, text) in texts {
        let documents = yaml::parse_values(file, text.as_bytes())?;
        for (number, document) in documents.into_iter().enumerate() {
            let list = document.value.get("items").is_some_and(Value::is_array);
            let objects = match document.value {
                Value::Object(mut map) if list => match map.remove("items") {
                    Some(Value::Array(items)) => items
                        .into_iter()
                        .enumerate()
                        .map(|(at, item)| (Some(at), item))
                        .collect(),
                    _ => Vec::new(),
                },
                value => vec![(None, value)],
            };
            for (item, value) in objects {
                let object = Object::new(value, Some(document.origin.clone()))?;
                let place = Place {
                    file: file.clone(),
                    document: number,
                    item,
                };
                let id = normal(object.id(), namespace);
                let one = Held {
                    place,
                    value: object.into_value(),
                };
                if let Some(first) = held.insert(id.clone(), one) {
                    return Err(Error::invalid(format!(
                        "{id} stands in {} and again in {file}",
                        first.place.file
                    )));
                }
            }
        }
    }
    Ok(held)
}

/// The object without what only a server says.
fn clean(object: &Object) -> Value {
    let mut object = object.clone();
    object.value_mut().remove("status");
    let metadata = object.metadata_mut();
    metadata.retain(|key, _| !SERVER_METADATA.contains(&key.as_str()));
    object.into_value()
}

/// Whether two values mean the same to the API server: a field that is null is one that is not there, and `1.0` is `1`. An empty map is
/// something (`emptyDir: {}`).
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => covers(one, other) && covers(other, one),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Number(one), Value::Number(other)) => {
            one == other || ((one.is_f64() || other.is_f64()) && one.as_f64() == other.as_f64())
        }
        _ => one == other,
    }
}

/// Whether each field of `one` is the same in `other`, or null and not there.
fn covers(one: &Map<String, Value>, other: &Map<String, Value>) -> bool {
    one.iter().all(|(key, value)| match other.get(key) {
        Some(other) => same(value, other),
        None => value.is_null(),
    })
}

/// A path of the tree, from the repository's root.
fn within(tree: &Tree, path: &str) -> String {
    match tree.path.as_str() {
        "" => path.to_owned(),
        root => format!("{root}/{path}"),
    }
}

#[cfg(test)]
mod tests {
    use gitops_core::manifest::{ManifestSet, TreeEntry};
    use gitops_git::CommitOptions;
    use serde_json::json;

    use super::*;

    fn tree(files: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::new("c", "apps", "");
        for (path, text) in files {
            let entry = TreeEntry::File(Arc::from(text.as_bytes()));
            tree.insert(*path, entry).unwrap();
        }
        tree
    }

    fn map(name: &str, value: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": value}})
    }

    fn set(values: &[Value]) -> ManifestSet {
        ManifestSet::from_objects(
            values
                .iter()
                .map(|value| Object::new(value.clone(), None).unwrap()),
        )
        .unwrap()
    }

    fn config(values: &[Value]) -> Config {
        Config::new("", set(values), CommitOptions::new("a", "b", "c"))
    }

    const FILE: &str = "# ours\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a} # the first\ndata:\n  k: '1'\n---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: b\ndata: {k: \"1\"}\n";

    #[test]
    fn what_is_the_same_is_not_touched() {
        let mut live = map("a", "1");
        live["metadata"]["uid"] = json!("x");
        live["metadata"]["managedFields"] = json!([]);
        live["status"] = json!({"x": 1});
        live["metadata"]["annotations"] = Value::Null;
        let edits = edits(
            &tree(&[("all.yaml", FILE)]),
            &config(&[live, map("b", "1")]).prune(true),
        )
        .unwrap();
        assert!(edits.is_empty(), "{edits:?}");
    }

    #[test]
    fn what_is_not_wanted_goes_only_when_asked() {
        let tree = tree(&[
            ("all.yaml", FILE),
            (
                "c.yaml",
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n",
            ),
        ]);
        let wanted = config(&[map("a", "1")]);
        assert!(edits(&tree, &wanted).unwrap().is_empty());
        let pruned = edits(&tree, &wanted.prune(true)).unwrap();
        assert_eq!(pruned.paths(), ["apps/all.yaml", "apps/c.yaml"]);
    }

    #[test]
    fn with_and_without_its_namespace_it_is_one_object() {
        let tree = tree(&[
            ("all.yaml", FILE),
            (
                "c.yaml",
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: shop}\n",
            ),
        ]);
        let named = |name: &str, value: &str| {
            let mut value = map(name, value);
            value["metadata"]["namespace"] = json!("shop");
            value
        };
        let c = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}});
        let wanted = [named("a", "1"), named("b", "2"), c];
        let shop = config(&wanted).namespace("shop").prune(true);
        let changed = edits(&tree, &shop).unwrap();
        assert_eq!(changed.paths(), ["apps/all.yaml"]);
        // Without knowing the namespace they are others.
        let apart = edits(&tree, &config(&wanted)).unwrap();
        assert_eq!(apart.paths().len(), 3);
        let twice = config(&[map("a", "1"), named("a", "1")]).namespace("shop");
        assert!(edits(&tree, &twice).is_err());
    }

    #[test]
    fn rendered_paths_are_refused() {
        let error = edits(
            &tree(&[("kustomization.yaml", "")]),
            &config(&[]).prune(true),
        )
        .unwrap_err();
        assert!(
            error.to_string().contains("apps/kustomization.yaml"),
            "{error}"
        );
    }

    #[test]
    fn layouts_name_files() {
        let object = |namespace: &str| {
            let mut object = Object::new(json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "a:B"}}), None).unwrap();
            object.set_namespace(namespace);
            object
        };
        let file = |template: &str, namespace: &str| {
            Layout::Template(template.into()).file(&object(namespace))
        };
        assert_eq!(
            Layout::default().file(&object("")).unwrap(),
            "role-a_b.yaml"
        );
        assert_eq!(
            Layout::default().file(&object("shop")).unwrap(),
            "shop/role-a_b.yaml"
        );
        assert_eq!(
            file("{group}/{kind}.yaml", "").unwrap(),
            "rbac.authorization.k8s.io/role.yaml"
        );
        assert!(file("../{name}", "").is_err());
        assert!(file("{nope}", "").is_err());
        assert!(file("{name", "").is_err());
    }

    #[test]
    fn null_is_nothing_and_an_empty_map_is_something() {
        assert!(same(&json!({"a": null, "b": 1.0}), &json!({"b": 1})));
        assert!(!same(&json!({"emptyDir": {}}), &json!({})));
        assert!(!same(&json!([1]), &json!([1, 2])));
        assert!(!same(
            &json!(9_007_199_254_740_993_u64),
            &json!(9_007_199_254_740_992_u64)
        ));
    }
}
