//! The order in which objects are synced, and what single objects ask for.
//!
//! Phases, waves, hooks and options are Argo CD's (3.2, `docs/user-guide/{sync-waves,sync-options,resource_hooks}.md` and
//! gitops-engine's `pkg/sync/{hook,syncwaves}`), with the annotations of cli-utils, helm and Flux that say the same.

use std::cmp::Reverse;

use super::object::{Object, ObjectId};
use crate::error::{Error, Result};

/// Argo CD: the wave.
pub const SYNC_WAVE: &str = "argocd.argoproj.io/sync-wave";
/// Argo CD: the hook types.
pub const HOOK: &str = "argocd.argoproj.io/hook";
/// Argo CD: when a hook is deleted.
pub const HOOK_DELETE_POLICY: &str = "argocd.argoproj.io/hook-delete-policy";
/// Argo CD: options of one object.
pub const SYNC_OPTIONS: &str = "argocd.argoproj.io/sync-options";
/// Argo CD: the object's health does not count.
pub const IGNORE_HEALTH: &str = "argocd.argoproj.io/ignore-healthcheck";
/// Argo CD: how the object is compared.
pub const COMPARE_OPTIONS: &str = "argocd.argoproj.io/compare-options";
/// cli-utils: `keep` protects from pruning.
pub const ON_REMOVE: &str = "cli-utils.sigs.k8s.io/on-remove";
/// cli-utils: `detach` protects from pruning.
pub const LIFECYCLE_DELETION: &str = "client.lifecycle.config.k8s.io/deletion";
/// helm: `keep` protects from pruning.
pub const HELM_RESOURCE_POLICY: &str = "helm.sh/resource-policy";
/// Flux: `disabled` protects from pruning.
pub const FLUX_PRUNE: &str = "kustomize.toolkit.fluxcd.io/prune";
/// Flux: `enabled` allows to delete and create again what cannot be changed.
pub const FLUX_FORCE: &str = "kustomize.toolkit.fluxcd.io/force";
/// helm: the hook types.
pub const HELM_HOOK: &str = "helm.sh/hook";
/// helm: when a hook is deleted.
pub const HELM_HOOK_DELETE_POLICY: &str = "helm.sh/hook-delete-policy";
/// helm: the order among hooks.
pub const HELM_HOOK_WEIGHT: &str = "helm.sh/hook-weight";

/// The point of a sync at which a hook runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Phase {
    /// Before anything is applied.
    PreSync,
    /// With the manifests, in its wave.
    Sync,
    /// After all is applied and healthy.
    PostSync,
    /// After the sync failed.
    SyncFail,
    /// After the application was deleted.
    PostDelete,
    /// Never: the object is left out.
    Skip,
}

/// When a hook is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HookDeletePolicy {
    /// After it succeeded.
    HookSucceeded,
    /// After it failed.
    HookFailed,
    /// Before it is made again (the default).
    BeforeHookCreation,
}

/// What a single object asks for, in its annotations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectOptions {
    /// The sync wave (a hook's weight, for helm's hooks).
    pub wave: i64,
    /// The phases in which it runs as a hook; empty for an ordinary object.
    pub hooks: Vec<Phase>,
    /// When the hook is deleted; empty means [`HookDeletePolicy::BeforeHookCreation`].
    pub hook_delete: Vec<HookDeletePolicy>,
    /// PUT it instead of applying it (`Replace=true`).
    pub replace: bool,
    /// Delete and create it again when it cannot be changed (`Force=true`).
    pub force: bool,
    /// Its health does not count.
    pub ignore_health: bool,
    /// What it shows beyond Git does not make the application out of sync (`IgnoreExtraneous`).
    pub ignore_extraneous: bool,
    /// No dry-run (`Validate=false`).
    pub skip_validation: bool,
    /// No dry-run while its kind is not served (`SkipDryRunOnMissingResource=true`).
    pub skip_dry_run_on_missing: bool,
    /// Why it is never pruned.
    protection: Option<&'static str>,
    /// Why it stays when the application is deleted.
    kept_on_delete: Option<&'static str>,
}

