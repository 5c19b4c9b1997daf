//! Writing an application: its source first, then its workload.

use std::time::Duration;

use gitops_core::application::Application;
use gitops_core::backend::{PutMode, PutOutcome};
use gitops_core::{ErrorKind, Result};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::RACES;
use crate::backend::access::{Loaded, modified, read_workload, version_of, was_overtaken};
use crate::backend::record::new_id;
use crate::backend::{FluxBackend, start, status};
use crate::convert::{PAUSED, PUTTING, Parts, SourceObject, Workload, is_manual, is_paused};
use crate::manager::FluxRef;

/// After so long nobody waits for a put any more: its process has died.
pub(super) const STALE: Duration = Duration::from_secs(30);

/// Whether somebody else is putting it.
pub(super) fn is_being_put(loaded: &Loaded) -> bool {
    let noted = loaded.workload().annotation(PUTTING);
    // Its name begins with the time, in milliseconds.
    let began = noted.and_then(|name| name.split_once('-')?.0.parse::<i64>().ok());
    let age = began.map(|began| Timestamp::now().as_millisecond().abs_diff(began));
    age.is_some_and(|age| Duration::from_millis(age) < STALE)
}

impl FluxBackend {
    pub(super) async fn create(&self, app: &Application) -> Result<PutOutcome> {
        let parts = self.wanted(app, None)?;
        let namespace = self.namespace_of(&app.app_ref()).to_owned();
        let kind = parts.workload.kind();
        let workload = parts.workload.to_value()?;
        // Whatever is refused leaves no source behind.
        self.create_object(kind, &namespace, &workload, true)
            .await?;
        if !is_manual(app) {
            start::ensure_namespace(self, app, &Default::default()).await?;
        }
        // The workload is the application: until it is there, nobody sees one.
        if let Some(source) = &parts.source {
            self.write_source(app, &namespace, source).await?;
        }
        self.create_object(kind, &namespace, &workload, false)
            .await?;
        self.outcome(&app.app_ref(), true, true).await
    }

    /// Writes the application over the one that was read.
    pub(super) async fn replace(
        &self,
        loaded: &Loaded,
        app: &Application,
        mode: &PutMode,
    ) -> Result<()> {
        let mut wanted = self.wanted(app, Some(&loaded.parts))?;
        let workload = loaded.workload_ref();
        if wanted.source == loaded.parts.source {
            if !is_manual(app) {
                start::ensure_namespace(self, app, &Default::default()).await?;
            }
            self.replace_workload(&workload, &mut wanted.workload, loaded.version(), false)
                .await?;
            return Ok(());
        }
        self.replace_workload(&workload, &mut wanted.workload, loaded.version(), true)
            .await?;
        let namespace = &*workload.namespace;
        if let Some(source) = wanted
            .source
            .as_ref()
            .filter(|_| !keeps_source(loaded, &wanted))
        {
            self.check_source(&named(app, loaded), namespace, source)
                .await?;
        }
        if !is_manual(app) {
            start::ensure_namespace(self, app, &Default::default()).await?;
        }
        let put = Put {
            app,
            mode,
            id: new_id(),
        };
        let version = self.claim(loaded, &wanted, &put.id).await?;
        if let Err(error) = self
            .replace_both(loaded, wanted.clone(), version, &put)
            .await
        {
            self.give_back(&workload, &put.id).await;
            return Err(error);
        }
        if !keeps_source(loaded, &wanted)
            && let Some(old) = loaded.source_ref()
            && let Some(source) = &loaded.parts.source
            && source.is_own(&workload.name)
        {
            self.forget_source(&old, &workload).await?;
        }
        Ok(())
    }

    async fn replace_workload(
        &self,
        named: &FluxRef,
        wanted: &mut Workload,
        version: &str,
        dry_run: bool,
    ) -> Result<Value> {
        wanted.metadata_mut().resource_version = Some(version.to_owned());
        self.replace_object(named, &wanted.to_value()?, dry_run)
            .await
    }

    /// Notes in the workload that it is being put, at the version that was read: of two that put at once one does. The version that it has then.
    async fn claim(&self, loaded: &Loaded, wanted: &Parts, id: &str) -> Result<String> {
        let workload = loaded.workload();
        let mut patch = json!({"metadata": {"annotations": {PUTTING: id}}});
        if !workload.is_suspended() && status::digest(wanted) != status::digest(&loaded.parts) {
            // The old settings must not meet the new source, nor the new settings the old one's artifact.
            let generation = workload.metadata().generation.unwrap_or_default();
            patch["metadata"]["annotations"][PAUSED] = json!((generation + 1).to_string());
            patch["spec"] = json!({"suspend": true});
        }
        let claimed = self
            .patch_at(&loaded.workload_ref(), loaded.version(), patch)
            .await?;
        Ok(version_of(&claimed).to_owned())
    }

