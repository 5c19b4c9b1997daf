//! Applications, kept by Argo CD.

use async_trait::async_trait;
use gitops_core::application::{AppRef, Application};
use gitops_core::backend::{
    ApplicationStore, DeleteOptions, ListOptions, PutMode, PutOutcome, Stored,
};
use gitops_core::{Error, ErrorKind, Result};
use serde_json::{Value, json};

use super::ArgoCdBackend;
use crate::types::convert::{SUSPENDED, enabled_before, enabled_name};
use crate::types::{Application as Record, lean};

impl ArgoCdBackend {
    fn stored(own: &str, record: &Record, status: Option<lean::Application>) -> Result<Stored> {
        let mut app = Application::try_from(record).map_err(|error| {
            Error::integrity(format!(
                "application {}/{} cannot be read",
                record.namespace(),
                record.name()
            ))
            .with_source(error)
        })?;
        if app.namespace == own {
            app.namespace.clear();
        }
        Ok(Stored {
            app,
            version: record.metadata.resource_version.clone().unwrap_or_default(),
            status: status.map(lean::Application::into_status),
        })
    }

    fn outcome(record: &Record, created: bool, changed: bool) -> PutOutcome {
        PutOutcome {
            created,
            changed,
            version: record.metadata.resource_version.clone().unwrap_or_default(),
        }
    }

    /// Whether the record says what `app` says already.
    fn is_same(own: &str, record: &Record, app: &Application) -> bool {
        Self::stored(own, record, None)
            .is_ok_and(|stored| normal(own, stored.app) == normal(own, app.clone()))
    }

    async fn create(&self, app: &Application) -> Result<PutOutcome> {
        let made = self.access.create(&Record::from(app)).await?;
        Ok(Self::outcome(&made, true, true))
    }

    async fn replace(
        &self,
        mut record: Record,
        app: &Application,
        version: Option<&str>,
    ) -> Result<PutOutcome> {
        record.update_from(app);
        let made = self.access.replace(&record, version).await?;
        Ok(Self::outcome(&made, false, true))
    }

    /// Sets or takes the annotation that says what automated sync was, with automated sync itself.
    async fn set_suspended(&self, app: &AppRef, suspended: bool) -> Result<()> {
        self.access
            .change(app, &|record| Ok(suspension(record, suspended)))
            .await
    }
}

/// What is to be changed so that an application is suspended, or is not; nothing where it is so.
fn suspension(record: &Record, suspended: bool) -> Option<Value> {
    let before = record.annotation_value(SUSPENDED);
    let automated = record
        .spec
        .sync_policy
        .as_ref()
        .and_then(|policy| policy.automated.as_ref());
    // With automated sync on again the annotation is of a suspension that somebody ended.
    let is_suspended = before.is_some() && !record.spec.is_automated();
    let (note, enabled) = match (before, suspended) {
        (Some(_), true) if is_suspended => return None,
        (None, false) => return None,
        (_, true) => {
            let enabled = automated.and_then(|automated| automated.enabled);
            (json!(enabled_name(enabled)), Some(json!(false)))
        }
        (Some(before), false) if is_suspended => (Value::Null, Some(json!(enabled_before(before)))),
        (Some(_), false) => (Value::Null, None),
    };
    let mut patch = json!({"metadata": {"annotations": {SUSPENDED: note}}});
    if let (Some(_), Some(enabled)) = (automated, enabled) {
        patch["spec"] = json!({"syncPolicy": {"automated": {"enabled": enabled}}});
    }
    Some(patch)
}

/// What means the same becomes the same.
fn normal(own: &str, mut app: Application) -> Application {
    if app.project.is_empty() {
        "default".clone_into(&mut app.project);
    }
    if app.namespace == own {
        app.namespace.clear();
    }
    app
}

#[async_trait]
impl ApplicationStore for ArgoCdBackend {
    async fn put(&self, app: &Application, mode: PutMode) -> Result<PutOutcome> {
        let own = self.own_namespace().await?;
        let name = app.app_ref();
        let record = match self.access.get_full(&name).await {
            Ok(record) => Some(record),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        match (record, mode) {
            (None, PutMode::Update(_)) => {
                Err(Error::not_found(format!("there is no application {name}")))
            }
            (None, PutMode::Create) => self.create(app).await,
            (None, PutMode::Upsert) => match self.create(app).await {
                // Somebody made it in between.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    let record = self.access.get_full(&name).await?;
                    self.replace(record, app, None).await
                }
                result => result,
            },
            (Some(record), PutMode::Update(version)) => {
                if record.metadata.resource_version.as_deref() != Some(&version) {
                    return Err(Error::conflict(format!(
                        "application {name} was changed meanwhile"
                    )));
                }
                if Self::is_same(own, &record, app) {
                    return Ok(Self::outcome(&record, false, false));
                }
                self.replace(record, app, Some(&version)).await
            }
            (Some(record), _) if Self::is_same(own, &record, app) => {
                Ok(Self::outcome(&record, false, false))
            }
            (Some(_), PutMode::Create) => Err(Error::already_exists(format!(
                "there is another application {name}"
            ))),
            (Some(record), PutMode::Upsert) => self.replace(record, app, None).await,
        }
    }

    async fn get(&self, app: &AppRef) -> Result<Stored> {
        let own = self.own_namespace().await?;
        let record = self.access.get_full(app).await?;
        let status = read_lean(&record)?;
        Self::stored(own, &record, Some(status))
    }

    async fn list(&self, options: &ListOptions) -> Result<Vec<Stored>> {
        let own = self.own_namespace().await?;
        let mut found = Vec::new();
        let mut unreadable = Vec::new();
        for record in self.access.list_full(&options.selector).await? {
            let stored = record.and_then(|record| {
                let status = options
                    .with_status
                    .then(|| read_lean(&record))
                    .transpose()?;
                Self::stored(own, &record, status)
            });
            match stored {
                Ok(stored) if selected(own, options, &stored.app) => found.push(stored),
                Ok(_) => {}
                Err(error) if options.readable_only => {
                    tracing::warn!(%error, "left out of a list");
                }
                Err(error) => unreadable.push(error),
            }
        }
        if let Some(first) = unreadable.pop() {
            let names: Vec<_> = unreadable.iter().map(ToString::to_string).collect();
            return Err(match names.is_empty() {
                true => first,
                false => first.context(names.join("; ")),
            });
        }
        found.sort_by_cached_key(|stored| stored.app.app_ref());
        Ok(found)
    }

    async fn delete(&self, app: &AppRef, options: &DeleteOptions) -> Result<()> {
        self.access.delete(app, options).await
    }

    async fn suspend(&self, app: &AppRef) -> Result<()> {
        self.set_suspended(app, true).await
    }

    async fn resume(&self, app: &AppRef) -> Result<()> {
        self.set_suspended(app, false).await
    }
}

/// The selector may name the backend's own namespace, or leave it out.
fn selected(own: &str, options: &ListOptions, app: &Application) -> bool {
    let mut selector = options.selector.clone();
    for namespace in selector
        .namespace
        .iter_mut()
        .chain(selector.app.iter_mut().map(|app| &mut app.namespace))
    {
        if namespace == own {
            namespace.clear();
        }
    }
    selector.matches(app)
}

/// The status of a whole record.
fn read_lean(record: &Record) -> Result<lean::Application> {
    serde_json::to_value(record)
        .and_then(serde_json::from_value)
        .map_err(|error| {
            Error::integrity(format!("the status of {} cannot be read", record.name()))
                .with_source(error)
        })
}