impl ObjectOptions {
    /// What `object` asks for.
    ///
    /// # Errors
    /// `InvalidInput` for a wave that is no number, a hook type or a deletion policy that is not known; it names the object and its place.
    pub fn of(object: &Object) -> Result<Self> {
        let mut options = Self::default();
        let Some(annotations) = object
            .metadata()
            .and_then(|metadata| metadata.get("annotations")?.as_object())
        else {
            return Ok(options);
        };
        let bad = |key: &str, value: &str, expected: &str| {
            let place = object
                .origin()
                .map(|origin| format!("{origin}: "))
                .unwrap_or_default();
            Error::invalid(format!(
                "{place}{}: annotation {key} is {value:?}, expected {expected}",
                object.id()
            ))
        };
        let get = |key: &str| annotations.get(key).and_then(|value| value.as_str());
        // Argo CD's annotations win over helm's.
        let (hook_key, hooks) = match (get(HOOK), get(HELM_HOOK)) {
            (Some(hooks), _) => (HOOK, hooks),
            (None, Some(hooks)) => (HELM_HOOK, hooks),
            (None, None) => ("", ""),
        };
        for hook in list(hooks) {
            match phase(hook_key, hook) {
                Some(Some(phase)) if !options.hooks.contains(&phase) => options.hooks.push(phase),
                Some(_) => {}
                None => return Err(bad(hook_key, hook, "a hook type")),
            }
        }
        let helm_hook = hook_key == HELM_HOOK && !options.hooks.is_empty();
        if let Some(text) = get(SYNC_WAVE).or_else(|| get(HELM_HOOK_WEIGHT).filter(|_| helm_hook)) {
            options.wave = text
                .trim()
                .parse()
                .map_err(|_| bad(SYNC_WAVE, text, "a whole number"))?;
        }
        for key in [HOOK_DELETE_POLICY, HELM_HOOK_DELETE_POLICY] {
            for policy in get(key).into_iter().flat_map(list) {
                options.hook_delete.push(match policy {
                    "HookSucceeded" | "hook-succeeded" => HookDeletePolicy::HookSucceeded,
                    "HookFailed" | "hook-failed" => HookDeletePolicy::HookFailed,
                    "BeforeHookCreation" | "before-hook-creation" => {
                        HookDeletePolicy::BeforeHookCreation
                    }
                    _ => {
                        return Err(bad(
                            key,
                            policy,
                            "HookSucceeded, HookFailed or BeforeHookCreation",
                        ));
                    }
                });
            }
        }
        for option in get(SYNC_OPTIONS).into_iter().flat_map(list) {
            match option {
                "Replace=true" => options.replace = true,
                "Force=true" => options.force = true,
                "Validate=false" => options.skip_validation = true,
                "SkipDryRunOnMissingResource=true" => options.skip_dry_run_on_missing = true,
                "Prune=false" => options.protection = Some("sync option Prune=false protects it"),
                "Prune=confirm" => {
                    options.protection =
                        Some("sync option Prune=confirm: pruning it was not confirmed")
                }
                "Delete=false" => {
                    options.kept_on_delete = Some("sync option Delete=false protects it")
                }
                "Delete=confirm" => {
                    options.kept_on_delete =
                        Some("sync option Delete=confirm: deleting it was not confirmed")
                }
                // Options of other tools, and of newer versions, are theirs to know.
                _ => {}
            }
        }
        options.ignore_health = get(IGNORE_HEALTH) == Some("true");
        options.ignore_extraneous = get(COMPARE_OPTIONS)
            .is_some_and(|text| list(text).any(|one| one == "IgnoreExtraneous"));
        options.force |= get(FLUX_FORCE).is_some_and(|text| text.eq_ignore_ascii_case("enabled"));
        for (key, value, why) in [
            (
                ON_REMOVE,
                "keep",
                "annotation cli-utils.sigs.k8s.io/on-remove: keep protects it",
            ),
            (
                LIFECYCLE_DELETION,
                "detach",
                "annotation client.lifecycle.config.k8s.io/deletion: detach protects it",
            ),
            (
                HELM_RESOURCE_POLICY,
                "keep",
                "annotation helm.sh/resource-policy: keep protects it",
            ),
            (
                FLUX_PRUNE,
                "disabled",
                "annotation kustomize.toolkit.fluxcd.io/prune: disabled protects it",
            ),
        ] {
            if get(key).is_some_and(|text| text.eq_ignore_ascii_case(value)) {
                options.protection = Some(why);
            }
        }
        Ok(options)
    }

