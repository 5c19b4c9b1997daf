//! Writing an application: its source first, then its workload.

use gitops_core::application::Application;
use gitops_core::backend::PutOutcome;
use gitops_core::{Error, ErrorKind, Result};
use serde_json::{Value, json};

use super::RACES;
use crate::backend::access::{Loaded, was_overtaken};
use crate::backend::{FluxBackend, start, status};
use crate::convert::{Parts, SourceObject, Workload, is_manual};
use crate::manager::FluxRef;

impl FluxBackend {
    pub(super) async fn create(&self, app: &Application) -> Result<PutOutcome> {
        let parts = self.wanted(app, None)?;
        let namespace = self.namespace_of(&app.app_ref()).to_owned();
        if !is_manual(app) {
            start::ensure_namespace(self, app, &Default::default()).await?;
        }
        // The workload is the application: until it is there, nobody sees one.
        if let Some(source) = &parts.source {
            self.write_source(app, &namespace, source).await?;
        }
        let kind = parts.workload.kind();
        let created = match &parts.workload {
            Workload::Kustomization(object) => self.create_object(kind, &namespace, object).await,
            Workload::HelmRelease(object) => self.create_object(kind, &namespace, object).await,
        };
        created?;
        self.outcome(&app.app_ref(), true, true).await
    }

    /// Makes the source, or makes one that was left by an application of this name what it should be.
    async fn write_source(
        &self,
        app: &Application,
        namespace: &str,
        source: &SourceObject,
    ) -> Result<()> {
        let kind = source.kind();
        let named = FluxRef::new(
            kind,
            namespace,
            source.metadata().name.clone().unwrap_or_default(),
        );
        for _ in 0..RACES {
            let created = match source {
                SourceObject::Git(object) => self.create_object(kind, namespace, object).await,
                SourceObject::Oci(object) => self.create_object(kind, namespace, object).await,
                SourceObject::Helm(object) => self.create_object(kind, namespace, object).await,
                _ => return Err(Error::unsupported("making it", kind.kind())),
            };
            match created {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                other => return other.map(drop),
            }
            let Some(live) = self.find(&named).await? else {
                continue;
            };
            if live["metadata"]["annotations"][crate::convert::APPLICATION] != json!(app.name) {
                return Err(Error::conflict(format!(
                    "{named} is there, and was not made for application {}",
                    app.app_ref()
                )));
            }
            match self.replace_source(&live, source).await {
                Err(error) if was_overtaken(&error) => {}
                other => return other,
            }
        }
        Err(Error::conflict(format!("{named} changes all the time")))
    }

    /// Replaces a source's specification and our annotations.
    async fn replace_source(&self, live: &Value, source: &SourceObject) -> Result<()> {
        let mut wanted = match source {
            SourceObject::Git(object) => serde_json::to_value(object),
            SourceObject::Oci(object) => serde_json::to_value(object),
            SourceObject::Helm(object) => serde_json::to_value(object),
            _ => return Ok(()),
        }
        .map_err(|error| Error::internal("a source is no JSON").with_source(error))?;
        let named = FluxRef::new(
            source.kind(),
            live["metadata"]["namespace"].as_str().unwrap_or_default(),
            live["metadata"]["name"].as_str().unwrap_or_default(),
        );
        let mut replaced = live.clone();
        replaced["spec"] = wanted["spec"].take();
        replaced["metadata"]["annotations"] = wanted["metadata"]["annotations"].take();
        self.replace_object(&named, &replaced).await.map(drop)
    }

    /// Writes the application over the one that was read.
    pub(super) async fn replace(&self, loaded: &Loaded, app: &Application) -> Result<()> {
        let mut wanted = self.wanted(app, Some(&loaded.parts))?;
        let runs = loaded
            .record()
            .ok()
            .flatten()
            .is_some_and(|record| !record.has_ended());
        if runs {
            // The operation puts these back at its end.
            keep_running(&loaded.parts.workload, &mut wanted.workload);
        }
        let source_changes = wanted.source != loaded.parts.source;
        let mut version = loaded.version().to_owned();
        let workload = loaded.workload_ref();
        if source_changes {
            if !loaded.workload().is_suspended()
                && status::digest(&wanted) != status::digest(&loaded.parts)
            {
                // The old settings must not meet the new source, nor the new settings the old one's artifact.
                let paused = self
                    .patch_at(&workload, &version, json!({"spec": {"suspend": true}}))
                    .await?;
                paused["metadata"]["resourceVersion"]
                    .as_str()
                    .unwrap_or_default()
                    .clone_into(&mut version);
            }
            self.change_source(loaded, &wanted, app).await?;
        }
        wanted.workload.metadata_mut().resource_version = Some(version);
        if !is_manual(app) {
            start::ensure_namespace(self, app, &Default::default()).await?;
        }
        let written = match &wanted.workload {
            Workload::Kustomization(object) => self.replace_object(&workload, object).await,
            Workload::HelmRelease(object) => self.replace_object(&workload, object).await,
        };
        written?;
        let (old, new) = (
            loaded.source_ref(),
            wanted.source.as_ref().map(SourceObject::kind),
        );
        if let (Some(old), Some(new), Some(source)) = (old, new, &loaded.parts.source)
            && old.kind != new
            && source.is_own(&app.name)
        {
            self.forget(&old).await?;
        }
        Ok(())
    }

    async fn change_source(
        &self,
        loaded: &Loaded,
        wanted: &Parts,
        app: &Application,
    ) -> Result<()> {
        let Some(source) = &wanted.source else {
            return Ok(());
        };
        let same_kind = loaded
            .parts
            .source
            .as_ref()
            .is_some_and(|before| before.kind() == source.kind());
        match loaded.source_ref().filter(|_| same_kind) {
            Some(named) => match self.find(&named).await? {
                Some(live) => self.replace_source(&live, source).await,
                None => self.write_source(app, &named.namespace, source).await,
            },
            None => {
                self.write_source(app, loaded.workload().namespace(), source)
                    .await
            }
        }
    }
}

/// What an operation has set for its time.
fn keep_running(before: &Workload, wanted: &mut Workload) {
    match (before, wanted) {
        (Workload::Kustomization(before), Workload::Kustomization(wanted)) => {
            wanted.spec.suspend = before.spec.suspend;
            wanted.spec.prune = before.spec.prune;
            wanted.spec.force = before.spec.force;
        }
        (Workload::HelmRelease(before), Workload::HelmRelease(wanted)) => {
            wanted.spec.suspend = before.spec.suspend
        }
        _ => {}
    }
}
