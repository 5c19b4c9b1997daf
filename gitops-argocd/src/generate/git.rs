//! The Git generator.

use std::collections::BTreeMap;

use bytes::Bytes;
use gitops_core::manifest::{check_path, yaml};
use gitops_core::{Error, Result};
use serde_json::{Map, Value};

use super::budget::{Budget, MAX_FILE_BYTES, check_count};
use super::go::{flatten, sanitize};
use super::path_match::PathMatch;
use super::sources::SetSources;
use super::text::fill;
use super::{Params, Pathspec};
use crate::types::set::{GitDirectory, GitFile, GitGenerator};

/// The parameters of a repository's directories or files, as Argo CD 3.2 makes them without Go templates (`applicationset/generators/git.go`). Of both,
/// directories win.
pub(super) async fn params(
    git: &GitGenerator,
    project: Option<&str>,
    sources: &dyn SetSources,
    budget: &mut Budget,
) -> Result<Vec<Params>> {
    let reader = Reader {
        git,
        project,
        sources,
    };
    match git.directories.as_deref() {
        Some(wanted @ [_, ..]) => reader.directories(wanted, budget).await,
        _ => {
            reader
                .files(git.files.as_deref().unwrap_or_default(), budget)
                .await
        }
    }
}

struct Reader<'a> {
    git: &'a GitGenerator,
    project: Option<&'a str>,
    sources: &'a dyn SetSources,
}

impl Reader<'_> {
    async fn directories(
        &self,
        wanted: &[GitDirectory],
        budget: &mut Budget,
    ) -> Result<Vec<Params>> {
        let git = self.git;
        let mut paths = self
            .sources
            .directories(&git.repo_url, &git.revision, self.project)
            .await?;
        // The repo-server walks: a directory, then what is in it, by the names.
        paths.sort_unstable_by(|a, b| a.split('/').cmp(b.split('/')));
        paths.dedup();
        let (mut includes, mut excludes) = (Vec::new(), Vec::new());
        for (index, directory) in wanted.iter().enumerate() {
            match PathMatch::new(&directory.path)? {
                Some(pattern) if directory.exclude == Some(true) => excludes.push(pattern),
                Some(pattern) => includes.push(pattern),
                // Argo CD logs an error, and goes on as if it matched nothing.
                None => tracing::warn!(index, "a pattern for directories cannot be read"),
            }
        }
        let any = |patterns: &[PathMatch], path: &str| patterns.iter().any(|it| it.matches(path));
        paths.retain(|path| any(&includes, path) && !any(&excludes, path));
        check_count(paths.len())?;
        let mut sets = Vec::with_capacity(paths.len());
        for path in paths {
            check_path(&path)?;
            let mut params = Params::new();
            self.put_path(&path, None, &mut params, budget)?;
            self.put_values(&mut params, budget)?;
            sets.push(params);
        }
        Ok(sets)
    }

    async fn files(&self, wanted: &[GitFile], budget: &mut Budget) -> Result<Vec<Params>> {
        let is_excluded = |file: &&GitFile| file.exclude == Some(true);
        let mut files: BTreeMap<String, Bytes> = BTreeMap::new();
        for file in wanted.iter().filter(|file| !is_excluded(file)) {
            files.extend(self.matching(&file.path).await?);
        }
        for file in wanted.iter().filter(is_excluded) {
            for path in self.matching(&file.path).await?.into_keys() {
                files.remove(&path);
            }
        }
        let mut sets = Vec::new();
        for (path, bytes) in files {
            check_path(&path)?;
            self.file(&path, &bytes, &mut sets, budget)
                .map_err(|error| error.context(format!("file {path:?}")))?;
        }
        Ok(sets)
    }

    async fn matching(&self, pattern: &str) -> Result<BTreeMap<String, Bytes>> {
        // One that leads out of the repository is refused, whoever reads.
        Pathspec::parse(pattern)?;
        let git = self.git;
        self.sources
            .files(&git.repo_url, &git.revision, self.project, pattern)
            .await
    }

    /// A file is one set of parameters, or a list of them; an empty one is a set of its path's only.
    fn file(
        &self,
        path: &str,
        bytes: &[u8],
        sets: &mut Vec<Params>,
        budget: &mut Budget,
    ) -> Result<()> {
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(Error::invalid(format!(
                "it has more than {MAX_FILE_BYTES} bytes"
            )));
        }
        budget.spend(bytes.len())?;
        // The first document, as in sigs.k8s.io/yaml.
        let first = yaml::parse_values(path, bytes)?.into_iter().next();
        let objects = match first.map(|document| document.value) {
            None | Some(Value::Null) => vec![Map::new()],
            Some(Value::Object(object)) => vec![object],
            Some(Value::Array(items)) => items
                .into_iter()
                .map(|item| match item {
                    Value::Object(object) => Ok(object),
                    Value::Null => Ok(Map::new()),
                    _ => Err(Error::invalid("an item of its list is not a mapping")),
                })
                .collect::<Result<_>>()?,
            Some(_) => return Err(Error::invalid("it is neither a mapping nor a list")),
        };
        check_count(sets.len() + objects.len())?;
        for object in objects {
            let mut params = Params::new();
            flatten(&object, &mut params, budget)?;
            let (directory, name) = path.rsplit_once('/').unwrap_or((".", path));
            self.put_path(directory, Some(name), &mut params, budget)?;
            self.put_values(&mut params, budget)?;
            sets.push(params);
        }
        Ok(())
    }

    /// `path`, `path.basename`, `path.basenameNormalized`, `path[0]` …; for a file `path.filename` and `path.filenameNormalized` too.
    fn put_path(
        &self,
        directory: &str,
        file: Option<&str>,
        params: &mut Params,
        budget: &mut Budget,
    ) -> Result<()> {
        let name = match self.git.path_param_prefix.as_deref().unwrap_or_default() {
            "" => "path".to_owned(),
            prefix => format!("{prefix}.path"),
        };
        let base = directory.rsplit('/').next().unwrap_or(directory);
        let mut put = |key: String, value: String| -> Result<()> {
            budget.spend(key.len() + value.len())?;
            params.insert(key, Value::String(value));
            Ok(())
        };
        put(format!("{name}.basename"), base.to_owned())?;
        put(format!("{name}.basenameNormalized"), sanitize(base))?;
        if let Some(file) = file {
            put(format!("{name}.filename"), file.to_owned())?;
            put(format!("{name}.filenameNormalized"), sanitize(file))?;
        }
        for (index, part) in directory.split('/').enumerate() {
            put(format!("{name}[{index}]"), part.to_owned())?;
        }
        put(name, directory.to_owned())
    }

    /// `values.key`: texts in which the other parameters are filled, but no values.
    fn put_values(&self, params: &mut Params, budget: &mut Budget) -> Result<()> {
        let mut filled = Vec::new();
        for (key, value) in self.git.values.iter().flatten() {
            let value = fill(value, params, budget)
                .map_err(|error| error.context(format!("value {key:?}")))?;
            filled.push((format!("values.{key}"), Value::String(value)));
        }
        params.extend(filled);
        Ok(())
    }
}
