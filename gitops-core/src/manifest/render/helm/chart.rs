//! A chart in a tree: what it depends on, and what its schemas refer to.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::fold::fold;
use super::super::paths::{self, Place, join, join_inside};
use super::super::redact::Masker;
use super::place;
use crate::error::{Error, Result, redact_url};
use crate::manifest::{Tree, yaml};

/// A chart.
pub(super) struct Chart<'t> {
    pub(super) tree: &'t Tree,
    /// Its directory in the tree.
    pub(super) dir: String,
    name: String,
    dependencies: Vec<Dependency>,
}

/// A chart's name, with which helm's names for its templates begin, and its place in the repository.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub(super) chart: String,
    pub(super) place: String,
}

struct Dependency {
    name: String,
    repository: String,
}

impl<'t> Chart<'t> {
    /// The chart at `path`.
    pub(super) fn open(tree: &'t Tree, path: &str) -> Result<Self> {
        let Some(Place::Directory(dir)) = paths::resolve(tree, path)? else {
            return Err(Error::not_found(format!(
                "directory {} does not exist at revision {}",
                place(tree, path),
                tree.revision
            )));
        };
        let meta = metadata(tree, &dir)?
            .ok_or_else(|| Error::not_found(format!("{} has no Chart.yaml", place(tree, &dir))))?;
        Ok(Self {
            tree,
            name: meta
                .get("name")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            dependencies: dependencies(tree, &dir, &meta)?,
            dir,
        })
    }

    /// The directories that helm needs.
    pub(super) fn directories(&self) -> Result<BTreeSet<String>> {
        let mut directories = self.local_dependencies()?;
        directories.insert(self.dir.clone());
        Ok(directories)
    }

    /// What helm's messages are read with.
    pub(super) fn names(&self) -> Names {
        Names {
            chart: self.name.clone(),
            place: self.place(),
        }
    }

    /// Where it is, for messages.
    pub(super) fn place(&self) -> String {
        place(self.tree, &self.dir)
    }

    /// The directories of other charts in the tree that it depends on, and those that they depend on.
    fn local_dependencies(&self) -> Result<BTreeSet<String>> {
        let mut found = BTreeSet::new();
        let mut queue = vec![(self.dir.clone(), local(&self.dependencies))];
        while let Some((dir, wanted)) = queue.pop() {
            for path in wanted {
                // One that climbs out is an error only when it is needed: it may lie in `charts/`.
                let Some(at) = join_inside(&dir, &path) else {
                    continue;
                };
                let Some(Place::Directory(at)) = paths::resolve(self.tree, &at)? else {
                    continue;
                };
                if found.insert(at.clone())
                    && let Some(meta) = metadata(self.tree, &at)?
                {
                    let next = dependencies(self.tree, &at, &meta)?;
                    queue.push((at, local(&next)));
                }
            }
        }
        Ok(found)
    }

    /// Whether missing dependencies may be put in.
    pub(super) fn check_dependencies(&self, network: bool) -> Result<()> {
        let charts = join(&self.dir, "charts");
        for Dependency { name, repository } in &self.dependencies {
            let at = self.place();
            match repository.strip_prefix("file://") {
                Some(path) => {
                    let inside = match path.starts_with('/') {
                        true => None,
                        false => join_inside(&self.dir, path),
                    };
                    let Some(inside) = inside else {
                        return Err(Error::invalid(format!(
                            "{at}/Chart.yaml: dependency {name:?} leads out of the repository ({repository:?})"
                        )));
                    };
                    if paths::resolve(self.tree, &inside)?.is_none() {
                        return Err(Error::invalid(format!(
                            "{at}/Chart.yaml: dependency {name:?}: {path:?} does not exist"
                        )));
                    }
                }
                None if network => {}
                None => {
                    let archive = format!("{}/{name}-", charts);
                    let vendored = self.tree.below(&join(&charts, name)).next().is_some()
                        || self
                            .tree
                            .below(&charts)
                            .any(|(path, _)| path.starts_with(&archive) && path.ends_with(".tgz"));
                    if !vendored {
                        return Err(Error::invalid(format!(
                            "{at}/Chart.yaml: dependency {name:?} of {:?} is not in charts/, and rendering may not use the network: \
                             commit the output of `helm dependency update`, or allow the network",
                            redact_url(repository)
                        )));
                    }
                }
            }
        }
        Ok(())
    }

