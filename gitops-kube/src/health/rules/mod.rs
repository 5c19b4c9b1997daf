//! The rules of the kinds that are known here: one file each.
//!
//! Each has a strict form and, where kstatus has a rule for the kind, kstatus' form; elsewhere kstatus knows only what
//! [`generic`](super::generic) does.

mod apiservice;
mod argo_application;
mod argo_rollout;
mod argo_workflow;
mod cert_manager;
mod crd;
mod cronjob;
mod daemonset;
mod deployment;
mod external_secret;
mod flux;
mod hpa;
mod ingress;
mod job;
mod namespace;
mod node;
mod pdb;
pub(super) mod pod;
mod pvc;
mod replicaset;
mod service;
mod statefulset;
mod tekton;

use super::view::{Checked, View};

/// The rule of one or several kinds.
pub(super) struct Builtin {
    /// Group and kind.
    pub(super) kinds: &'static [(&'static str, &'static str)],
    /// The reading for a deploy gate.
    pub(super) strict: fn(&View<'_>) -> Checked,
    /// kstatus' own, if it has one for the kind; it is asked after the generic conditions.
    pub(super) kstatus: Option<fn(&View<'_>) -> Checked>,
}

static BUILTINS: &[&Builtin] = &[
    &apiservice::RULE,
    &argo_application::APPLICATION,
    &argo_application::APPLICATION_SET,
    &argo_rollout::RULE,
    &argo_workflow::WORKFLOW,
    &argo_workflow::CRON_WORKFLOW,
    &cert_manager::CERTIFICATE,
    &cert_manager::ISSUER,
    &crd::RULE,
    &cronjob::RULE,
    &daemonset::RULE,
    &deployment::RULE,
    &external_secret::RULE,
    &flux::RULE,
    &hpa::RULE,
    &ingress::RULE,
    &job::RULE,
    &namespace::RULE,
    &node::RULE,
    &pdb::RULE,
    &pod::RULE,
    &pvc::RULE,
    &replicaset::RULE,
    &service::RULE,
    &statefulset::RULE,
    &tekton::RULE,
];

/// The rule of a kind.
pub(super) fn builtin(group: &str, kind: &str) -> Option<&'static Builtin> {
    BUILTINS
        .iter()
        .find(|rule| rule.kinds.contains(&(group, kind)))
        .copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_kind_has_two_rules() {
        let mut kinds: Vec<_> = BUILTINS.iter().flat_map(|rule| rule.kinds).collect();
        let all = kinds.len();
        kinds.sort();
        kinds.dedup();
        assert_eq!(kinds.len(), all);
        assert!(builtin("apps", "Deployment").is_some());
        assert!(builtin("apps", "Nonsense").is_none());
    }
}
