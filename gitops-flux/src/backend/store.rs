//! Applications, kept as Flux's objects.

mod write;

use async_trait::async_trait;
use gitops_core::application::{AppRef, Application};
use gitops_core::backend::{
    ApplicationStore, DeleteOptions, ListOptions, Propagation, PutMode, PutOutcome, Stored,
};
use gitops_core::{Error, ErrorKind, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::access::{Loaded, reference, was_overtaken};
use super::snapshot::broken;
use super::{FluxBackend, status};
use crate::convert::{Parts, to_flux};
use crate::kind::FluxKind;
use crate::manager::{DeleteOptions as Deletion, FluxRef};
use crate::types::DeletionPolicy;

/// What a workload that is to be deleted depends on: nothing has that name.
const FINALIZER_GUARD: &str = "gitops.rs-is-being-deleted";
/// How often a write is tried again that lost a race.
const RACES: usize = 10;

impl FluxBackend {
    /// The version of an application: of what it says, and not of what the controllers write beside it.
    fn version(loaded: &Loaded, app: &Application) -> Result<String> {
        let json = serde_json::to_vec(app)
            .map_err(|error| Error::internal("an application is no JSON").with_source(error))?;
        let uid = loaded
            .workload()
            .metadata()
            .uid
            .as_deref()
            .unwrap_or_default();
        let mut hasher = Sha256::new();
        hasher.update(uid);
        hasher.update(json);
        Ok(hex::encode(&hasher.finalize()[..16]))
    }

    /// With what means the same made the same.
    fn normal(&self, app: &Application) -> Application {
        let mut app = app.clone();
        if app.namespace == self.manager.options().namespace {
            app.namespace.clear();
        }
        app
    }

    fn stored(&self, loaded: &Loaded, with_status: bool) -> Result<Stored> {
        let app = self.application(&loaded.parts)?;
        Ok(Stored {
            version: Self::version(loaded, &app)?,
            app,
            status: with_status.then(|| status::of(loaded)).transpose()?,
        })
    }

    /// What is to be written for `app`, with its namespace.
    fn wanted(&self, app: &Application, before: Option<&Parts>) -> Result<Parts> {
        let mut app = app.clone();
        self.namespace_of(&app.app_ref())
            .clone_into(&mut app.namespace);
        to_flux(&app, &self.options.convert, before)
    }

    async fn outcome(&self, app: &AppRef, created: bool, changed: bool) -> Result<PutOutcome> {
        let loaded = self.load(app).await?;
        let now = self.application(&loaded.parts)?;
        Ok(PutOutcome {
            created,
            changed,
            version: Self::version(&loaded, &now)?,
        })
    }

    async fn forget(&self, object: &FluxRef) -> Result<()> {
        match self.manager.delete(object, &Deletion::default()).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    async fn set_suspended(&self, app: &AppRef, suspended: bool) -> Result<()> {
        for _ in 0..RACES {
            let loaded = self.load(app).await?;
            let mut now = self.application(&loaded.parts)?;
            if now.suspended == suspended {
                return Ok(());
            }
            now.suspended = suspended;
            if loaded.is_deleting() {
                return Err(Error::conflict(format!(
                    "application {app} is being deleted"
                )));
            }
            match self.replace_workload(&loaded, &now).await {
                Err(error) if was_overtaken(&error) => {}
                other => return other,
            }
        }
        Err(Error::conflict(format!(
            "application {app} changes all the time"
        )))
    }

    /// Suspends and resumes, whatever else the application is: one that others made need not be one that could be put.
    async fn replace_workload(&self, loaded: &Loaded, app: &Application) -> Result<()> {
        let is_foreign = self.wanted(app, Some(&loaded.parts)).is_err();
        if !is_foreign {
            return self.replace(loaded, app).await;
        }
        let suspend = match app.suspended {
            true => json!(true),
            false => Value::Null,
        };
        let patch = json!({
            "metadata": {"annotations": {crate::convert::SYNC: null}},
            "spec": {"suspend": suspend},
        });
        self.patch_at(&loaded.workload_ref(), loaded.version(), patch)
            .await
            .map(drop)
    }

    /// Whether another workload of the namespace has the same source.
    async fn is_shared(&self, loaded: &Loaded, source: &FluxRef) -> Result<bool> {
        let selector = gitops_core::backend::Selector {
            namespace: Some(loaded.workload().namespace().to_owned()),
            ..Default::default()
        };
        let all = self.snapshot(&selector).await?;
        let own = loaded.workload_ref();
        Ok(all.workloads.iter().any(|(named, workload)| {
            let of = workload
                .source_ref()
                .and_then(|named| reference(&named, workload.namespace()));
            *named != own && of.as_ref() == Some(source)
        }))
    }

    async fn delete_workload(&self, loaded: &Loaded, options: &DeleteOptions) -> Result<()> {
        let named = loaded.workload_ref();
        let uid = loaded.workload().metadata().uid.clone();
        let patch = match options.cascade {
            // A suspended workload leaves what it deployed.
            false => json!({"spec": {"suspend": true}}),
            true => {
                // It is resumed so that it deletes, and waits for what never comes so that it applies nothing before.
                let mut patch =
                    json!({"spec": {"suspend": null, "dependsOn": [{"name": FINALIZER_GUARD}]}});
                if !loaded.workload().is_helm() {
                    patch["spec"]["deletionPolicy"] = json!(DeletionPolicy::Delete);
                }
                patch
            }
        };
        self.patch_at(&named, loaded.version(), patch).await?;
        let deletion = Deletion {
            uid,
            ..Deletion::default()
        };
        match self.manager.delete(&named, &deletion).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

#[async_trait]
impl ApplicationStore for FluxBackend {
    /// The source is written before the workload: between the two, others see the new source with the old workload, which is suspended for as long when both change.
    async fn put(&self, app: &Application, mode: PutMode) -> Result<PutOutcome> {
        let name = app.app_ref();
        for _ in 0..RACES {
            let loaded = match self.load(&name).await {
                Ok(loaded) => Some(loaded),
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            };
            let Some(loaded) = loaded else {
                if let PutMode::Update(_) = mode {
                    return Err(Error::not_found(format!("there is no application {name}")));
                }
                match self.create(app).await {
                    // Somebody made it in between.
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                    other => return other,
                }
            };
            if loaded.is_deleting() {
                return Err(Error::conflict(format!(
                    "application {name} is being deleted"
                )));
            }
            let now = self.application(&loaded.parts);
            let same = now.as_ref().is_ok_and(|now| *now == self.normal(app));
            match &mode {
                PutMode::Update(version) => {
                    let now = now?;
                    if Self::version(&loaded, &now)? != *version {
                        return Err(Error::conflict(format!(
                            "application {name} was changed meanwhile"
                        )));
                    }
                }
                PutMode::Create if !same => {
                    return Err(Error::already_exists(format!(
                        "there is another application {name}"
                    )));
                }
                PutMode::Create | PutMode::Upsert => {}
            }
            if same {
                return self.outcome(&name, false, false).await;
            }
            match self.replace(&loaded, app).await {
                Ok(()) => return self.outcome(&name, false, true).await,
                // Its status may have been written: look again.
                Err(error)
                    if was_overtaken(&error)
                        && error.message().contains("the object has been modified") => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::conflict(format!(
            "application {name} changes all the time"
        )))
    }

    async fn get(&self, app: &AppRef) -> Result<Stored> {
        self.stored(&self.load(app).await?, true)
    }

    async fn list(&self, options: &ListOptions) -> Result<Vec<Stored>> {
        let all = self.snapshot(&options.selector).await?;
        let mut found = Vec::new();
        let mut errors: Vec<Error> = Vec::new();
        for (named, workload) in &all.workloads {
            let loaded = all.loaded(workload);
            match self.stored(&loaded, options.with_status) {
                Ok(mut stored) => {
                    stored.app.name = all.name(self, named).name;
                    if self.selects(&options.selector, &stored.app) {
                        found.push(stored);
                    }
                }
                Err(error) => errors.push(error),
            }
        }
        let is_workload = |kind| matches!(kind, FluxKind::Kustomization | FluxKind::HelmRelease);
        errors.extend(
            all.unreadable
                .iter()
                .filter(|one| is_workload(one.object.kind))
                .map(broken),
        );
        if options.readable_only {
            for error in &errors {
                tracing::warn!(%error, "left out of a list");
            }
        } else if let Some(first) = errors.pop() {
            let others: Vec<_> = errors.iter().map(ToString::to_string).collect();
            return Err(match others.is_empty() {
                true => first,
                false => first.context(others.join("; ")),
            });
        }
        found.sort_by_cached_key(|stored| stored.app.app_ref());
        Ok(found)
    }

    /// With `cascade` the controller deletes what it deployed, dependents later; `Unsupported` for [`Propagation::Orphan`]. A source that was made for the application goes too, unless others use it.
    async fn delete(&self, app: &AppRef, options: &DeleteOptions) -> Result<()> {
        if options.cascade && options.propagation == Propagation::Orphan {
            return Err(Error::unsupported(
                "leaving dependents of what is deleted",
                "Flux",
            ));
        }
        for _ in 0..RACES {
            let loaded = self.load(app).await?;
            if !loaded.is_deleting() {
                match self.delete_workload(&loaded, options).await {
                    Err(error) if was_overtaken(&error) => continue,
                    other => other?,
                }
            }
            if let Some(chart) = loaded.chart.as_ref().filter(|_| !options.cascade) {
                // Its release would have deleted it.
                self.forget(&FluxRef::of(chart)).await?;
            }
            if let Some(source) = &loaded.parts.source
                && source.is_own(loaded.workload().name())
                && let Some(named) = loaded.source_ref()
                && !self.is_shared(&loaded, &named).await?
            {
                self.forget(&named).await?;
            }
            return Ok(());
        }
        Err(Error::conflict(format!(
            "application {app} changes all the time"
        )))
    }

    async fn suspend(&self, app: &AppRef) -> Result<()> {
        self.set_suspended(app, true).await
    }

    async fn resume(&self, app: &AppRef) -> Result<()> {
        self.set_suspended(app, false).await
    }
}

impl FluxBackend {
    /// The selector may name the backend's own namespace, or leave it out.
    pub(super) fn selects(
        &self,
        selector: &gitops_core::backend::Selector,
        app: &Application,
    ) -> bool {
        let own = &self.manager.options().namespace;
        let mut selector = selector.clone();
        let namespaces = selector
            .namespace
            .iter_mut()
            .chain(selector.app.iter_mut().map(|app| &mut app.namespace));
        for namespace in namespaces {
            if namespace == own {
                namespace.clear();
            }
        }
        let app_namespace = selector
            .app
            .as_ref()
            .is_some_and(|app| app.namespace.is_empty())
            && !app.namespace.is_empty();
        !app_namespace && selector.matches(app)
    }
}
