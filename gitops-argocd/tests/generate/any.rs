//! Whatever the input: no panic.

use std::collections::BTreeMap;

use gitops_argocd::generate::{generate, parameters, refusals};
use gitops_argocd::types::set::GitGenerator;
use gitops_argocd::types::{Application, ApplicationSet, Destination, Source};
use gitops_core::ErrorKind;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::block_on;
use crate::common::{MemorySources, REPO_URL, outcome};

/// Texts that may be placeholders, patterns, YAML, or paths.
fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-c{} .\\[\\]0-1*?!^:/-]{0,12}",
        Just("{{a}}".to_owned()),
        Just("{{ path.basename }}".to_owned()),
        Just("*".to_owned()),
        Just("REPO_URL".to_owned()),
        Just("[{a: b}, {a: {c: 1}}]".to_owned()),
        Just("spec: {project: x, info: [{name: a}]}".to_owned()),
        Just("metadata: {$patch: delete}".to_owned()),
    ]
}

fn values_any() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        texts().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(texts(), inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// An element of a list: mostly texts.
fn elements() -> impl Strategy<Value = Value> {
    let object = |map: BTreeMap<String, Value>| Value::Object(map.into_iter().collect());
    let texts_of = |key| prop::collection::btree_map(key, texts().prop_map(Value::from), 0..3);
    let any_key = prop_oneof![4 => "[ab]", 1 => texts()];
    let values =
        texts_of("[a-c]".boxed()).prop_map(move |values| json!({"values": object(values)}));
    let wild = prop::collection::btree_map(
        prop_oneof![texts(), Just("values".to_owned())],
        values_any(),
        0..3,
    );
    prop_oneof![
        20 => texts_of(any_key.boxed()).prop_map(object),
        3 => values,
        1 => wild.prop_map(object),
    ]
}

fn selectors() -> impl Strategy<Value = Value> {
    prop_oneof![
        12 => Just(Value::Null),
        1 => (texts(), texts()).prop_map(|(key, value)| json!({"matchLabels": {key: value}})),
        1 => (texts(), "(In|NotIn|Exists|x)", prop::collection::vec(texts(), 0..2))
            .prop_map(|(key, operator, values)| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]})),
    ]
}

fn templates() -> impl Strategy<Value = Value> {
    (texts(), texts(), texts(), values_any()).prop_map(|(name, project, path, values)| {
        json!({
            "metadata": {"name": name, "labels": {path.clone(): name}},
            "spec": {
                "project": project,
                "source": {"repoURL": path, "path": path, "helm": {"valuesObject": {path: values}}},
                "destination": {"server": name},
            },
        })
    })
}

fn generators() -> impl Strategy<Value = Value> {
    let yaml = prop_oneof![
        8 => Just(String::new()),
        3 => Just("[{a: b, b: 2}, {a: {c: [1]}}]".to_owned()),
        1 => texts(),
    ];
    let list = (prop::collection::vec(elements(), 0..4), yaml, templates()).prop_map(
        |(elements, yaml, template)| json!({"list": {"elements": elements, "elementsYaml": yaml, "template": template}}),
    );
    let item = (texts(), prop::bool::weighted(0.2))
        .prop_map(|(path, exclude)| json!({"path": path, "exclude": exclude}))
        .boxed();
    let wanted = prop_oneof![
        prop::collection::vec(item.clone(), 1..3).prop_map(|items| ("directories", items)),
        prop::collection::vec(item, 1..3).prop_map(|items| ("files", items)),
    ];
    let git = (wanted, texts(), prop::collection::btree_map(texts(), texts(), 0..2)).prop_map(
        |((field, items), prefix, values)| {
            json!({"git": {
                "repoURL": "REPO_URL", "revision": "", field: items, "pathParamPrefix": prefix, "values": values,
            }})
        },
    );
    let leaf = prop_oneof![
        30 => list,
        20 => git,
        1 => Just(json!({})),
        1 => Just(json!({"clusters": {}})),
    ];
    let selected = (leaf, selectors()).prop_map(|(mut generator, selector)| {
        generator["selector"] = selector;
        generator
    });
    selected.prop_recursive(2, 6, 2, |inner| {
        let inner = inner.boxed();
        let two = prop_oneof![
            20 => prop::collection::vec(inner.clone(), 2),
            1 => prop::collection::vec(inner, 0..4),
        ]
        .boxed();
        let keys =
            prop_oneof![8 => Just(vec!["a".to_owned()]), 1 => prop::collection::vec(texts(), 0..3)];
        prop_oneof![
            two.clone()
                .prop_map(|generators| json!({"matrix": {"generators": generators}})),
            (two, keys).prop_map(
                |(generators, keys)| json!({"merge": {"generators": generators, "mergeKeys": keys}})
            ),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// No set makes it panic, and what it makes is no surprise.
    #[test]
    fn any_set(
        generators in prop::collection::vec(generators(), 1..3),
        template in templates(),
        patch in prop::option::of(texts()),
    ) {
        let set: ApplicationSet = serde_json::from_value(json!({
            "metadata": {"name": "any"},
            "spec": {"generators": generators, "template": template, "templatePatch": patch},
        })).unwrap();
        let sources = MemorySources::new();
        let first = block_on(generate(&set, &sources));
        let second = block_on(generate(&set, &sources));
        prop_assert_eq!(outcome(&first), outcome(&second));
        match first {
            Ok(applications) => {
                prop_assert_eq!(applications.len(), block_on(parameters(&set, &sources)).unwrap().len());
                prop_assert!(applications.iter().all(|it| it.metadata.namespace.is_none()));
                refusals(&applications);
            }
            Err(error) => {
                prop_assert!(
                    matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported | ErrorKind::NotFound),
                    "{}", error
                );
                prop_assert!(error.to_string().starts_with("/spec/"), "{}", error);
            }
        }
    }

    /// Any JSON that is a set at all.
    #[test]
    fn any_json(spec in values_any()) {
        let documents = [json!({"spec": spec}), json!({"spec": {"generators": [spec.clone()]}}), json!({"spec": {"template": spec, "generators": [{"list": {"elements": [{"a": "b"}]}}]}})];
        for document in documents {
            if let Ok(set) = serde_json::from_value::<ApplicationSet>(document) {
                let _ = block_on(generate(&set, &MemorySources::new()));
            }
        }
    }

    /// Any contents of a file.
    #[test]
    fn any_file(bytes in prop::collection::vec(any::<u8>(), 0..64), value in values_any()) {
        let set = ApplicationSet::new("s")
            .generator(GitGenerator {
                repo_url: REPO_URL.to_owned(),
                files: Some(vec!["*".into()]),
                ..GitGenerator::default()
            }.into())
            .template(Application::new("{{a}}").source(Source::git("{{b.0}}")).destination(Destination::name("{{c}}")));
        for bytes in [bytes, value.to_string().into_bytes()] {
            let sources = MemorySources { files: [("a/f".to_owned(), bytes)].into() };
            let _ = block_on(generate(&set, &sources));
        }
    }
}
