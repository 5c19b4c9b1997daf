//! The sources that were made for applications.

use gitops_core::application::{AppRef, Application};
use gitops_core::{Error, ErrorKind, Result};
use serde_json::{Value, json};

use super::RACES;
use crate::backend::FluxBackend;
use crate::backend::access::{reference, was_overtaken};
use crate::convert::{APPLICATION, SourceObject};
use crate::kind::{FluxKind, FluxResource};
use crate::manager::read::says_not_installed;
use crate::manager::{FluxRef, ListOptions};
use crate::types::{HelmChart, HelmRelease, ImageUpdateAutomation, Kustomization};

/// The kinds that the backend makes.
const KINDS: [FluxKind; 3] = [
    FluxKind::GitRepository,
    FluxKind::OCIRepository,
    FluxKind::HelmRepository,
];

impl FluxBackend {
    /// Makes the source, or makes one that was left by an application of this name what it should be.
    ///
    /// # Errors
    /// `Conflict` for one that was not made for the application.
    pub(super) async fn write_source(
        &self,
        app: &Application,
        namespace: &str,
        source: &SourceObject,
    ) -> Result<()> {
        let kind = source.kind();
        if !KINDS.contains(&kind) {
            return Err(Error::unsupported("making it", kind.kind()));
        }
        let named = named(source, namespace);
        let value = source.to_value()?;
        for _ in 0..RACES {
            match self.create_object(kind, namespace, &value, false).await {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                other => return other.map(drop),
            }
            let Some(live) = self.left_source(&named, app).await? else {
                continue;
            };
            let mut replaced = live.clone();
            replaced["spec"] = value["spec"].clone();
            for field in ["annotations", "labels"] {
                if !value["metadata"][field].is_null() {
                    replaced["metadata"][field] = value["metadata"][field].clone();
                }
            }
            match self.replace_object(&named, &replaced, false).await {
                Err(error) if was_overtaken(&error) => {}
                other => return other.map(drop),
            }
        }
        Err(Error::conflict(format!("{named} changes all the time")))
    }

    /// Whether the source could be made.
    ///
    /// # Errors
    /// `Conflict` for one that was not made for the application.
    pub(super) async fn check_source(
        &self,
        app: &Application,
        namespace: &str,
        source: &SourceObject,
    ) -> Result<()> {
        self.left_source(&named(source, namespace), app)
            .await
            .map(drop)
    }

    /// The source of that name, which was left by an application of this name.
    async fn left_source(&self, named: &FluxRef, app: &Application) -> Result<Option<Value>> {
        let live = self.find(named).await?;
        if let Some(live) = &live
            && live["metadata"]["annotations"][APPLICATION] != json!(app.name)
        {
            return Err(Error::conflict(format!(
                "{named} is there, and was not made for application {}",
                app.app_ref()
            )));
        }
        Ok(live)
    }

    /// Deletes a source that was made for the application of `workload`, unless something else uses it; whether it did.
    pub(super) async fn forget_source(&self, source: &FluxRef, workload: &FluxRef) -> Result<bool> {
        if self.is_used(source, workload).await? {
            return Ok(false);
        }
        self.forget(source).await.map(|()| true)
    }

    /// Deletes the sources that an application left which is not there any more; whether it did.
    pub(super) async fn forget_left_sources(&self, app: &AppRef) -> Result<bool> {
        let namespace = self.namespace_of(app);
        let mut found = false;
        for kind in KINDS {
            let source = FluxRef::new(kind, namespace, &*app.name);
            let Some(live) = self.find(&source).await? else {
                continue;
            };
            if live["metadata"]["annotations"][APPLICATION] == json!(app.name) {
                let workload = FluxRef::new(FluxKind::Kustomization, namespace, &*app.name);
                found |= self.forget_source(&source, &workload).await?;
            }
        }
        Ok(found)
    }

    /// Whether something besides the workload, in whatever namespace, names the source, or may name it as far as is known.
    async fn is_used(&self, source: &FluxRef, workload: &FluxRef) -> Result<bool> {
        // The chart that a release has made goes with it.
        let chart = FluxRef::new(
            FluxKind::HelmChart,
            &*source.namespace,
            format!("{}-{}", workload.namespace, workload.name),
        );
        let own = [workload, &chart];
        Ok(self.is_named_by::<Kustomization>(source, own).await?
            || self.is_named_by::<HelmRelease>(source, own).await?
            || self.is_named_by::<HelmChart>(source, own).await?
            || self
                .is_named_by::<ImageUpdateAutomation>(source, own)
                .await?)
    }

    async fn is_named_by<K: FluxResource>(
        &self,
        source: &FluxRef,
        own: [&FluxRef; 2],
    ) -> Result<bool> {
        let kind = K::KIND.kind();
        let all = match self.manager.list::<K>(&ListOptions::everywhere()).await {
            Ok(all) => all,
            Err(error) if says_not_installed(&error) => return Ok(false),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                tracing::warn!(%source, kind, "a source is left: whether others use it may not be looked");
                return Ok(true);
            }
            Err(error) => return Err(error),
        };
        let user = all
            .items
            .iter()
            .map(FluxRef::of)
            .zip(&all.items)
            .find(|(named, object)| {
                let of = object
                    .resolved_source_ref()
                    .and_then(|of| reference(&of, &named.namespace));
                !own.contains(&named) && of.as_ref() == Some(source)
            });
        if let Some((user, _)) = &user {
            tracing::info!(%source, %user, "a source is left to what else uses it");
        }
        if !all.unreadable.is_empty() {
            tracing::warn!(%source, kind, "a source is left: some that may use it cannot be read");
        }
        Ok(user.is_some() || !all.unreadable.is_empty())
    }
}

fn named(source: &SourceObject, namespace: &str) -> FluxRef {
    let name = source.metadata().name.clone().unwrap_or_default();
    FluxRef::new(source.kind(), namespace, name)
}
