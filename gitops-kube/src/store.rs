//! Applications kept in the cluster, in ConfigMaps.

#[cfg(any(test, feature = "testing"))]
mod damage;
mod packed;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use backon::{ExponentialBuilder, Retryable as _};
use gitops_core::application::{AppRef, Application, ApplicationStatus};
use gitops_core::backend::{
    ApplicationStore, DeleteOptions, ListOptions, PutMode, PutOutcome, Stored,
};
use gitops_core::manifest::Object;
use gitops_core::store::{
    Listing, StatusStore, decide_put, decide_put_over_unreadable, not_found, refuse_cascade,
    version,
};
use gitops_core::{Error, ErrorKind, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::cluster::{ApiKind, Cluster, DeleteParams, ListParams, ObjectKey, WriteParams};

/// Marks the ConfigMaps of a [`ConfigMapStore`].
pub const APPLICATION_LABEL: &str = "gitops-rs.dev/application";
/// The application's reference, for people: the ConfigMap's own name is a hash.
const REFERENCE_ANNOTATION: &str = "gitops-rs.dev/application";
const MANAGER: &str = "gitops-store";
/// The keys in a ConfigMap's data; a status is either in the one or, packed, in the other.
const APPLICATION: &str = "application";
const STATUS: &str = "status";
const PACKED_STATUS: &str = "status.json.gz";
/// The API server takes 1 MiB for all of a ConfigMap's data, text and decoded binary data together (`pkg/apis/core/validation`, `ValidateConfigMap`).
const MAX_BYTES: usize = 1024 * 1024;
/// A status that takes more is packed.
const PACK_ABOVE: usize = 128 * 1024;
/// So many ConfigMaps are asked for at once.
const PAGE: u32 = 500;

/// Keeps applications and their statuses in ConfigMaps of one namespace, one for each application.
///
/// Writes are conditional on the ConfigMap's resource version and tried again, with growing random pauses for up to half a minute, so that several processes may
/// share a store. Needed rights: get, list, create, update and delete of ConfigMaps in the namespace.
///
/// A ConfigMap holds 1 MiB. An application is kept as JSON that people can read and has to fit; its status is packed with gzip when it is large, which makes room for a
/// status of tens of thousands of resources. What does not fit then is `InvalidInput`, and nothing is cut off.
///
/// Who may read them reads what applications hold: do not put secrets into Helm parameters or plugin variables.
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

/// A ConfigMap of the store. What it holds is read when it is needed, so that one part that cannot be read does not stand in the way of the others.
struct Record(Object);

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
        let name = config_map_of(app);
        let key = ObjectKey {
            kind: &kind,
            namespace: &self.namespace,
            name: &name,
        };
        Ok(self.cluster.get(key).await?.map(Record))
    }

    /// Reads, changes and writes a record until nobody else wrote in between. `change` gives the record's new content, or nothing when it stays.
    async fn change<T, F>(&self, app: &AppRef, change: F) -> Result<T>
    where
        F: Fn(Option<&Record>) -> Result<(T, Option<Content>)>,
    {
        let pauses = ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(Duration::from_millis(5))
            .with_max_delay(Duration::from_secs(1))
            .with_total_delay(Some(Duration::from_secs(30)))
            .without_max_times();
        let result = (|| self.change_once(app, &change))
            .retry(pauses)
            .when(|failure: &Failure| matches!(failure, Failure::Lost(_)))
            .await;
        result.map_err(|failure| match failure {
            Failure::Lost(error) => Error::conflict(format!(
                "application {app} is written by others all the time"
            ))
            .with_source(error),
            Failure::Final(error) => error,
        })
    }

    async fn change_once<T, F>(&self, app: &AppRef, change: &F) -> Result<T, Failure>
    where
        F: Fn(Option<&Record>) -> Result<(T, Option<Content>)>,
    {
        let record = self.read(app).await?;
        let (answer, content) = change(record.as_ref())?;
        let Some(content) = content else {
            return Ok(answer);
        };
        let object = self.object(app, content, record.as_ref())?;
        let kind = ApiKind::config_map();
        let params = WriteParams {
            field_manager: MANAGER.into(),
            ..WriteParams::default()
        };
        let written = match record {
            Some(_) => self.cluster.replace(&kind, &object, &params).await,
            None => self.cluster.create(&kind, &object, &params).await,
        };
        match written {
            Ok(_) => Ok(answer),
            // Somebody else wrote, created or deleted it since it was read.
            Err(error) => Err(match error.kind() {
                ErrorKind::Conflict | ErrorKind::AlreadyExists => Failure::Lost(error),
                ErrorKind::NotFound if record.is_some() => Failure::Lost(error),
                _ => Failure::Final(error),
            }),
        }
    }

    fn object(&self, app: &AppRef, content: Content, stored: Option<&Record>) -> Result<Object> {
        let size = content.size();
        if size > MAX_BYTES {
            return Err(Error::invalid(format!(
                "application {app} with its status takes {size} bytes; a ConfigMap holds {MAX_BYTES}"
            )));
        }
        if let Some(Record(object)) = stored {
            // What others put there (labels, owners, finalizers) stays.
            let mut object = object.clone();
            object.metadata_mut().remove("managedFields");
            object.set_label(APPLICATION_LABEL, "true");
            object.set_annotation(REFERENCE_ANNOTATION, app.to_string());
            content.write(object.value_mut());
            return Ok(object);
        }
        let value = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": config_map_of(app),
                "namespace": self.namespace,
                "labels": {APPLICATION_LABEL: "true"},
                "annotations": {REFERENCE_ANNOTATION: app.to_string()},
            },
        });
        let mut object = Object::new(value, None)?;
        content.write(object.value_mut());
        Ok(object)
    }

    async fn set_suspended(&self, app: &AppRef, suspended: bool) -> Result<()> {
        self.change(app, |record| {
            let record = record.ok_or_else(|| not_found(app))?;
            let app = record.app()?;
            if app.suspended == suspended {
                return Ok(((), None));
            }
            let changed = Application { suspended, ..app };
            Ok(((), Some(Content::new(&changed, Some(record))?)))
        })
        .await
    }
}

