//! Applying one object.

use std::time::Duration;

use gitops_core::backend::{Propagation, ResourceAction};
use gitops_core::manifest::Object;
use gitops_core::manifest::digest::live_digest;
use gitops_core::{Error, ErrorKind, Result};

use tokio_util::sync::CancellationToken;

use super::applyset::{ApplySet, PART_OF_LABEL};
use super::cancel::unless_cancelled;
use super::execute::Applied;
use super::options::EngineOptions;
use super::owner;
use super::plan::{Step, claimed};
use crate::cluster::{Cluster, DeleteParams, FieldValidation, ObjectKey, WriteParams};
use crate::health::HealthRules;

/// How long an object that is being deleted may take before it is made again.
const GONE_TIMEOUT: Duration = Duration::from_secs(120);

pub(super) struct Applier<'a> {
    pub(super) cluster: &'a dyn Cluster,
    pub(super) health: &'a HealthRules,
    pub(super) set: &'a ApplySet,
    pub(super) options: &'a EngineOptions,
    pub(super) cancel: &'a CancellationToken,
}

impl Applier<'_> {
    /// Applies the desired form of `step`.
    pub(super) async fn apply(&self, step: &Step) -> Result<Applied> {
        let Some(desired) = &step.desired else {
            return Err(Error::internal(format!("{} has no desired form", step.id)));
        };
        if step.live.as_ref().is_some_and(|live| live.terminating) {
            self.wait_gone(step).await?;
        }
        let params = self.params(step, false);
        let stored = match self.send(step, desired, &params).await {
            Err(error) if self.may_recreate(step, &error) => {
                self.recreate(step, desired, &params).await?
            }
            other => other?,
        };
        let action = match &step.live {
            Some(live) if live.resource_version == stored.resource_version() => {
                ResourceAction::Unchanged
            }
            Some(live) if live.uid == stored.uid() => ResourceAction::Updated,
            // It was not seen before: it was there already when somebody else wrote it too.
            None if !owner::only_manager(&stored, self.set.manager()) => ResourceAction::Updated,
            _ => ResourceAction::Created,
        };
        Ok(Applied {
            action,
            uid: stored.uid().to_owned(),
            live_digest: live_digest(&stored, self.set.manager()),
            health: self.health.assess(&stored),
        })
    }

    /// Asks the server whether it would take the desired form of `step`.
    pub(super) async fn dry_run(&self, step: &Step) -> Result<()> {
        let Some(desired) = &step.desired else {
            return Ok(());
        };
        match self.send(step, desired, &self.params(step, true)).await {
            Err(error) if self.may_recreate(step, &error) => Ok(()),
            other => other.map(|_| ()),
        }
    }

    fn params(&self, step: &Step, dry_run: bool) -> WriteParams {
        WriteParams {
            field_manager: self.set.manager().to_owned(),
            dry_run,
            force: self.options.force_conflicts,
            // An apply refuses unknown fields by itself; a replace has to be told.
            validation: (self.replaces(step)).then_some(FieldValidation::Strict),
        }
    }

    fn replaces(&self, step: &Step) -> bool {
        self.options.replace || step.options.replace
    }

    async fn send(&self, step: &Step, desired: &Object, params: &WriteParams) -> Result<Object> {
        if self.replaces(step) {
            return self.replace(step, desired, params).await;
        }
        let result = self.cluster.apply(&step.kind, desired, params).await;
        match result {
            Err(error) if error.kind() == ErrorKind::Conflict => {
                self.conflict(step, desired, params, error).await
            }
            Err(error) => Err(explain(step, error)),
            ok => ok,
        }
    }

    async fn replace(&self, step: &Step, desired: &Object, params: &WriteParams) -> Result<Object> {
        let key = self.key(step);
        let live = self.cluster.get(key).await?;
        let Some(live) = live else {
            return self
                .cluster
                .create(&step.kind, desired, params)
                .await
                .map_err(|error| explain(step, error));
        };
        if let Some(other) = foreign(&live, self.set)
            && !self.options.adopt
        {
            return Err(claimed(&step.id, &live, other));
        }
        let mut wanted = desired.clone();
        wanted
            .metadata_mut()
            .insert("resourceVersion".into(), live.resource_version().into());
        self.cluster
            .replace(&step.kind, &wanted, params)
            .await
            .map_err(|error| explain(step, error))
    }

    /// Somebody else owns a field: another application (its label), or another field manager.
    async fn conflict(
        &self,
        step: &Step,
        desired: &Object,
        params: &WriteParams,
        error: Error,
    ) -> Result<Object> {
        let live = self.cluster.get(self.key(step)).await?;
        let Some(other) = live.as_ref().and_then(|live| foreign(live, self.set)) else {
            return Err(error);
        };
        if !self.options.adopt {
            return match &live {
                Some(live) => Err(claimed(&step.id, live, other).with_source(error)),
                None => Err(error),
            };
        }
        let params = WriteParams {
            force: true,
            ..params.clone()
        };
        self.cluster.apply(&step.kind, desired, &params).await
    }

    fn may_recreate(&self, step: &Step, error: &Error) -> bool {
        (self.options.recreate || step.options.force)
            && error.kind() == ErrorKind::InvalidInput
            && (error.message().contains("immutable")
                || error.message().contains("may not change once set"))
            && step.live.is_some()
    }

    /// Deletes what is there, if it is ours, and makes it anew.
    async fn recreate(
        &self,
        step: &Step,
        desired: &Object,
        params: &WriteParams,
    ) -> Result<Object> {
        if let Some(live) = self.cluster.get(self.key(step)).await? {
            if !self.options.adopt {
                owner::check_deletable(&live, self.set.manager())?;
            }
            let delete = DeleteParams {
                uid: Some(live.uid().to_owned()),
                propagation: Some(Propagation::Background),
                ..DeleteParams::default()
            };
            match self.cluster.delete(self.key(step), &delete).await {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            wait_gone(self.cluster, self.key(step), Some(live.uid()), self.cancel).await?;
        }
        self.send(step, desired, params).await
    }

    async fn wait_gone(&self, step: &Step) -> Result<()> {
        wait_gone(
            self.cluster,
            self.key(step),
            step.live.as_ref().map(|live| live.uid.as_str()),
            self.cancel,
        )
        .await
    }

    fn key<'s>(&self, step: &'s Step) -> ObjectKey<'s> {
        ObjectKey {
            kind: &step.kind,
            namespace: &step.id.namespace,
            name: &step.id.name,
        }
    }
}

