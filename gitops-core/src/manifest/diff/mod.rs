//! Field by field: how two forms of an object differ, and who owns what differs.

mod desired;
mod owners;
mod quantity;
mod text;

use serde_json::Value;

pub use self::desired::changed_fields;
pub use self::owners::Owners;
pub use self::text::Color;
use super::mask::Mask;
use super::object::{Object, ObjectId};

/// What the server keeps for itself and nobody desires.
const SERVER_FIELDS: [&str; 6] = [
    "managedFields",
    "resourceVersion",
    "generation",
    "uid",
    "creationTimestamp",
    "selfLink",
];

/// The fields by which the entries of Kubernetes' lists are told apart, in the order in which they are tried.
const LIST_KEYS: [&[&str]; 6] = [
    &["containerPort", "protocol"],
    &["port", "protocol"],
    &["mountPath"],
    &["name"],
    &["key"],
    &["ip"],
];

/// How one field differs.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Where it is: a JSON pointer (RFC 6901) into the form before, or into the one after when it was not there before.
    pub pointer: String,
    /// What was there; `None` when nothing was. Masked in Secrets.
    pub before: Option<Value>,
    /// What will be there; `None` when nothing will. Masked in Secrets.
    pub after: Option<Value>,
    /// The field manager that owns it in the form before, where that tells.
    pub manager: Option<String>,
}

/// How one object differs from what it should be. Secrets are masked.
#[derive(Clone, Debug)]
pub struct ObjectDiff {
    /// Which object.
    pub id: ObjectId,
    /// Each field that differs.
    pub changes: Vec<Change>,
    before: Option<Value>,
    after: Option<Value>,
}

impl ObjectDiff {
    /// How `before` (usually the live form) differs from `after` (the desired form, or what the server makes of it). `None` stands for an object
    /// that is not there; with both `None` there is no difference. `status` and what the server keeps for itself do not count.
    pub fn between(before: Option<&Object>, after: Option<&Object>) -> Self {
        let mut mask = Mask::new();
        let id = before.or(after).map(Object::id).unwrap_or_default();
        let owners = before.map(Owners::of).unwrap_or_default();
        let mut shown = |object: &Object| {
            let mut value = mask.apply(object);
            strip(&mut value);
            value
        };
        let before = before.map(&mut shown);
        let after = after.map(&mut shown);
        let mut changes = Vec::new();
        compare(
            &mut String::new(),
            before.as_ref(),
            after.as_ref(),
            &mut changes,
        );
        for change in &mut changes {
            change.manager = owners.owner(&change.pointer).map(str::to_owned);
        }
        Self {
            id,
            changes,
            before,
            after,
        }
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The difference as a unified diff of the YAML forms; lines that somebody owns say who.
    pub fn text(&self, color: Color) -> String {
        text::unified(
            &self.id,
            self.before.as_ref(),
            self.after.as_ref(),
            &self.changes,
            color,
        )
    }
}

fn strip(value: &mut Value) {
    if let Some(map) = value.as_object_mut() {
        map.remove("status");
        if let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
            for field in SERVER_FIELDS {
                metadata.remove(field);
            }
        }
    }
}

