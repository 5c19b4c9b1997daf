//! The order in which a plan is made.

use std::time::Instant;

use gitops_core::manifest::ignore::IgnoreRules;
use gitops_core::manifest::{ManifestSet, ObjectId};
use gitops_core::{Error, Result};
use tracing::debug;

use super::{Plan, PlanAction, PlanOptions, Step};
use crate::cluster::Cluster;
use crate::engine::applyset::ApplySet;
use crate::engine::hooks;
use crate::engine::inventory::Inventory;
use crate::engine::options::EngineOptions;
use crate::health::HealthRules;

pub(in crate::engine) struct Planner<'a> {
    pub(in crate::engine) cluster: &'a dyn Cluster,
    pub(in crate::engine) health: &'a HealthRules,
    pub(in crate::engine) set: &'a ApplySet,
    pub(in crate::engine) options: &'a EngineOptions,
    pub(in crate::engine) plan: PlanOptions,
    pub(in crate::engine) ignore: &'a IgnoreRules,
}

impl Planner<'_> {
    pub(in crate::engine) async fn plan(&self, manifests: ManifestSet) -> Result<Plan> {
        let start = Instant::now();
        // Neither needs the other's answer.
        let ((steps, hooks), inventory) = futures::try_join!(
            self.resolve(manifests),
            Inventory::read(self.cluster, self.set)
        )?;
        // A selective sync runs no hooks.
        if self.options.resources.is_empty() {
            hooks::check_kinds(&hooks, &steps)?;
        }
        let all_gone = steps.is_empty() && !inventory.is_empty();
        if all_gone && self.options.prune && !self.options.allow_empty {
            return Err(Error::invalid(format!(
                "no manifest is left, and {} objects would be pruned; allow_empty allows it",
                inventory.len()
            )));
        }
        let gone = self.gone(&steps, &inventory).await?;
        let mut live = self.list(&steps, &gone, &inventory).await?;
        let mut planned = Vec::with_capacity(steps.len() + gone.len());
        for mut step in steps {
            step.live = live.remove(&step.id);
            planned.push(step);
        }
        if self.plan.look_up || self.options.force_conflicts {
            self.look_up(&mut planned, |_| true).await?;
        } else if self.options.respect_ignored && !self.ignore.is_empty() {
            self.look_up(&mut planned, |id| self.ignore.concern(id))
                .await?;
        }
        self.respect(&mut planned);
        for step in &mut planned {
            self.decide(step, &inventory)?;
        }
        self.verify(&mut planned, &inventory).await?;
        let mut pruned: Vec<Step> = gone
            .into_iter()
            .filter_map(|mut step| {
                step.live = live.remove(&step.id);
                self.decide_prune(&mut step, &inventory);
                (!step.reason.is_empty() || step.action == PlanAction::Prune).then_some(step)
            })
            .collect();
        gitops_core::manifest::order::sort_for_prune(&mut pruned, |step| (&step.id, &step.options));
        planned.append(&mut pruned);
        let mut strangers: Vec<ObjectId> = live.into_keys().collect();
        strangers.sort();
        debug!(
            steps = planned.len(),
            elapsed_ms = start.elapsed().as_millis(),
            "planned"
        );
        Ok(Plan {
            steps: planned,
            hooks,
            inventory,
            strangers,
        })
    }

    pub(super) fn selected(&self, id: &ObjectId) -> bool {
        self.options.resources.is_empty()
            || self
                .options
                .resources
                .iter()
                .any(|wanted| wanted.matches(id))
    }
}
