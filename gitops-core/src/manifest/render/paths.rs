//! Paths inside a tree, links followed, none climbing out.

use std::collections::BTreeSet;

use crate::error::{Error, Result};
use crate::manifest::{Tree, TreeEntry};

/// A chain of links that is longer is taken for a circle.
const MAX_LINKS: usize = 40;

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A file, at this path of the tree.
    File(String),
    /// A directory, at this path of the tree.
    Directory(String),
}

/// A name below a path; the root's path is empty.
pub(super) fn join(path: &str, name: &str) -> String {
    match (path, name) {
        ("", name) => name.to_owned(),
        (path, "") => path.to_owned(),
        (path, name) => format!("{path}/{name}"),
    }
}

/// The directory of a path.
pub(super) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// `relative`, seen from the directory `base`, as a path of the tree, by text alone as Go's `filepath.Join` does; `None` when it climbs out
/// of the tree or could mean something else on the machine.
pub(super) fn join_inside(base: &str, relative: &str) -> Option<String> {
    if relative.contains(['\0', '\\']) {
        return None;
    }
    let mut parts: Vec<&str> = base.split('/').filter(|part| !part.is_empty()).collect();
    for part in relative.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Where a link of the tree leads, as a path of the tree; `None` when that part of the repository was not read.
pub(super) fn link_target<'t>(tree: &Tree, target: &'t str) -> Option<&'t str> {
    if tree.path.is_empty() {
        return Some(target);
    }
    if target == tree.path {
        return Some("");
    }
    target.strip_prefix(&tree.path)?.strip_prefix('/')
}

/// What is at `path`, links followed; `None` when there is nothing.
///
/// # Errors
/// `InvalidInput` for a link that leads in a circle or to what was not read, and for a path into a submodule.
pub(super) fn resolve(tree: &Tree, path: &str) -> Result<Option<Place>> {
    let mut links = 0;
    let mut rest: Vec<String> = path
        .split('/')
        .rev()
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect();
    let mut at = String::new();
    while let Some(part) = rest.pop() {
        let next = join(&at, &part);
        match tree.get(&next) {
            Some(TreeEntry::Link(target)) => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Error::invalid(format!(
                        "{path} is a link that leads in a circle"
                    )));
                }
                let target = link_target(tree, target).ok_or_else(|| {
                    Error::invalid(format!(
                        "{path} is a link to {target}, outside of {}, which is all that was read",
                        tree.path
                    ))
                })?;
                at.clear();
                rest.extend(
                    target
                        .split('/')
                        .rev()
                        .filter(|part| !part.is_empty())
                        .map(str::to_owned),
                );
            }
            Some(TreeEntry::Submodule(_)) => {
                return Err(Error::invalid(format!(
                    "{path} leads into submodule {next}; submodules are not followed"
                )));
            }
            Some(_) => {
                return Ok(rest.is_empty().then_some(Place::File(next)));
            }
            None if tree.below(&next).next().is_some() => at = next,
            None => return Ok(None),
        }
    }
    Ok(Some(Place::Directory(at)))
}

/// What is at a path, and below it.
pub(super) fn at_and_below<'t>(
    tree: &'t Tree,
    path: &'t str,
) -> impl Iterator<Item = (&'t str, &'t TreeEntry)> {
    let own = tree.get(path).map(|entry| (path, entry));
    own.into_iter().chain(tree.below(path))
}

/// Paths, those that links at and below them lead to, and links that stand in their way.
pub(super) fn closure(tree: &Tree, paths: BTreeSet<String>) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let mut queue: Vec<String> = paths.into_iter().collect();
    while let Some(path) = queue.pop() {
        if !all.insert(path.clone()) {
            continue;
        }
        for (_, entry) in at_and_below(tree, &path) {
            if let TreeEntry::Link(target) = entry
                && let Some(target) = link_target(tree, target)
            {
                queue.push(target.to_owned());
            }
        }
        let mut above = parent(&path);
        while !above.is_empty() {
            if matches!(tree.get(above), Some(TreeEntry::Link(_))) {
                queue.push(above.to_owned());
            }
            above = parent(above);
        }
    }
    all
}

/// The bytes of the file at `path`, links followed; `None` when there is no file.
///
/// # Errors
/// As [`resolve`].
pub(super) fn file<'t>(tree: &'t Tree, path: &str) -> Result<Option<&'t [u8]>> {
    Ok(match resolve(tree, path)? {
        Some(Place::File(at)) => tree
            .get(&at)
            .and_then(TreeEntry::bytes)
            .map(|bytes| &**bytes),
        _ => None,
    })
}

impl Tree {
    /// The bytes of the file at `path`, links followed; `None` when there is no file.
    ///
    /// # Errors
    /// `InvalidInput` for a link that leads in a circle or to what was not read, and for a path into a submodule.
    pub fn file(&self, path: &str) -> Result<Option<&[u8]>> {
        file(self, path)
    }

    /// The directory at `path` (the root's is empty), links followed: its own path in the tree; `None` when there is no directory.
    ///
    /// # Errors
    /// Those of [`file`](Self::file).
    pub fn directory(&self, path: &str) -> Result<Option<String>> {
        Ok(match resolve(self, path)? {
            Some(Place::Directory(path)) => Some(path),
            _ => None,
        })
    }
}

/// A path of the tree as the repository has it, for messages and positions.
pub(super) fn shown(tree: &Tree, path: &str) -> String {
    match join(&tree.path, path) {
        shown if shown.is_empty() => ".".to_owned(),
        shown => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn climbing_is_seen() {
        for (base, relative, inside) in [
            ("a/b", "../c", Some("a/c")),
            ("a/b", "./x//y/", Some("a/b/x/y")),
            ("a", "../..", None),
            ("", "..", None),
            ("a", "../../a", None),
            ("a", "b\\..\\..", None),
            ("a/b", "../..", Some("")),
        ] {
            assert_eq!(
                join_inside(base, relative).as_deref(),
                inside,
                "{base} {relative}"
            );
        }
    }

    #[test]
    fn links_are_followed_inside() {
        let mut tree = Tree::new("", "sub", "");
        tree.insert("d/x", TreeEntry::File(b"1".as_slice().into()))
            .unwrap();
        tree.insert("to-dir", TreeEntry::Link("sub/d".into()))
            .unwrap();
        tree.insert("to-root", TreeEntry::Link("sub".into()))
            .unwrap();
        tree.insert("out", TreeEntry::Link("elsewhere/x".into()))
            .unwrap();
        tree.insert("circle", TreeEntry::Link("sub/circle".into()))
            .unwrap();
        assert_eq!(file(&tree, "to-dir/x").unwrap(), Some(b"1".as_slice()));
        assert_eq!(
            file(&tree, "to-root/to-dir/x").unwrap(),
            Some(b"1".as_slice())
        );
        assert_eq!(
            resolve(&tree, "to-dir").unwrap(),
            Some(Place::Directory("d".into()))
        );
        assert_eq!(resolve(&tree, "d/x/y").unwrap(), None);
        assert!(
            resolve(&tree, "out")
                .unwrap_err()
                .to_string()
                .contains("outside of sub")
        );
        assert!(
            resolve(&tree, "circle")
                .unwrap_err()
                .to_string()
                .contains("circle")
        );
    }
}
