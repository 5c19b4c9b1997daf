//! Patterns for files, held against `git ls-files`.

use std::path::Path;
use std::process::Command;

use gitops_argocd::generate::Pathspec;
use proptest::prelude::*;

/// An index for `git ls-files`.
struct Index {
    dir: tempfile::TempDir,
    paths: Vec<&'static str>,
}

impl Index {
    fn new(paths: &[&'static str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let git = git2::Repository::init(dir.path()).unwrap();
        let mut index = git.index().unwrap();
        for path in paths {
            let at = dir.path().join(path);
            std::fs::create_dir_all(at.parent().unwrap()).unwrap();
            std::fs::write(&at, "").unwrap();
            index.add_path(Path::new(path)).unwrap();
        }
        index.write().unwrap();
        let mut paths = paths.to_vec();
        paths.sort_unstable();
        Self { dir, paths }
    }

    /// What Argo CD's repo-server runs; `None` when Git refuses.
    fn ls_files(&self, pattern: &str) -> Option<Vec<String>> {
        let pattern = if pattern.is_empty() { "." } else { pattern };
        let output = Command::new("git")
            .args(["ls-files", "--full-name", "-z", "--", pattern])
            .current_dir(self.dir.path())
            .output()
            .unwrap();
        output.status.success().then(|| {
            let text = String::from_utf8(output.stdout).unwrap();
            text.split_terminator('\0').map(ToOwned::to_owned).collect()
        })
    }

    fn pathspec(&self, pattern: &str) -> Option<Vec<String>> {
        let pathspec = Pathspec::parse(pattern).ok()?;
        let matching = self.paths.iter().filter(|path| pathspec.matches(path));
        Some(matching.map(|path| (*path).to_owned()).collect())
    }
}

fn index() -> Index {
    Index::new(&[
        "a",
        "ab",
        "abc",
        "a-b",
        "b/a",
        "b/b",
        "b/c/a",
        "b/c/d.yaml",
        "b.yaml",
        "c d/e",
        "[a]",
        "a[b]/c",
        "!x",
        "^",
        "]",
        "-",
        "a\\b",
        "A",
        "Z9",
        "é",
        "b/é",
        "{a,b}",
        "*",
        "*x/y",
        "?",
        "\t",
        "0",
        "_",
        ".h/a",
        "c/.h",
    ])
}

#[test]
fn patterns_match_as_git_matches_them() {
    let index = index();
    for pattern in [
        "",
        ".",
        "./",
        "a",
        "b",
        "b/",
        "b/c",
        "b/c/",
        "b//c",
        "./b/./c",
        "b/../a",
        "b/c/..",
        "b/c/../",
        "x",
        "a/",
        "*",
        "**",
        "*a",
        "a*",
        "*/a",
        "b/*",
        "b/**",
        "b/*/a",
        "b/**/a",
        "*.yaml",
        "b*yaml",
        "?",
        "??",
        "???",
        "b?a",
        "[a]",
        "[ab]",
        "[a-c]",
        "[!a]",
        "[^a]",
        "[!a-z]",
        "[]]",
        "[!]]",
        "[]-a]",
        "[a-]",
        "[-a]",
        "[--0]",
        "[\\]]",
        "[\\a-c]",
        "[a-\\c]",
        "[z-a]",
        "[!z-a]",
        "[a",
        "[",
        "[!",
        "[]",
        "a[",
        "\\",
        "a\\",
        "\\a",
        "\\*",
        "\\?",
        "\\[a]",
        "[[:alpha:]]",
        "[[:digit:]]",
        "[[:upper:][:digit:]]",
        "[![:alpha:]]",
        "[[:punct:]]",
        "[[:space:]]",
        "[[:blank:]]",
        "[[:cntrl:]]",
        "[[:xdigit:]]",
        "[[:nothing:]]",
        "[[:alpha]",
        "[[:a]",
        "[[:]",
        "[[:]]",
        "[[:alpha:]",
        "[[]",
        "[[a]",
        "b[/]a",
        "b[!x]a",
        "b[^x]a",
        "a[b]",
        "a[b]/c",
        "*x",
        "*x/",
        "{a,b}",
        "é",
        "b/?",
        "b/??",
        "[é]",
        "..",
        "../a",
        "b/../../a",
        "/a",
        "c d",
        "c*",
        ".h",
        ".*",
        "*h",
    ] {
        assert_eq!(
            index.pathspec(pattern),
            index.ls_files(pattern),
            "{pattern:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_pattern_matches_as_git_matches_it(
        pattern in prop_oneof![r"[a-c*?\[\]!^\\./-]{0,6}", r"[a-cé]?[\[][!^]?[a-c\]\[\\:-]{0,5}\]?[a*/]{0,2}"]
    ) {
        let index = INDEX.get_or_init(index);
        let (ours, gits) = (index.pathspec(&pattern), index.ls_files(&pattern));
        // An absolute path may be one inside the work tree, for Git.
        if !pattern.starts_with('/') {
            prop_assert_eq!(ours, gits);
        }
    }
}

static INDEX: std::sync::OnceLock<Index> = std::sync::OnceLock::new();
