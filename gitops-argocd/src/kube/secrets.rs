//! Repositories, credential templates and clusters: labelled Secrets in Argo CD's namespace (argo-cd 3.2, `util/db`).

use std::collections::BTreeMap;

use gitops_core::{Error, ErrorKind, Result};
use gitops_kube::cluster::from_kube;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DeleteParams, ListParams, ObjectMeta, PostParams, Preconditions};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{KubeArgoCd, checked};
use crate::rest::{Access, Cluster, ClusterId, RepoCredentials, Repository};

const TYPE: &str = "argocd.argoproj.io/secret-type";
const MANAGED_BY: &str = "managed-by";
const ARGOCD: &str = "argocd.argoproj.io";
const APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Annotations of the Secret that are nothing of the cluster's; of the labels it is the type.
const OWN: [&str; 2] = [MANAGED_BY, APPLIED];

const FLAGS: [&str; 7] = [
    "insecureIgnoreHostKey",
    "insecure",
    "enableLfs",
    "enableOCI",
    "insecureOCIForceHttp",
    "forceHttpBasicAuth",
    "useAzureWorkloadIdentity",
];
const NUMBERS: [&str; 2] = ["githubAppID", "githubAppInstallationID"];

/// A kind of Secret.
#[derive(Clone, Copy)]
struct Form {
    label: &'static str,
    prefix: &'static str,
    /// The field of the type that is `url` in the Secret.
    url: &'static str,
}

fn repository(access: Access) -> Form {
    Form {
        label: match access {
            Access::Read => "repository",
            Access::Write => "repository-write",
        },
        prefix: match access {
            Access::Read => "repo",
            Access::Write => "repo-write",
        },
        url: "repo",
    }
}

fn credentials(access: Access) -> Form {
    Form {
        label: match access {
            Access::Read => "repo-creds",
            Access::Write => "repo-write-creds",
        },
        prefix: match access {
            Access::Read => "creds",
            Access::Write => "creds-write",
        },
        url: "url",
    }
}

/// FNV-1a in 32 bits, of which Argo CD makes the names of its Secrets. They are names only: Secrets are found by what is in them.
fn fnv(parts: &[&str]) -> u32 {
    parts
        .iter()
        .flat_map(|part| part.bytes())
        .fold(2_166_136_261, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(16_777_619)
        })
}

fn text<'a>(secret: &'a Secret, key: &str) -> &'a str {
    secret
        .data
        .as_ref()
        .and_then(|data| data.get(key))
        .and_then(|bytes| std::str::from_utf8(&bytes.0).ok())
        .unwrap_or_default()
}

fn name_of(secret: &Secret) -> &str {
    secret.metadata.name.as_deref().unwrap_or_default()
}

/// A Secret's data as one of the types.
fn read<T: DeserializeOwned>(form: Form, secret: &Secret) -> Result<T> {
    let bad = |key: &str| {
        Error::integrity(format!(
            "Secret {}: {key} is not what it should be",
            name_of(secret)
        ))
    };
    let mut fields = Map::new();
    for (key, bytes) in secret.data.iter().flatten() {
        let text = std::str::from_utf8(&bytes.0).map_err(|_| bad(key))?;
        let key = if key == "url" { form.url } else { key };
        let value = if FLAGS.contains(&key) {
            // What Go's strconv.ParseBool takes.
            match text {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => Value::Bool(true),
                "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Value::Bool(false),
                _ => return Err(bad(key)),
            }
        } else if NUMBERS.contains(&key) {
            Value::from(text.parse::<i64>().map_err(|_| bad(key))?)
        } else {
            Value::from(text)
        };
        fields.insert(key.to_owned(), value);
    }
    // The error could quote what is in it.
    serde_json::from_value(Value::Object(fields)).map_err(|_| bad("data"))
}

/// One of the types as a Secret's data.
fn data(form: Form, value: &impl Serialize) -> Result<BTreeMap<String, ByteString>> {
    let value = serde_json::to_value(value)
        .map_err(|_| Error::internal("the settings cannot be written"))?;
    let Value::Object(fields) = value else {
        return Err(Error::internal("the settings are no object"));
    };
    Ok(fields
        .into_iter()
        .filter(|(key, _)| key != "connectionState" && key != "inheritedCreds")
        .filter_map(|(key, value)| {
            let text = match value {
                Value::String(text) => text,
                Value::Bool(flag) => flag.to_string(),
                Value::Number(number) => number.to_string(),
                _ => return None,
            };
            let key = if key == form.url {
                "url".to_owned()
            } else {
                key
            };
            Some((key, ByteString(text.into_bytes())))
        })
        .collect())
}

