//! Deciding what to do, before anything is done.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::time::Instant;

use futures::FutureExt;
use gitops_core::application::Health;
use gitops_core::manifest::digest::{desired_digest, live_digest};
use gitops_core::manifest::order::ObjectOptions;
use gitops_core::manifest::{GroupKind, GroupVersionKind, ManifestSet, Object, ObjectId};
use gitops_core::{Error, ErrorKind, Result, ResultExt};
use serde::Serialize;
use tracing::debug;

use super::applyset::{ApplySet, PART_OF_LABEL};
use super::inventory::{Inventory, InventoryEntry};
use super::options::{EngineOptions, Verify};
use super::{concurrent, owner, removed};
use crate::cluster::{ApiKind, Cluster, ListParams, ObjectKey, Scope, WriteParams};
use crate::health::HealthRules;

/// Lists are read in pages of this many objects, so that memory does not grow with the cluster.
const PAGE: u32 = 250;

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

/// What a plan needs to know of a live object; the object itself is dropped, unless it was asked for.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) uid: String,
    pub(super) resource_version: String,
    pub(super) digest: String,
    pub(super) terminating: bool,
    /// Whether our field manager owns the ApplySet's label.
    pub(super) ours: bool,
    /// Whether a controller made it.
    pub(super) controlled: bool,
    pub(super) options: ObjectOptions,
    pub(super) health: Health,
    pub(super) object: Option<Object>,
}

impl Live {
    fn of(object: Object, set: &ApplySet, health: &HealthRules, keep: bool) -> Self {
        Self {
            health: health.assess(&object),
            uid: object.uid().to_owned(),
            resource_version: object.resource_version().to_owned(),
            digest: live_digest(&object, set.manager()),
            terminating: object.is_terminating(),
            ours: object.label(PART_OF_LABEL) == Some(set.id())
                && owner::owns_label(&object, set.manager(), PART_OF_LABEL),
            controlled: owner::has_controller(&object),
            // What cannot be read on a live object must not make it prunable: doubt protects.
            options: ObjectOptions::of(&object).unwrap_or_else(|_| ObjectOptions::protected()),
            object: keep.then_some(object),
        }
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
}

pub(super) struct Planner<'a> {
    pub(super) cluster: &'a dyn Cluster,
    pub(super) health: &'a HealthRules,
    pub(super) set: &'a ApplySet,
    pub(super) options: &'a EngineOptions,
    pub(super) plan: PlanOptions,
}