/// Waits until the object (with this UID) is gone.
///
/// # Errors
/// `Timeout` when it takes too long, `Cancelled` when `cancel` is.
pub(super) async fn wait_gone(
    cluster: &dyn Cluster,
    key: ObjectKey<'_>,
    uid: Option<&str>,
    cancel: &CancellationToken,
) -> Result<()> {
    let gone = async {
        loop {
            match cluster.get(key).await? {
                Some(object) if uid.is_none_or(|uid| object.uid() == uid) => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                _ => return Ok(()),
            }
        }
    };
    let bounded = async {
        match tokio::time::timeout(GONE_TIMEOUT, gone).await {
            Ok(result) => result,
            Err(_) => Err(Error::timeout(format!(
                "{key} is being deleted and still there after {GONE_TIMEOUT:?}; a finalizer may hold it"
            ))),
        }
    };
    unless_cancelled(cancel, "until an object is gone", bounded).await
}

fn foreign<'o>(live: &'o Object, set: &ApplySet) -> Option<&'o str> {
    live.label(PART_OF_LABEL).filter(|other| *other != set.id())
}

/// Says in plain words what the server says around corners.
fn explain(step: &Step, error: Error) -> Error {
    let message = error.message();
    if message.contains("because it is being terminated") {
        return Error::conflict(format!("namespace {} is being deleted", step.id.namespace))
            .with_source(error);
    }
    if error.kind() == ErrorKind::NotFound && message.contains("namespaces") {
        return Error::not_found(format!(
            "namespace {} does not exist; add it to the manifests, or ask for CreateNamespace=true",
            step.id.namespace
        ))
        .with_source(error);
    }
    error
}
