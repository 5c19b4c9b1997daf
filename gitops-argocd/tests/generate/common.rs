//! The sets of `tests/sets`, and the repository they are about.
#![allow(dead_code, unreachable_pub)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use gitops_argocd::generate::{Pathspec, SetSources};
use gitops_argocd::types::ApplicationSet;
use gitops_core::manifest::yaml;
use gitops_core::{Error, Result};
use serde_json::{Value, json};

/// Stands for the repository's URL in the sets.
pub const REPO_URL: &str = "REPO_URL";

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sets")
}

/// The names of all sets.
pub fn names() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "yaml"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

/// One set, with `url` for the repository.
pub fn set(name: &str, url: &str) -> ApplicationSet {
    let text = std::fs::read_to_string(folder().join(format!("{name}.yaml"))).unwrap();
    parse(&text.replace(REPO_URL, url))
}

pub fn parse(text: &str) -> ApplicationSet {
    let value = yaml::parse_value("set.yaml", text.as_bytes()).unwrap();
    serde_json::from_value(value).unwrap()
}

/// The files of `tests/sets/repository`.
pub fn repository() -> BTreeMap<String, Vec<u8>> {
    fn read(root: &Path, at: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
        for entry in std::fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(root, &path, files);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap();
                files.insert(name.to_owned(), std::fs::read(&path).unwrap());
            }
        }
    }
    let (root, mut files) = (folder().join("repository"), BTreeMap::new());
    read(&root, &root, &mut files);
    files
}

/// Repositories in memory: one set of files at [`REPO_URL`], whatever the revision.
#[derive(Debug, Default)]
pub struct MemorySources {
    pub files: BTreeMap<String, Vec<u8>>,
}

impl MemorySources {
    pub fn new() -> Self {
        Self {
            files: repository(),
        }
    }

    pub fn with(files: &[(&str, &str)]) -> Self {
        let own = |(path, text): &(&str, &str)| ((*path).to_owned(), text.as_bytes().to_vec());
        Self {
            files: files.iter().map(own).collect(),
        }
    }
}

#[async_trait]
impl SetSources for MemorySources {
    async fn directories(&self, url: &str, _: &str, _: Option<&str>) -> Result<Vec<String>> {
        if url != REPO_URL {
            return Err(Error::not_found(format!("no repository {url:?}")));
        }
        let mut directories = BTreeSet::new();
        for path in self.files.keys() {
            let mut path = path.as_str();
            while let Some((parent, _)) = path.rsplit_once('/') {
                if !parent.split('/').any(|part| part.starts_with('.')) {
                    directories.insert(parent.to_owned());
                }
                path = parent;
            }
        }
        // Whatever the order.
        Ok(directories.into_iter().rev().collect())
    }

    async fn files(
        &self,
        url: &str,
        _: &str,
        _: Option<&str>,
        pattern: &str,
    ) -> Result<BTreeMap<String, Bytes>> {
        if url != REPO_URL {
            return Err(Error::not_found(format!("no repository {url:?}")));
        }
        let pathspec = Pathspec::parse(pattern)?;
        let matching = self.files.iter().filter(|(path, _)| pathspec.matches(path));
        Ok(matching
            .map(|(path, bytes)| (path.clone(), Bytes::from(bytes.clone())))
            .collect())
    }
}

/// What came of a set, to compare and to read.
pub fn outcome<T: serde::Serialize>(result: &Result<Vec<T>>) -> Value {
    match result {
        Ok(made) => serde_json::to_value(made).unwrap(),
        Err(error) => json!({"kind": error.kind().as_str(), "error": error.to_string()}),
    }
}