/// A URL as Argo CD compares them: without `.git` and slashes at the end, with scheme and host in small letters.
fn same_url(a: &str, b: &str) -> bool {
    fn normal(url: &str) -> String {
        let url = url.trim().trim_end_matches('/').trim_end_matches(".git");
        match url.split_once("://") {
            Some((scheme, rest)) => {
                let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
                format!("{}://{}/{path}", scheme.to_lowercase(), host.to_lowercase())
            }
            None => url.to_owned(),
        }
    }
    normal(a) == normal(b)
}

/// Labels and annotations to be set; `None` leaves those that are there.
#[derive(Clone, Copy, Default)]
struct Marks<'a> {
    labels: Option<&'a BTreeMap<String, String>>,
    annotations: Option<&'a BTreeMap<String, String>>,
}

impl Marks<'_> {
    fn set(self, metadata: &mut ObjectMeta) {
        for (wanted, have, own) in [
            (self.labels, &mut metadata.labels, &[TYPE][..]),
            (self.annotations, &mut metadata.annotations, &OWN),
        ] {
            let Some(wanted) = wanted else { continue };
            let have = have.get_or_insert_default();
            have.retain(|name, _| own.contains(&name.as_str()));
            for (name, value) in wanted {
                have.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
    }
}

/// What can be read of the Secrets.
fn readable<T>(secrets: &[Secret], read: impl Fn(&Secret) -> Result<T>) -> Vec<T> {
    let warned = |secret| {
        read(secret)
            .inspect_err(|error| tracing::warn!(%error, "left out of a list"))
            .ok()
    };
    secrets.iter().filter_map(warned).collect()
}

impl KubeArgoCd {
    fn secrets(&self) -> Result<Api<Secret>> {
        let namespace = checked(&self.namespace)?;
        Ok(Api::namespaced(self.client.clone(), namespace))
    }

    async fn list_secrets(&self, label: &str) -> Result<Vec<Secret>> {
        let params = ListParams::default().labels(&format!("{TYPE}={label}"));
        let list = self
            .secrets()?
            .list(&params)
            .await
            .map_err(|error| from_kube(error).context(format!("list {label} secrets")))?;
        Ok(list.items)
    }

    /// Makes the Secret, or gives the one that is there what `data` and `marks` say. A key that `data` does not have stays as it is, and so do labels and annotations that
    /// `marks` do not name at all: what was not said is not forgotten.
    async fn put_secret(
        &self,
        label: &str,
        name: String,
        found: Option<Secret>,
        data: BTreeMap<String, ByteString>,
        marks: Marks<'_>,
    ) -> Result<()> {
        let what = format!("write {label} secret {name}");
        let params = PostParams::default();
        let result = match found {
            Some(mut secret) => {
                secret.data.get_or_insert_default().extend(data);
                marks.set(&mut secret.metadata);
                let name = name_of(&secret).to_owned();
                self.secrets()?.replace(&name, &params, &secret).await
            }
            None => {
                let mut metadata = ObjectMeta {
                    name: Some(name),
                    labels: Some([(TYPE.to_owned(), label.to_owned())].into()),
                    annotations: Some([(MANAGED_BY.to_owned(), ARGOCD.to_owned())].into()),
                    ..ObjectMeta::default()
                };
                marks.set(&mut metadata);
                let secret = Secret {
                    metadata,
                    data: Some(data),
                    ..Secret::default()
                };
                self.secrets()?.create(&params, &secret).await
            }
        };
        result.map(drop).map_err(|error| {
            let error = from_kube(error);
            // A message about a Secret may quote it.
            Error::new(error.kind(), "the Secret cannot be written").context(what)
        })
    }

    async fn delete_secret(&self, secret: &Secret) -> Result<()> {
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: secret.metadata.uid.clone(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match self.secrets()?.delete(name_of(secret), &params).await {
            Ok(_) => Ok(()),
            Err(error) => match from_kube(error) {
                error if error.kind() == ErrorKind::NotFound => Ok(()),
                error => Err(error.context("delete a secret")),
            },
        }
    }

    /// The repositories, with their credentials. A Secret that cannot be read is left out with a warning, as Argo CD does it.
    ///
    /// # Errors
    /// `PermissionDenied`.
    pub async fn list_repositories(&self, access: Access) -> Result<Vec<Repository>> {
        let form = repository(access);
        let secrets = self.list_secrets(form.label).await?;
        Ok(readable(&secrets, |secret| read(form, secret)))
    }

    /// Registers a repository, or changes the one that is there. Whether it can be reached nobody asks.
    ///
    /// # Errors
    /// `Conflict` when somebody else was faster; `PermissionDenied`.
    pub async fn put_repository(&self, access: Access, wanted: &Repository) -> Result<()> {
        let form = repository(access);
        let project = wanted.project.as_deref().unwrap_or_default();
        let found = self.find(form.label, &wanted.repo, Some(project)).await?;
        let name = format!("{}-{}", form.prefix, fnv(&[&wanted.repo, project]));
        let (data, marks) = (data(form, wanted)?, Marks::default());
        self.put_secret(form.label, name, found, data, marks).await
    }

    /// Forgets a repository.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`.
    pub async fn delete_repository(
        &self,
        access: Access,
        url: &str,
        project: Option<&str>,
    ) -> Result<()> {
        let label = repository(access).label;
        match self
            .find(label, url, Some(project.unwrap_or_default()))
            .await?
        {
            Some(secret) => self.delete_secret(&secret).await,
            None => Err(Error::not_found("there is no such repository")),
        }
    }

    /// The credential templates, with their credentials.
    ///
    /// # Errors
    /// As [`list_repositories`](Self::list_repositories).
    pub async fn list_repository_credentials(
        &self,
        access: Access,
    ) -> Result<Vec<RepoCredentials>> {
        let form = credentials(access);
        let secrets = self.list_secrets(form.label).await?;
        Ok(readable(&secrets, |secret| read(form, secret)))
    }

    /// Makes a credential template, or changes the one that is there.
    ///
    /// # Errors
    /// As [`put_repository`](Self::put_repository).
    pub async fn put_repository_credentials(
        &self,
        access: Access,
        wanted: &RepoCredentials,
    ) -> Result<()> {
        let form = credentials(access);
        let found = self.find(form.label, &wanted.url, None).await?;
        let name = format!("{}-{}", form.prefix, fnv(&[&wanted.url]));
        let (data, marks) = (data(form, wanted)?, Marks::default());
        self.put_secret(form.label, name, found, data, marks).await
    }

    /// Forgets a credential template.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`.
    pub async fn delete_repository_credentials(&self, access: Access, url: &str) -> Result<()> {
        match self.find(credentials(access).label, url, None).await? {
            Some(secret) => self.delete_secret(&secret).await,
            None => Err(Error::not_found("there is no such credential template")),
        }
    }

    async fn find(&self, label: &str, url: &str, project: Option<&str>) -> Result<Option<Secret>> {
        let secrets = self.list_secrets(label).await?;
        Ok(secrets.into_iter().find(|secret| {
            same_url(text(secret, "url"), url)
                && project.is_none_or(|project| text(secret, "project") == project)
        }))
    }

    /// The registered clusters, with their credentials. The one that Argo CD runs in is there only if somebody registered it.
    ///
    /// # Errors
    /// As [`list_repositories`](Self::list_repositories).
    pub async fn list_clusters(&self) -> Result<Vec<Cluster>> {
        let secrets = self.list_secrets("cluster").await?;
        Ok(readable(&secrets, cluster))
    }

    /// Registers a cluster, or changes the one at that URL. Whether it can be reached nobody asks. [`Cluster::labels`] and [`Cluster::annotations`], which generators of
    /// application sets select by, replace those that are there; with `None` they stay.
    ///
    /// # Errors
    /// `InvalidInput` for what is no URL, and for the annotation in which `kubectl apply` keeps what it applied; `Conflict` when somebody else was faster; `PermissionDenied`.
    pub async fn put_cluster(&self, wanted: &Cluster) -> Result<()> {
        if wanted
            .annotations
            .iter()
            .flatten()
            .any(|(name, _)| name == APPLIED)
        {
            return Err(Error::invalid(format!(
                "annotation {APPLIED} cannot be set"
            )));
        }
        let server = wanted.server.trim_end_matches('/');
        let host = url::Url::parse(server)
            .ok()
            .and_then(|url| url.host_str().map(str::to_lowercase))
            .ok_or_else(|| Error::invalid("the cluster's server is no URL"))?;
        let host = host.trim_matches(['[', ']']).replace(':', "-");
        let config = serde_json::to_string(&wanted.config)
            .map_err(|_| Error::internal("the cluster's configuration cannot be written"))?;
        let name = if wanted.name.is_empty() {
            server
        } else {
            &wanted.name
        };
        let mut fields = vec![
            ("server", server.to_owned()),
            ("name", name.to_owned()),
            ("config", config),
        ];
        if let Some(namespaces) = &wanted.namespaces {
            fields.push(("namespaces", namespaces.join(",")));
        }
        if let Some(shard) = wanted.shard {
            fields.push(("shard", shard.to_string()));
        }
        if let Some(all) = wanted.cluster_resources {
            fields.push(("clusterResources", all.to_string()));
        }
        if let Some(project) = &wanted.project {
            fields.push(("project", project.clone()));
        }
        let data = fields
            .into_iter()
            .map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes())))
            .collect();
        let secrets = self.list_secrets("cluster").await?;
        let found = secrets
            .into_iter()
            .find(|secret| text(secret, "server").trim_end_matches('/') == server);
        let secret_name = format!("cluster-{host}-{}", fnv(&[server]));
        let marks = Marks {
            labels: wanted.labels.as_ref(),
            annotations: wanted.annotations.as_ref(),
        };
        self.put_secret("cluster", secret_name, found, data, marks)
            .await
    }

    /// Forgets a cluster.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`.
    pub async fn delete_cluster(&self, id: &ClusterId) -> Result<()> {
        let secrets = self.list_secrets("cluster").await?;
        let found = secrets.iter().find(|secret| match id {
            ClusterId::Server(server) => {
                text(secret, "server").trim_end_matches('/') == server.trim_end_matches('/')
            }
            ClusterId::Name(name) => text(secret, "name") == name,
        });
        match found {
            Some(secret) => self.delete_secret(secret).await,
            None => Err(Error::not_found("there is no such cluster")),
        }
    }
}

