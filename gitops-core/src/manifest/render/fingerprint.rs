//! What decides a rendering, as a digest.

use std::collections::BTreeSet;
use std::fmt;

use sha2::{Digest as _, Sha256};

use super::{RenderRequest, build_env, paths};
use crate::manifest::{Tree, TreeEntry};

/// A digest of everything that decides a rendering: two requests with equal fingerprints give equal manifests.
///
/// It begins with what every renderer looks at: the settings, the application's name and namespace, and where the files lie. The renderer
/// adds the version of its program, the files that it reads, and whatever else it looks at.
#[derive(Clone)]
pub struct Fingerprint(Sha256);

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Fingerprint").finish_non_exhaustive()
    }
}

impl Fingerprint {
    /// For the request, and for `renderer`: its name, and the version of the program that it runs. `None` when the settings cannot be written
    /// as JSON.
    pub fn new(renderer: &str, request: &RenderRequest) -> Option<Self> {
        let settings = serde_json::to_string(&request.source.render).ok()?;
        let new = [
            renderer,
            &settings,
            &request.app_name,
            &request.namespace,
            &request.capabilities.kube_version,
            // The positions of objects name files as the repository has them.
            &request.tree.path,
            &request.path,
        ]
        .into_iter()
        .fold(Self(Sha256::new()), Self::text);
        let apis = &request.capabilities.api_versions;
        Some(
            apis.iter()
                .fold(new.number(apis.len()), |new, api| new.text(api)),
        )
    }

    /// Adds a text.
    #[must_use]
    pub fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes())
    }

    /// Adds bytes.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        // The length keeps two texts from being taken for another two.
        let mut new = self.number(bytes.len());
        new.0.update(bytes);
        new
    }

    /// Adds all of a tree, by Git's hash where it has one.
    #[must_use]
    pub fn tree(self, tree: &Tree) -> Self {
        match tree.hash.as_str() {
            "" => self.paths(tree, BTreeSet::from([String::new()])),
            hash => self.text("tree").text(hash),
        }
    }

    /// Adds what is at and below these paths of a tree, and what links in there lead to.
    #[must_use]
    pub fn paths(self, tree: &Tree, paths: BTreeSet<String>) -> Self {
        let paths = paths::closure(tree, paths);
        if paths.contains("") && !tree.hash.is_empty() {
            return self.tree(tree);
        }
        let mut new = self.text("paths");
        for (path, entry) in paths
            .iter()
            .flat_map(|path| paths::at_and_below(tree, path))
        {
            new = new.text(path);
            new = match entry {
                TreeEntry::File(bytes) => new.text("file").bytes(bytes),
                TreeEntry::Executable(bytes) => new.text("executable").bytes(bytes),
                TreeEntry::Link(target) => new.text("link").text(target),
                TreeEntry::Submodule(commit) => new.text("submodule").text(commit),
            };
        }
        new
    }

    /// Adds Argo CD's build environment: the revision, the source's URL, the project.
    #[must_use]
    pub fn build_environment(self, request: &RenderRequest) -> Self {
        let variables = build_env::variables(request);
        variables.values().fold(self, |new, value| new.text(value))
    }

    fn number(mut self, number: usize) -> Self {
        self.0.update((number as u64).to_le_bytes());
        self
    }

    pub(super) fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}
