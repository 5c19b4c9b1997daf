//! Applications kept in the cluster, in ConfigMaps.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use gitops_core::application::{AppRef, Application, ApplicationStatus};
use gitops_core::backend::{
    ApplicationStore, DeleteOptions, ListOptions, PutMode, PutOutcome, Stored,
};
use gitops_core::manifest::Object;
use gitops_core::store::{StatusStore, decide_put, not_found, refuse_cascade, version};
use gitops_core::{Error, ErrorKind, Result};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::cluster::{ApiKind, Cluster, DeleteParams, ListParams, ObjectKey, WriteParams};

/// Marks the ConfigMaps of a [`ConfigMapStore`].
pub const APPLICATION_LABEL: &str = "gitops-rs.dev/application";
/// The application's reference, for people: the ConfigMap's own name is a hash.
const REFERENCE_ANNOTATION: &str = "gitops-rs.dev/application";
const MANAGER: &str = "gitops-store";
/// The keys in a ConfigMap's data.
const APPLICATION: &str = "application";
const STATUS: &str = "status";
/// The API server takes 1 MiB for all of a ConfigMap's data.
const MAX_BYTES: usize = 1024 * 1024;
/// How often a write is tried when others write the same application.
const TRIES: usize = 20;

/// Keeps applications and their statuses in ConfigMaps of one namespace, one for each application.
///
/// Writes are conditional on the ConfigMap's resource version and tried again, so that several processes may share a store. Needed rights: get, list, create,
/// update and delete of ConfigMaps in the namespace. Who may read them reads what applications hold: do not put secrets into Helm parameters or plugin variables.
#[derive(Clone)]
pub struct ConfigMapStore {
    cluster: Arc<dyn Cluster>,
    namespace: String,
}

impl fmt::Debug for ConfigMapStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigMapStore")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

/// A ConfigMap of the store, read.
struct Record {
    object: Object,
    app: Application,
    status: Option<ApplicationStatus>,
}

impl ConfigMapStore {
    /// A store in `namespace`, which has to be there.
    pub fn new(cluster: Arc<dyn Cluster>, namespace: impl Into<String>) -> Self {
        Self {
            cluster,
            namespace: namespace.into(),
        }
    }

    async fn read(&self, app: &AppRef) -> Result<Option<Record>> {
        let kind = ApiKind::config_map();
        let name = object_name(app);
        let key = ObjectKey {
            kind: &kind,
            namespace: &self.namespace,
            name: &name,
        };
        self.cluster.get(key).await?.map(Record::of).transpose()
    }

    /// Reads, changes and writes a record until nobody else wrote in between. `change` gives the record's new content, or nothing when it stays.
    async fn change<T, F>(&self, app: &AppRef, mut change: F) -> Result<T>
    where
        F: FnMut(Option<&Record>) -> Result<(T, Option<Content>)>,
    {
        let kind = ApiKind::config_map();
        let params = WriteParams {
            field_manager: MANAGER.into(),
            ..WriteParams::default()
        };
        let mut last = None;
        for _ in 0..TRIES {
            let record = self.read(app).await?;
            let (answer, content) = change(record.as_ref())?;
            let Some(content) = content else {
                return Ok(answer);
            };
            let version = record
                .as_ref()
                .map(|record| record.object.resource_version());
            let object = self.object(app, content, record.as_ref())?;
            let written = match version {
                Some(_) => self.cluster.replace(&kind, &object, &params).await,
                None => self.cluster.create(&kind, &object, &params).await,
            };
            match written {
                Ok(_) => return Ok(answer),
                // Somebody else wrote, created or deleted it since it was read.
                Err(error)
                    if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::AlreadyExists) =>
                {
                    last = Some(error)
                }
                Err(error) if version.is_some() && error.kind() == ErrorKind::NotFound => {
                    last = Some(error)
                }
                Err(error) => return Err(error),
            }
        }
        let error = Error::conflict(format!(
            "application {app} is written by others all the time"
        ));
        Err(match last {
            Some(last) => error.with_source(last),
            None => error,
        })
    }

    fn object(&self, app: &AppRef, content: Content, stored: Option<&Record>) -> Result<Object> {
        let size: usize = content.0.values().map(String::len).sum();
        if size > MAX_BYTES {
            return Err(Error::invalid(format!(
                "application {app} with its status takes {size} bytes; a ConfigMap holds {MAX_BYTES}"
            )));
        }
        if let Some(record) = stored {
            // What others put there (labels, owners, finalizers) stays.
            let mut object = record.object.clone();
            object.metadata_mut().remove("managedFields");
            object.set_label(APPLICATION_LABEL, "true");
            object.set_annotation(REFERENCE_ANNOTATION, app.to_string());
            object.value_mut().insert("data".into(), json!(content.0));
            return Ok(object);
        }
        let value = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": object_name(app),
                "namespace": self.namespace,
                "labels": {APPLICATION_LABEL: "true"},
                "annotations": {REFERENCE_ANNOTATION: app.to_string()},
            },
            "data": content.0,
        });
        Object::new(value, None)
    }

    async fn set_suspended(&self, app: &AppRef, suspended: bool) -> Result<()> {
        self.change(app, |record| {
            let record = record.ok_or_else(|| not_found(app))?;
            if record.app.suspended == suspended {
                return Ok(((), None));
            }
            let changed = Application {
                suspended,
                ..record.app.clone()
            };
            Ok(((), Some(Content::new(&changed, record.status.as_ref())?)))
        })
        .await
    }
}

