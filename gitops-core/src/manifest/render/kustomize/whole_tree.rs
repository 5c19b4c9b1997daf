//! Files from outside of their kustomization's directory: what kustomize then does not bound is bounded here.

use serde_json::Value;

use super::super::fold::fold;
use super::super::paths::{self, Place, join_inside};
use super::walk::Walk;
use crate::error::{Error, Result};
use crate::manifest::{TreeEntry, yaml};

/// What decides whether files may be loaded from the whole tree: kustomize itself then bounds nothing.
#[derive(Default)]
pub(super) struct WholeTree {
    /// Whether a file lies outside of the directory of the kustomization that loads it.
    needed: bool,
    /// Why it cannot be allowed.
    against: Option<String>,
}

impl Walk<'_> {
    /// Lets kustomizations load files from the whole tree.
    pub(super) fn whole_tree(mut self, allowed: bool) -> Self {
        self.whole_tree = allowed.then(WholeTree::default);
        self
    }

    /// Whether kustomize has to load files from outside of their kustomization's directory.
    ///
    /// # Errors
    /// `Unsupported` when it does, and something else that it does could then lead out of the tree.
    pub(super) fn needs_whole_tree(&self) -> Result<bool> {
        match &self.whole_tree {
            Some(WholeTree {
                needed: true,
                against: Some(against),
            }) => Err(Error::unsupported(
                &format!(
                    "files from outside of their kustomization's directory together with {against}"
                ),
                "this kustomize renderer",
            )),
            Some(whole) => Ok(whole.needed),
            None => Ok(false),
        }
    }

    /// A file that kustomize itself bounds to the directory of its kustomization, unless it was told not to.
    pub(super) fn file_of_tree(&mut self, dir: &str, place: &str, entry: &str) -> Result<()> {
        if self.whole_tree.is_none() {
            return Ok(());
        }
        let path = match entry.starts_with('/') {
            true => None,
            false => join_inside(dir, entry),
        };
        let Some(path) = path else {
            return Err(Error::invalid(format!(
                "{place}: {entry:?} leads out of the repository"
            )));
        };
        if let Some(Place::File(found)) = paths::resolve(self.tree, &path)? {
            self.note_outside(dir, &found);
            self.more.insert(path);
        }
        Ok(())
    }

    /// Takes note of a file that is not below the directory of its kustomization.
    pub(super) fn note_outside(&mut self, dir: &str, path: &str) {
        let below = dir.is_empty()
            || path
                .strip_prefix(dir)
                .is_some_and(|rest| rest.starts_with('/'));
        if let Some(whole) = &mut self.whole_tree {
            whole.needed |= !below;
        }
    }

    /// Takes note of what could lead out of the tree, should kustomize bound nothing.
    pub(super) fn note_against(&mut self, what: impl FnOnce() -> String) {
        if let Some(whole) = &mut self.whole_tree {
            whole.against.get_or_insert_with(what);
        }
    }

    /// The configuration of a plugin, by its place. One that is made by a kustomization of its own may come to say anything.
    pub(super) fn plugin(&mut self, dir: &str, place: &str, entry: &str) -> Result<()> {
        if self.whole_tree.is_none() {
            return Ok(());
        }
        let bytes = if entry.trim().contains('\n') {
            entry.as_bytes().into()
        } else {
            let found = match join_inside(dir, entry) {
                Some(path) => paths::resolve(self.tree, &path)?,
                None => None,
            };
            let bytes = match found {
                Some(Place::File(path)) => self.tree.get(&path).and_then(TreeEntry::bytes).cloned(),
                _ => None,
            };
            let Some(bytes) = bytes else {
                self.note_against(|| format!("{place}: {entry:?}, which is no file"));
                return Ok(());
            };
            bytes
        };
        for document in yaml::parse_values(place, &bytes)? {
            self.plugin_paths(dir, place, &fold(place, document.value)?)?;
        }
        Ok(())
    }

    /// The files that a plugin loads, wherever its configuration names them.
    fn plugin_paths(&mut self, dir: &str, place: &str, value: &Value) -> Result<()> {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    match key.as_str() {
                        "path" | "paths" | "files" | "envs" | "env" => {
                            let one = std::slice::from_ref(value);
                            let entries = value.as_array().map_or(one, Vec::as_slice);
                            for entry in entries.iter().filter_map(Value::as_str) {
                                let path = match key.as_str() {
                                    "files" => {
                                        entry.split_once('=').map_or(entry, |(_, path)| path)
                                    }
                                    _ => entry,
                                };
                                // It may be a path of fields, of no interest here.
                                if self.file(dir, place, path).is_err() {
                                    self.note_against(|| format!("{place}: {path:?}"));
                                }
                            }
                            self.plugin_paths(dir, place, value)?;
                        }
                        _ => self.plugin_paths(dir, place, value)?,
                    }
                }
                Ok(())
            }
            Value::Array(items) => items
                .iter()
                .try_for_each(|item| self.plugin_paths(dir, place, item)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Tree;

    fn tree(files: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::new("abc", "", "");
        for (path, text) in files {
            tree.insert(*path, TreeEntry::File(text.as_bytes().into()))
                .unwrap();
        }
        tree
    }

    #[test]
    fn the_whole_tree_is_bounded_here() {
        let look = |text: &str, network: bool| {
            let tree = tree(&[
                ("overlay/kustomization.yaml", text),
                ("overlay/own.yaml", ""),
                ("overlay/plugins/kustomization.yaml", "resources: []"),
                ("shared/x.yaml", "kind: PatchTransformer\npath: x.yaml"),
                (
                    "shared/evil.yaml",
                    "kind: PatchTransformer\nPath: /etc/passwd",
                ),
            ]);
            let mut walk = Walk::new(&tree, network, false).whole_tree(true);
            walk.start("overlay")?;
            walk.finish()?;
            let directories: Vec<String> = walk.directories().into_iter().collect();
            Ok::<_, Error>((walk.needs_whole_tree()?, directories))
        };
        for (text, needed) in [
            ("resources: [own.yaml]", false),
            ("resources: [../shared/x.yaml]", true),
            ("patches: [{path: ../shared/x.yaml}]", true),
            ("patchesStrategicMerge: [../shared/x.yaml]", true),
            ("replacements: [{path: ../shared/x.yaml}]", true),
            ("crds: [../shared/x.yaml]", true),
            ("configurations: [../shared/x.yaml]", true),
            ("openapi: {path: ../shared/x.yaml}", true),
            (
                "configMapGenerator: [{name: a, files: [k=../shared/x.yaml]}]",
                true,
            ),
            (
                "secretGenerator: [{name: a, envs: [../shared/x.yaml]}]",
                true,
            ),
            ("transformers: [../shared/x.yaml]", true),
            (
                "transformers: [\"kind: PatchTransformer\\npath: ../shared/x.yaml\"]",
                true,
            ),
            // Not needed, then kustomize bounds it.
            ("transformers: [plugins]", false),
            (
                "transformers: [\"kind: PrefixTransformer\\nfieldSpecs: [{path: /metadata/name}]\"]",
                false,
            ),
        ] {
            let (given, directories) = look(text, false).unwrap();
            assert_eq!(given, needed, "{text}");
            assert_eq!(
                needed,
                directories.contains(&"shared/x.yaml".to_owned()),
                "{text}: {directories:?}"
            );
        }
        for (text, network, says) in [
            ("patches: [{path: /etc/passwd}]", false, "leads out"),
            ("patches: [{path: ../../x}]", false, "leads out"),
            ("crds: [../../x]", false, "leads out"),
            (
                "configMapGenerator: [{name: a, files: [k=/etc/passwd]}]",
                false,
                "leads out",
            ),
            (
                "resources: [../shared/x.yaml]\ntransformers: [plugins]",
                false,
                "no file",
            ),
            (
                "resources: [../shared/x.yaml]\ntransformers: [../shared/evil.yaml]",
                false,
                "passwd",
            ),
            (
                "resources: [../shared/x.yaml, https://h/x]",
                true,
                "https://h/x",
            ),
        ] {
            let error = look(text, network).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
