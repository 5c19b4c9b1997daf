//! Bad manifests, as a user meets them: the plain renderer's error names file and line, and nothing is rendered.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use gitops_core::application::Source;
use gitops_core::manifest::render::{RenderRequest, Renderer, Renderers};
use gitops_core::manifest::{ManifestSet, Tree, TreeEntry};
use gitops_core::{ErrorKind, Result};

const GOOD: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: good\n";

async fn render(files: &[(&str, Vec<u8>)]) -> Result<ManifestSet> {
    let mut tree = Tree::new("0123", "apps", "");
    for (path, bytes) in files {
        tree.insert(*path, TreeEntry::File(Arc::from(bytes.as_slice())))?;
    }
    let request = RenderRequest {
        tree,
        source: Source::git("https://git.example.com/x.git").path("apps"),
        app_name: "app".into(),
        ..RenderRequest::default()
    };
    Renderers::default().render(&request).await
}

/// Renders a good file and a bad one; gives the message of the error.
async fn refused(bad: impl Into<Vec<u8>>) -> String {
    let started = Instant::now();
    let result = render(&[("a.yaml", GOOD.into()), ("bad.yaml", bad.into())]).await;
    let error = result.expect_err("it was not refused");
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "it took {:?}",
        started.elapsed()
    );
    let message = error.to_string();
    assert!(message.len() < 2000, "{} bytes of message", message.len());
    message
}

fn object(rest: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: bad\n{rest}")
}

#[tokio::test]
async fn each_fault_names_file_line_and_what_is_wrong() {
    let billion = {
        let mut text = object("data:\n  a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..10 {
            let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
            text += &format!("  a{level}: &a{level} [{aliases}]\n");
        }
        text
    };
    let deep = object(&format!(
        "data: {}{}\n",
        "[".repeat(10_000),
        "]".repeat(10_000)
    ));
    let deep_blocks = object(&format!("data:\n{}a\n", "- ".repeat(10_000)));
    let table: Vec<(&str, String, &[&str])> = vec![
        ("a key twice", object("data:\n  k: 1\n  k: 2\n"), &["bad.yaml:7:3", "duplicate key", "\"k\""]),
        ("a key twice, far apart", object("kind: Secret\n"), &["bad.yaml:5:1", "duplicate key", "\"kind\""]),
        ("a tab", object("data:\n\tk: v\n"), &["bad.yaml:6"]),
        ("a tab at the start", "\tapiVersion: v1\n".into(), &["bad.yaml:1", "tab"]),
        ("an unknown anchor", object("data:\n  k: *nothing\n"), &["bad.yaml:6:6", "unknown anchor"]),
        ("an alias bomb", billion, &["bad.yaml:", "alias"]),
        ("ten thousand levels", deep, &["bad.yaml:5", "recursion limit"]),
        ("ten thousand levels of blocks", deep_blocks, &["bad.yaml:", "recursion limit"]),
        ("no apiVersion", "kind: ConfigMap\nmetadata: {name: x}\n".into(), &["bad.yaml:1:1", "apiVersion is missing"]),
        ("no kind", "apiVersion: v1\nmetadata: {name: x}\n".into(), &["bad.yaml:1:1", "kind is missing"]),
        ("no name", "# first\napiVersion: v1\nkind: ConfigMap\n".into(), &["bad.yaml:2:1", "metadata.name is missing"]),
        ("an empty name", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ''}\n".into(), &["bad.yaml:3:12", "name"]),
        ("a name that is a number", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: 12}\n".into(), &["bad.yaml:3:12", "name"]),
        ("a label that is no text", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, labels: {on: yes}}\n".into(), &["bad.yaml:3:30", "labels"]),
        ("an annotation that is no text", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, annotations: {n: 1}}\n".into(), &["bad.yaml:3:35", "annotations"]),
        ("no object", "- a\n- b\n".into(), &["bad.yaml:1:1"]),
        ("a scalar", "hello\n".into(), &["bad.yaml:1:1"]),
        ("an open bracket", object("data: [1, 2\n"), &["bad.yaml:"]),
        ("a fault in a later document", format!("{GOOD}---\n{}", object("data: {a: 1, a: 2}\n")).replace("name: good", "name: other"), &["bad.yaml:10:14", "duplicate key"]),
        ("an object twice in a file", format!("{}---\n{}", object(""), object("data: {k: v}\n")), &["bad.yaml:1", "bad.yaml:6", "ConfigMap bad"]),
        ("an object of another file", GOOD.into(), &["a.yaml:1", "bad.yaml:1", "ConfigMap good"]),
        ("one object in two versions", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n---\napiVersion: apps/v1beta1\nkind: Deployment\nmetadata: {name: x}\n".into(), &["bad.yaml:1", "bad.yaml:5", "Deployment.apps x"]),
        ("an item of a list", "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n".into(), &["bad.yaml:", "metadata.name is missing"]),
    ];
    for (name, text, parts) in table {
        let message = refused(text).await;
        for part in parts {
            assert!(
                message.contains(part),
                "{name}: {part:?} is missing in {message}"
            );
        }
    }
}

#[tokio::test]
async fn bytes_that_are_no_text_are_named_with_their_line() {
    let mut bytes = object("data:\n  k: ").into_bytes();
    bytes.extend([0xff, 0xfe, b'\n']);
    let message = refused(bytes).await;
    assert!(
        message.contains("bad.yaml:6") && message.contains("UTF-8"),
        "{message}"
    );
    let utf16: Vec<u8> = "\u{feff}a: 1\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    assert!(refused(utf16).await.contains("bad.yaml:1"));
}

#[tokio::test]
async fn a_file_of_50_mb_is_refused_before_it_is_read() {
    let mut text = object("data:\n");
    while text.len() < 50 * 1024 * 1024 {
        text.push_str("  # 0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\n");
    }
    let message = refused(text).await;
    assert!(
        message.contains("bad.yaml") && message.contains("bytes"),
        "{message}"
    );
}
