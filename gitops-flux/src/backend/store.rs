//! Applications, kept as Flux's objects.
//!
//! Two objects are not written in one step. An update that changes both first notes itself in the workload ([`PUTTING`](crate::convert::PUTTING)), and suspends it for as long where the old settings
//! must not meet the new source; then it writes the source, at the version that was read, and last the workload. What the API server would refuse it is asked before anything is changed. Of two that
//! update at once the second waits for the first, and then for none whose note is older than [`write::STALE`]: what died half-way is finished by whoever puts, suspends or resumes next.

mod delete;
mod source;
mod write;

use std::time::Duration;

use async_trait::async_trait;
use gitops_core::application::{AppRef, Application};
use gitops_core::backend::{
    ApplicationStore, DeleteOptions, ListOptions, Propagation, PutMode, PutOutcome, Stored,
};
use gitops_core::{Error, ErrorKind, Result};
use sha2::{Digest as _, Sha256};

use super::access::{Loaded, was_modified, was_overtaken};
use super::snapshot::broken;
use super::{FluxBackend, status};
use crate::convert::{Parts, is_paused, suspension, to_flux};
use crate::kind::FluxKind;
use crate::manager::FluxRef;

/// How often a write is tried again that lost a race.
const RACES: usize = 10;
/// How long to wait for somebody else's put before each look.
const PAUSE: Duration = Duration::from_millis(300);

impl FluxBackend {
    /// The version of an application: of what it says, and not of what the controllers write beside it, nor of how it is called where it has a twin.
    fn version(&self, parts: &Parts) -> Result<String> {
        let json = serde_json::to_vec(&self.application(parts)?)
            .map_err(|error| Error::internal("an application is no JSON").with_source(error))?;
        let uid = parts.workload.metadata().uid.as_deref().unwrap_or_default();
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

    /// The application as it is called `name`: its objects may have a shorter one.
    fn read(&self, loaded: &Loaded, name: &str) -> Result<Application> {
        let mut app = self.application(&loaded.parts)?;
        name.clone_into(&mut app.name);
        Ok(app)
    }

    fn stored(&self, loaded: &Loaded, name: &str, with_status: bool) -> Result<Stored> {
        Ok(Stored {
            version: self.version(&loaded.parts)?,
            app: self.read(loaded, name)?,
            status: with_status.then(|| status::of(loaded)).transpose()?,
        })
    }

    /// What is to be written for `app`, with its namespace, and with the name that its objects have.
    fn wanted(&self, app: &Application, before: Option<&Parts>) -> Result<Parts> {
        let mut app = app.clone();
        self.namespace_of(&app.app_ref())
            .clone_into(&mut app.namespace);
        if let Some(before) = before {
            before.workload.name().clone_into(&mut app.name);
        }
        to_flux(&app, &self.options.convert, before)
    }

    async fn outcome(&self, app: &AppRef, created: bool, changed: bool) -> Result<PutOutcome> {
        let loaded = self.load(app).await?;
        Ok(PutOutcome {
            created,
            changed,
            version: self.version(&loaded.parts)?,
        })
    }

    /// Writes what says whether it is suspended, and nothing else of the workload.
    async fn set_suspended(&self, app: &AppRef, suspended: bool) -> Result<()> {
        for _ in 0..RACES {
            let loaded = self.load(app).await?;
            let mut now = self.application(&loaded.parts)?;
            if write::is_being_put(&loaded) {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            if now.suspended == suspended && !is_paused(loaded.workload()) {
                return Ok(());
            }
            if loaded.is_deleting() {
                return Err(Error::conflict(format!(
                    "application {app} is being deleted"
                )));
            }
            now.suspended = suspended;
            let patch = suspension(&now, &loaded.parts)?;
            match self
                .patch_at(&loaded.workload_ref(), loaded.version(), patch)
                .await
            {
                Err(error) if was_overtaken(&error) => {}
                other => return other.map(drop),
            }
        }
        Err(changes(app))
    }
}

fn changes(app: &AppRef) -> Error {
    Error::conflict(format!("application {app} changes all the time"))
}

#[async_trait]
impl ApplicationStore for FluxBackend {
    /// The source is written before the workload: between the two, others see the new source with the old workload, which is suspended for as long when both change. What the API server refuses
    /// changes nothing; when it goes away between the two, the source is put back, or if that fails too the application stays as it is half-way, and the next put finishes it.
    ///
    /// Errors besides the contract's: `Conflict` for a source that is there and was not made for the application, and while another put is at work.
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
            if write::is_being_put(&loaded) {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            let now = self.read(&loaded, &name.name);
            let same = now.as_ref().is_ok_and(|now| *now == self.normal(app));
            match &mode {
                PutMode::Update(version) => {
                    if self.version(&loaded.parts)? != *version {
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
            if same && !is_paused(loaded.workload()) {
                return self.outcome(&name, false, false).await;
            }
            match self.replace(&loaded, app, &mode).await {
                Ok(()) => return self.outcome(&name, false, true).await,
                // Its status may have been written: look again.
                Err(error) if was_modified(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Err(changes(&name))
    }

    async fn get(&self, app: &AppRef) -> Result<Stored> {
        self.stored(&self.load(app).await?, &app.name, true)
    }

    async fn list(&self, options: &ListOptions) -> Result<Vec<Stored>> {
        let all = self.snapshot(&options.selector).await?;
        let mut found = Vec::new();
        let mut errors: Vec<Error> = Vec::new();
        for (named, workload) in &all.workloads {
            let loaded = all.loaded(workload);
            let name = all.name(self, named).name;
            match self.stored(&loaded, &name, options.with_status) {
                Ok(stored) => {
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

    /// With `cascade` the controller deletes what it deployed, dependents later; `Unsupported` for [`Propagation::Orphan`]. A source that was made for the application goes too, unless something
    /// else names it, or it may not be looked everywhere whether something does. An operation that runs ends.
    async fn delete(&self, app: &AppRef, options: &DeleteOptions) -> Result<()> {
        if options.cascade && options.propagation == Propagation::Orphan {
            return Err(Error::unsupported(
                "leaving dependents of what is deleted",
                "Flux",
            ));
        }
        for _ in 0..RACES {
            let loaded = match self.load(app).await {
                Ok(loaded) => loaded,
                // A deletion before this one may have come no further than that.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    return match self.forget_left_sources(app).await? {
                        true => Ok(()),
                        false => Err(error),
                    };
                }
                Err(error) => return Err(error),
            };
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
            {
                self.forget_source(&named, &loaded.workload_ref()).await?;
            }
            return Ok(());
        }
        Err(changes(app))
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