    /// The options of an object whose annotations cannot be read: it is never pruned.
    pub fn protected() -> Self {
        Self {
            protection: Some("its annotations cannot be read"),
            ..Self::default()
        }
    }

    /// Whether it is a hook, and no ordinary object.
    pub fn is_hook(&self) -> bool {
        !self.hooks.is_empty()
    }

    /// Why it must not be pruned, if so.
    pub fn prune_protection(&self) -> Option<&'static str> {
        self.protection
    }

    /// Why it must stay when the application is deleted, if so.
    pub fn delete_protection(&self) -> Option<&'static str> {
        self.protection.or(self.kept_on_delete)
    }

    /// Whether a dry-run is wanted.
    pub fn validates(&self) -> bool {
        !self.skip_validation
    }
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
}

/// `None` for what is not known; `Some(None)` for what is known and means nothing here.
fn phase(key: &str, hook: &str) -> Option<Option<Phase>> {
    Some(match (key, hook) {
        (HOOK, "PreSync") => Some(Phase::PreSync),
        (HOOK, "Sync") => Some(Phase::Sync),
        (HOOK, "PostSync") => Some(Phase::PostSync),
        (HOOK, "SyncFail") => Some(Phase::SyncFail),
        (HOOK, "PostDelete") => Some(Phase::PostDelete),
        (HOOK, "Skip") => Some(Phase::Skip),
        (HELM_HOOK, "pre-install" | "pre-upgrade") => Some(Phase::PreSync),
        (HELM_HOOK, "post-install" | "post-upgrade") => Some(Phase::PostSync),
        (HELM_HOOK, "post-delete") => Some(Phase::PostDelete),
        // Argo CD applies helm's crd-install objects as ordinary ones, and never runs the others.
        (HELM_HOOK, "crd-install") => None,
        (
            HELM_HOOK,
            "pre-delete" | "pre-rollback" | "post-rollback" | "test" | "test-success"
            | "test-failure",
        ) => Some(Phase::Skip),
        _ => return None,
    })
}

/// The order of kinds (argo-cd 3.2, `gitops-engine/pkg/sync/sync_tasks.go`), with CRDs right behind namespaces and everything that
/// intercepts requests at the end (cli-utils, kapp).
const KINDS: &[(&str, &str)] = &[
    ("", "Namespace"),
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
    ("networking.k8s.io", "NetworkPolicy"),
    ("", "ResourceQuota"),
    ("", "LimitRange"),
    ("policy", "PodDisruptionBudget"),
    ("", "ServiceAccount"),
    ("", "Secret"),
    ("", "ConfigMap"),
    ("storage.k8s.io", "StorageClass"),
    ("", "PersistentVolume"),
    ("", "PersistentVolumeClaim"),
    ("rbac.authorization.k8s.io", "ClusterRole"),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
    ("rbac.authorization.k8s.io", "Role"),
    ("rbac.authorization.k8s.io", "RoleBinding"),
    ("", "Service"),
    ("apps", "DaemonSet"),
    ("", "Pod"),
    ("", "ReplicationController"),
    ("apps", "ReplicaSet"),
    ("apps", "Deployment"),
    ("autoscaling", "HorizontalPodAutoscaler"),
    ("apps", "StatefulSet"),
    ("batch", "Job"),
    ("batch", "CronJob"),
    ("networking.k8s.io", "IngressClass"),
    ("networking.k8s.io", "Ingress"),
];

/// The last ones.
const LAST: &[(&str, &str)] = &[
    ("apiregistration.k8s.io", "APIService"),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"),
    (
        "admissionregistration.k8s.io",
        "ValidatingAdmissionPolicyBinding",
    ),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicy"),
    (
        "admissionregistration.k8s.io",
        "MutatingAdmissionPolicyBinding",
    ),
    (
        "admissionregistration.k8s.io",
        "ValidatingWebhookConfiguration",
    ),
    (
        "admissionregistration.k8s.io",
        "MutatingWebhookConfiguration",
    ),
];

/// Where a kind stands in the order: lower ones are applied first. Kinds that are not listed share one place, before those that
/// intercept requests.
pub fn kind_rank(group: &str, kind: &str) -> u32 {
    let find = |table: &[(&str, &str)]| table.iter().position(|(g, k)| *g == group && *k == kind);
    let at = match (find(KINDS), find(LAST)) {
        (Some(at), _) => at,
        (None, Some(at)) => KINDS.len() + 1 + at,
        (None, None) => KINDS.len(),
    };
    at as u32
}