/// What a ConfigMap's data holds.
struct Content(BTreeMap<&'static str, String>);

impl Content {
    fn new(app: &Application, status: Option<&ApplicationStatus>) -> Result<Self> {
        let text = |value: serde_json::Result<String>| {
            value.map_err(|error| Error::internal("a record has no JSON form").with_source(error))
        };
        let mut data = BTreeMap::from([(APPLICATION, text(serde_json::to_string(app))?)]);
        if let Some(status) = status {
            data.insert(STATUS, text(serde_json::to_string(status))?);
        }
        Ok(Self(data))
    }
}

impl Record {
    fn of(object: Object) -> Result<Self> {
        let app: Application = part(&object, APPLICATION)?.ok_or_else(|| {
            Error::integrity(format!(
                "ConfigMap {}/{} holds no application",
                object.namespace(),
                object.name()
            ))
        })?;
        if object_name(&app.app_ref()) != object.name() {
            return Err(Error::integrity(format!(
                "ConfigMap {}/{} holds application {}, which belongs elsewhere",
                object.namespace(),
                object.name(),
                app.app_ref()
            )));
        }
        let status = part(&object, STATUS)?;
        Ok(Self {
            object,
            app,
            status,
        })
    }

    fn stored(self, with_status: bool) -> Stored {
        Stored {
            version: version(&self.app),
            app: self.app,
            status: self.status.filter(|_| with_status),
        }
    }
}

fn part<T: DeserializeOwned>(object: &Object, key: &str) -> Result<Option<T>> {
    let Some(text) = object
        .pointer(&format!("/data/{key}"))
        .and_then(Value::as_str)
    else {
        return Ok(None);
    };
    serde_json::from_str(text).map(Some).map_err(|error| {
        Error::integrity(format!(
            "the {key} in ConfigMap {}/{} cannot be read",
            object.namespace(),
            object.name()
        ))
        .with_source(error)
    })
}

/// References may be longer than names, and hold what names may not.
fn object_name(app: &AppRef) -> String {
    let hash = Sha256::digest(format!("{}\n{}", app.namespace, app.name));
    let hex: String = hash[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("gitops-application-{hex}")
}

#[async_trait]
impl ApplicationStore for ConfigMapStore {
    async fn put(&self, app: &Application, mode: PutMode) -> Result<PutOutcome> {
        self.change(&app.app_ref(), |record| {
            let outcome = decide_put(record.map(|record| &record.app), app, &mode)?;
            let status = record.and_then(|record| record.status.as_ref());
            let content = outcome
                .changed
                .then(|| Content::new(app, status))
                .transpose()?;
            Ok((outcome, content))
        })
        .await
    }

    async fn get(&self, app: &AppRef) -> Result<Stored> {
        let record = self.read(app).await?.ok_or_else(|| not_found(app))?;
        Ok(record.stored(true))
    }

    async fn list(&self, options: &ListOptions) -> Result<Vec<Stored>> {
        let mut params = ListParams {
            namespace: Some(self.namespace.clone()),
            labels: Some(format!("{APPLICATION_LABEL}=true")),
            limit: Some(500),
            ..ListParams::default()
        };
        let mut found = Vec::new();
        loop {
            let page = self.cluster.list(&ApiKind::config_map(), &params).await?;
            for object in page.items {
                let name = object.name().to_owned();
                match Record::of(object) {
                    Ok(record) if options.selector.matches(&record.app) => {
                        found.push(record.stored(options.with_status))
                    }
                    Ok(_) => {}
                    Err(error) => {
                        tracing::warn!(config_map = %name, %error, "an application cannot be read and is left out")
                    }
                }
            }
            params.continue_token = page.continue_token;
            if params.continue_token.is_none() {
                break;
            }
        }
        found.sort_by_key(|stored| stored.app.app_ref());
        Ok(found)
    }

    async fn delete(&self, app: &AppRef, options: &DeleteOptions) -> Result<()> {
        let record = self.read(app).await?.ok_or_else(|| not_found(app))?;
        if options.cascade {
            return Err(refuse_cascade(app));
        }
        let kind = ApiKind::config_map();
        let key = ObjectKey {
            kind: &kind,
            namespace: &self.namespace,
            name: record.object.name(),
        };
        let params = DeleteParams {
            uid: Some(record.object.uid().to_owned()),
            ..DeleteParams::default()
        };
        match self.cluster.delete(key, &params).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Err(not_found(app)),
            result => result,
        }
    }

    async fn suspend(&self, app: &AppRef) -> Result<()> {
        self.set_suspended(app, true).await
    }

    async fn resume(&self, app: &AppRef) -> Result<()> {
        self.set_suspended(app, false).await
    }
}

#[async_trait]
impl StatusStore for ConfigMapStore {
    async fn status(&self, app: &AppRef) -> Result<Option<ApplicationStatus>> {
        Ok(self.read(app).await?.and_then(|record| record.status))
    }

    async fn put_status(&self, app: &AppRef, status: &ApplicationStatus) -> Result<()> {
        self.change(app, |record| {
            let record = record.ok_or_else(|| not_found(app))?;
            if record.status.as_ref() == Some(status) {
                return Ok(((), None));
            }
            Ok(((), Some(Content::new(&record.app, Some(status))?)))
        })
        .await
    }
}
