//! Who waits for whom: `dependsOn` of Kustomizations and HelmReleases, before Flux finds out.
//!
//! The rules are those of kustomize-controller 1.7 and helm-controller 1.4: a dependency is of the same kind, in the own namespace unless it names one, and an
//! object is reconciled when all its dependencies are ready; `readyExpr` is a CEL expression that decides that in place of, or besides, the Ready condition. The controllers do not look for
//! cycles: objects in one wait for each other forever. A [`DependencyGraph`] names the cycle, and can be asked before anything is applied.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use gitops_core::manifest::{Object, ObjectId};
use gitops_core::{Error, Result};
use gitops_kube::cluster::{Cluster, ListParams};
use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use serde_json::Value;

use crate::kind::FluxKind;
use crate::manager::FluxManager;
use crate::view;

/// The most objects of a kind that [`DependencyGraph::read`] takes.
const MOST: usize = 100_000;

/// What an object waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// The other object.
    pub on: ObjectId,
    /// The CEL expression that says when the other is ready; `None`: its Ready condition does.
    pub ready_expr: Option<String>,
}

/// Objects that wait for each other: each waits for the next, and the last for the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle(
    /// The objects, beginning with the least; one object alone waits for itself.
    pub Vec<ObjectId>,
);

impl fmt::Display for Cycle {
    /// `Kustomization/a/x -> Kustomization/a/y -> Kustomization/a/x`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for id in &self.0 {
            write!(f, "{} -> ", view::flux_name(id))?;
        }
        match self.0.first() {
            Some(first) => f.write_str(&view::flux_name(first)),
            None => Ok(()),
        }
    }
}

/// Kustomizations and HelmReleases, and what each waits for.
#[derive(Clone, Debug, Default)]
pub struct DependencyGraph {
    objects: BTreeMap<ObjectId, Vec<Dependency>>,
}

impl DependencyGraph {
    /// The graph of these objects; other kinds than Kustomization and HelmRelease are passed over.
    pub fn of<'a>(objects: impl IntoIterator<Item = &'a Object>) -> Self {
        let mut graph = Self::default();
        graph.extend(objects);
        graph
    }

    /// The graph of what is in the cluster: of one namespace, or of all with `None`. A dependency in a namespace that was not read counts as
    /// [missing](Self::missing).
    ///
    /// # Errors
    /// Those of lists; a kind that is not installed has no objects. `Unsupported` for more than 100,000 objects of a kind: without some, others would seem missing.
    pub async fn read(cluster: &dyn Cluster, namespace: Option<&str>) -> Result<Self> {
        let mut graph = Self::default();
        for kind in [FluxKind::Kustomization, FluxKind::HelmRelease].map(view::served) {
            let params = ListParams {
                namespace: namespace.map(str::to_owned),
                ..ListParams::default()
            };
            match view::list(cluster, &kind, params, MOST).await {
                Ok(objects) => graph.extend(&objects),
                Err(error) if error.kind() == gitops_core::ErrorKind::NotFound => {}
                Err(error) => return Err(error.context(format!("list {}", kind.plural))),
            }
        }
        Ok(graph)
    }

    /// Adds objects, in place of those of the same name: what the graph would be once they are applied.
    pub fn extend<'a>(&mut self, objects: impl IntoIterator<Item = &'a Object>) {
        for object in objects {
            let id = object.id();
            if matches!(
                view::flux_kind(&id),
                Some(FluxKind::Kustomization | FluxKind::HelmRelease)
            ) {
                let dependencies = dependencies(object);
                self.objects.insert(id, dependencies);
            }
        }
    }

    /// Adds one object.
    pub fn insert(&mut self, id: ObjectId, dependencies: Vec<Dependency>) {
        self.objects.insert(id, dependencies);
    }

    /// Takes an object out.
    pub fn remove(&mut self, id: &ObjectId) {
        self.objects.remove(id);
    }

    /// The objects and what each waits for.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectId, &[Dependency])> {
        self.objects.iter().map(|(id, all)| (id, all.as_slice()))
    }

    /// What an object waits for.
    pub fn dependencies(&self, id: &ObjectId) -> &[Dependency] {
        self.objects.get(id).map_or(&[], Vec::as_slice)
    }

    /// Who waits for an object.
    pub fn dependents(&self, id: &ObjectId) -> Vec<&ObjectId> {
        self.objects
            .iter()
            .filter(|(_, all)| all.iter().any(|dependency| dependency.on == *id))
            .map(|(id, _)| id)
            .collect()
    }

    /// Dependencies on objects that are not there, with who has them: Flux waits until they come.
    pub fn missing(&self) -> Vec<(&ObjectId, &Dependency)> {
        self.objects
            .iter()
            .flat_map(|(id, all)| all.iter().map(move |dependency| (id, dependency)))
            .filter(|(_, dependency)| !self.objects.contains_key(&dependency.on))
            .collect()
    }

    /// The cycles: for every group of objects that wait for each other, a shortest one through its least object.
    pub fn cycles(&self) -> Vec<Cycle> {
        let (graph, _) = self.petgraph();
        let mut cycles: Vec<Cycle> = kosaraju_scc(&graph)
            .into_iter()
            .filter_map(|group| cycle(&graph, &group))
            .collect();
        cycles.sort_by(|a, b| a.0.cmp(&b.0));
        cycles
    }

    /// The objects in the order in which Flux can reconcile them: all of one step may go at once, after the steps before. What is missing is left out of account.
    ///
    /// # Errors
    /// `InvalidInput`, naming the cycles.
    pub fn order(&self) -> Result<Vec<Vec<&ObjectId>>> {
        self.check_cycles()?;
        let (graph, _) = self.petgraph();
        let mut steps: BTreeMap<&ObjectId, usize> = BTreeMap::new();
        let mut order: Vec<Vec<&ObjectId>> = Vec::new();
        // Groups come after those that they point to, and each is one object: there is no cycle.
        for node in kosaraju_scc(&graph).into_iter().flatten() {
            let step = graph
                .neighbors(node)
                .filter_map(|on| steps.get(graph[on]).map(|step| step + 1))
                .max()
                .unwrap_or(0);
            steps.insert(graph[node], step);
            if order.len() <= step {
                order.resize_with(step + 1, Vec::new);
            }
            order[step].push(graph[node]);
        }
        for step in &mut order {
            step.sort();
        }
        Ok(order)
    }

    /// Nothing waits for itself, however long the way.
    ///
    /// # Errors
    /// `InvalidInput`, naming the cycles.
    pub fn check_cycles(&self) -> Result<()> {
        let cycles = self.cycles();
        if cycles.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = cycles.iter().map(ToString::to_string).collect();
        Err(Error::invalid(format!(
            "dependsOn goes in circles: {}",
            names.join("; ")
        )))
    }

    fn petgraph(&self) -> (DiGraph<&ObjectId, ()>, BTreeMap<&ObjectId, NodeIndex>) {
        let mut graph = DiGraph::new();
        let nodes: BTreeMap<&ObjectId, NodeIndex> = self
            .objects
            .keys()
            .map(|id| (id, graph.add_node(id)))
            .collect();
        for (id, all) in &self.objects {
            for dependency in all {
                if let (Some(from), Some(to)) = (nodes.get(id), nodes.get(&dependency.on)) {
                    graph.update_edge(*from, *to, ());
                }
            }
        }
        (graph, nodes)
    }
}

