//! Rendered manifests, kept while what they came from is the same.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use serde_json::Value;

use super::Fingerprint;
use crate::error::Result;
use crate::manifest::ManifestSet;

type Key = [u8; 32];

/// How many renderings the cache plans for; more or fewer fit all the same.
const EXPECTED: usize = 256;

/// Keeps rendered manifests by their [fingerprint](super::Renderer::fingerprint): everything that decides what they are. Bounded by bytes;
/// what was used least goes first.
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

    /// What was kept under the fingerprint, else what `render` makes of it. Errors are not kept.
    pub(super) async fn get_or_render(
        &self,
        fingerprint: Fingerprint,
        render: impl Future<Output = Result<ManifestSet>>,
    ) -> Result<ManifestSet> {
        let key = fingerprint.finish();
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