    /// Writes the source and then the workload, which has `version` since it was claimed.
    async fn replace_both(
        &self,
        loaded: &Loaded,
        mut wanted: Parts,
        mut version: String,
        put: &Put<'_>,
    ) -> Result<()> {
        let workload = loaded.workload_ref();
        let written = self.change_source(loaded, &wanted, put.app).await?;
        for _ in 0..RACES {
            let replaced = self
                .replace_workload(&workload, &mut wanted.workload, &version, false)
                .await;
            match replaced {
                Ok(_) => return Ok(()),
                Err(error) if was_overtaken(&error) => {}
                Err(error) => {
                    self.restore_source(loaded, written.as_deref()).await;
                    return Err(error);
                }
            }
            // A controller or an operation wrote to it. Nobody else puts while this one is noted.
            let value = self.manager.get_value(&workload).await?;
            let now = read_workload(workload.kind, &value)?;
            let before = Parts {
                source: loaded.parts.source.clone(),
                workload: now,
            };
            let is_ours = before.workload.annotation(PUTTING) == Some(&*put.id);
            let is_expected = match put.mode {
                PutMode::Update(expected) => self.version(&before)? == *expected,
                _ => true,
            };
            if is_ours && !is_expected {
                self.restore_source(loaded, written.as_deref()).await;
            }
            if !is_ours || !is_expected {
                return Err(modified(&workload));
            }
            let again = self.wanted(put.app, Some(&before))?;
            version = before
                .workload
                .metadata()
                .resource_version
                .clone()
                .unwrap_or_default();
            wanted.workload = again.workload;
        }
        Err(modified(&workload))
    }

    /// Writes the source at the version that was read; the version that it has then. One of another kind is made.
    async fn change_source(
        &self,
        loaded: &Loaded,
        wanted: &Parts,
        app: &Application,
    ) -> Result<Option<String>> {
        let Some(source) = &wanted.source else {
            return Ok(None);
        };
        let Some(object) = loaded.source_ref().filter(|_| keeps_source(loaded, wanted)) else {
            self.write_source(&named(app, loaded), loaded.workload().namespace(), source)
                .await?;
            return Ok(None);
        };
        match self
            .replace_object(&object, &source.to_value()?, false)
            .await
        {
            Ok(written) => Ok(Some(version_of(&written).to_owned())),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(modified(&object)),
            Err(error) => Err(error),
        }
    }

    /// Writes the source as it was, if nobody has changed it since.
    async fn restore_source(&self, loaded: &Loaded, version: Option<&str>) {
        let (Some(version), Some(mut source)) = (version, loaded.parts.source.clone()) else {
            return;
        };
        source.metadata_mut().resource_version = Some(version.to_owned());
        let (Some(object), Ok(value)) = (loaded.source_ref(), source.to_value()) else {
            return;
        };
        if let Err(error) = self.replace_object(&object, &value, false).await {
            tracing::warn!(%object, %error, "a source could not be put back");
        }
    }

    /// Takes back the note of a put, and the suspension that was for its time.
    async fn give_back(&self, workload: &FluxRef, id: &str) {
        for _ in 0..RACES {
            let taken = self.take_back(workload, id).await;
            match taken {
                Err(error) if was_overtaken(&error) => {}
                Err(error) => {
                    tracing::warn!(%workload, %error, "a put that failed is noted still");
                    return;
                }
                Ok(()) => return,
            }
        }
    }

    async fn take_back(&self, named: &FluxRef, id: &str) -> Result<()> {
        let Some(value) = self.find(named).await? else {
            return Ok(());
        };
        let workload = read_workload(named.kind, &value)?;
        if workload.annotation(PUTTING) != Some(id) {
            return Ok(());
        }
        let mut patch = json!({"metadata": {"annotations": {PUTTING: null, PAUSED: null}}});
        if is_paused(&workload) {
            patch["spec"] = json!({"suspend": null});
        }
        self.patch_at(named, version_of(&value), patch)
            .await
            .map(drop)
    }
}

/// One put that is noted.
struct Put<'a> {
    app: &'a Application,
    mode: &'a PutMode,
    id: String,
}

/// Whether the source stays the object that it is.
fn keeps_source(loaded: &Loaded, wanted: &Parts) -> bool {
    let kind = |parts: &Parts| parts.source.as_ref().map(SourceObject::kind);
    kind(&loaded.parts) == kind(wanted)
}

/// The application as its objects are called.
fn named(app: &Application, loaded: &Loaded) -> Application {
    let mut app = app.clone();
    loaded.workload().name().clone_into(&mut app.name);
    app
}
