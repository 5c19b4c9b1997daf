//! The API server's schemas, kept.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{StreamExt, TryStreamExt, stream};
use gitops_core::manifest::{GroupVersionKind, Object};
use gitops_core::{Error, ErrorKind, Result, ResultExt};
use jsonschema::{Draft, PatternOptions, Validator};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::keywords::ListType;
use super::strict;
use crate::cluster::KubeCluster;

/// The form of the file; another one is refused.
const FORMAT: u32 = 1;

/// A compiled schema: the same for every object of a kind.
pub(super) type Compiled = Arc<Validator>;

/// The schemas of every kind that an API server serves, from its OpenAPI v3 documents (`/openapi/v3`; Kubernetes 1.27 and newer). Cheap to clone.
///
/// Read them once from the server and keep them in a file for a place without one, such as a pipeline's first step.
#[derive(Clone)]
pub struct Schemas {
    kept: Arc<Kept>,
    compiled: Arc<Mutex<HashMap<GroupVersionKind, Compiled>>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    format: u32,
    server_version: String,
    /// By `apiVersion`.
    documents: BTreeMap<String, Document>,
}

#[derive(Default, Serialize, Deserialize)]
struct Document {
    /// The names of the schemas of kinds.
    kinds: BTreeMap<String, String>,
    /// Strict schemas by name.
    schemas: BTreeMap<String, Value>,
}

impl Schemas {
    /// Reads all schemas from a cluster. A group whose last kind is removed meanwhile is left out.
    ///
    /// # Errors
    /// What the API server answers; `Unsupported` when it has no OpenAPI v3.
    ///
    /// # Cancellation
    /// Dropping the future stops reading.
    pub async fn fetch(cluster: &KubeCluster) -> Result<Self> {
        let index = cluster
            .get_path("/openapi/v3")
            .await
            .context(|| "read the list of OpenAPI documents")?;
        let version = cluster.get_path("/version").await?;
        let Some(paths) = index.get("paths").and_then(Value::as_object) else {
            return Err(Error::unsupported("OpenAPI v3", "this API server"));
        };
        let reads: Vec<_> = paths
            .iter()
            .filter_map(|(path, entry)| {
                let api_version = match path.strip_prefix("apis/") {
                    // Groups as such have a document, too, without kinds.
                    Some(rest) => rest.contains('/').then_some(rest)?,
                    None => path.strip_prefix("api/")?,
                };
                let url = entry.get("serverRelativeURL")?.as_str()?.to_owned();
                Some((api_version.to_owned(), url))
            })
            .map(|(api_version, url)| async move {
                let document = match cluster.get_path(&url).await {
                    Ok(document) => document,
                    // Its last kind was removed since the list was read.
                    Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                    Err(error) => {
                        return Err(error.context(format!("read the schemas of {api_version}")));
                    }
                };
                let document = Document::read(&api_version, &document);
                Ok::<_, Error>(Some((api_version, document)))
            })
            .collect();
        let documents = stream::iter(reads)
            .buffer_unordered(8)
            .try_filter_map(async |document| Ok(document))
            .try_collect()
            .await?;
        let server_version = version.get("gitVersion").and_then(Value::as_str);
        Ok(Self::of(Kept {
            format: FORMAT,
            server_version: server_version.unwrap_or_default().to_owned(),
            documents,
        }))
    }

    fn of(kept: Kept) -> Self {
        Self {
            kept: Arc::new(kept),
            compiled: Arc::default(),
        }
    }

    /// The schemas as JSON, without descriptions.
    ///
    /// # Errors
    /// `Internal` when they cannot be serialised.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(&*self.kept)
            .map_err(|error| Error::internal("schemas cannot be serialised").with_source(error))
    }

    /// The schemas that [`to_json`](Self::to_json) wrote.
    ///
    /// # Errors
    /// `InvalidInput` for anything else.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        let kept: Kept = serde_json::from_slice(json)
            .map_err(|error| Error::invalid("these are no kept schemas").with_source(error))?;
        match kept.format {
            FORMAT => Ok(Self::of(kept)),
            other => Err(Error::invalid(format!(
                "the schemas are kept in format {other}; this program reads {FORMAT}"
            ))),
        }
    }

    /// Keeps the schemas in a file, which is replaced at once or not at all.
    ///
    /// # Errors
    /// What the file system answers.
    pub async fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref().to_owned();
        let json = self.to_json()?;
        let at = path.display().to_string();
        blocking(move || {
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push(format!(".{}.tmp", std::process::id()));
            let temporary = path.with_file_name(name);
            let written = std::fs::write(&temporary, json)
                .and_then(|()| std::fs::File::open(&temporary)?.sync_all())
                .and_then(|()| std::fs::rename(&temporary, &path));
            if written.is_err() {
                // It is of no use to anybody; the error to tell is the first one.
                let _ = std::fs::remove_file(&temporary);
            }
            written
        })
        .await
        .context(|| format!("write {at}"))
    }

    /// Reads the schemas of a file.
    ///
    /// # Errors
    /// What the file system answers; `InvalidInput` for a file that [`save`](Self::save) did not write.
    pub async fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let at = path.display().to_string();
        let json = blocking(move || std::fs::read(path)).await;
        Self::from_json(&json.context(|| format!("read {at}"))?).context(|| at)
    }

    /// The version of the server that they are from (`v1.34.1`).
    pub fn server_version(&self) -> &str {
        &self.kept.server_version
    }

    /// The kinds that have a schema.
    pub fn kinds(&self) -> impl Iterator<Item = GroupVersionKind> + '_ {
        self.kept.documents.iter().flat_map(|(version, document)| {
            let kinds = document.kinds.keys();
            kinds.map(|kind| GroupVersionKind::from_api_version(version, kind))
        })
    }

    /// The compiled schema of a kind; `None` when the server does not serve it.
    pub(super) fn compiled(&self, gvk: &GroupVersionKind) -> Result<Option<Compiled>> {
        if let Some(compiled) = self.lock().get(gvk) {
            return Ok(Some(compiled.clone()));
        }
        let Some(document) = self.kept.documents.get(&gvk.api_version()) else {
            return Ok(None);
        };
        let Some(name) = document.kinds.get(&gvk.kind) else {
            return Ok(None);
        };
        let compiled = compile(&document.closure(name), gvk)?;
        self.lock().insert(gvk.clone(), compiled.clone());
        Ok(Some(compiled))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<GroupVersionKind, Compiled>> {
        // Nothing panics while it is held.
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Schemas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schemas")
            .field("server_version", &self.kept.server_version)
            .field("documents", &self.kept.documents.len())
            .finish_non_exhaustive()
    }
}

