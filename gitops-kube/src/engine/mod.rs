//! The apply engine: manifests become a cluster's state.
//!
//! A [`Plan`] says what will be done, and why, before anything is; [`Engine::execute`] carries it out, stage by stage, and
//! prunes last. What the application applied is remembered in an [`Inventory`] in the cluster: only what stands there is ever
//! deleted.
//!
//! | rule | source |
//! | --- | --- |
//! | server-side apply, one field manager per application | Kubernetes 1.34, Server-Side Apply |
//! | ApplySet labels and identity | KEP-3659 |
//! | inventory written before applying, failed prunes kept | cli-utils |
//! | phases, waves, hooks, per-object options | Argo CD 3.2 |
//! | namespaces, then CRDs, awaited; webhooks last | cli-utils, kapp |

mod apply;
mod applyset;
mod cancel;
mod concurrent;
mod execute;
mod hooks;
mod inventory;
mod options;
mod owner;
mod plan;
mod progress;
mod prune;
mod removed;
mod retry;
mod wait;

use std::sync::Arc;

use gitops_core::manifest::ignore::IgnoreRules;
use gitops_core::manifest::{ManifestSet, ObjectId};
use gitops_core::{Error, Result, ResultExt};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

pub use self::applyset::{
    APPLICATION_ANNOTATION, ApplySet, GROUP_KINDS_ANNOTATION, ID_LABEL, NAMESPACES_ANNOTATION,
    PART_OF_LABEL, TOOLING, TOOLING_ANNOTATION,
};
pub use self::execute::Report;
pub use self::inventory::{INVENTORY_LABEL, Inventory, InventoryEntry};
pub use self::options::{EngineOptions, RetryOptions, Verify, WaitOptions};
pub use self::plan::{Plan, PlanAction, PlanOptions, Step};
pub use self::progress::{Progress, Silent};
use self::retry::Retrying;
use crate::cluster::{ApiKind, Cluster, ObjectKey, WriteParams};
use crate::health::HealthRules;

/// Applies sets of manifests to one cluster.
#[derive(Clone)]
pub struct Engine {
    cluster: Arc<dyn Cluster>,
    health: Arc<HealthRules>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine for `cluster`, with the strict reading of health.
    pub fn new(cluster: Arc<dyn Cluster>) -> Self {
        Self {
            cluster,
            health: Arc::new(HealthRules::strict()),
        }
    }

    /// With other health rules.
    #[must_use]
    pub fn with_health(mut self, health: HealthRules) -> Self {
        self.health = Arc::new(health);
        self
    }

    /// The cluster.
    pub fn cluster(&self) -> &Arc<dyn Cluster> {
        &self.cluster
    }

    fn retrying(&self, options: RetryOptions) -> Retrying<&dyn Cluster> {
        Retrying::new(&*self.cluster, options)
    }

    /// The health rules.
    pub fn health(&self) -> &HealthRules {
        &self.health
    }

    /// Decides what to do. Nothing is changed. Dropping the future stops it.
    ///
    /// # Errors
    /// `InvalidInput` for manifests that the cluster cannot take (a kind that is not served, two objects with one identity), and for
    /// an empty set that would prune everything; `Unsupported` for a jq expression in `ignore_differences` without the feature `jq`; `Conflict` when the ApplySet belongs to another tool or application.
    pub async fn plan(
        &self,
        set: &ApplySet,
        manifests: ManifestSet,
        options: &EngineOptions,
        plan: PlanOptions,
    ) -> Result<Plan> {
        let span =
            tracing::info_span!("plan", set = set.parent_name(), namespace = set.namespace());
        let ignore = IgnoreRules::new(&options.ignore_differences)?;
        plan::Planner {
            ignore: &ignore,
            cluster: &self.retrying(options.retry),
            health: &self.health,
            set,
            options,
            plan,
        }
        .plan(manifests)
        .instrument(span)
        .await
    }

    /// Carries a plan out. Cancelling `cancel` stops between two requests and ends every wait (for health, for CRDs, for objects that go, between
    /// two tries), records what was done, and answers with what was done, as
    /// [`cancelled`](Report::cancelled); dropping the future stops at once: the next sync finds out what was done.
    ///
    /// # Errors
    /// When nothing was begun, since the namespace could not be made or the inventory not be written. All that happens later is told in the
    /// report, first what failed and then, if so, that the inventory could not be written.
    pub async fn execute(
        &self,
        set: &ApplySet,
        plan: Plan,
        options: &EngineOptions,
        progress: &dyn Progress,
        cancel: &CancellationToken,
    ) -> Result<Report> {
        let span = tracing::info_span!(
            "execute",
            set = set.parent_name(),
            namespace = set.namespace()
        );
        execute::Executor {
            cluster: &self.retrying(options.retry).until(cancel),
            recorder: &self.retrying(options.retry),
            health: &self.health,
            set,
            options,
            progress,
            cancel,
        }
        .run(plan)
        .instrument(span)
        .await
    }

