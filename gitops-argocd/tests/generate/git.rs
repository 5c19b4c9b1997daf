//! Application sets from real repositories.

use std::collections::BTreeMap;

use gitops_argocd::generate::{GitSetSources, MAX_FILE_BYTES, SetSources, generate};
use gitops_core::ErrorKind;
use gitops_git::{GitClient, RepositoryOptions};

use crate::common::{MemorySources, REPO_URL, names, outcome, repository, set};

/// A bare repository in a temporary directory, written with libgit2.
struct Origin {
    dir: tempfile::TempDir,
}

/// What stands at a path.
enum Entry<'a> {
    File(&'a [u8]),
    Link(&'a str),
    Submodule,
}

impl Origin {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut options = git2::RepositoryInitOptions::new();
        options.bare(true).initial_head("main");
        git2::Repository::init_opts(dir.path(), &options).unwrap();
        Self { dir }
    }

    fn with(files: &BTreeMap<String, Vec<u8>>) -> Self {
        let origin = Self::new();
        let entry = |(path, bytes): (&String, _)| (path.clone(), Entry::File(bytes));
        origin.commit(
            files
                .iter()
                .map(|(path, bytes)| entry((path, bytes.as_slice()))),
        );
        origin
    }

    fn url(&self) -> &str {
        self.dir.path().to_str().unwrap()
    }

    /// Makes these entries, and no others, the branch `main`.
    fn commit<'a>(&self, entries: impl IntoIterator<Item = (String, Entry<'a>)>) -> String {
        let git = git2::Repository::open_bare(self.dir.path()).unwrap();
        let mut index = git2::Index::new().unwrap();
        for (path, entry) in entries {
            let (id, mode) = match entry {
                Entry::File(bytes) => (git.blob(bytes).unwrap(), 0o100_644),
                Entry::Link(target) => (git.blob(target.as_bytes()).unwrap(), 0o120_000),
                Entry::Submodule => (git2::Oid::from_str(&"1".repeat(40)).unwrap(), 0o160_000),
            };
            let zero = git2::IndexTime::new(0, 0);
            let entry = git2::IndexEntry {
                ctime: zero,
                mtime: zero,
                dev: 0,
                ino: 0,
                mode,
                uid: 0,
                gid: 0,
                file_size: 0,
                id,
                flags: 0,
                flags_extended: 0,
                path: path.into_bytes(),
            };
            index.add(&entry).unwrap();
        }
        let tree = git.find_tree(index.write_tree_to(&git).unwrap()).unwrap();
        let who =
            git2::Signature::new("T", "t@example.com", &git2::Time::new(1_700_000_000, 0)).unwrap();
        let commit = git
            .commit(None, &who, &who, "a commit\n", &tree, &[])
            .unwrap();
        git.reference("refs/heads/main", commit, true, "").unwrap();
        commit.to_string()
    }
}

fn sources() -> GitSetSources {
    GitSetSources::new(GitClient::new(RepositoryOptions::default()).unwrap())
}

/// All sets make the same from a real repository as from one in memory.
#[tokio::test]
async fn sets() {
    let origin = Origin::with(&repository());
    let (real, memory) = (sources(), MemorySources::new());
    for name in names() {
        let expected = outcome(&generate(&set(&name, REPO_URL), &memory).await);
        let made = outcome(&generate(&set(&name, origin.url()), &real).await);
        let made = made.to_string().replace(origin.url(), REPO_URL);
        assert_eq!(made, expected.to_string(), "{name}");
    }
}

#[tokio::test]
async fn directories() {
    let origin = Origin::new();
    let file = || Entry::File(b"");
    origin.commit([
        ("a/b/c".to_owned(), file()),
        ("a/.hidden/x/y".to_owned(), file()),
        (".top/x".to_owned(), file()),
        ("link".to_owned(), Entry::Link("a")),
        ("file".to_owned(), file()),
        ("module".to_owned(), Entry::Submodule),
        ("only/.hidden/x".to_owned(), file()),
    ]);
    let of =
        async |sources: GitSetSources| sources.directories(origin.url(), "", None).await.unwrap();
    assert_eq!(of(sources()).await, ["a", "a/b", "module", "only"]);
    assert_eq!(
        of(sources().include_hidden_directories(true)).await,
        [
            ".top",
            "a",
            "a/.hidden",
            "a/.hidden/x",
            "a/b",
            "module",
            "only",
            "only/.hidden"
        ]
    );
}

