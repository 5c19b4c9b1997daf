//! Deciding what to do, before anything is done.

mod decide;
mod list;
mod live;
mod planner;
mod resolve;

use std::fmt;

use gitops_core::Result;
use gitops_core::application::Health;
use gitops_core::manifest::order::ObjectOptions;
use gitops_core::manifest::{Object, ObjectId};
use serde::Serialize;

use super::inventory::Inventory;
use crate::cluster::ApiKind;

pub(super) use self::list::claimed;
use self::live::Live;
pub(super) use self::planner::Planner;

/// What is to be done with one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum PlanAction {
    /// It is to be made.
    Create,
    /// It is to be applied.
    Update,
    /// It is as it should be.
    Unchanged,
    /// It is to be deleted.
    Prune,
    /// Git no longer names it, and it stays.
    Keep,
    /// It was not selected, or asked to be left alone.
    Skip,
}

/// One object of a plan.
#[derive(Clone, Debug)]
pub struct Step {
    /// Which object.
    pub id: ObjectId,
    /// What is to be done.
    pub action: PlanAction,
    /// Why, for people.
    pub reason: String,
    pub(super) desired: Option<Object>,
    pub(super) options: ObjectOptions,
    pub(super) kind: ApiKind,
    /// The kind is not served now: a CRD of the same plan brings it, or it went away and may come back.
    pub(super) deferred: bool,
    pub(super) digest: String,
    pub(super) live: Option<Live>,
}

impl Step {
    /// The desired form, as it is sent: with its namespace and the ApplySet's label. `None` for what Git no longer names.
    pub fn desired(&self) -> Option<&Object> {
        self.desired.as_ref()
    }

    /// The live form, where the plan was made with [`Planner::keep_live`](PlanOptions::keep_live).
    pub fn live(&self) -> Option<&Object> {
        self.live.as_ref()?.object.as_ref()
    }

    /// The health of the live object; `None` when it is not there.
    pub fn live_health(&self) -> Option<&Health> {
        self.live.as_ref().map(|live| &live.health)
    }

    /// The kind as the server serves it.
    pub fn kind(&self) -> &ApiKind {
        &self.kind
    }

    /// The API version.
    pub fn version(&self) -> &str {
        &self.kind.gvk.version
    }

    /// The sync wave.
    pub fn wave(&self) -> i64 {
        self.options.wave
    }
}

/// What is to be done with every object of an application, and why. Nothing was changed to make it.
#[derive(Debug)]
pub struct Plan {
    pub(super) steps: Vec<Step>,
    pub(super) hooks: Vec<Step>,
    pub(super) inventory: Inventory,
    /// Live objects that carry the ApplySet's label and that the application never applied: controllers copied the label.
    pub strangers: Vec<ObjectId>,
}

impl Plan {
    /// The steps, hooks left out, in the order in which they are carried out; what is pruned comes last.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The hooks.
    pub fn hooks(&self) -> &[Step] {
        &self.hooks
    }

    /// How many steps have `action`.
    pub fn count(&self, action: PlanAction) -> usize {
        self.steps
            .iter()
            .filter(|step| step.action == action)
            .count()
    }

    /// Whether carrying it out would change nothing.
    pub fn is_noop(&self) -> bool {
        self.steps.iter().all(|step| {
            matches!(
                step.action,
                PlanAction::Unchanged | PlanAction::Keep | PlanAction::Skip
            )
        })
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            let sign = match step.action {
                PlanAction::Create => '+',
                PlanAction::Update => '~',
                PlanAction::Prune => '-',
                PlanAction::Unchanged => '=',
                PlanAction::Keep => '!',
                PlanAction::Skip => ' ',
            };
            write!(f, "{sign} {}", step.id)?;
            if !step.reason.is_empty() {
                write!(f, " ({})", step.reason)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl Serialize for Plan {
    /// Identities, actions and reasons: no content, which may be secret.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Row<'a> {
            #[serde(flatten)]
            id: &'a ObjectId,
            action: PlanAction,
            reason: &'a str,
        }
        serializer.collect_seq(self.steps.iter().map(|step| Row {
            id: &step.id,
            action: step.action,
            reason: &step.reason,
        }))
    }
}

/// How much a plan should know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlanOptions {
    /// Keep the live objects, for diffs.
    pub keep_live: bool,
    /// Look up every object that the ApplySet's label did not find, so that one which is there without the label is told from one that is
    /// not there at all. A sync does not need it: server-side apply makes or takes over.
    pub look_up: bool,
    /// The application is being deleted: what asks to stay then (`Delete=false`) is kept.
    pub deletion: bool,
}