/// Sorts what is to be applied: by wave, kind, namespace and name.
pub fn sort_for_apply<T>(items: &mut [T], key: impl Fn(&T) -> (&ObjectId, &ObjectOptions)) {
    items.sort_by(|a, b| {
        let ((a, a_options), (b, b_options)) = (key(a), key(b));
        let rank = |id: &ObjectId| kind_rank(&id.group, &id.kind);
        (a_options.wave, rank(a), a).cmp(&(b_options.wave, rank(b), b))
    });
}

/// Sorts what is to be deleted: the other way round.
pub fn sort_for_prune<T>(items: &mut [T], key: impl Fn(&T) -> (&ObjectId, &ObjectOptions)) {
    items.sort_by(|a, b| {
        let ((a, a_options), (b, b_options)) = (key(a), key(b));
        let rank = |id: &ObjectId| kind_rank(&id.group, &id.kind);
        Reverse((a_options.wave, rank(a), a)).cmp(&Reverse((b_options.wave, rank(b), b)))
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn options(annotations: serde_json::Value) -> Result<ObjectOptions> {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "annotations": annotations}});
        ObjectOptions::of(&Object::new(object, None).unwrap())
    }

    #[test]
    fn annotations_are_read() {
        let read = options(json!({
            SYNC_WAVE: "-3", HOOK: "PreSync, PostSync", HOOK_DELETE_POLICY: "HookSucceeded",
            SYNC_OPTIONS: "Prune=false,Replace=true,Unknown=1", IGNORE_HEALTH: "true",
        }))
        .unwrap();
        assert_eq!(read.wave, -3);
        assert_eq!(read.hooks, [Phase::PreSync, Phase::PostSync]);
        assert_eq!(read.hook_delete, [HookDeletePolicy::HookSucceeded]);
        assert!(read.replace && read.ignore_health && read.prune_protection().is_some());
        for protected in [
            json!({ON_REMOVE: "keep"}),
            json!({LIFECYCLE_DELETION: "detach"}),
            json!({HELM_RESOURCE_POLICY: "keep"}),
            json!({FLUX_PRUNE: "Disabled"}),
            json!({SYNC_OPTIONS: "Prune=confirm"}),
        ] {
            assert!(
                options(protected.clone())
                    .unwrap()
                    .prune_protection()
                    .is_some(),
                "{protected}"
            );
        }
        assert_eq!(options(json!({})).unwrap(), ObjectOptions::default());
    }

    #[test]
    fn helm_hooks_become_phases() {
        let read =
            options(json!({HELM_HOOK: "pre-install,pre-upgrade", HELM_HOOK_WEIGHT: "5"})).unwrap();
        assert_eq!(
            (read.hooks.as_slice(), read.wave),
            ([Phase::PreSync].as_slice(), 5)
        );
        assert!(
            !options(json!({HELM_HOOK: "crd-install"}))
                .unwrap()
                .is_hook()
        );
        assert_eq!(
            options(json!({HELM_HOOK: "test"})).unwrap().hooks,
            [Phase::Skip]
        );
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            json!({SYNC_WAVE: "first"}),
            json!({HOOK: "Presync"}),
            json!({HOOK_DELETE_POLICY: "never"}),
        ] {
            let error = options(bad).unwrap_err();
            assert!(error.to_string().contains("ConfigMap a"), "{error}");
        }
    }

    #[test]
    fn namespaces_then_crds_then_the_rest_then_webhooks() {
        let ranks = [
            kind_rank("", "Namespace"),
            kind_rank("apiextensions.k8s.io", "CustomResourceDefinition"),
            kind_rank("", "ConfigMap"),
            kind_rank("apps", "Deployment"),
            kind_rank("example.com", "Widget"),
            kind_rank(
                "admissionregistration.k8s.io",
                "ValidatingWebhookConfiguration",
            ),
        ];
        assert!(ranks.is_sorted_by(|a, b| a < b), "{ranks:?}");
        // A kind of the same name in another group is another kind.
        assert_eq!(
            kind_rank("example.com", "Deployment"),
            kind_rank("example.com", "Widget")
        );
    }
}