/// Why a change was not made.
enum Failure {
    /// Somebody else was faster.
    Lost(Error),
    Final(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

/// What a ConfigMap's data holds.
struct Content {
    application: String,
    status: Option<Text>,
}

/// A text as it is kept.
enum Text {
    Plain(String),
    /// In base64, as ConfigMaps have it.
    Packed(String),
}

impl Content {
    /// An application, with the status that its record has, whether or not that can be read.
    fn new(app: &Application, record: Option<&Record>) -> Result<Self> {
        Self {
            application: text(app)?,
            status: record.and_then(Record::status_text),
        }
        .fitted()
    }

    /// The application of a record, whether or not that can be read, with a new status.
    fn with_status(record: &Record, status: &ApplicationStatus) -> Result<Self> {
        Self {
            application: record
                .text("data", APPLICATION)
                .unwrap_or_default()
                .to_owned(),
            status: Some(Text::Plain(text(status)?)),
        }
        .fitted()
    }

    /// Packed where that is called for.
    fn fitted(mut self) -> Result<Self> {
        let size = self.size();
        if let Some(Text::Plain(plain)) = &self.status
            && (plain.len() > PACK_ABOVE || size > MAX_BYTES)
        {
            self.status = Some(Text::Packed(packed::pack(plain)?));
        }
        Ok(self)
    }

    /// As the API server counts.
    fn size(&self) -> usize {
        let status = match &self.status {
            None => 0,
            Some(Text::Plain(plain)) => plain.len(),
            Some(Text::Packed(packed)) => packed::decoded_len(packed),
        };
        self.application.len() + status
    }

    fn write(self, object: &mut Map<String, Value>) {
        let mut data = BTreeMap::from([(APPLICATION, self.application)]);
        object.remove("binaryData");
        match self.status {
            None => {}
            Some(Text::Plain(plain)) => drop(data.insert(STATUS, plain)),
            Some(Text::Packed(packed)) => {
                object.insert("binaryData".into(), json!({ PACKED_STATUS: packed }));
            }
        }
        object.insert("data".into(), json!(data));
    }
}

fn text<T: Serialize>(record: &T) -> Result<String> {
    serde_json::to_string(record)
        .map_err(|error| Error::internal("a record has no JSON form").with_source(error))
}

impl Record {
    fn app(&self) -> Result<Application> {
        let Some(text) = self.text("data", APPLICATION) else {
            return Err(self.unreadable("holds no application"));
        };
        let app: Application = self.parse(APPLICATION, text)?;
        if config_map_of(&app.app_ref()) != self.0.name() {
            let reference = app.app_ref();
            return Err(self.unreadable(format_args!(
                "holds application {reference}, which belongs elsewhere"
            )));
        }
        Ok(app)
    }

    fn status(&self) -> Result<Option<ApplicationStatus>> {
        match self.status_text() {
            None => Ok(None),
            Some(Text::Plain(plain)) => self.parse(STATUS, &plain).map(Some),
            Some(Text::Packed(packed)) => {
                let plain = packed::unpack(&packed).map_err(|error| {
                    self.unreadable("holds a status that cannot be unpacked")
                        .with_source(error)
                })?;
                self.parse(STATUS, &plain).map(Some)
            }
        }
    }

    fn status_text(&self) -> Option<Text> {
        let packed = self.text("binaryData", PACKED_STATUS);
        packed
            .map(|text| Text::Packed(text.to_owned()))
            .or_else(|| Some(Text::Plain(self.text("data", STATUS)?.to_owned())))
    }

    fn text(&self, field: &str, key: &str) -> Option<&str> {
        self.0.value().get(field)?.get(key)?.as_str()
    }

    fn parse<T: DeserializeOwned>(&self, what: &str, text: &str) -> Result<T> {
        serde_json::from_str(text).map_err(|error| {
            self.unreadable(format_args!("holds a text that is no {what}"))
                .with_source(error)
        })
    }

    fn unreadable(&self, what: impl fmt::Display) -> Error {
        let (namespace, name) = (self.0.namespace(), self.0.name());
        let of = match self.reference() {
            Some(app) => format!(" of application {app}"),
            None => String::new(),
        };
        Error::integrity(format!("ConfigMap {namespace}/{name}{of} {what}"))
    }

    /// The application that this is the ConfigMap of, told by its annotation.
    fn reference(&self) -> Option<AppRef> {
        let app = AppRef::from(self.0.annotation(REFERENCE_ANNOTATION)?);
        (config_map_of(&app) == self.0.name()).then_some(app)
    }

    fn stored(&self, with_status: bool) -> Result<Stored> {
        let app = self.app()?;
        Ok(Stored {
            version: version(&app),
            app,
            status: if with_status { self.status()? } else { None },
        })
    }
}

/// The name of the ConfigMap that keeps `app`: a hash, for references may be longer than names, and hold what names may not.
pub(crate) fn config_map_of(app: &AppRef) -> String {
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
            let stored = record.map(Record::app).transpose();
            let outcome = match stored {
                Err(error) => decide_put_over_unreadable(app, &mode, error)?,
                Ok(stored) => decide_put(stored.as_ref(), app, &mode)?,
            };
            let content = outcome
                .changed
                .then(|| Content::new(app, record))
                .transpose()?;
            Ok((outcome, content))
        })
        .await
    }

    async fn get(&self, app: &AppRef) -> Result<Stored> {
        let record = self.read(app).await?.ok_or_else(|| not_found(app))?;
        record.stored(true)
    }

    async fn list(&self, options: &ListOptions) -> Result<Vec<Stored>> {
        let first = ListParams {
            namespace: Some(self.namespace.clone()),
            labels: Some(format!("{APPLICATION_LABEL}=true")),
            limit: Some(PAGE),
            ..ListParams::default()
        };
        let mut params = first.clone();
        let mut listing = Listing::new(options);
        loop {
            let page = match self.cluster.list(&ApiKind::config_map(), &params).await {
                Err(error)
                    if error.kind() == ErrorKind::Conflict && params.continue_token.is_some() =>
                {
                    // The token is too old (410 Gone). What cannot be read in time page by page is read at once, as client-go's pager does.
                    tracing::debug!(%error, "the list of applications is begun again");
                    listing = Listing::new(options);
                    params = ListParams {
                        limit: None,
                        ..first.clone()
                    };
                    continue;
                }
                page => page?,
            };
            for object in page.items {
                let record = Record(object);
                listing.add(
                    record.reference().as_ref(),
                    record.stored(options.with_status),
                )?;
            }
            params.continue_token = page.continue_token;
            if params.continue_token.is_none() {
                return listing.finish();
            }
        }
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
            name: record.0.name(),
        };
        let params = DeleteParams {
            uid: Some(record.0.uid().to_owned()),
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
        match self.read(app).await? {
            Some(record) => record.status(),
            None => Ok(None),
        }
    }

    async fn put_status(&self, app: &AppRef, status: &ApplicationStatus) -> Result<()> {
        self.change(app, |record| {
            let record = record.ok_or_else(|| not_found(app))?;
            if record
                .status()
                .is_ok_and(|stored| stored.as_ref() == Some(status))
            {
                return Ok(((), None));
            }
            Ok(((), Some(Content::with_status(record, status)?)))
        })
        .await
    }
}