impl Planner<'_> {
    pub(super) async fn plan(&self, manifests: ManifestSet) -> Result<Plan> {
        let start = Instant::now();
        // Neither needs the other's answer.
        let ((steps, hooks), inventory) = futures::try_join!(
            self.resolve(manifests),
            Inventory::read(self.cluster, self.set)
        )?;
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
            self.look_up(&mut planned).await?;
        }
        for step in &mut planned {
            self.decide(step, &inventory)?;
        }
        if self.options.verify != Verify::Digest {
            self.verify(&mut planned).await?;
        }
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

    /// Finds the kinds, sets namespaces and the label, and refuses two objects that turn out to be one.
    async fn resolve(&self, manifests: ManifestSet) -> Result<(Vec<Step>, Vec<Step>)> {
        let declared = declared_kinds(&manifests);
        let gvks: BTreeSet<GroupVersionKind> = manifests.iter().map(Object::gvk).collect();
        let mut kinds: HashMap<GroupVersionKind, (ApiKind, bool)> = HashMap::new();
        for gvk in gvks {
            let kind = match self.cluster.resolve(&gvk).await {
                Ok(kind) => (kind, false),
                Err(error) if error.kind() == ErrorKind::NotFound => match declared.get(&gvk) {
                    Some(kind) => (kind.clone(), true),
                    None => {
                        let place = manifests
                            .iter()
                            .find(|object| object.gvk() == gvk)
                            .and_then(|object| object.origin().map(|origin| format!("{origin}: ")))
                            .unwrap_or_default();
                        return Err(Error::invalid(format!(
                            "{place}the cluster does not serve {gvk}, and no CRD of the same manifests does"
                        ))
                        .with_source(error));
                    }
                },
                Err(error) => return Err(error.context(format!("find out about {gvk}"))),
            };
            kinds.insert(gvk, kind);
        }
        let mut seen: HashMap<ObjectId, String> = HashMap::with_capacity(manifests.len());
        let mut steps = Vec::with_capacity(manifests.len());
        let mut hooks = Vec::new();
        for (mut object, options) in manifests.into_ordered()? {
            let Some((kind, deferred)) = kinds.get(&object.gvk()).cloned() else {
                continue;
            };
            match kind.scope {
                Scope::Cluster => object.set_namespace(""),
                Scope::Namespaced if object.namespace().is_empty() => {
                    let namespace = match self.options.namespace.as_str() {
                        "" => "default",
                        namespace => namespace,
                    };
                    object.set_namespace(namespace);
                }
                Scope::Namespaced => {}
            }
            let place = object.origin().map(ToString::to_string).unwrap_or_default();
            let id = object.id();
            if let Some(other) = seen.insert(id.clone(), place.clone()) {
                return Err(Error::invalid(format!(
                    "{id} appears twice: at {other} and at {place}"
                )));
            }
            let hook = options.is_hook();
            if !hook {
                object.set_label(PART_OF_LABEL, self.set.id());
            }
            let step = Step {
                digest: desired_digest(&object),
                id,
                action: PlanAction::Create,
                reason: String::new(),
                desired: Some(object),
                options,
                kind,
                deferred,
                live: None,
            };
            if hook {
                hooks.push(step)
            } else {
                steps.push(step)
            }
        }
        Ok((steps, hooks))
    }

    /// What the inventory has and the manifests do not name, with its kind as served now.
    async fn gone(&self, steps: &[Step], inventory: &Inventory) -> Result<Vec<Step>> {
        let wanted: BTreeSet<&ObjectId> = steps.iter().map(|step| &step.id).collect();
        let mut kinds: BTreeMap<GroupKind, Option<ApiKind>> = BTreeMap::new();
        let entries = || inventory.iter().filter(|entry| !wanted.contains(&entry.id));
        for entry in entries() {
            let group_kind = entry.id.group_kind();
            if !kinds.contains_key(&group_kind) {
                let gvk =
                    GroupVersionKind::new(&*group_kind.group, &*entry.version, &*group_kind.kind);
                let found = match self.cluster.resolve(&gvk).await {
                    Ok(kind) => Some(kind),
                    Err(error) if error.kind() == ErrorKind::NotFound => {
                        match self.cluster.resolve_any(&group_kind).await {
                            Ok(kind) => Some(kind),
                            Err(error) if error.kind() == ErrorKind::NotFound => None,
                            Err(error) => return Err(error),
                        }
                    }
                    Err(error) => return Err(error),
                };
                kinds.insert(group_kind.clone(), found);
            }
        }
        let missing = kinds
            .iter()
            .filter(|(_, kind)| kind.is_none())
            .map(|(group_kind, _)| group_kind.clone())
            .collect();
        let doubts = removed::doubts(self.cluster, missing).await?;
        let mut gone = Vec::new();
        for entry in entries() {
            let group_kind = entry.id.group_kind();
            let (kind, deferred, reason) = match (kinds.get(&group_kind), doubts.get(&group_kind)) {
                (Some(Some(kind)), _) => (kind.clone(), false, String::new()),
                (_, Some(doubt)) => (unserved(entry), true, doubt.clone()),
                // A kind that was removed has no objects left; its entries go when the inventory is written next.
                _ => continue,
            };
            gone.push(Step {
                id: entry.id.clone(),
                action: PlanAction::Keep,
                reason,
                desired: None,
                options: ObjectOptions::default(),
                kind,
                deferred,
                digest: String::new(),
                live: None,
            });
        }
        Ok(gone)
    }

    /// One labelled LIST per kind, all at once; per namespace where the cluster-wide one is forbidden.
    async fn list(
        &self,
        steps: &[Step],
        gone: &[Step],
        inventory: &Inventory,
    ) -> Result<HashMap<ObjectId, Live>> {
        let mut wanted: BTreeMap<GroupVersionKind, (ApiKind, BTreeSet<String>)> = BTreeMap::new();
        // A set that was never written has no members: nothing to look for, unless an inventory was lost, and then apply takes them over.
        if !inventory.exists() {
            return Ok(HashMap::new());
        }
        for step in steps.iter().chain(gone).filter(|step| !step.deferred) {
            let (_, namespaces) = wanted
                .entry(step.kind.gvk.clone())
                .or_insert_with(|| (step.kind.clone(), BTreeSet::new()));
            namespaces.insert(step.id.namespace.clone());
        }
        let lists = wanted
            .into_values()
            .map(|(kind, namespaces)| self.list_kind(kind, namespaces, inventory).boxed())
            .collect();
        let mut all = HashMap::new();
        for found in concurrent::run(self.options.concurrency, lists).await {
            all.extend(found?);
        }
        Ok(all)
    }

    async fn list_kind(
        &self,
        kind: ApiKind,
        mut namespaces: BTreeSet<String>,
        inventory: &Inventory,
    ) -> Result<Vec<(ObjectId, Live)>> {
        match self.pages(&kind, None).await {
            Err(error) if error.kind() == ErrorKind::PermissionDenied && kind.is_namespaced() => {
                let known = inventory
                    .iter()
                    .filter(|entry| entry.id.group_kind() == kind.group_kind());
                namespaces.extend(known.map(|entry| entry.id.namespace.clone()));
                let mut live = Vec::new();
                for namespace in &namespaces {
                    live.extend(self.pages(&kind, Some(namespace)).await?);
                }
                Ok(live)
            }
            other => other,
        }
    }

    async fn pages(
        &self,
        kind: &ApiKind,
        namespace: Option<&str>,
    ) -> Result<Vec<(ObjectId, Live)>> {
        let mut params = ListParams {
            namespace: namespace.map(str::to_owned),
            labels: Some(self.set.selector()),
            limit: Some(PAGE),
            ..ListParams::default()
        };
        let mut live = Vec::new();
        let mut restarts = 0;
        loop {
            let page = self.cluster.list(kind, &params).await;
            let page = match page {
                // The continue token grew too old: begin again.
                Err(error)
                    if error.kind() == ErrorKind::Conflict
                        && params.continue_token.is_some()
                        && restarts < 3 =>
                {
                    restarts += 1;
                    params.continue_token = None;
                    live.clear();
                    continue;
                }
                other => other.context(|| match namespace {
                    Some(namespace) => {
                        format!("list {} in namespace {namespace}", kind.group_kind())
                    }
                    None => format!("list {}", kind.group_kind()),
                })?,
            };
            live.extend(page.items.into_iter().map(|object| {
                (
                    object.id(),
                    Live::of(object, self.set, self.health, self.plan.keep_live),
                )
            }));
            match page.continue_token {
                Some(token) => params.continue_token = Some(token),
                None => return Ok(live),
            }
        }
    }

    /// Reads one by one what no labelled list found.
    async fn look_up(&self, steps: &mut [Step]) -> Result<()> {
        let missing = steps
            .iter_mut()
            .filter(|step| step.live.is_none() && !step.deferred)
            .map(|step| self.look_up_one(step).boxed())
            .collect();
        concurrent::run(self.options.concurrency, missing)
            .await
            .into_iter()
            .collect()
    }

    async fn look_up_one(&self, step: &mut Step) -> Result<()> {
        let key = ObjectKey {
            kind: &step.kind,
            namespace: &step.id.namespace,
            name: &step.id.name,
        };
        let Some(object) = self.cluster.get(key).await? else {
            return Ok(());
        };
        if let Some(other) = object.label(PART_OF_LABEL)
            && other != self.set.id()
            && !self.options.adopt
        {
            return Err(claimed(&step.id, &object, other));
        }
        step.live = Some(Live::of(object, self.set, self.health, self.plan.keep_live));
        Ok(())
    }

    fn decide(&self, step: &mut Step, inventory: &Inventory) -> Result<()> {
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

    /// Asks the server about each object: what a dry-run apply would leave as it is needs no request.
    async fn verify(&self, steps: &mut [Step]) -> Result<()> {
        let params = WriteParams {
            field_manager: self.set.manager().to_owned(),
            dry_run: true,
            force: self.options.force_conflicts,
            ..WriteParams::default()
        };
        let asked = steps
            .iter_mut()
            .filter(|step| match step.action {
                PlanAction::Update => true,
                PlanAction::Unchanged => self.options.verify == Verify::DryRun,
                _ => false,
            })
            .map(|step| self.verify_one(step, &params).boxed())
            .collect();
        concurrent::run(self.options.concurrency, asked)
            .await
            .into_iter()
            .collect()
    }

    async fn verify_one(&self, step: &mut Step, params: &WriteParams) -> Result<()> {
        let (Some(desired), Some(live)) = (&step.desired, &step.live) else {
            return Ok(());
        };
        if live.terminating {
            return Ok(());
        }
        let predicted = self.cluster.apply(&step.kind, desired, params).await;
        (step.action, step.reason) = match predicted {
            Ok(predicted) if live_digest(&predicted, self.set.manager()) == live.digest => {
                (PlanAction::Unchanged, String::new())
            }
            Ok(_) => (PlanAction::Update, "a dry-run apply changes it".into()),
            // The server refuses it (an immutable field, a conflict): then it is not as it should be.
            Err(error) if !error.is_retryable() => (PlanAction::Update, error.to_string()),
            Err(error) => return Err(error.context(format!("dry-run of {}", step.id))),
        };
        Ok(())
    }

    fn decide_prune(&self, step: &mut Step, inventory: &Inventory) {
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
        } else if let Some(why) = live.options.prune_protection() {
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

    fn selected(&self, id: &ObjectId) -> bool {
        self.options.resources.is_empty()
            || self
                .options
                .resources
                .iter()
                .any(|wanted| wanted.matches(id))
    }
}

/// The kind of an entry as far as it is known while the cluster does not serve it.
fn unserved(entry: &InventoryEntry) -> ApiKind {
    ApiKind {
        gvk: GroupVersionKind::new(&*entry.id.group, &*entry.version, &*entry.id.kind),
        plural: String::new(),
        scope: match entry.id.namespace.as_str() {
            "" => Scope::Cluster,
            _ => Scope::Namespaced,
        },
        verbs: Vec::new(),
    }
}

/// The error for an object that another ApplySet claims.
pub(super) fn claimed(id: &ObjectId, object: &Object, other: &str) -> Error {
    let manager = owner::label_owner(object, PART_OF_LABEL).unwrap_or("an unknown field manager");
    Error::conflict(format!(
        "{id} belongs to another application already: ApplySet {other}, field manager {manager:?}"
    ))
}

/// The kinds that CRDs among the manifests will serve.
fn declared_kinds(manifests: &ManifestSet) -> HashMap<GroupVersionKind, ApiKind> {
    let mut kinds = HashMap::new();
    for object in manifests
        .iter()
        .filter(|object| object.kind() == "CustomResourceDefinition")
    {
        let text = |pointer: &str| {
            object
                .pointer(pointer)
                .and_then(|value| value.as_str())
                .unwrap_or_default()
        };
        let (group, kind, plural) = (
            text("/spec/group"),
            text("/spec/names/kind"),
            text("/spec/names/plural"),
        );
        let scope = match text("/spec/scope") {
            "Namespaced" => Scope::Namespaced,
            _ => Scope::Cluster,
        };
        let versions = object
            .pointer("/spec/versions")
            .and_then(|value| value.as_array());
        for version in versions
            .into_iter()
            .flatten()
            .filter_map(|version| version.get("name")?.as_str())
        {
            let gvk = GroupVersionKind::new(group, version, kind);
            kinds.insert(
                gvk.clone(),
                ApiKind {
                    gvk,
                    plural: plural.to_owned(),
                    scope,
                    verbs: Vec::new(),
                },
            );
        }
    }
    kinds
}