    /// [`plan`](Self::plan) and [`execute`](Self::execute) in one.
    ///
    /// # Errors
    /// Those of both.
    pub async fn sync(
        &self,
        set: &ApplySet,
        manifests: ManifestSet,
        options: &EngineOptions,
    ) -> Result<Report> {
        let plan = self
            .plan(set, manifests, options, PlanOptions::default())
            .await?;
        self.execute(set, plan, options, &Silent, &CancellationToken::new())
            .await
    }

    /// Deletes everything that the application applied, waits until it is gone (by default as long as [`WaitOptions`] does), then deletes its
    /// inventory. What is protected stays, and then the inventory does too.
    ///
    /// # Errors
    /// As [`sync`](Self::sync). What could not be deleted, or is not gone in time, is told in the report and stays in the inventory.
    pub async fn delete(&self, set: &ApplySet, options: &EngineOptions) -> Result<Report> {
        let options = EngineOptions {
            prune: true,
            allow_empty: true,
            // The inventory may go only when all else is gone.
            wait: Some(options.wait.unwrap_or_default()),
            create_namespace: None,
            resources: Vec::new(),
            ..options.clone()
        };
        let plan = PlanOptions {
            deletion: true,
            ..PlanOptions::default()
        };
        let plan = self.plan(set, ManifestSet::new(), &options, plan).await?;
        let report = self
            .execute(set, plan, &options, &Silent, &CancellationToken::new())
            .await?;
        if report.is_success() {
            let mut inventory =
                Inventory::read(&self.retrying(RetryOptions::default()), set).await?;
            if inventory.is_empty() {
                inventory
                    .delete(&self.retrying(RetryOptions::default()), set)
                    .await?;
            }
        }
        Ok(report)
    }

    /// The inventory of an application.
    ///
    /// # Errors
    /// As [`Inventory::read`].
    pub async fn inventory(&self, set: &ApplySet) -> Result<Inventory> {
        Inventory::read(&self.retrying(RetryOptions::default()), set).await
    }

    /// Hands the set over to another tool (`kubectl/v1.34.4`): its parent names that tool from now on, and our inventory is deleted. We
    /// refuse the set afterwards.
    ///
    /// # Errors
    /// `NotFound` when there is no set; `InvalidInput` for a `tooling` that is not `name/version`; `Conflict` when a sync wrote the inventory
    /// meanwhile: try again.
    pub async fn hand_over(&self, set: &ApplySet, tooling: &str) -> Result<()> {
        if !tooling
            .split_once('/')
            .is_some_and(|(name, version)| !name.is_empty() && !version.is_empty())
        {
            return Err(Error::invalid(format!(
                "tooling {tooling:?} is not of the form name/version"
            )));
        }
        let mut inventory = Inventory::read(&self.retrying(RetryOptions::default()), set).await?;
        if !inventory.exists() {
            return Err(Error::not_found(format!(
                "there is no ApplySet {}/{}",
                set.namespace(),
                set.parent_name()
            )));
        }
        // First our memory, as it was read: a sync that runs meanwhile is noticed while the set is still ours. Members are found by their label.
        inventory
            .forget_shards(&self.retrying(RetryOptions::default()), set)
            .await?;
        self.set_tooling(set, Some(tooling)).await
    }

    /// Takes a set over that another tool manages (after `kubectl apply --applyset`, say), or that belongs to another application: its parent
    /// names us, and the set's application, from now on. Members come into our inventory as they are applied.
    ///
    /// # Errors
    /// `NotFound` when there is no such parent.
    pub async fn take_over(&self, set: &ApplySet) -> Result<()> {
        self.set_tooling(set, None).await
    }

    async fn set_tooling(&self, set: &ApplySet, tooling: Option<&str>) -> Result<()> {
        let kind = ApiKind::config_map();
        let key = ObjectKey {
            kind: &kind,
            namespace: set.namespace(),
            name: set.parent_name(),
        };
        // Another tool does not know what we write; we look for it.
        let (label, application) = match tooling {
            Some(_) => (serde_json::Value::Null, serde_json::Value::Null),
            None => (set.id().into(), set.application().to_string().into()),
        };
        let patch = serde_json::json!({"metadata": {
            "labels": { INVENTORY_LABEL: label },
            "annotations": {
                TOOLING_ANNOTATION: tooling.unwrap_or(TOOLING),
                APPLICATION_ANNOTATION: application,
            },
        }});
        let params = WriteParams {
            field_manager: "gitops-inventory".into(),
            ..WriteParams::default()
        };
        self.retrying(RetryOptions::default())
            .patch(key, &crate::cluster::Patch::Merge(patch), &params)
            .await
            .context(|| {
                format!(
                    "change the tooling of ApplySet {}/{}",
                    set.namespace(),
                    set.parent_name()
                )
            })?;
        Ok(())
    }

    /// The live objects that carry the ApplySet's label though the application never applied them (controllers copied it, or the
    /// inventory was lost).
    ///
    /// # Errors
    /// As [`plan`](Self::plan).
    pub async fn strangers(
        &self,
        set: &ApplySet,
        manifests: ManifestSet,
        options: &EngineOptions,
    ) -> Result<Vec<ObjectId>> {
        Ok(self
            .plan(set, manifests, options, PlanOptions::default())
            .await?
            .strangers)
    }
}
