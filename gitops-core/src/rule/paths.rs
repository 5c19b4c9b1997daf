//! Whether files that an application is made of changed.

use async_trait::async_trait;
use globset::GlobBuilder;

use super::{Decision, SyncContext, SyncRule};
use crate::application::{Application, Source};
use crate::error::Result;

/// The annotation of an application that says which paths it is made of.
pub const GENERATE_PATHS: &str = "argocd.argoproj.io/manifest-generate-paths";

/// Says yes when one of [`SyncContext::changed_paths`] is a file that the application is made of.
///
/// Which those are is told by the annotation [`GENERATE_PATHS`], read as Argo CD 3.2 does (`util/app/path`): paths divided by `;`, relative to each source's path, or to
/// the repository's root with a leading `/`; a directory means all below it; a glob of one path's form is matched component by component. Without the annotation
/// it is each source's own path. A change in a path that kustomize or helm reach *outside* of it goes unseen then: name such paths in the annotation, or use
/// [`only_annotated`](Self::only_annotated), which takes every change as one of the application when there is no annotation, as Argo CD does.
///
/// Where the changed paths are not known the answer is yes, as in Argo CD: better a sync too much than a change that is not deployed. A list that is known and empty is a no. (Argo CD
/// takes both as unknown, because webhooks leave the list out.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathsChanged {
    /// Without the annotation every change counts.
    pub only_annotated: bool,
}

impl PathsChanged {
    /// Sets [`only_annotated`](Self::only_annotated).
    #[must_use]
    pub fn only_annotated(mut self, only_annotated: bool) -> Self {
        self.only_annotated = only_annotated;
        self
    }
}

#[async_trait]
impl SyncRule for PathsChanged {
    fn name(&self) -> &str {
        "paths-changed"
    }

    async fn evaluate(&self, context: &SyncContext<'_>) -> Result<Decision> {
        let Some(changed) = context.changed_paths else {
            return Ok(Decision::yes("it is not known which files changed"));
        };
        if changed.is_empty() {
            return Ok(Decision::no("no file changed"));
        }
        let Some(watched) = watched(context.app, self.only_annotated) else {
            return Ok(Decision::yes("every change counts"));
        };
        let hit = changed.iter().find_map(|file| {
            let file = absolute(file);
            let path = watched.iter().find(|path| covers(path, &file))?;
            Some(Decision::yes(format!("{file} changed, which is in {path}")))
        });
        Ok(hit.unwrap_or_else(|| {
            Decision::no(format!(
                "none of {} changed files is in {}",
                changed.len(),
                watched.join(", ")
            ))
        }))
    }
}

/// The paths that count, from the root and normal; `None` when all do.
fn watched(app: &Application, only_annotated: bool) -> Option<Vec<String>> {
    let sources: Vec<&Source> = match &app.hydrate {
        Some(hydrate) => vec![&hydrate.dry_source],
        None => app.sources.iter().collect(),
    };
    let mut paths = Vec::new();
    let annotation = app.annotations.get(GENERATE_PATHS);
    for item in annotation.iter().flat_map(|items| items.split(';')) {
        if item.is_empty() {
            continue;
        }
        if item.starts_with('/') {
            paths.push(absolute(item));
            continue;
        }
        for source in &sources {
            let base = source.path.as_deref().unwrap_or_default();
            paths.push(absolute(&format!("{base}/{item}")));
        }
    }
    if paths.is_empty() {
        // A source without a path (a chart, a repository's root) is made of everything.
        if only_annotated || sources.is_empty() {
            return None;
        }
        for source in &sources {
            paths.push(absolute(source.path.as_deref().unwrap_or_default()));
        }
    }
    paths.sort();
    paths.dedup();
    Some(paths)
}

/// The path from the root without `.`, `..` and empty components; what climbs over the root stays there.
fn absolute(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Whether `file` is `path`, is below it, or matches it as a glob (Go's `filepath.Match`, whose wildcards stop at `/`).
fn covers(path: &str, file: &str) -> bool {
    if path == "/" || file == path {
        return true;
    }
    if let Some(rest) = file.strip_prefix(path)
        && rest.starts_with('/')
    {
        return true;
    }
    path.contains(['*', '?', '['])
        && GlobBuilder::new(path)
            .literal_separator(true)
            .backslash_escape(true)
            .build()
            .is_ok_and(|glob| glob.compile_matcher().is_match(file))
}
