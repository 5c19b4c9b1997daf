//! Edits leave everything else byte for byte.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use gitops_core::ErrorKind;
use gitops_core::manifest::edit::{Edit, Target, edit, update_document};
use gitops_core::manifest::yaml;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn set(pointer: &str, value: Value) -> Edit {
    Edit::Set {
        target: Target::Document(0),
        pointer: pointer.into(),
        value,
    }
}

fn remove(pointer: &str) -> Edit {
    Edit::Remove {
        target: Target::Document(0),
        pointer: pointer.into(),
    }
}

#[test]
fn one_edit_changes_its_bytes_only() {
    let table: Vec<(&str, &str, Edit, &str)> = vec![
        (
            "a plain scalar",
            "a: 1 # one\nb: 2\n",
            set("/a", json!(3)),
            "a: 3 # one\nb: 2\n",
        ),
        (
            "single quotes stay",
            "a: 'x'   # c\n",
            set("/a", json!("y")),
            "a: 'y'   # c\n",
        ),
        (
            "double quotes stay",
            "a: \"x\"\n",
            set("/a", json!("y")),
            "a: \"y\"\n",
        ),
        (
            "a text that needs quotes",
            "a: x\n",
            set("/a", json!("yes")),
            "a: \"yes\"\n",
        ),
        (
            "deep, with odd indentation",
            "a:\n    b:\n          c: 1\n    d: 2\n",
            set("/a/b/c", json!(2)),
            "a:\n    b:\n          c: 2\n    d: 2\n",
        ),
        (
            "flow style",
            "a: {b: 1,  c: [1,2 , 3]} # f\n",
            set("/a/c/1", json!(9)),
            "a: {b: 1,  c: [1,9 , 3]} # f\n",
        ),
        (
            "an item of a list at its key's column",
            "a:\n- x\n# c\n- y\n",
            set("/a/1", json!("z")),
            "a:\n- x\n# c\n- z\n",
        ),
        (
            "carriage returns",
            "a: 1\r\nb: 2\r\n",
            set("/b", json!(3)),
            "a: 1\r\nb: 3\r\n",
        ),
        (
            "no line end at the end",
            "a: 1\nb: 2",
            set("/b", json!(3)),
            "a: 1\nb: 3",
        ),
        (
            "a mark at the beginning",
            "\u{feff}a: 1\n",
            set("/a", json!(2)),
            "\u{feff}a: 2\n",
        ),
        (
            "a literal block stays one",
            "a: |\n  x\n  y\nb: 1\n",
            set("/a", json!("x\nz\n")),
            "a: |\n  x\n  z\nb: 1\n",
        ),
        (
            "a key is removed, the comment above stays",
            "a: 1\n# of b\nb: 2 # c\nc: 3\n",
            remove("/b"),
            "a: 1\n# of b\nc: 3\n",
        ),
        (
            "an item is removed",
            "a:\n  - x\n  - y # why\n  - z\n",
            remove("/a/1"),
            "a:\n  - x\n  - z\n",
        ),
        (
            "a quoted key",
            "'a b': 1\n\"c\": 2\n",
            set("/c", json!(3)),
            "'a b': 1\n\"c\": 3\n",
        ),
        (
            "JSON",
            "{\n  \"a\": 1,\n  \"b\": [1, 2]\n}\n",
            set("/b/0", json!(7)),
            "{\n  \"a\": 1,\n  \"b\": [7, 2]\n}\n",
        ),
        (
            "nothing to do",
            "a: 0x10 # sixteen\n",
            set("/a", json!(16)),
            "a: 0x10 # sixteen\n",
        ),
    ];
    for (name, before, change, after) in table {
        assert_eq!(edit("f.yaml", before, &[change]).unwrap(), after, "{name}");
    }
}

#[test]
fn a_key_is_added_behind_a_list_that_loses_its_end() {
    for newline in ["\n", "\r\n"] {
        let text = ["a:", "  - x", "  - y", "---", "b: 1", ""].join(newline);
        let changed = update_document("f", &text, 0, &json!({"a": ["x"], "c": null})).unwrap();
        let wanted = ["a:", "  - x", "c: null", "---", "b: 1", ""].join(newline);
        assert_eq!(changed, wanted);
    }
}

#[test]
fn additions_look_like_their_neighbours() {
    for (before, change) in [
        ("a:\n    b: 1\n", set("/a/c", json!({"d": [1, {"e": "f"}]}))),
        ("a: {b: 1}\n", set("/a/c", json!([1, 2]))),
        (
            "a:\n- x: 1\n",
            Edit::Append {
                target: Target::Document(0),
                pointer: "/a".into(),
                value: json!({"x": 2, "y": ["z"]}),
            },
        ),
        (
            "a: []\n",
            Edit::Append {
                target: Target::Document(0),
                pointer: "/a".into(),
                value: json!("x"),
            },
        ),
        ("# c\na: 1\n", set("/new/deep/er", json!(true))),
        ("a:\n", set("/a/b", json!("text\nof lines\n"))),
    ] {
        let after = edit("f.yaml", before, std::slice::from_ref(&change)).unwrap();
        for line in before
            .lines()
            .filter(|line| line.contains('#') || line.contains("b: 1") && !line.contains('{'))
        {
            assert!(
                after.lines().any(|kept| kept == line),
                "{line:?} is gone from {after:?}"
            );
        }
        let again = edit("f.yaml", &after, &[change]);
        let value = yaml::parse_value("f.yaml", after.as_bytes()).unwrap();
        assert!(value.is_object() && again.is_ok(), "{after:?}");
    }
}