impl FluxManager {
    /// Who waits for whom: [`DependencyGraph::read`] of one namespace (an empty one means the manager's own), or of all with `None`.
    ///
    /// # Errors
    /// As there.
    pub async fn dependencies(&self, namespace: Option<&str>) -> Result<DependencyGraph> {
        let namespace = namespace.map(|name| self.namespace_or_own(name));
        DependencyGraph::read(self.cluster(), namespace).await
    }
}

fn dependencies(object: &Object) -> Vec<Dependency> {
    let entries = view::at(object, &["spec", "dependsOn"]).and_then(Value::as_array);
    entries
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let field = |key: &str| {
                entry
                    .get(key)
                    .and_then(Value::as_str)
                    .filter(|text| !text.is_empty())
            };
            Some(Dependency {
                on: ObjectId::new(
                    object.group(),
                    object.kind(),
                    field("namespace").unwrap_or(object.namespace()),
                    field("name")?,
                ),
                ready_expr: field("readyExpr").map(str::to_owned),
            })
        })
        .collect()
}

/// A shortest way from the least object of a strongly connected group back to itself; none for a single object that does not wait for itself.
fn cycle(graph: &DiGraph<&ObjectId, ()>, group: &[NodeIndex]) -> Option<Cycle> {
    let members: BTreeSet<NodeIndex> = group.iter().copied().collect();
    let start = *group.iter().min_by_key(|node| graph[**node])?;
    let mut came: BTreeMap<NodeIndex, NodeIndex> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        let mut next: Vec<NodeIndex> = graph
            .neighbors(node)
            .filter(|next| members.contains(next))
            .collect();
        next.sort_by_key(|node| graph[*node]);
        for next in next {
            if next == start {
                let mut way = vec![graph[node].clone()];
                let mut at = node;
                while let Some(before) = came.get(&at) {
                    way.push(graph[*before].clone());
                    at = *before;
                }
                way.reverse();
                return Some(Cycle(way));
            }
            if let std::collections::btree_map::Entry::Vacant(entry) = came.entry(next) {
                entry.insert(node);
                queue.push_back(next);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(kind: &str, name: &str, depends: Value) -> Object {
        let api = if kind == "HelmRelease" {
            "helm.toolkit.fluxcd.io/v2"
        } else {
            "kustomize.toolkit.fluxcd.io/v1"
        };
        Object::new(
            json!({"apiVersion": api, "kind": kind, "metadata": {"namespace": "n", "name": name}, "spec": {"dependsOn": depends}}),
            None,
        )
        .unwrap()
    }

    fn kustomization(name: &str, depends: &[&str]) -> Object {
        let depends: Vec<Value> = depends.iter().map(|name| json!({"name": name})).collect();
        object("Kustomization", name, json!(depends))
    }

    #[test]
    fn the_order_has_dependencies_first() {
        let graph = DependencyGraph::of(&[
            kustomization("apps", &["infra", "crds"]),
            kustomization("infra", &["crds"]),
            kustomization("crds", &[]),
            kustomization("alone", &[]),
            object(
                "HelmRelease",
                "apps",
                json!([{"name": "infra", "readyExpr": "dep.status.x == 1"}]),
            ),
        ]);
        let order = graph.order().unwrap();
        let names: Vec<Vec<String>> = order
            .iter()
            .map(|step| step.iter().map(|id| view::flux_name(id)).collect())
            .collect();
        assert_eq!(
            names,
            [
                vec![
                    "HelmRelease/n/apps",
                    "Kustomization/n/alone",
                    "Kustomization/n/crds"
                ],
                vec!["Kustomization/n/infra"],
                vec!["Kustomization/n/apps"]
            ]
        );
        // A HelmRelease waits for HelmReleases: the Kustomization of that name is not meant.
        let missing = graph.missing();
        assert_eq!(missing.len(), 1);
        assert_eq!(
            missing[0].1.on,
            FluxKind::HelmRelease.object_id("n", "infra")
        );
        assert_eq!(
            missing[0].1.ready_expr.as_deref(),
            Some("dep.status.x == 1")
        );
        let crds = FluxKind::Kustomization.object_id("n", "crds");
        assert_eq!(graph.dependents(&crds).len(), 2);
    }

    #[test]
    fn cycles_are_named() {
        let mut graph = DependencyGraph::of(&[
            kustomization("a", &["b"]),
            kustomization("b", &["c", "z"]),
            kustomization("c", &["a"]),
            kustomization("z", &[]),
            kustomization("self", &["self"]),
            kustomization("out", &["a"]),
            object("HelmRelease", "x", json!([{"name": "y"}])),
            object(
                "HelmRelease",
                "y",
                json!([{"name": "x", "namespace": "n"}, {"name": "x", "namespace": "other"}]),
            ),
        ]);
        let cycles: Vec<String> = graph.cycles().iter().map(ToString::to_string).collect();
        assert_eq!(
            cycles,
            [
                "HelmRelease/n/x -> HelmRelease/n/y -> HelmRelease/n/x",
                "Kustomization/n/a -> Kustomization/n/b -> Kustomization/n/c -> Kustomization/n/a",
                "Kustomization/n/self -> Kustomization/n/self",
            ]
        );
        let error = graph.order().unwrap_err();
        assert_eq!(error.kind(), gitops_core::ErrorKind::InvalidInput);
        for cycle in &cycles {
            assert!(error.to_string().contains(cycle), "{error}");
        }
        graph.extend(&[
            kustomization("c", &[]),
            kustomization("self", &[]),
            object("HelmRelease", "y", json!([])),
        ]);
        graph.check_cycles().unwrap();
        assert_eq!(graph.order().unwrap().iter().flatten().count(), 8);
    }

    #[test]
    fn long_chains_and_odd_objects_are_borne() {
        let many: Vec<Object> = (0..20_000)
            .map(|n| kustomization(&format!("k{n}"), &[&format!("k{}", n + 1)]))
            .collect();
        let mut graph = DependencyGraph::of(&many);
        assert_eq!(graph.order().unwrap().len(), 20_000);
        assert_eq!(graph.missing().len(), 1);
        graph.extend(&[kustomization("k20000", &["k0"])]);
        assert_eq!(graph.cycles()[0].0.len(), 20_001);
        let odd = DependencyGraph::of(&[
            object("Kustomization", "a", json!("b")),
            object(
                "Kustomization",
                "b",
                json!([1, null, {"name": 2}, {"name": ""}]),
            ),
        ]);
        assert!(odd.iter().all(|(_, all)| all.is_empty()));
    }
}