#[tokio::test]
async fn files() {
    let origin = Origin::new();
    let large = vec![b' '; usize::try_from(MAX_FILE_BYTES).unwrap() + 1];
    origin.commit([
        ("a/one.yaml".to_owned(), Entry::File(b"one")),
        ("a/two.yaml".to_owned(), Entry::Link("../b/two.yaml")),
        ("b/two.yaml".to_owned(), Entry::File(b"two")),
        ("links/out".to_owned(), Entry::Link("../../etc/passwd")),
        ("links/absolute".to_owned(), Entry::Link("/etc/passwd")),
        ("links/broken".to_owned(), Entry::Link("nothing")),
        ("links/directory".to_owned(), Entry::Link("../a")),
        ("links/self".to_owned(), Entry::Link("self")),
        ("module".to_owned(), Entry::Submodule),
        ("large".to_owned(), Entry::File(&large)),
        (
            "lfs".to_owned(),
            Entry::File(b"version https://git-lfs.github.com/spec/v1\n"),
        ),
    ]);
    let sources = sources();
    let files = async |pattern: &str| sources.files(origin.url(), "HEAD", None, pattern).await;
    let found = files("a").await.unwrap();
    let found: Vec<_> = found
        .iter()
        .map(|(path, bytes)| (path.as_str(), &bytes[..]))
        .collect();
    assert_eq!(
        found,
        [("a/one.yaml", &b"one"[..]), ("a/two.yaml", &b"two"[..])]
    );
    assert_eq!(files("nothing").await.unwrap().len(), 0);
    assert_eq!(files("lfs").await.unwrap().len(), 1);
    for (pattern, kind) in [
        ("links/out", ErrorKind::InvalidInput),
        ("links/absolute", ErrorKind::InvalidInput),
        ("links/broken", ErrorKind::NotFound),
        ("links/directory", ErrorKind::InvalidInput),
        ("links/self", ErrorKind::InvalidInput),
        ("module", ErrorKind::Unsupported),
        ("large", ErrorKind::InvalidInput),
        ("../x", ErrorKind::InvalidInput),
    ] {
        assert_eq!(files(pattern).await.unwrap_err().kind(), kind, "{pattern}");
    }
}

/// Names that no honest Git writes, and more paths than are allowed.
#[tokio::test]
async fn harmful_repositories() {
    for name in ["..", ".", ".git", ".GIT", "a/b", "a\\b", "\u{0}"] {
        let origin = Origin::new();
        origin.commit([("x".to_owned(), Entry::File(b""))]);
        let git = git2::Repository::open_bare(origin.dir.path()).unwrap();
        let blob = git.blob(b"").unwrap();
        let mut tree = b"100644 ".to_vec();
        tree.extend_from_slice(name.as_bytes());
        tree.push(0);
        tree.extend_from_slice(blob.as_bytes());
        let tree = git
            .odb()
            .unwrap()
            .write(git2::ObjectType::Tree, &tree)
            .unwrap();
        let who = "T <t@example.com> 1700000000 +0000";
        let text = format!("tree {tree}\nauthor {who}\ncommitter {who}\n\na commit\n");
        let commit = git
            .odb()
            .unwrap()
            .write(git2::ObjectType::Commit, text.as_bytes())
            .unwrap();
        git.reference("refs/heads/main", commit, true, "").unwrap();
        let sources = sources();
        assert!(
            sources
                .directories(origin.url(), "main", None)
                .await
                .is_err(),
            "{name:?}"
        );
        assert!(
            sources
                .files(origin.url(), "main", None, "*")
                .await
                .is_err(),
            "{name:?}"
        );
    }
    let origin = Origin::new();
    origin.commit((0..11).map(|n| (format!("{n}/x"), Entry::File(b""))));
    let mut options = RepositoryOptions::default();
    options.tree.max_files = 22;
    let sources = |options: RepositoryOptions| GitSetSources::new(GitClient::new(options).unwrap());
    let found = sources(options.clone())
        .directories(origin.url(), "", None)
        .await;
    assert_eq!(found.unwrap().len(), 11);
    options.tree.max_files = 21;
    let error = sources(options)
        .directories(origin.url(), "", None)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

/// One `GitSetSources` sees one state of a revision; another one sees the next.
#[tokio::test]
async fn one_look() {
    let origin = Origin::new();
    let first = origin.commit([("a/x".to_owned(), Entry::File(b"1"))]);
    let client = GitClient::new(RepositoryOptions::default()).unwrap();
    let old = GitSetSources::new(client.clone());
    let of = async |sources: &GitSetSources, revision: &str| {
        sources
            .directories(origin.url(), revision, None)
            .await
            .unwrap()
    };
    assert_eq!(of(&old, "main").await, ["a"]);
    origin.commit([("b/x".to_owned(), Entry::File(b"2"))]);
    assert_eq!(of(&old, "main").await, ["a"]);
    let file = old.files(origin.url(), "main", None, "*").await.unwrap();
    assert_eq!(file["a/x"], &b"1"[..]);
    assert_eq!(of(&GitSetSources::new(client), "main").await, ["b"]);
    assert_eq!(of(&old, &first).await, ["a"]);
    let error = old
        .directories(origin.url(), "nothing", None)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let error = old.directories("/nowhere", "main", None).await.unwrap_err();
    assert_ne!(error.kind(), ErrorKind::Internal, "{error}");
    let error = old.directories("ext::sh", "main", None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}