    /// Refuses schemas that would make helm read a file of the machine, or a URL. Helm 3.18 and newer follow references of both kinds.
    pub(super) fn check_schemas(&self, network: bool) -> Result<()> {
        for (path, entry) in self.tree.below(&self.dir) {
            if path.rsplit('/').next() != Some("values.schema.json") {
                continue;
            }
            let Some(schema) = entry
                .bytes()
                .and_then(|bytes| serde_json::from_slice::<Value>(bytes).ok())
            else {
                continue;
            };
            let based = has_id(&schema);
            check_references(&schema, network, based)
                .map_err(|why| Error::invalid(format!("{}: {why}", place(self.tree, path))))?;
        }
        Ok(())
    }

    /// The chart's own values, which may hold secrets too.
    pub(super) fn hold_defaults(&self, masker: &mut Masker) {
        let path = join(&self.dir, "values.yaml");
        if let Ok(Some(bytes)) = paths::file(self.tree, &path)
            && let Ok(values) = yaml::parse_value(&path, bytes)
        {
            masker.add_value(&values);
        }
    }

    /// What anyone reads who sees the chart's templates: no secret of a value's.
    pub(super) fn public(&self) -> String {
        let mut text = String::new();
        for (path, entry) in self.tree.below(&self.dir) {
            let inner = path
                .strip_prefix(&self.dir)
                .unwrap_or(path)
                .trim_start_matches('/');
            if (inner == "Chart.yaml" || inner.starts_with("templates/"))
                && let Some(bytes) = entry.bytes()
            {
                text.push_str(&String::from_utf8_lossy(bytes));
                text.push('\n');
            }
        }
        text
    }
}

fn metadata(tree: &Tree, dir: &str) -> Result<Option<Value>> {
    let path = join(dir, "Chart.yaml");
    match paths::file(tree, &path)? {
        Some(bytes) => parse(&place(tree, &path), bytes).map(Some),
        None => Ok(None),
    }
}

fn parse(file: &str, bytes: &[u8]) -> Result<Value> {
    fold(file, yaml::parse_value(file, bytes)?)
}

