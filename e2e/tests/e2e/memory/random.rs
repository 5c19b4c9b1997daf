//! Scripts made by chance: a few managers apply, patch and replace a few fields of one object.

use serde_json::{Map, Value, json};

use super::Ask::{self, Apply, DryRun, Force, Json, Merge};
use super::scripts::definition;

/// A linear congruential generator: the same script for the same seed on every machine.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn often(&mut self) -> bool {
        self.below(2) == 0
    }

    /// Some of these, in some order.
    fn some<T: Copy>(&mut self, of: &[T]) -> Vec<T> {
        let mut left = of.to_vec();
        let mut some = Vec::new();
        for _ in 0..self.below(of.len() + 1) {
            let at = self.below(left.len());
            some.push(left.remove(at));
        }
        some
    }
}

/// A name and sixty requests.
pub(super) fn script(seed: u64) -> (String, Vec<Ask>) {
    let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1);
    let make: fn(&mut Chance) -> Value = match seed % 4 {
        0 => map,
        1 => widget,
        2 => deployment,
        _ => service,
    };
    let mut script = vec![Apply("one", definition("random.memory.example.org"))];
    for _ in 0..60 {
        let value = make(&mut chance);
        let manager = chance.one(&["one", "two", "three"]);
        script.push(match chance.below(10) {
            0..=4 => Apply(manager, value),
            5 | 6 => Force(manager, value),
            7 => DryRun(manager, value),
            8 => {
                let mut patch = Map::new();
                for field in ["data", "spec"] {
                    if let Some(value) = value.get(field) {
                        patch.insert(field.into(), value.clone());
                    }
                }
                Merge("patcher", value, patch.into())
            }
            _ => {
                let label = json!({chance.one(&["a", "b"]): chance.one(&["1", "2"])});
                let patch = json!([{"op": "add", "path": "/metadata/labels", "value": label}]);
                Json("patcher", value, patch)
            }
        });
    }
    (format!("random-{seed}"), script)
}

fn map(chance: &mut Chance) -> Value {
    let mut value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}});
    if chance.often() {
        value["metadata"]["labels"] = texts(chance);
    }
    value["data"] = texts(chance);
    value
}

fn texts(chance: &mut Chance) -> Value {
    let mut map = Map::new();
    for name in chance.some(&["a", "b", "c", "d"]) {
        map.insert(name.into(), chance.one(&["1", "2"]).into());
    }
    map.into()
}

fn widget(chance: &mut Chance) -> Value {
    let mut spec = json!({"size": 1});
    let parts = chance.some(&["a", "b", "c", "d"]);
    let parts = parts.into_iter().map(|id| match chance.below(3) {
        0 => json!({"id": id}),
        number => json!({"id": id, "n": number}),
    });
    let parts: Vec<Value> = parts.collect();
    if chance.often() {
        spec["parts"] = parts.into();
    }
    if chance.often() {
        spec["tags"] = chance.some(&["w", "x", "y", "z"]).into();
    }
    if chance.often() {
        spec["list"] = chance.some(&[1, 2]).into();
    }
    if chance.often() {
        spec["map"] = texts(chance);
    }
    if chance.often() {
        spec["free"] = json!({"deep": texts(chance), "list": chance.some(&[1, 2])});
    }
    json!({"apiVersion": "random.memory.example.org/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec})
}

fn deployment(chance: &mut Chance) -> Value {
    let environment = |chance: &mut Chance| -> Value {
        let names = chance.some(&["A", "B", "C", "D"]);
        names
            .into_iter()
            .map(|name| json!({"name": name, "value": chance.one(&["1", "2"])}))
            .collect()
    };
    let mut containers = vec![json!({"name": "main", "image": chance.one(&["x:1", "x:2"])})];
    containers[0]["env"] = environment(chance);
    if chance.often() {
        containers[0]["ports"] = chance
            .some(&[80, 81])
            .into_iter()
            .map(|port| json!({"containerPort": port}))
            .collect();
    }
    if chance.often() {
        let side = json!({"name": "side", "image": "s:1", "env": environment(chance)});
        containers.insert(chance.below(2), side);
    }
    let mut value = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": containers}},
        },
    });
    if chance.often() {
        value["spec"]["template"]["spec"]["nodeSelector"] = texts(chance);
    }
    if chance.often() {
        value["spec"]["template"]["spec"]["imagePullSecrets"] = chance
            .some(&["a", "b", "c"])
            .into_iter()
            .map(|name| json!({"name": name}))
            .collect();
    }
    if chance.often() {
        value["spec"]["template"]["spec"]["volumes"] = chance
            .some(&["a", "b"])
            .into_iter()
            .map(|name| json!({"name": name, "configMap": {"name": chance.one(&["x", "y"])}}))
            .collect();
    }
    if chance.often() {
        value["spec"]["revisionHistoryLimit"] = chance.one(&[1, 2]).into();
    }
    if chance.often() {
        value["spec"]["template"]["metadata"]["annotations"] = texts(chance);
    }
    value
}

fn service(chance: &mut Chance) -> Value {
    let ports = [(80, "TCP"), (80, "UDP"), (81, "TCP")];
    let mut ports: Vec<Value> = chance
        .some(&ports)
        .into_iter()
        .map(|(port, protocol)| {
            let name = format!("{}-{port}", protocol.to_lowercase());
            json!({"name": name, "port": port, "protocol": protocol, "targetPort": chance.one(&[1, 2])})
        })
        .collect();
    if ports.is_empty() {
        ports.push(json!({"name": "tcp-81", "port": 81}));
    }
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
        "spec": {"selector": texts(chance), "ports": ports},
    })
}