fn cluster(secret: &Secret) -> Result<Cluster> {
    let bad = |key: &str| {
        Error::integrity(format!(
            "Secret {}: {key} is not what it should be",
            name_of(secret)
        ))
    };
    let config = match text(secret, "config") {
        "" => Default::default(),
        config => serde_json::from_str(config).map_err(|_| bad("config"))?,
    };
    let namespaces: Vec<String> = text(secret, "namespaces")
        .split(',')
        .map(str::trim)
        .filter(|namespace| !namespace.is_empty())
        .map(str::to_owned)
        .collect();
    let mut labels = secret.metadata.labels.clone().unwrap_or_default();
    labels.remove(TYPE);
    let mut annotations = secret.metadata.annotations.clone().unwrap_or_default();
    annotations.retain(|name, _| !OWN.contains(&name.as_str()));
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Ok(Cluster {
        server: text(secret, "server").trim_end_matches('/').to_owned(),
        name: text(secret, "name").to_owned(),
        config,
        namespaces: (!namespaces.is_empty()).then_some(namespaces),
        shard: text(secret, "shard").parse().ok(),
        cluster_resources: Some(text(secret, "clusterResources") == "true"),
        project: some(text(secret, "project")),
        labels: Some(labels),
        annotations: Some(annotations),
        ..Cluster::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_argo_cds() {
        // hash/fnv's own test vectors (Go 1.26).
        assert_eq!(fnv(&[""]), 0x811c_9dc5);
        assert_eq!(fnv(&["a"]), 0xe40c_292c);
        assert_eq!(fnv(&["a", "bc"]), 0x1a47_e90b);
    }

    #[test]
    fn a_repository_is_read_as_it_was_written() {
        let form = repository(Access::Read);
        let wanted = Repository {
            repo: "https://example.com/a.git".into(),
            password: Some("canary".into()),
            insecure: Some(true),
            github_app_id: Some(7),
            enable_oci: Some(false),
            kind: Some("git".into()),
            ..Repository::default()
        };
        let data = data(form, &wanted).unwrap();
        assert_eq!(data["url"].0, b"https://example.com/a.git");
        assert_eq!(data["githubAppID"].0, b"7");
        assert!(!data.contains_key("repo"));
        let secret = Secret {
            data: Some(data),
            ..Secret::default()
        };
        let got: Repository = read(form, &secret).unwrap();
        assert_eq!(got, wanted);
        assert!(!format!("{got:?}").contains("canary"));
    }

    #[test]
    fn what_cannot_be_read_is_named_and_not_quoted() {
        let secret = Secret {
            data: Some([("insecure".to_owned(), ByteString(b"canary".to_vec()))].into()),
            ..Secret::default()
        };
        let error = read::<Repository>(repository(Access::Read), &secret).unwrap_err();
        assert!(error.to_string().contains("insecure"));
        assert!(!format!("{error:?}").contains("canary"));
    }

    #[test]
    fn urls_that_mean_the_same_are_the_same() {
        assert!(same_url(
            "https://Example.com/a.git",
            "https://example.com/a/"
        ));
        assert!(!same_url("https://example.com/a", "https://example.com/A"));
        assert!(same_url("git@host:a.git", "git@host:a"));
    }
}
