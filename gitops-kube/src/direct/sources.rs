//! From an application's sources to its manifests.

use std::collections::BTreeMap;

use async_trait::async_trait;
use gitops_core::application::{Application, Render, Source, SourceKind};
use gitops_core::manifest::render::{KUSTOMIZATIONS, RenderRequest, Renderer, Renderers};
use gitops_core::manifest::{ManifestSet, Tree, TreeEntry, check_path};
use gitops_core::source::{Rendered, Sources};
use gitops_core::{Error, ErrorKind, Result, ResultExt};
use gitops_git::{GitClient, Repository, Revision};

/// Reads sources from Git repositories.
///
/// Charts of Helm repositories and OCI artifacts are refused: the direct backend reads Git.
#[derive(Clone, Debug)]
pub struct GitSources {
    git: GitClient,
    renderers: Renderers,
}

/// A source whose commit is known.
struct Read<'a> {
    source: &'a Source,
    repository: Repository,
    commit: String,
}

impl GitSources {
    /// Reads with `git` and renders with `renderers`.
    pub fn new(git: GitClient, renderers: Renderers) -> Self {
        Self { git, renderers }
    }

    /// The Git client.
    pub fn git(&self) -> &GitClient {
        &self.git
    }

    async fn read<'a>(&self, source: &'a Source, revision: &str) -> Result<Read<'a>> {
        if source.kind != SourceKind::Git || source.chart.is_some() {
            return Err(Error::unsupported(
                "charts of Helm repositories and OCI artifacts as sources",
                "the direct backend",
            ));
        }
        let wanted = match revision {
            "" => source.target_revision.as_deref().unwrap_or_default(),
            revision => revision,
        };
        let revision = Revision::parse(wanted)?;
        let repository = self.git.repository(&source.repo_url).await?;
        let commit = repository.fetch_revision(&revision).await?.commit;
        Ok(Read {
            source,
            repository,
            commit,
        })
    }

    async fn render_one(
        &self,
        app: &Application,
        read: &Read<'_>,
        refs: &BTreeMap<String, Tree>,
    ) -> Result<ManifestSet> {
        let path = clean_path(read.source.path.as_deref().unwrap_or_default())?;
        let mut tree = read.repository.tree(&read.commit, &path).await?;
        let mut inside = String::new();
        // An overlay reaches its base, and a chart its value files, outside of its own path.
        let whole = match &read.source.render {
            Render::Kustomize(_) | Render::Helm(_) => true,
            Render::Auto => {
                tree.get("Chart.yaml").is_some()
                    || KUSTOMIZATIONS.iter().any(|name| tree.get(name).is_some())
            }
            _ => false,
        } || leads_out(&tree);
        if whole && !path.is_empty() {
            tree = read.repository.tree(&read.commit, "").await?;
            inside = path;
        }
        let request = RenderRequest {
            tree,
            path: inside,
            source: read.source.clone(),
            app_name: app.name.clone(),
            namespace: app.destination.namespace.clone(),
            project: app.project.clone(),
            refs: refs.clone(),
            ..RenderRequest::default()
        };
        self.renderers.render(&request).await
    }
}

#[async_trait]
impl Sources for GitSources {
    async fn render(&self, app: &Application, revisions: &[String]) -> Result<Rendered> {
        if app.sources.is_empty() {
            return Err(Error::invalid(format!(
                "application {} has no source",
                app.app_ref()
            )));
        }
        let mut reads = Vec::with_capacity(app.sources.len());
        for (index, source) in app.sources.iter().enumerate() {
            let revision = revisions.get(index).map(String::as_str).unwrap_or_default();
            reads.push(self.read(source, revision).await?);
        }
        let mut refs = BTreeMap::new();
        for read in &reads {
            if let Some(name) = &read.source.ref_name {
                refs.insert(name.clone(), read.repository.tree(&read.commit, "").await?);
            }
        }
        let mut all = Vec::with_capacity(reads.len());
        for read in &reads {
            // A source that is only there for its values has nothing to render (Argo CD).
            if read.source.ref_name.is_some() && read.source.path.is_none() {
                continue;
            }
            let rendered = self.render_one(app, read, &refs).await.context(|| {
                format!(
                    "{} at {}",
                    gitops_core::error::redact_url(&read.source.repo_url),
                    short(&read.commit)
                )
            })?;
            all.push(rendered);
        }
        Ok(Rendered {
            revisions: reads.into_iter().map(|read| read.commit).collect(),
            manifests: merge(all)?,
        })
    }