#[test]
fn documents_are_edited_one_by_one() {
    let text = "# first\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\n# second\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\ndata: {k: v}\n...\n---\nx: 1\n";
    let object = |name: &str| {
        let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
        Target::Object(
            gitops_core::manifest::Object::new(value, None)
                .unwrap()
                .id(),
        )
    };
    let changed = edit(
        "f",
        text,
        &[Edit::Set {
            target: object("b"),
            pointer: "/data/k".into(),
            value: json!("w"),
        }],
    )
    .unwrap();
    assert_eq!(changed, text.replace("{k: v}", "{k: w}"));
    let removed = edit(
        "f",
        text,
        &[Edit::RemoveDocument {
            target: object("a"),
        }],
    )
    .unwrap();
    assert!(
        !removed.contains("first") && removed.contains("# second") && removed.ends_with("x: 1\n"),
        "{removed}"
    );
    let added = edit(
        "f",
        text,
        &[Edit::AppendDocument {
            value: json!({"y": 2}),
        }],
    )
    .unwrap();
    assert!(added.starts_with(text), "{added}");
    assert_eq!(yaml::parse_values("f", added.as_bytes()).unwrap().len(), 4);
    let missing = edit(
        "f",
        text,
        &[Edit::RemoveDocument {
            target: object("zzz"),
        }],
    )
    .unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
}

#[test]
fn an_alias_never_changes_another_place() {
    let text = "base: &b {x: 1}\none: *b\ntwo: *b\n";
    let changed = edit("f", text, &[set("/one/x", json!(2))]).unwrap();
    let value = yaml::parse_value("f", changed.as_bytes()).unwrap();
    assert_eq!(
        value,
        json!({"base": {"x": 1}, "one": {"x": 2}, "two": {"x": 1}}),
        "{changed}"
    );
    let merged = "base: &b {x: 1, z: 1}\none:\n  <<: *b\n  z: 2\n";
    match edit("f", merged, &[set("/one/x", json!(5))]) {
        Ok(changed) => assert_eq!(
            yaml::parse_value("f", changed.as_bytes()).unwrap(),
            json!({"base": {"x": 1, "z": 1}, "one": {"x": 5, "z": 2}})
        ),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}"),
    }
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z]{1,8}( [a-z:#]{1,6}){0,2}".prop_map(Value::from),
        prop_oneof![
            Just("yes"),
            Just("0644"),
            Just(""),
            Just("x\ny\n"),
            Just("- a"),
            Just("é"),
            Just(" x")
        ]
        .prop_map(Value::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            map(inner),
        ]
    })
}

fn map(inner: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    proptest::collection::btree_map("[a-z]{1,5}", inner, 0..5)
        .prop_map(|map| Value::Object(map.into_iter().collect::<Map<_, _>>()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever a document shall hold: it holds it afterwards, and its neighbours and comments around it stay.
    #[test]
    fn a_document_becomes_what_it_shall_be(before in map(value()), after in map(value())) {
        let neighbour = "# keep: me\nother: {a: 1} # and me\n";
        let text = format!("{neighbour}---\n{}---\n{neighbour}", yaml::to_yaml(&before));
        let documents = yaml::parse_values("f", text.as_bytes()).unwrap();
        prop_assume!(documents.len() == 3);
        let changed = update_document("f", &text, 1, &after).unwrap();
        prop_assert!(changed.starts_with(neighbour), "{}", changed);
        prop_assert!(changed.ends_with(neighbour), "{}", changed);
        let read = yaml::parse_values("f", changed.as_bytes()).unwrap();
        // A document that holds nothing does not count.
        let held = read.iter().find(|document| document.value != json!({"other": {"a": 1}})).map(|document| document.value.clone());
        prop_assert!(held.clone().unwrap_or_default() == after || (held.is_none() && after == json!({"other": {"a": 1}})), "{changed}\n{held:?}");
    }

    /// One value of a commented document: every other line stays.
    #[test]
    fn a_scalar_changes_its_line_only(replicas in any::<u16>(), image in "[a-z]{1,10}:[0-9]{1,3}") {
        let text = "# top\nspec:\n  # the size\n  replicas: 70000   # of prod\n  template:\n      containers:\n      -   name: web # main\n          image: 'old:1' # pinned\n          args: [\"--a\",   '--b']\n      - {name: side, image: side:1}\n";
        let edits = [set("/spec/replicas", json!(replicas)), set("/spec/template/containers/0/image", json!(image))];
        let changed = edit("f", text, &edits).unwrap();
        prop_assert_eq!(changed, text.replace("70000", &replicas.to_string()).replace("old:1", &image));
    }
}
