//! What to do with each object, given what lives.

use futures::FutureExt;
use gitops_core::Result;
use gitops_core::manifest::Object;
use gitops_core::manifest::digest::live_digest;
use gitops_core::manifest::order::ObjectOptions;

use super::live::Live;
use super::{PlanAction, Planner, Step};
use crate::cluster::WriteParams;
use crate::engine::applyset::PART_OF_LABEL;
use crate::engine::concurrent;
use crate::engine::inventory::Inventory;
use crate::engine::options::Verify;

impl Planner<'_> {
    pub(super) fn decide(&self, step: &mut Step, inventory: &Inventory) -> Result<()> {
        if !self.selected(&step.id) {
            step.action = PlanAction::Skip;
            step.reason = "not selected".into();
            return Ok(());
        }
        let Some(live) = &step.live else {
            step.action = PlanAction::Create;
            if step.deferred {
                step.reason = "its kind comes with a CRD of the same manifests".into();
            }
            return Ok(());
        };
        let (action, reason) = match inventory.get(&step.id) {
            _ if live.terminating => (PlanAction::Update, "it is being deleted"),
            None => (
                PlanAction::Update,
                "it was not applied by this application before",
            ),
            Some(entry) if entry.uid.is_empty() => {
                (PlanAction::Update, "its last apply was never recorded")
            }
            Some(entry) if entry.uid != live.uid => (
                PlanAction::Update,
                "it was deleted and made again by somebody else",
            ),
            Some(entry) if entry.desired != step.digest => {
                (PlanAction::Update, "its desired form changed")
            }
            Some(entry) if entry.live != live.digest => (
                PlanAction::Update,
                "its live form changed since it was applied",
            ),
            Some(_) => (PlanAction::Unchanged, ""),
        };
        step.action = action;
        step.reason = reason.into();
        Ok(())
    }

    /// Puts what is ignored of the live forms into the desired ones. Digests stay those of what Git says.
    pub(super) fn respect(&self, steps: &mut [Step]) {
        if !self.options.respect_ignored {
            return;
        }
        for step in steps.iter_mut().filter(|step| self.concerned(&step.id)) {
            let live = step.live.as_ref().and_then(|live| live.object.as_ref());
            if let (Some(desired), Some(live)) = (&step.desired, live) {
                let mut desired = self.ignore.respect(desired, live);
                desired.set_label(PART_OF_LABEL, self.set.id());
                step.desired = Some(desired);
            }
        }
    }

    /// Asks the server about each object that the options say: what a dry-run apply would leave as it is needs no request.
    pub(super) async fn verify(&self, steps: &mut [Step], inventory: &Inventory) -> Result<()> {
        let asked = steps
            .iter_mut()
            .filter(|step| match (step.action, self.options.verify) {
                (PlanAction::Update, Verify::Digest) => self.may_be_ignored(step, inventory),
                (PlanAction::Update, _) => true,
                (PlanAction::Unchanged, verify) => verify == Verify::DryRun,
                _ => false,
            })
            .map(|step| self.verify_one(step).boxed())
            .collect();
        concurrent::run(self.options.concurrency, asked)
            .await
            .into_iter()
            .collect()
    }

    /// Whether a sync may leave the object alone: it was recorded as it is, and rules ignore some of it.
    fn may_be_ignored(&self, step: &Step, inventory: &Inventory) -> bool {
        (self.options.respect_ignored || self.options.out_of_sync_only)
            && self.concerned(&step.id)
            && step.live.as_ref().is_some_and(|live| {
                inventory
                    .get(&step.id)
                    .is_some_and(|entry| entry.uid == live.uid)
            })
    }

    async fn verify_one(&self, step: &mut Step) -> Result<()> {
        let (Some(desired), Some(live)) = (&step.desired, &step.live) else {
            return Ok(());
        };
        let concerned = self.concerned(&step.id);
        let params = WriteParams {
            field_manager: self.set.manager().to_owned(),
            dry_run: true,
            // A conflict over a field that is ignored says nothing of the others.
            force: self.options.force_conflicts || concerned,
            ..WriteParams::default()
        };
        if live.terminating {
            return Ok(());
        }
        let predicted = self.cluster.apply(&step.kind, desired, &params).await;
        (step.action, step.reason) = match predicted {
            Ok(predicted) if live_digest(&predicted, self.set.manager()) == live.digest => {
                (PlanAction::Unchanged, String::new())
            }
            Ok(predicted) if concerned && self.same_but_ignored(&predicted, live) => (
                PlanAction::Unchanged,
                "what differs is ignored (ignoreDifferences)".into(),
            ),
            Ok(_) => (PlanAction::Update, "a dry-run apply changes it".into()),
            // The server refuses it (an immutable field, a conflict): then it is not as it should be.
            Err(error) if !error.is_retryable() => (PlanAction::Update, error.to_string()),
            Err(error) => return Err(error.context(format!("dry-run of {}", step.id))),
        };
        Ok(())
    }

    /// Whether `predicted` and the live form differ in nothing but what is ignored; who owns which field does not count.
    fn same_but_ignored(&self, predicted: &Object, live: &Live) -> bool {
        let Some(live) = &live.object else {
            return false;
        };
        let digest = |object| live_digest(&self.ignore.strip(object, Some(live)), "");
        digest(predicted) == digest(live)
    }

    /// Why an object must stay, if so.
    fn protection(&self, options: &ObjectOptions) -> Option<&'static str> {
        if self.plan.deletion {
            options.delete_protection()
        } else {
            options.prune_protection()
        }
    }

    pub(super) fn decide_prune(&self, step: &mut Step, inventory: &Inventory) {
        let (Some(live), Some(entry)) = (&step.live, inventory.get(&step.id)) else {
            // It is gone already, or lost our label: then it is no longer ours to delete.
            return;
        };
        let keep = if !self.selected(&step.id) {
            Some("not selected")
        } else if !live.ours {
            Some("our field manager does not own the ApplySet's label on it")
        } else if live.controlled {
            Some("a controller owns it")
        } else if !entry.uid.is_empty() && entry.uid != live.uid {
            Some("it was deleted and made again by somebody else")
        } else if entry.uid.is_empty() && !live.made {
            // A sync that ended before it recorded what it did: without a UID, only what we surely made ourselves is ours to delete.
            Some("its last apply was never recorded, and it may not be ours")
        } else if let Some(why) = self.protection(&live.options) {
            Some(why)
        } else if !self.options.prune {
            Some("pruning is off")
        } else {
            None
        };
        step.options = live.options.clone();
        match keep {
            Some(why) => {
                step.action = PlanAction::Keep;
                step.reason = why.into();
            }
            None => {
                step.action = PlanAction::Prune;
                step.reason = if live.terminating {
                    "it is being deleted already".into()
                } else {
                    "Git no longer names it".into()
                };
            }
        }
    }
}
