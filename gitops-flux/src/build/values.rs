//! Where `postBuild.substituteFrom` gets its values.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gitops_core::{Error, Result};
use gitops_kube::cluster::{from_kube, path_segment};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;

use super::variables::Variables;
use crate::types::PostBuild;

/// How long one ConfigMap or Secret may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// Reads ConfigMaps and Secrets that hold variables.
#[async_trait]
pub trait SubstituteValues: Send + Sync {
    /// The `data` of a ConfigMap or Secret (`kind`), Secrets' decoded; `None` when there is no such object.
    ///
    /// # Errors
    /// Whatever kept it from being read. No error may hold a value.
    async fn read(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<BTreeMap<String, Vec<u8>>>>;
}

#[async_trait]
impl<T: SubstituteValues + ?Sized> SubstituteValues for Arc<T> {
    async fn read(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<BTreeMap<String, Vec<u8>>>> {
        (**self).read(kind, namespace, name).await
    }
}

/// ConfigMaps and Secrets of a cluster. Whoever builds must be allowed to `get` them.
#[derive(Clone)]
pub struct KubeValues {
    client: kube::Client,
}

impl fmt::Debug for KubeValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubeValues").finish_non_exhaustive()
    }
}

impl KubeValues {
    /// Of the cluster that `client` speaks to.
    pub fn new(client: kube::Client) -> Self {
        Self { client }
    }

    async fn get(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<BTreeMap<String, Vec<u8>>>> {
        // The name is whatever the Kustomization says, and kube writes it into the path.
        let (namespace, name) = (path_segment(namespace)?, path_segment(name)?);
        match kind {
            "ConfigMap" => {
                let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
                let found = api.get_opt(name).await.map_err(from_kube)?;
                Ok(found.map(|map| {
                    let data = map.data.unwrap_or_default().into_iter();
                    data.map(|(key, value)| (key, value.into_bytes())).collect()
                }))
            }
            "Secret" => {
                let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
                let found = api.get_opt(name).await.map_err(from_kube)?;
                Ok(found.map(|secret| {
                    let data = secret.data.unwrap_or_default().into_iter();
                    data.map(|(key, value)| (key, value.0)).collect()
                }))
            }
            other => Err(Error::unsupported(
                &format!("variables from a {other:?}"),
                "Flux",
            )),
        }
    }
}

#[async_trait]
impl SubstituteValues for KubeValues {
    async fn read(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<BTreeMap<String, Vec<u8>>>> {
        match tokio::time::timeout(DEADLINE, self.get(kind, namespace, name)).await {
            Ok(found) => found,
            Err(_) => Err(Error::timeout("the API server did not answer in time")),
        }
    }
}

/// ConfigMaps and Secrets in memory.
#[derive(Clone, Default)]
pub struct MapValues {
    objects: BTreeMap<(String, String, String), BTreeMap<String, Vec<u8>>>,
}

impl fmt::Debug for MapValues {
    /// Without values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.objects.keys()).finish()
    }
}

impl MapValues {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a ConfigMap or Secret (`kind`).
    #[must_use]
    pub fn with<K: Into<String>, V: Into<Vec<u8>>>(
        mut self,
        kind: &str,
        namespace: &str,
        name: &str,
        data: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let data = data
            .into_iter()
            .map(|(key, value)| (key.into(), value.into()))
            .collect();
        let key = (kind.to_owned(), namespace.to_owned(), name.to_owned());
        self.objects.insert(key, data);
        self
    }
}

#[async_trait]
impl SubstituteValues for MapValues {
    async fn read(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<BTreeMap<String, Vec<u8>>>> {
        let key = (kind.to_owned(), namespace.to_owned(), name.to_owned());
        Ok(self.objects.get(&key).cloned())
    }
}

/// Where values may come from.
#[derive(Clone)]
pub(super) enum From {
    /// Nobody said.
    Unknown,
    /// Nowhere: references are passed over, as `flux build kustomization --dry-run` does.
    Nowhere,
    /// There.
    Values(Arc<dyn SubstituteValues>),
}

/// The variables of a `Kustomization`: those of `substituteFrom` in their order, then those of `substitute`, which win.
pub(super) async fn variables(
    post_build: &PostBuild,
    namespace: &str,
    from: &From,
    warnings: &mut Vec<String>,
) -> Result<Variables> {
    let mut variables = Variables::new();
    for reference in post_build.substitute_from.iter().flatten() {
        let shown = format!("{}/{}", reference.kind, reference.name);
        let values = match from {
            From::Values(values) => values,
            From::Nowhere => {
                warnings.push(format!("variables of {shown} are not substituted"));
                continue;
            }
            From::Unknown => {
                return Err(Error::invalid(format!(
                    "variables come from {shown}, and nobody was named who reads it"
                )));
            }
        };
        let found = values
            .read(&reference.kind, namespace, &reference.name)
            .await
            .map_err(|error| error.context(format!("substitute from {shown}")))?;
        match found {
            Some(data) => {
                for (name, value) in data {
                    variables.set_bytes(name, &value);
                }
            }
            None if reference.optional == Some(true) => {
                warnings.push(format!("{shown} is not there, and need not be"));
            }
            None => {
                return Err(Error::not_found(format!(
                    "substitute from {shown}: it does not exist in namespace {namespace:?}"
                )));
            }
        }
    }
    if let Some(own) = &post_build.substitute {
        variables.extend(own.iter());
    }
    variables.check_names()?;
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use gitops_core::ErrorKind;

    use super::*;
    use crate::types::SubstituteReference;

    fn reference(kind: &str, name: &str, optional: bool) -> SubstituteReference {
        SubstituteReference {
            kind: kind.into(),
            name: name.into(),
            optional: Some(optional),
            ..SubstituteReference::default()
        }
    }

    fn from() -> From {
        From::Values(Arc::new(
            MapValues::new()
                .with(
                    "ConfigMap",
                    "apps",
                    "a",
                    [("x", "1\n"), ("y", "1"), ("z", "1")],
                )
                .with("Secret", "apps", "a", [("y", "2"), ("z", "2")])
                .with("Secret", "other", "gone", [("x", "3")])
                .with("Secret", "apps", "bad", [("tls.crt", "canary")]),
        ))
    }

    #[tokio::test]
    async fn later_values_win_and_own_ones_most() {
        let post_build = PostBuild {
            substitute: Some(BTreeMap::from([("z".into(), "3\n3".into())])),
            substitute_from: Some(vec![
                reference("ConfigMap", "a", false),
                reference("Secret", "a", false),
                reference("Secret", "gone", true),
            ]),
            ..PostBuild::default()
        };
        let mut warnings = Vec::new();
        let found = variables(&post_build, "apps", &from(), &mut warnings)
            .await
            .unwrap();
        assert_eq!(
            found,
            Variables::from_iter([("x", "1"), ("y", "2"), ("z", "33")])
        );
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        let found = variables(&post_build, "apps", &From::Nowhere, &mut warnings)
            .await
            .unwrap();
        assert_eq!(found, Variables::from_iter([("z", "33")]));
        let error = variables(&post_build, "apps", &From::Unknown, &mut warnings)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }

    #[tokio::test]
    async fn what_is_missing_or_misnamed_is_told() {
        for (name, kind) in [
            ("gone", ErrorKind::NotFound),
            ("bad", ErrorKind::InvalidInput),
        ] {
            let post_build = PostBuild {
                substitute_from: Some(vec![reference("Secret", name, false)]),
                ..PostBuild::default()
            };
            let error = variables(&post_build, "apps", &from(), &mut Vec::new())
                .await
                .unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(!format!("{error:#}").contains("canary"));
        }
    }
}