fn compare(
    pointer: &mut String,
    before: Option<&Value>,
    after: Option<&Value>,
    changes: &mut Vec<Change>,
) {
    match (before, after) {
        (Some(a), Some(b)) if a == b => {}
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            for (key, value) in a {
                descend(pointer, key, Some(value), b.get(key), changes);
            }
            for (key, value) in b.iter().filter(|(key, _)| !a.contains_key(*key)) {
                descend(pointer, key, None, Some(value), changes);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => match pairs(a, b) {
            Some(pairs) => {
                for (index, before, after) in pairs {
                    descend(pointer, &index.to_string(), before, after, changes);
                }
            }
            None => push(pointer, before, after, changes),
        },
        (None, None) => {}
        _ => push(pointer, before, after, changes),
    }
}

fn descend(
    pointer: &mut String,
    key: &str,
    before: Option<&Value>,
    after: Option<&Value>,
    changes: &mut Vec<Change>,
) {
    let length = pointer.len();
    pointer.push('/');
    pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
    compare(pointer, before, after, changes);
    pointer.truncate(length);
}

fn push(pointer: &str, before: Option<&Value>, after: Option<&Value>, changes: &mut Vec<Change>) {
    changes.push(Change {
        pointer: pointer.to_owned(),
        before: before.cloned(),
        after: after.cloned(),
        manager: None,
    });
}

type Pair<'a> = (usize, Option<&'a Value>, Option<&'a Value>);

/// Pairs the entries of two lists by their keys; `None` where the order itself differs, or entries have no key: then the lists differ as wholes.
fn pairs<'a>(a: &'a [Value], b: &'a [Value]) -> Option<Vec<Pair<'a>>> {
    let Some([a_keys, b_keys]) = list_keys(&[a, b]) else {
        let objects = a.iter().chain(b).all(Value::is_object);
        return (objects && a.len() == b.len()).then(|| {
            a.iter()
                .zip(b)
                .enumerate()
                .map(|(at, (a, b))| (at, Some(a), Some(b)))
                .collect()
        });
    };
    let common = |keys: &[String], others: &[String]| -> Vec<String> {
        keys.iter()
            .filter(|key| others.contains(key))
            .cloned()
            .collect()
    };
    if common(&a_keys, &b_keys) != common(&b_keys, &a_keys) {
        return None;
    }
    let mut pairs: Vec<Pair<'a>> = Vec::new();
    for (at, (item, key)) in a.iter().zip(&a_keys).enumerate() {
        let other = b_keys
            .iter()
            .position(|other| other == key)
            .map(|at| &b[at]);
        pairs.push((at, Some(item), other));
    }
    for (at, (item, _)) in b
        .iter()
        .zip(&b_keys)
        .enumerate()
        .filter(|(_, (_, key))| !a_keys.contains(key))
    {
        pairs.push((at, None, Some(item)));
    }
    Some(pairs)
}

/// The keys of the entries of several forms of one list, by the first fields that tell all of them apart.
fn list_keys<const N: usize>(lists: &[&[Value]; N]) -> Option<[Vec<String>; N]> {
    LIST_KEYS.iter().find_map(|fields| {
        let mut all = [const { Vec::new() }; N];
        for (list, keys) in lists.iter().zip(&mut all) {
            let of: Vec<String> = list
                .iter()
                .map(|item| key(item, fields))
                .collect::<Option<_>>()?;
            let distinct: std::collections::BTreeSet<&String> = of.iter().collect();
            if distinct.len() != of.len() {
                return None;
            }
            *keys = of;
        }
        Some(all)
    })
}

fn key(item: &Value, fields: &[&str]) -> Option<String> {
    let item = item.as_object()?;
    item.get(fields[0])?;
    Some(
        fields
            .iter()
            .map(|field| match item.get(*field) {
                Some(value) => value.to_string(),
                // The default of ports (core/v1).
                None if *field == "protocol" => "\"TCP\"".to_owned(),
                None => String::new(),
            })
            .collect::<Vec<_>>()
            .join("/"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn deployment(change: impl FnOnce(&mut Value)) -> Object {
        let mut value = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {
                "name": "web", "namespace": "shop", "resourceVersion": "1",
                "managedFields": [
                    {"manager": "gitops:shop/web", "operation": "Apply", "fieldsV1": {"f:spec": {"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}}}}}}}},
                    {"manager": "kubectl-edit", "operation": "Update", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
                ],
            },
            "spec": {"replicas": 3, "template": {"spec": {"containers": [{"name": "s", "image": "s"}, {"name": "c", "image": "x:1"}]}}},
            "status": {"replicas": 3},
        });
        change(&mut value);
        Object::new(value, None).unwrap()
    }

    #[test]
    fn a_change_names_its_field_and_its_manager() {
        let live = deployment(|_| {});
        let desired = deployment(|v| {
            v["spec"]["replicas"] = json!(1);
            v["spec"]["template"]["spec"]["containers"][1]["image"] = json!("x:2");
            v["status"] = json!({});
            v["metadata"]["resourceVersion"] = json!("7");
        });
        let diff = ObjectDiff::between(Some(&live), Some(&desired));
        let rows: Vec<_> = diff
            .changes
            .iter()
            .map(|change| (change.pointer.as_str(), change.manager.as_deref()))
            .collect();
        assert_eq!(
            rows,
            [
                ("/spec/replicas", Some("kubectl-edit")),
                (
                    "/spec/template/spec/containers/1/image",
                    Some("gitops:shop/web")
                ),
            ]
        );
        let text = diff.text(Color::Never);
        assert!(text.contains("-  replicas: 3"), "{text}");
        assert!(text.contains("+  replicas: 1"), "{text}");
        assert!(text.contains("kubectl-edit"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(diff.text(Color::Always).contains('\u{1b}'));
    }

    #[test]
    fn texts_are_written_so_that_kubectl_reads_the_same_values() {
        let live = deployment(|_| {});
        let desired = deployment(|v| {
            v["metadata"]["annotations"] =
                json!({"mode": "0644", "on": "yes", "at": "12:30:45", "n": "1_000"});
        });
        let text = ObjectDiff::between(Some(&live), Some(&desired)).text(Color::Never);
        for line in [
            r#"mode: "0644""#,
            r#""on": "yes""#,
            r#"at: "12:30:45""#,
            r#""n": "1_000""#,
        ] {
            let line = format!("+    {line}\n");
            assert!(text.contains(&line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn lists_are_paired_by_key_and_order_counts() {
        let live = deployment(|_| {});
        let added = deployment(|v| {
            v["spec"]["template"]["spec"]["containers"] =
                json!([{"name": "c", "image": "x:1"}, {"name": "n", "image": "n"}]);
        });
        let diff = ObjectDiff::between(Some(&live), Some(&added));
        let pointers: Vec<_> = diff
            .changes
            .iter()
            .map(|change| change.pointer.as_str())
            .collect();
        assert_eq!(
            pointers,
            [
                "/spec/template/spec/containers/0",
                "/spec/template/spec/containers/1"
            ]
        );
        let swapped = deployment(|v| {
            v["spec"]["template"]["spec"]["containers"] =
                json!([{"name": "c", "image": "x:1"}, {"name": "s", "image": "s"}]);
        });
        let diff = ObjectDiff::between(Some(&live), Some(&swapped));
        assert_eq!(diff.changes.len(), 1);
        assert_eq!(diff.changes[0].pointer, "/spec/template/spec/containers");
        assert!(ObjectDiff::between(Some(&live), Some(&live)).is_empty());
    }

    #[test]
    fn secrets_are_masked_in_values_and_text() {
        let secret = |value: &str| {
            Object::new(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"k": value}}), None).unwrap()
        };
        let diff = ObjectDiff::between(Some(&secret("canary-1")), Some(&secret("canary-2")));
        assert_eq!(diff.changes.len(), 1);
        let shown = format!("{:?} {}", diff, diff.text(Color::Never));
        assert!(!shown.contains("canary"), "{shown}");
        let gone = ObjectDiff::between(Some(&secret("canary")), None);
        assert!(!gone.text(Color::Never).contains("canary"));
        assert_eq!(gone.changes.len(), 1);
    }
}
