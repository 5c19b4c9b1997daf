//! Rendered manifests, kept while what they came from is the same.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::RenderRequest;
use crate::application::Render;
use crate::error::{Error, Result};
use crate::manifest::{ManifestSet, Tree, TreeEntry};

type Key = [u8; 32];

/// How many renderings the cache plans for; more or fewer fit all the same.
const EXPECTED: usize = 256;

/// Keeps rendered manifests by everything that decides what they are: the trees' digests, the path, the settings, the application's name
/// and namespace, and the renderer's [fingerprint](super::Renderer::fingerprint). Bounded by bytes; what was used least goes first.
///
/// Clones share the entries. Two calls for one thing at a time render once.
#[derive(Clone)]
pub struct RenderCache {
    entries: Arc<Cache<Key, Arc<ManifestSet>, Weigh>>,
    hits: Arc<AtomicU64>,
    misses: Arc<AtomicU64>,
}

impl Default for RenderCache {
    /// 64 MiB.
    fn default() -> Self {
        Self::new(64 << 20)
    }
}

impl fmt::Debug for RenderCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RenderCache")
            .field("entries", &self.entries.len())
            .field("bytes", &self.entries.weight())
            .field("hits", &self.hits())
            .field("misses", &self.misses())
            .finish()
    }
}

impl RenderCache {
    /// A cache of about `bytes` of memory; a rendering that is larger than that is not kept.
    pub fn new(bytes: u64) -> Self {
        Self {
            entries: Arc::new(Cache::with_weighter(EXPECTED, bytes, Weigh)),
            hits: Arc::default(),
            misses: Arc::default(),
        }
    }

    /// How many renderings are kept.
    pub fn entries(&self) -> usize {
        self.entries.len()
    }

    /// How often something was there.
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// How often something had to be rendered.
    pub fn misses(&self) -> u64 {
        self.misses.load(Ordering::Relaxed)
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.entries.clear();
    }

    /// What was kept for the request, else what `render` makes of it. Errors are not kept.
    pub(super) async fn get_or_render(
        &self,
        request: &RenderRequest,
        fingerprint: &str,
        render: impl Future<Output = Result<ManifestSet>>,
    ) -> Result<ManifestSet> {
        let key = key(request, fingerprint)?;
        let mut rendered = false;
        let set = self
            .entries
            .get_or_insert_async(&key, async {
                rendered = true;
                render.await.map(Arc::new)
            })
            .await;
        let counter = if rendered { &self.misses } else { &self.hits };
        counter.fetch_add(1, Ordering::Relaxed);
        set.map(|set| (*set).clone())
    }
}

fn key(request: &RenderRequest, fingerprint: &str) -> Result<Key> {
    let RenderRequest {
        tree: files,
        path,
        source,
        app_name,
        namespace,
        project,
        capabilities,
        refs,
    } = request;
    let settings = serde_json::to_string(&source.render).map_err(|error| {
        Error::internal("cannot write a source's settings as JSON").with_source(error)
    })?;
    let mut hash = Sha256::new();
    for part in [
        fingerprint,
        path,
        app_name,
        namespace,
        &settings,
        &capabilities.kube_version,
    ] {
        field(&mut hash, part.as_bytes());
    }
    count(&mut hash, capabilities.api_versions.len());
    for version in &capabilities.api_versions {
        field(&mut hash, version.as_bytes());
    }
    // What may name the build environment gives something else at another revision: kustomize reads variables, settings name them.
    let constant = match &source.render {
        Render::Directory(_) => true,
        Render::Helm(_) => !settings.contains('$'),
        _ => false,
    };
    if !constant {
        field(&mut hash, project.as_bytes());
        for value in super::build_env::variables(request).values() {
            field(&mut hash, value.as_bytes());
        }
    }
    tree(&mut hash, files);
    // Only charts have value files elsewhere, and only settings name them; of a plugin that is not known.
    let refs_matter = match &source.render {
        Render::Directory(_) | Render::Kustomize(_) => false,
        Render::Helm(_) => settings.contains('$'),
        _ => true,
    };
    for (name, files) in refs.iter().filter(|_| refs_matter) {
        field(&mut hash, name.as_bytes());
        tree(&mut hash, files);
    }
    Ok(hash.finalize().into())
}

/// With its length before it, so that two fields are never taken for another two.
fn field(hash: &mut Sha256, bytes: &[u8]) {
    count(hash, bytes.len());
    hash.update(bytes);
}

fn count(hash: &mut Sha256, count: usize) {
    hash.update((count as u64).to_le_bytes());
}

/// A tree's identity: Git's hash where it has one, else all that is in it. Its path is in every position.
fn tree(hash: &mut Sha256, tree: &Tree) {
    field(hash, tree.path.as_bytes());
    field(hash, tree.hash.as_bytes());
    if !tree.hash.is_empty() {
        return;
    }
    count(hash, tree.len());
    for (path, entry) in tree.iter() {
        field(hash, path.as_bytes());
        match entry {
            TreeEntry::File(bytes) => {
                hash.update([0]);
                field(hash, bytes);
            }
            TreeEntry::Executable(bytes) => {
                hash.update([1]);
                field(hash, bytes);
            }
            TreeEntry::Link(target) => {
                hash.update([2]);
                field(hash, target.as_bytes());
            }
            TreeEntry::Submodule(commit) => {
                hash.update([3]);
                field(hash, commit.as_bytes());
            }
        }
    }
}

/// About how much memory a rendering takes.
#[derive(Clone, Copy, Debug)]
struct Weigh;

impl Weighter<Key, Arc<ManifestSet>> for Weigh {
    fn weight(&self, _: &Key, set: &Arc<ManifestSet>) -> u64 {
        const OBJECT: u64 = 256;
        set.iter()
            .map(|object| {
                let fields: u64 = object
                    .value()
                    .iter()
                    .map(|(key, value)| key.len() as u64 + size(value))
                    .sum();
                OBJECT + fields
            })
            .sum::<u64>()
            .max(1)
    }
}

fn size(value: &Value) -> u64 {
    // A value with its share of the node of the map or list that holds it.
    const NODE: u64 = 64;
    NODE + match value {
        Value::String(text) => text.len() as u64,
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| key.len() as u64 + size(value))
            .sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}
