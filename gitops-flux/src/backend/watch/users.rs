//! Which workloads use which sources and charts: a cluster has thousands of both, and each event of a source asks.

use std::collections::{HashMap, HashSet};

use crate::backend::snapshot::uses;
use crate::convert::Workload;
use crate::manager::FluxRef;

/// The uses, both ways.
#[derive(Debug, Default)]
pub(super) struct Users {
    used_by: HashMap<FluxRef, HashSet<FluxRef>>,
    uses: HashMap<FluxRef, Vec<FluxRef>>,
}

impl Users {
    /// The workload is like this now.
    pub(super) fn insert(&mut self, named: &FluxRef, workload: &Workload) {
        self.remove(named);
        let uses: Vec<FluxRef> = uses(workload).collect();
        for used in &uses {
            let users = self.used_by.entry(used.clone()).or_default();
            users.insert(named.clone());
        }
        self.uses.insert(named.clone(), uses);
    }

    /// There is no such workload any more.
    pub(super) fn remove(&mut self, named: &FluxRef) {
        for used in self.uses.remove(named).unwrap_or_default() {
            if let Some(users) = self.used_by.get_mut(&used) {
                users.remove(named);
                if users.is_empty() {
                    self.used_by.remove(&used);
                }
            }
        }
    }

    /// The workloads that use an object.
    pub(super) fn of(&self, used: &FluxRef) -> impl Iterator<Item = &FluxRef> {
        self.used_by.get(used).into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::FluxKind;

    #[test]
    fn a_workload_is_found_by_its_source_and_its_chart_as_they_are_now() {
        let app = |source: &str| {
            let object = serde_json::from_value(json!({
                "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
                "metadata": {"name": "app", "namespace": "apps"},
                "spec": {"interval": "1h", "prune": true, "sourceRef": {"kind": "GitRepository", "name": source, "namespace": "sources"}},
            }));
            Workload::Kustomization(object.unwrap())
        };
        let release = serde_json::from_value(json!({
            "apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease",
            "metadata": {"name": "web", "namespace": "apps"},
            "spec": {"interval": "1h", "chart": {"spec": {"chart": "web", "sourceRef": {"kind": "GitRepository", "name": "one", "namespace": "sources"}}}},
            "status": {"helmChart": "sources/apps-web"},
        }));
        let source = |name| FluxRef::new(FluxKind::GitRepository, "sources", name);
        let chart = FluxRef::new(FluxKind::HelmChart, "sources", "apps-web");
        let kustomization = FluxRef::new(FluxKind::Kustomization, "apps", "app");
        let helm_release = FluxRef::new(FluxKind::HelmRelease, "apps", "web");
        let mut users = Users::default();
        let of = |users: &Users, used: &FluxRef| {
            let mut found: Vec<String> = users.of(used).map(FluxRef::to_string).collect();
            found.sort();
            found
        };

        users.insert(&kustomization, &app("one"));
        users.insert(&helm_release, &Workload::HelmRelease(release.unwrap()));
        let both = [helm_release.to_string(), kustomization.to_string()];
        assert_eq!(of(&users, &source("one")), both);
        assert_eq!(of(&users, &chart), [helm_release.to_string()]);

        users.insert(&kustomization, &app("two"));
        assert_eq!(of(&users, &source("one")), [helm_release.to_string()]);
        assert_eq!(of(&users, &source("two")), [kustomization.to_string()]);

        users.remove(&helm_release);
        assert!(of(&users, &source("one")).is_empty() && of(&users, &chart).is_empty());
        users.remove(&kustomization);
        assert!(users.used_by.is_empty() && users.uses.is_empty());
    }
}