    /// Fetches no more than what the revisions need.
    async fn resolve(&self, app: &Application) -> Result<Vec<String>> {
        let mut revisions = Vec::with_capacity(app.sources.len());
        for source in &app.sources {
            revisions.push(self.read(source, "").await?.commit);
        }
        Ok(revisions)
    }

    /// Not known when the number of sources changed, or a revision is gone (a branch was rewritten, and its old commits were cleaned away).
    async fn changed_paths(
        &self,
        app: &Application,
        from: &[String],
        to: &[String],
    ) -> Result<Option<Vec<String>>> {
        if from.len() != app.sources.len() || to.len() != app.sources.len() {
            return Ok(None);
        }
        let mut paths = Vec::new();
        for (source, (from, to)) in app.sources.iter().zip(from.iter().zip(to)) {
            if from == to {
                continue;
            }
            let mut commits = Vec::with_capacity(2);
            for revision in [from, to] {
                match self.read(source, revision).await {
                    Ok(read) => commits.push(read),
                    Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                    Err(error) => return Err(error),
                }
            }
            if let [from, to] = &commits[..] {
                let changes = to
                    .repository
                    .changed_paths(Some(&from.commit), &to.commit, "")
                    .await?;
                for change in changes {
                    paths.extend(change.old_path);
                    paths.push(change.path);
                }
            }
        }
        paths.sort();
        paths.dedup();
        Ok(Some(paths))
    }
}

/// What a later source says of an object replaces what an earlier one said (argo-cd 3.2, `docs/user-guide/multiple_sources.md`).
fn merge(all: Vec<ManifestSet>) -> Result<ManifestSet> {
    let mut all = all;
    if all.len() == 1
        && let Some(only) = all.pop()
    {
        return Ok(only);
    }
    let mut objects = Vec::new();
    let mut at = std::collections::HashMap::new();
    for object in all.into_iter().flatten() {
        match at.entry(object.id()) {
            std::collections::hash_map::Entry::Occupied(entry) => objects[*entry.get()] = object,
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(objects.len());
                objects.push(object);
            }
        }
    }
    ManifestSet::from_objects(objects)
}

/// `.`, `./a/` and the like in the form that trees have; what climbs is refused.
pub(super) fn clean_path(path: &str) -> Result<String> {
    if path.starts_with('/') {
        return Err(Error::invalid(format!(
            "path {path:?} is absolute; it must be relative to the repository"
        )));
    }
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    let clean = parts.join("/");
    if !clean.is_empty() {
        check_path(&clean)?;
    }
    Ok(clean)
}

/// Whether a link leads out of the path that was read, elsewhere into the repository.
fn leads_out(tree: &Tree) -> bool {
    let inside = |target: &str| {
        target
            .strip_prefix(&tree.path)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    !tree.path.is_empty()
        && tree
            .iter()
            .any(|(_, entry)| matches!(entry, TreeEntry::Link(target) if !inside(target)))
}

fn short(commit: &str) -> &str {
    commit.get(..8).unwrap_or(commit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_and_never_climb() {
        for (path, clean) in [("", ""), (".", ""), ("./a//b/", "a/b"), ("a", "a")] {
            assert_eq!(clean_path(path).unwrap(), clean);
        }
        for bad in ["../a", "a/../b", "/etc", "a/.git", "a\\b"] {
            assert!(clean_path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn links_out_of_the_path_need_the_whole_repository() {
        let tree = |path: &str, target: &str| {
            let mut tree = Tree::new("", path, "");
            tree.insert("x", TreeEntry::Link(target.into())).unwrap();
            tree
        };
        assert!(!leads_out(&tree("a", "a/y")));
        assert!(leads_out(&tree("a", "ab/y")));
        assert!(leads_out(&tree("a", "b")));
        assert!(!leads_out(&tree("", "b")));
    }
}
