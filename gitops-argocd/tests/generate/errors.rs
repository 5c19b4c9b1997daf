//! What errors say.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use gitops_argocd::generate::{SetSources, generate, parameters};
use gitops_argocd::types::ApplicationSet;
use gitops_argocd::types::set::Generator;
use gitops_core::{ErrorKind, Result};
use serde_json::json;

use crate::block_on;
use crate::common::{MemorySources, REPO_URL, parse, set};

/// Errors name the generator, and are told before anything is read when they can be.
#[test]
fn errors_name_the_generator() {
    struct NotAsked;
    #[async_trait]
    impl SetSources for NotAsked {
        async fn directories(&self, _: &str, _: &str, _: Option<&str>) -> Result<Vec<String>> {
            panic!("asked for directories")
        }
        async fn files(
            &self,
            _: &str,
            _: &str,
            _: Option<&str>,
            _: &str,
        ) -> Result<BTreeMap<String, Bytes>> {
            panic!("asked for files")
        }
    }
    for (name, place) in [
        (
            "clusters",
            "/spec/generators/1/matrix/generators/1/clusters: ",
        ),
        ("go-template", "/spec/goTemplate: "),
        (
            "nested-too-deep",
            "/spec/generators/0/matrix/generators/1/matrix/generators/1/matrix: ",
        ),
        ("unknown-generator", "/spec/generators/1: "),
        ("git-nothing", "/spec/generators/0/git: "),
        ("git-files-outside", "/spec/generators/0/git: "),
        ("selector-key", "/spec/generators/0/selector: "),
    ] {
        let error = block_on(generate(&set(name, REPO_URL), &NotAsked)).unwrap_err();
        assert!(error.to_string().starts_with(place), "{name}: {error}");
    }
    for field in [
        "clusters",
        "scmProvider",
        "clusterDecisionResource",
        "pullRequest",
        "plugin",
    ] {
        let generator: Generator = serde_json::from_value(json!({field: {}})).unwrap();
        let set = ApplicationSet::new("set").generator(generator);
        for error in [
            block_on(generate(&set, &NotAsked)).unwrap_err(),
            block_on(parameters(&set, &NotAsked)).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            let text = error.to_string();
            assert!(
                text.contains(field) && text.contains("appset generate"),
                "{text}"
            );
        }
    }
}

/// What the sources answer is passed on, with the place.
#[test]
fn errors_of_sources_are_passed_on() {
    let set = ApplicationSet::new("set").generator(Generator::matrix(
        Generator::list([[("a", "b")]]),
        Generator::git_directories("elsewhere", "HEAD", ["*"]),
    ));
    let error = block_on(generate(&set, &MemorySources::new())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(
        error.to_string(),
        "/spec/generators/0/matrix/generators/1/git: no repository \"elsewhere\""
    );
}

/// What parameters say may be secret.
#[test]
fn errors_hold_no_values() {
    for text in [
        "{spec: {generators: [{list: {elements: [{a: canary}]}}], template: {metadata: {name: '{{a}}'}}, templatePatch: 'spec: {revisionHistoryLimit: {{a}}}'}}",
        "{spec: {generators: [{list: {elements: [{a: canary}]}}], template: {metadata: {name: '{{a}}'}}, templatePatch: '{\"spec\": {{a}}}'}}",
        "{spec: {generators: [{matrix: {generators: [{list: {elements: [{a: canary}]}}, {list: {elements: [{a: b}]}}]}}]}}",
        "{spec: {generators: [{merge: {mergeKeys: [a], generators: [{list: {elements: [{a: canary}, {a: canary}]}}, {list: {}}]}}]}}",
        "{spec: {generators: [{list: {elements: [{a: [canary]}]}}]}}",
    ] {
        let set = parse(text);
        let error = block_on(generate(&set, &MemorySources::default())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(
            !format!("{error:#} {error:?}").contains("canary"),
            "{error:#}"
        );
    }
}