/// Those of `Chart.yaml`, of the `requirements.yaml` of an old chart, and of the lock files, from which `helm dependency build` takes them.
fn dependencies(tree: &Tree, dir: &str, meta: &Value) -> Result<Vec<Dependency>> {
    let mut files = vec![meta.clone()];
    for name in ["requirements.yaml", "Chart.lock", "requirements.lock"] {
        let path = join(dir, name);
        if let Some(bytes) = paths::file(tree, &path)? {
            files.push(parse(&place(tree, &path), bytes)?);
        }
    }
    let lists = files
        .iter()
        .map(|value| value.get("dependencies").and_then(Value::as_array));
    let text = |value: &Value, field| {
        value
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    Ok(lists
        .flatten()
        .flatten()
        .map(|dependency| Dependency {
            name: text(dependency, "name"),
            repository: text(dependency, "repository"),
        })
        .collect())
}

fn local(dependencies: &[Dependency]) -> Vec<String> {
    dependencies
        .iter()
        .filter_map(|dependency| dependency.repository.strip_prefix("file://"))
        .filter(|path| !path.starts_with('/'))
        .map(str::to_owned)
        .collect()
}

fn has_id(schema: &Value) -> bool {
    match schema {
        Value::Object(map) => map.contains_key("$id") || map.values().any(has_id),
        Value::Array(items) => items.iter().any(has_id),
        _ => false,
    }
}

fn check_references(schema: &Value, network: bool, based: bool) -> Result<(), String> {
    match schema {
        Value::Object(map) => {
            for key in ["$ref", "$dynamicRef", "$recursiveRef", "$id"] {
                if let Some(Value::String(target)) = map.get(key) {
                    check_reference(key, target, network, based)?;
                }
            }
            map.values()
                .try_for_each(|value| check_references(value, network, based))
        }
        Value::Array(items) => items
            .iter()
            .try_for_each(|value| check_references(value, network, based)),
        _ => Ok(()),
    }
}

fn check_reference(key: &str, target: &str, network: bool, based: bool) -> Result<(), String> {
    let lower = target.trim().to_ascii_lowercase();
    // Meta-schemas come with the library.
    if lower.is_empty()
        || lower.starts_with('#')
        || lower.starts_with("http://json-schema.org/")
        || lower.starts_with("https://json-schema.org/")
    {
        return Ok(());
    }
    if lower.starts_with("http://") || lower.starts_with("https://") {
        return match network || key == "$id" || based {
            true => Ok(()),
            false => Err(format!(
                "{key} {:?} is remote, and rendering may not use the network",
                redact_url(target)
            )),
        };
    }
    if lower.starts_with("file:") {
        return Err(format!("{key} {target:?} leads out of the chart"));
    }
    // Relative to an `$id` of the schema it may mean a part of it; else it would be read from the machine's root directory.
    match based || key == "$id" || lower.starts_with("urn:") {
        true => Ok(()),
        false => Err(format!(
            "{key} {target:?} leads out of the chart: helm resolves it against the root directory"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::TreeEntry;

    fn tree(files: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::new("abc", "", "");
        for (path, text) in files {
            tree.insert(*path, TreeEntry::File(text.as_bytes().into()))
                .unwrap();
        }
        tree
    }

    #[test]
    fn charts_of_the_repository_are_found() {
        let tree = tree(&[
            (
                "web/Chart.yaml",
                "name: web\ndependencies: [{name: lib, repository: 'file://../lib'}, {name: x, repository: 'file://../../x'}]",
            ),
            ("lib/Chart.yaml", "name: lib"),
            (
                "lib/requirements.yaml",
                "dependencies: [{name: deep, repository: 'file://deep'}]",
            ),
            (
                "lib/deep/Chart.yaml",
                "name: deep\ndependencies: [{name: web, repository: 'file://../../web'}]",
            ),
        ]);
        let chart = Chart::open(&tree, "web").unwrap();
        let found = chart.local_dependencies().unwrap();
        assert_eq!(
            found.into_iter().collect::<Vec<_>>(),
            ["lib", "lib/deep", "web"]
        );
        let error = chart.check_dependencies(true).unwrap_err().to_string();
        let locked = super::tests::tree(&[
            ("web/Chart.yaml", "NAME: web"),
            (
                "web/Chart.lock",
                "Dependencies: [{name: x, Repository: 'file://../../x'}]",
            ),
        ]);
        let chart = Chart::open(&locked, "web").unwrap();
        assert_eq!(chart.name, "web");
        assert!(chart.check_dependencies(true).is_err());
        assert!(error.contains("leads out of the repository"), "{error}");
        assert!(Chart::open(&tree, "gone").is_err());
        assert!(
            Chart::open(&tree, "")
                .map(|_| ())
                .unwrap_err()
                .to_string()
                .contains("no Chart.yaml")
        );
    }

    #[test]
    fn dependencies_on_the_network_are_refused_unless_they_are_there() {
        let meta = "name: web\ndependencies: [{name: redis, version: '1', repository: 'https://u:canary@charts.example/x'}]";
        let bare = tree(&[("Chart.yaml", meta)]);
        let error = Chart::open(&bare, "")
            .unwrap()
            .check_dependencies(false)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("\"redis\"")
                && error.contains("https://charts.example/x")
                && !error.contains("canary"),
            "{error}"
        );
        assert!(
            Chart::open(&bare, "")
                .unwrap()
                .check_dependencies(true)
                .is_ok()
        );
        let vendored = tree(&[("Chart.yaml", meta), ("charts/redis-1.tgz", "")]);
        assert!(
            Chart::open(&vendored, "")
                .unwrap()
                .check_dependencies(false)
                .is_ok()
        );
    }

    #[test]
    fn schemas_stay_in_the_chart() {
        let check = |schema: &str, network| {
            let tree = tree(&[
                ("Chart.yaml", "name: a"),
                ("charts/b/values.schema.json", schema),
            ]);
            Chart::open(&tree, "")
                .unwrap()
                .check_schemas(network)
                .map_err(|error| error.to_string())
        };
        for good in [
            r##"{"$ref": "#/definitions/x"}"##,
            r#"{"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"$ref": "http://json-schema.org/draft-07/schema#"}]}"#,
            r#"{"$id": "https://x/y.json", "$ref": "z.json", "$defs": {"z": {"$id": "z.json"}}}"#,
        ] {
            assert_eq!(check(good, false), Ok(()), "{good}");
        }
        for (bad, says) in [
            (
                r#"{"properties": {"a": {"$ref": "file:///etc/passwd"}}}"#,
                "leads out",
            ),
            (r#"{"allOf": [{"$ref": "etc/x.json"}]}"#, "leads out"),
            (r#"{"$ref": "http://169.254.169.254/latest"}"#, "is remote"),
        ] {
            let error = check(bad, false).unwrap_err();
            assert!(
                error.contains(says) && error.contains("charts/b/values.schema.json"),
                "{error}"
            );
        }
        assert_eq!(check(r#"{"$ref": "https://x/y.json"}"#, true), Ok(()));
    }
}
