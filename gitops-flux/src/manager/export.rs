//! Exporting objects, as `flux export` does.

use std::fmt;

use gitops_core::manifest::yaml::{to_yaml, to_yaml_documents};
use gitops_core::secret::SecretString;
use gitops_core::{Error, Result, ResultExt as _};
use serde_json::{Map, Value, json};

use super::request::{Request, segment};
use super::{FluxList, FluxManager, FluxRef, ListOptions};
use crate::FluxKind;

/// Objects without what the server and the controllers added, ready to be kept in Git.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Export {
    /// The objects: `apiVersion`, `kind`, `metadata` with name, namespace, labels and annotations, `spec`.
    pub objects: Vec<Value>,
}

impl fmt::Debug for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Export")
            .field("objects", &self.objects.len())
            .finish()
    }
}

impl Export {
    /// The objects as the documents of one YAML file.
    pub fn to_yaml(&self) -> String {
        to_yaml_documents(&self.objects)
    }
}

impl FluxManager {
    /// Exports one object.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn export(&self, object: &FluxRef) -> Result<Export> {
        let value = self.get_value(object).await?;
        Ok(Export {
            objects: vec![clean(object.kind, &value)],
        })
    }

    /// Exports the objects of a kind. One that cannot be read as its kind is exported as it is.
    ///
    /// # Errors
    /// Those of [`list`](Self::list).
    pub async fn export_all(&self, kind: FluxKind, options: &ListOptions) -> Result<Export> {
        let list: FluxList<Value> = self.list_as(kind, options).await?;
        let objects = list.items.iter().map(|value| clean(kind, value)).collect();
        Ok(Export { objects })
    }

    /// The Secret that a source takes its credentials from (`spec.secretRef`), as `flux export source … --with-credentials` gives it: a YAML document with the credentials in it. `None`
    /// where the source names none.
    ///
    /// # Errors
    /// `NotFound` when the source or its Secret is not there; `PermissionDenied`.
    pub async fn export_credentials(&self, source: &FluxRef) -> Result<Option<SecretString>> {
        let source = self.resolve(source);
        let value = self.get_value(&source).await?;
        let Some(name) = value["spec"]["secretRef"]["name"].as_str() else {
            return Ok(None);
        };
        let secret = self.secret(&source.namespace, name).await;
        secret
            .map(Some)
            .context(|| format!("export the credentials of {source}"))
    }

    async fn secret(&self, namespace: &str, name: &str) -> Result<SecretString> {
        let request = Request {
            method: http::Method::GET,
            path: format!(
                "/api/v1/namespaces/{}/secrets/{}",
                segment(namespace)?,
                segment(name)?
            ),
            content_type: None,
            body: Vec::new(),
            kind: None,
        };
        let answer = self.requests.again(&request).await?;
        // An error of reading would quote what it could not read.
        let mut secret: Value = serde_json::from_slice(answer.bytes())
            .map_err(|_| Error::unavailable("the API server's answer cannot be read"))?;
        let exported = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace},
            "data": secret["data"].take(),
            "type": secret["type"].take(),
        });
        Ok(SecretString::new(to_yaml(&exported)))
    }
}

/// What `flux export` 2.7 keeps of an object.
fn clean(kind: FluxKind, object: &Value) -> Value {
    let mut metadata = Map::new();
    for field in ["name", "namespace", "labels", "annotations"] {
        if let Some(value) = object["metadata"].get(field) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    json!({
        "apiVersion": kind.api_version(),
        "kind": kind.kind(),
        "metadata": metadata,
        "spec": object["spec"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_what_the_server_adds_are_left_out() {
        let live = json!({
            "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository",
            "metadata": {
                "name": "app", "namespace": "flux-system", "uid": "u", "resourceVersion": "7", "generation": 2, "creationTimestamp": "2025-01-02T03:04:05Z",
                "finalizers": ["finalizers.fluxcd.io"], "labels": {"team": "shop"}, "managedFields": [{}],
            },
            "spec": {"interval": "1m0s", "url": "https://example.com/app", "ref": {"branch": "main"}},
            "status": {"observedGeneration": 2},
        });
        let export = Export {
            objects: vec![clean(FluxKind::GitRepository, &live)],
        };
        assert_eq!(
            export.to_yaml(),
            "apiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\nmetadata:\n  name: app\n  namespace: flux-system\n  labels:\n    team: shop\nspec:\n  interval: 1m0s\n  ref:\n    branch: main\n  url: https://example.com/app\n"
        );
        assert_eq!(format!("{export:?}"), "Export { objects: 1 }");
    }
}
