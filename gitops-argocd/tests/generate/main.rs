//! Application sets, evaluated without a server.
#![allow(clippy::unwrap_used)]

mod any;
mod bounds;
mod common;
mod errors;
mod git;
mod pathspec;

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use gitops_argocd::generate::{SetSources, generate, parameters, refusals};
use gitops_argocd::types::set::Generator;
use gitops_argocd::types::{Application, ApplicationSet};
use gitops_core::manifest::yaml;
use gitops_core::{ErrorKind, Result};
use serde_json::json;

use common::{MemorySources, REPO_URL, names, outcome, set};

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

/// What every set of `tests/sets` makes. The snapshots were held against the Go sources, line by line; `tests/corpus.yaml` is for holding
/// them against a server.
#[test]
fn sets() {
    let sources = MemorySources::new();
    for name in names() {
        let set = set(&name, REPO_URL);
        assert_eq!(set.name(), name);
        let result = block_on(generate(&set, &sources));
        let text = yaml::to_yaml(&outcome(&result));
        insta::with_settings!({omit_expression => true, prepend_module_to_snapshot => false, snapshot_path => "../sets/expected"}, {
            insta::assert_snapshot!(name.clone(), text);
        });
        // One application for each set of parameters.
        match (result, block_on(parameters(&set, &sources))) {
            (Ok(applications), Ok(sets)) => assert_eq!(applications.len(), sets.len(), "{name}"),
            (Ok(_), Err(error)) => panic!("{name}: {error}"),
            (Err(_), _) => {}
        }
    }
}

/// `tests/corpus.yaml` says of each set what an end-to-end test may expect.
#[test]
fn the_corpus_names_all_sets() {
    let text = std::fs::read("tests/corpus.yaml").unwrap();
    let corpus = yaml::parse_value("corpus.yaml", &text).unwrap();
    let sources = MemorySources::new();
    let mut listed = Vec::new();
    for (class, sets) in corpus["own"].as_object().unwrap() {
        for name in sets.as_array().unwrap() {
            let name = name.as_str().unwrap();
            listed.push(name.to_owned());
            let kind = block_on(generate(&set(name, REPO_URL), &sources))
                .err()
                .map(|error| error.kind());
            let expected = match class.as_str() {
                "equal" | "unordered" | "hereOnly" => None,
                "refused" => Some(ErrorKind::InvalidInput),
                "serverOnly" => Some(ErrorKind::Unsupported),
                other => panic!("{other}"),
            };
            assert_eq!(kind, expected, "{class} {name}");
        }
    }
    listed.sort();
    assert_eq!(listed, names());
}

#[test]
fn parameters_alone() {
    let sources = MemorySources::new();
    let made = |name: &str| outcome(&block_on(parameters(&set(name, REPO_URL), &sources)));
    assert_eq!(
        made("git-directories-values"),
        json!([{
            "app.path": "apps/web", "app.path.basename": "web", "app.path.basenameNormalized": "web",
            "app.path[0]": "apps", "app.path[1]": "web",
            "values.a": "web!", "values.b": "{{values.a}}", "values.c": "{{path.basename}}",
        }])
    );
    assert_eq!(
        made("git-files")[2],
        json!({
            "cluster.name": "prod-eu", "cluster.server": "https://eu.example.com", "cluster.nodes": "12",
            "cluster.owners.0.team": "web", "cluster.owners.0.pager": "0123",
            "cluster.owners.1.team": "api", "cluster.owners.1.pager": "<nil>",
            "replicas": "1.23456789e+08", "ratio": "1.5", "mode": "420", "enabled": "true", "since": "2024-05-01",
            "path": "clusters/prod", "path.basename": "prod", "path.basenameNormalized": "prod",
            "path.filename": "eu.yaml", "path.filenameNormalized": "eu.yaml",
            "path[0]": "clusters", "path[1]": "prod",
        })
    );
    assert_eq!(
        made("list-elements-yaml")[1],
        json!({
            "name": "second", "replicas": 3, "deep": {"key": "text"}, "values": {"size": "small"}, "flat.key": "flat",
        })
    );
    // Without a template there is no error of one.
    assert_eq!(made("unclosed"), json!([{"name": "web"}]));
}

#[test]
fn what_would_be_refused_of_them() {
    let sources = MemorySources::new();
    let of = |name: &str| {
        let made = block_on(generate(&set(name, REPO_URL), &sources)).unwrap();
        refusals(&made)
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        of("duplicate-names"),
        ["application 1 (\"web\"): 0 has the same name"]
    );
    assert_eq!(of("git-directories"), [""; 0]);
    assert_eq!(of("list-elements-yaml"), [""; 0]);
    assert_eq!(of("merge").len(), 1);
}

/// What the project is, for choosing credentials.
#[test]
fn sources_hear_of_the_project() {
    struct Project(Option<&'static str>);
    #[async_trait]
    impl SetSources for Project {
        async fn directories(&self, _: &str, _: &str, p: Option<&str>) -> Result<Vec<String>> {
            assert_eq!(p, self.0);
            Ok(Vec::new())
        }
        async fn files(
            &self,
            _: &str,
            _: &str,
            _: Option<&str>,
            _: &str,
        ) -> Result<BTreeMap<String, Bytes>> {
            Ok(BTreeMap::new())
        }
    }
    for (project, heard) in [("team", Some("team")), ("{{x}}", None), ("", None)] {
        let set = ApplicationSet::new("set")
            .generator(Generator::git_directories("u", "HEAD", ["*"]))
            .template(Application::new("a").project(project));
        block_on(generate(&set, &Project(heard))).unwrap();
    }
}

/// The second generator of a matrix is asked for once when nothing in it changes.
#[test]
fn a_matrix_asks_once() {
    #[derive(Default)]
    struct Counting(std::sync::atomic::AtomicUsize);
    #[async_trait]
    impl SetSources for Counting {
        async fn directories(&self, _: &str, _: &str, _: Option<&str>) -> Result<Vec<String>> {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Ok(vec!["a".to_owned(), "b".to_owned()])
        }
        async fn files(
            &self,
            _: &str,
            _: &str,
            _: Option<&str>,
            _: &str,
        ) -> Result<BTreeMap<String, Bytes>> {
            Ok(BTreeMap::new())
        }
    }
    for (pattern, asked) in [("*", 1), ("{{n}}*", 3)] {
        let sources = Counting::default();
        let set = ApplicationSet::new("s").generator(Generator::matrix(
            Generator::list([[("n", "a")], [("n", "b")], [("n", "c")]]),
            Generator::git_directories("u", "", [pattern]),
        ));
        let sets = block_on(parameters(&set, &sources)).unwrap();
        assert_eq!(sets.len(), if asked == 1 { 6 } else { 2 });
        assert_eq!(sources.0.into_inner(), asked);
    }
}
