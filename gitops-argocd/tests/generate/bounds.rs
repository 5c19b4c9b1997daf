//! What is too much, and what leads out of the repository.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use gitops_argocd::generate::{
    MAX_FILE_BYTES, MAX_PARAMETER_SETS, SetSources, generate, parameters,
};
use gitops_argocd::types::set::{Generator, ListGenerator};
use gitops_argocd::types::{Application, ApplicationSet};
use gitops_core::{ErrorKind, Result};

use crate::block_on;
use crate::common::{MemorySources, REPO_URL};

/// Paths that lead out of the repository, whoever says them.
#[test]
fn paths_stay_inside() {
    struct Climbing(&'static str);
    #[async_trait]
    impl SetSources for Climbing {
        async fn directories(&self, _: &str, _: &str, _: Option<&str>) -> Result<Vec<String>> {
            Ok(vec![self.0.to_owned()])
        }
        async fn files(
            &self,
            _: &str,
            _: &str,
            _: Option<&str>,
            _: &str,
        ) -> Result<BTreeMap<String, Bytes>> {
            Ok([(self.0.to_owned(), Bytes::from_static(b"a: b"))].into())
        }
    }
    let directories = |pattern: &str| {
        ApplicationSet::new("s").generator(Generator::git_directories("u", "", [pattern]))
    };
    let files = |pattern: &str| {
        ApplicationSet::new("s").generator(Generator::git_files("u", "", [pattern]))
    };
    for path in ["..", "../x", "/x", "a/../../b", ".git", "a//b", ""] {
        let sources = Climbing(path);
        for set in [
            directories("[^a]*"),
            directories("*"),
            directories("*/*"),
            directories("*/*/*/*"),
        ] {
            match block_on(generate(&set, &sources)) {
                Ok(made) => assert_eq!(made, [], "{path:?}"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidInput, "{path:?}"),
            }
        }
        let error = block_on(generate(&files("x"), &sources)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{path:?}");
    }
    for pattern in [
        "..",
        "../x",
        "/x",
        "/etc/passwd",
        "a/../../b",
        "a/b/../../../c",
        "./..",
        "a\0b",
    ] {
        let error = block_on(generate(&files(pattern), &Climbing("x"))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{pattern:?}");
    }
    let error = block_on(generate(&files(":(glob)**"), &Climbing("x"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn parameter_sets_are_bounded() {
    let list = |count: usize, key: &str| {
        Generator::list((0..count).map(|n| [(key.to_owned(), n.to_string())]))
    };
    let sources = MemorySources::default();
    let count = |set: &ApplicationSet| block_on(parameters(set, &sources)).map(|sets| sets.len());
    let refused = |set: &ApplicationSet| {
        let error = count(set).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        error.to_string()
    };
    let set = ApplicationSet::new("s");
    assert_eq!(
        count(&set.clone().generator(list(MAX_PARAMETER_SETS, "a"))).unwrap(),
        MAX_PARAMETER_SETS
    );
    assert_eq!(
        refused(&set.clone().generator(list(MAX_PARAMETER_SETS + 1, "a"))),
        "/spec/generators/0/list: more than 10000 sets of parameters"
    );
    assert_eq!(
        refused(
            &set.clone()
                .generator(list(6000, "a"))
                .generator(list(6000, "b"))
        ),
        "/spec/generators/1/list: more than 10000 sets of parameters"
    );
    let matrix = Generator::matrix(list(101, "a"), list(100, "b"));
    // Whatever a selector would leave of them.
    assert_eq!(
        refused(&set.clone().generator(matrix.only([("a", "1")]))),
        "/spec/generators/0/matrix: more than 10000 sets of parameters"
    );
    let matrix = Generator::matrix(list(100, "a"), list(100, "b"));
    assert_eq!(count(&set.clone().generator(matrix)).unwrap(), 10_000);
    let yaml = "[".to_owned() + &"{},".repeat(MAX_PARAMETER_SETS + 1) + "]";
    let yaml = ListGenerator {
        elements_yaml: Some(yaml),
        ..ListGenerator::default()
    };
    refused(&set.generator(yaml.into()));
}

#[test]
fn bytes_are_bounded() {
    let refused = |set: &ApplicationSet, sources: &MemorySources| {
        let error = block_on(generate(set, sources)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        error.to_string()
    };
    let text = "x".repeat(1 << 20);
    // A template that names a large parameter often, for many sets of parameters.
    let set = ApplicationSet::new("s")
        .generator(Generator::list(
            (0..300).map(|n| [("t", text.clone()), ("n", n.to_string())]),
        ))
        .template(Application::new("a-{{n}}").annotation("a", "{{t}}"));
    assert!(refused(&set, &MemorySources::default()).contains("bytes"));
    // A large key with much below it.
    let entries: Vec<_> = (0..2000).map(|n| format!("\"k{n}\": 1")).collect();
    let file = format!("{{\"{text}\": {{{}}}}}", entries.join(", "));
    let files = ApplicationSet::new("s").generator(Generator::git_files(REPO_URL, "", ["*.yaml"]));
    assert!(refused(&files, &MemorySources::with(&[("a.yaml", &file)])).contains("bytes"));
    // A large file.
    let file = format!(
        "a: {}",
        "x".repeat(usize::try_from(MAX_FILE_BYTES).unwrap())
    );
    assert_eq!(
        refused(&files, &MemorySources::with(&[("a.yaml", &file)])),
        "/spec/generators/0/git: file \"a.yaml\": it has more than 4194304 bytes"
    );
    // Aliases of aliases.
    let mut file = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..10 {
        let items = vec![format!("*a{}", n - 1); 10].join(", ");
        file.push_str(&format!("a{n}: &a{n} [{items}]\n"));
    }
    refused(&files, &MemorySources::with(&[("a.yaml", &file)]));
    // A pattern that takes long to match is none.
    let set = ApplicationSet::new("s").generator(Generator::git_directories(
        REPO_URL,
        "",
        ["*a".repeat(1000), "[^a]".repeat(1000), "?".repeat(4000)],
    ));
    let directory = format!("{}/f", "a".repeat(3000));
    block_on(generate(&set, &MemorySources::with(&[(&directory, "")]))).unwrap();
}
