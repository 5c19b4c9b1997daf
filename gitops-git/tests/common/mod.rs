//! Local repositories to test against.
#![allow(dead_code, unreachable_pub)]

use std::path::{Path, PathBuf};

use gitops_git::{Repository, RepositoryOptions};

/// A bare repository in a temporary directory, written with libgit2.
pub struct Origin {
    pub dir: tempfile::TempDir,
}

impl Origin {
    pub fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut options = git2::RepositoryInitOptions::new();
        options.bare(true).initial_head("main");
        git2::Repository::init_opts(dir.path().join("origin.git"), &options).unwrap();
        Self { dir }
    }

    pub fn with(files: &[(&str, &str)]) -> Self {
        let origin = Self::empty();
        origin.commit("main", files);
        origin
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("origin.git")
    }

    pub fn url(&self) -> String {
        self.path().to_str().unwrap().to_owned()
    }

    pub fn git(&self) -> git2::Repository {
        git2::Repository::open_bare(self.path()).unwrap()
    }

    /// Writes `files` over the branch's tip.
    pub fn commit(&self, branch: &str, files: &[(&str, &str)]) -> String {
        let git = self.git();
        let parent = git
            .find_reference(&format!("refs/heads/{branch}"))
            .ok()
            .map(|reference| reference.peel_to_commit().unwrap());
        let mut index = git2::Index::new().unwrap();
        if let Some(parent) = &parent {
            index.read_tree(&parent.tree().unwrap()).unwrap();
        }
        for (path, text) in files {
            let blob = git.blob(text.as_bytes()).unwrap();
            index.add(&entry(path, blob, 0o100_644)).unwrap();
        }
        let tree = index.write_tree_to(&git).unwrap();
        self.commit_tree(branch, tree, parent.as_ref().map(git2::Commit::id))
    }

    pub fn commit_tree(&self, branch: &str, tree: git2::Oid, parent: Option<git2::Oid>) -> String {
        let git = self.git();
        let who =
            git2::Signature::new("T", "t@example.com", &git2::Time::new(1_700_000_000, 0)).unwrap();
        let parent = parent.map(|oid| git.find_commit(oid).unwrap());
        let parents: Vec<_> = parent.iter().collect();
        let oid = git
            .commit(
                None,
                &who,
                &who,
                "a commit\n",
                &git.find_tree(tree).unwrap(),
                &parents,
            )
            .unwrap();
        git.reference(&format!("refs/heads/{branch}"), oid, true, "")
            .unwrap();
        oid.to_string()
    }

    /// Writes a tree object byte by byte, as no honest Git would.
    pub fn raw_tree(&self, entries: &[(&str, &[u8], git2::Oid)]) -> git2::Oid {
        let mut bytes = Vec::new();
        for (mode, name, oid) in entries {
            bytes.extend_from_slice(mode.as_bytes());
            bytes.push(b' ');
            bytes.extend_from_slice(name);
            bytes.push(0);
            bytes.extend_from_slice(oid.as_bytes());
        }
        self.git()
            .odb()
            .unwrap()
            .write(git2::ObjectType::Tree, &bytes)
            .unwrap()
    }

    pub fn blob(&self, bytes: &[u8]) -> git2::Oid {
        self.git().blob(bytes).unwrap()
    }

    pub fn tag(&self, name: &str, commit: &str) {
        let git = self.git();
        let object = git
            .find_object(git2::Oid::from_str(commit).unwrap(), None)
            .unwrap();
        git.tag_lightweight(name, &object, true).unwrap();
    }

    pub fn annotated_tag(&self, name: &str, commit: &str) {
        let git = self.git();
        let object = git
            .find_object(git2::Oid::from_str(commit).unwrap(), None)
            .unwrap();
        let who = git2::Signature::now("T", "t@example.com").unwrap();
        git.tag(name, &object, &who, "a tag", true).unwrap();
    }

    pub async fn open(&self) -> Repository {
        Repository::open(&self.url(), RepositoryOptions::default())
            .await
            .unwrap()
    }
}

pub fn entry(path: &str, id: git2::Oid, mode: u32) -> git2::IndexEntry {
    let zero = git2::IndexTime::new(0, 0);
    git2::IndexEntry {
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
        path: path.as_bytes().to_vec(),
    }
}

pub fn exists(path: impl AsRef<Path>) -> bool {
    path.as_ref().exists()
}