impl Document {
    fn read(api_version: &str, document: &Value) -> Self {
        let mut read = Self::default();
        let schemas = document.pointer("/components/schemas");
        for (name, schema) in schemas.and_then(Value::as_object).into_iter().flatten() {
            let gvks = schema.get("x-kubernetes-group-version-kind");
            for gvk in gvks.and_then(Value::as_array).into_iter().flatten() {
                let text = |key: &str| gvk.get(key).and_then(Value::as_str).unwrap_or_default();
                let gvk = GroupVersionKind::new(text("group"), text("version"), text("kind"));
                if gvk.api_version() == api_version {
                    read.kinds.insert(gvk.kind, name.clone());
                }
            }
            read.schemas
                .insert(name.clone(), strict::named(name, schema));
        }
        read
    }

    /// The named schema with all that it refers to.
    fn closure(&self, name: &str) -> Value {
        let mut schemas = Map::new();
        let mut open = vec![name.to_owned()];
        while let Some(next) = open.pop() {
            if !schemas.contains_key(&next)
                && let Some(schema) = self.schemas.get(&next)
            {
                strict::references(schema, &mut open);
                schemas.insert(next, schema.clone());
            }
        }
        json!({
            "allOf": [{"$ref": format!("#/components/schemas/{name}")}],
            "components": {"schemas": schemas},
        })
    }
}

/// The compiled schema of the version of `gvk` of a custom resource definition; `None` when it is about other kinds, or has no schema.
pub(super) fn from_definition(crd: &Object, gvk: &GroupVersionKind) -> Result<Option<Compiled>> {
    let text = |pointer: &str| crd.pointer(pointer).and_then(Value::as_str);
    if text("/spec/group") != Some(&gvk.group) || text("/spec/names/kind") != Some(&gvk.kind) {
        return Ok(None);
    }
    let versions = crd.pointer("/spec/versions").and_then(Value::as_array);
    let version = versions
        .into_iter()
        .flatten()
        .find(|version| version.get("name").and_then(Value::as_str) == Some(&gvk.version));
    match version.and_then(|version| version.pointer("/schema/openAPIV3Schema")) {
        Some(schema) => compile(&strict::custom_resource(schema), gvk).map(Some),
        None => Ok(None),
    }
}

fn compile(schema: &Value, gvk: &GroupVersionKind) -> Result<Compiled> {
    jsonschema::options()
        .with_draft(Draft::Draft4)
        // Go's expressions, too, run in linear time and know no look-around.
        .with_pattern_options(PatternOptions::regex())
        .should_validate_formats(true)
        .with_format("byte", is_base64)
        .with_keyword("x-kubernetes-list-type", ListType::compile)
        .build(schema)
        .map(Arc::new)
        .map_err(|error| {
            let message = format!("the schema of {gvk} cannot be used: {error}");
            Error::invalid(message)
        })
}

/// Go's decoder of `[]byte`: standard base64, line breaks allowed.
fn is_base64(text: &str) -> bool {
    use base64::Engine;
    let text: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .is_ok()
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::internal("a task of the file system was lost").with_source(error))?
        .map_err(|error| {
            let kind = match error.kind() {
                std::io::ErrorKind::NotFound => gitops_core::ErrorKind::NotFound,
                std::io::ErrorKind::PermissionDenied => gitops_core::ErrorKind::PermissionDenied,
                _ => gitops_core::ErrorKind::Unavailable,
            };
            Error::new(kind, error.to_string())
        })
}
