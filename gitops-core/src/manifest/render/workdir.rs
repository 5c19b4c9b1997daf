//! A private copy of a tree's files, for programs that read files.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::paths::{at_and_below, closure, link_target, parent};
use crate::error::{Error, Result};
use crate::manifest::{Tree, TreeEntry};

/// A temporary directory that only its owner can enter: the copy of a tree, files of ours, and a home for the program. It is removed when
/// dropped.
#[derive(Debug)]
pub(super) struct WorkDir {
    dir: TempDir,
    /// Without links in it, as programs name it in their messages.
    root: PathBuf,
    files: usize,
}

impl WorkDir {
    /// Copies what is below `directories` of the tree, and what links in there lead to.
    pub(super) async fn new(tree: &Tree, directories: &BTreeSet<String>) -> Result<Self> {
        // The entries share their bytes: this clones names only.
        let (tree, directories) = (tree.clone(), directories.clone());
        tokio::task::spawn_blocking(move || Self::create(&tree, directories))
            .await
            .map_err(|error| {
                Error::internal("copying the files to render stopped").with_source(error)
            })?
    }

    fn create(tree: &Tree, directories: BTreeSet<String>) -> Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("gitops-render-");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            builder.permissions(std::fs::Permissions::from_mode(0o700));
        }
        let dir = builder
            .tempdir()
            .map_err(failed("make a temporary directory"))?;
        let root = dir
            .path()
            .canonicalize()
            .map_err(failed("enter a temporary directory"))?;
        let work = Self {
            dir,
            root,
            files: 0,
        };
        for part in [work.tree(), work.home(), work.own()] {
            std::fs::create_dir(part).map_err(failed("make a temporary directory"))?;
        }
        copy(tree, directories, &work.tree())?;
        Ok(work)
    }

    /// The copy's root.
    pub(super) fn tree(&self) -> PathBuf {
        self.root.join("tree")
    }

    /// The program's home.
    pub(super) fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    fn own(&self) -> PathBuf {
        self.root.join("files")
    }

    /// Puts a file beside the copy.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Result<PathBuf> {
        let path = self.own().join(self.files.to_string());
        self.files += 1;
        write(&path, bytes, false)?;
        Ok(path)
    }

    /// A text without this directory's name, which means nothing to a reader.
    pub(super) fn clean(&self, text: &str) -> String {
        let tree = self.tree();
        let mut clean = text.to_owned();
        for (dir, name) in [(&*tree, ""), (&*self.root, "."), (self.dir.path(), ".")] {
            let dir = dir.display().to_string();
            clean = clean.replace(&format!("{dir}/"), if name.is_empty() { "" } else { "./" });
            clean = clean.replace(&dir, ".");
        }
        clean
    }
}

fn failed(what: &'static str) -> impl Fn(std::io::Error) -> Error {
    move |error| Error::internal(format!("cannot {what} to render in")).with_source(error)
}

fn write(path: &Path, bytes: &[u8], executable: bool) -> Result<()> {
    let mut options = std::fs::OpenOptions::new();
    // A file that is there already is not ours: two names that this file system takes for one.
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(if executable { 0o700 } else { 0o600 });
    }
    let _ = executable;
    options
        .open(path)
        .and_then(|mut file| file.write_all(bytes))
        .map_err(failed("write a file"))
}

fn copy(tree: &Tree, directories: BTreeSet<String>, to: &Path) -> Result<()> {
    let mut links = Vec::new();
    let mut made = BTreeSet::new();
    let mut done = BTreeSet::new();
    let directories = closure(tree, directories);
    for directory in &directories {
        std::fs::create_dir_all(to.join(parent(directory))).map_err(failed("make a directory"))?;
        for (path, entry) in at_and_below(tree, directory) {
            if !done.insert(path) {
                continue;
            }
            let dir = parent(path);
            if made.insert(dir) {
                std::fs::create_dir_all(to.join(dir)).map_err(failed("make a directory"))?;
            }
            match entry {
                TreeEntry::File(bytes) => write(&to.join(path), bytes, false)?,
                TreeEntry::Executable(bytes) => write(&to.join(path), bytes, true)?,
                // As Git leaves a submodule that was not initialised.
                TreeEntry::Submodule(_) => {
                    std::fs::create_dir_all(to.join(path)).map_err(failed("make a directory"))?
                }
                TreeEntry::Link(target) => links.push((path, target)),
            }
        }
    }
    // Last, so that no file is written through one.
    for (path, target) in links {
        // One that leads to what was not read is left out; whoever needs it says that it is not there.
        if let Some(target) = link_target(tree, target) {
            link(&relative(path, target), &to.join(path))?;
        }
    }
    Ok(())
}

/// A link's text: from the directory of `path` to `target`.
fn relative(path: &str, target: &str) -> String {
    let up = path.matches('/').count();
    let mut text = "../".repeat(up);
    text.push_str(if target.is_empty() { "." } else { target });
    text
}

#[cfg(unix)]
fn link(text: &str, path: &Path) -> Result<()> {
    std::os::unix::fs::symlink(text, path).map_err(failed("make a link"))
}

#[cfg(not(unix))]
fn link(_: &str, path: &Path) -> Result<()> {
    Err(Error::unsupported(
        &format!("the symbolic link {}", path.display()),
        "this system",
    ))
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn tree() -> Tree {
        let mut tree = Tree::new("", "", "");
        let file = |text: &str| TreeEntry::File(text.as_bytes().into());
        tree.insert("a/b/x.yaml", file("x")).unwrap();
        tree.insert("a/link", TreeEntry::Link("c/deep/y.yaml".into()))
            .unwrap();
        tree.insert("c/deep/y.yaml", file("y")).unwrap();
        tree.insert("c/other.yaml", file("other")).unwrap();
        tree.insert("a/run", TreeEntry::Executable(b"#".as_slice().into()))
            .unwrap();
        tree.insert("a/module", TreeEntry::Submodule("abc".into()))
            .unwrap();
        tree
    }

    #[tokio::test]
    async fn the_copy_is_private_and_holds_what_is_needed() {
        let mut work = WorkDir::new(&tree(), &BTreeSet::from(["a".to_owned()]))
            .await
            .unwrap();
        let root = work.tree();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(root.parent().unwrap()), 0o700);
        assert_eq!(std::fs::read_to_string(root.join("a/link")).unwrap(), "y");
        assert_eq!(
            std::fs::read_link(root.join("a/link")).unwrap(),
            Path::new("../c/deep/y.yaml")
        );
        assert_eq!(
            std::fs::read_to_string(root.join("a/b/x.yaml")).unwrap(),
            "x"
        );
        assert!(!root.join("c/other.yaml").exists(), "nobody asked for it");
        assert_eq!(mode(&root.join("a/run")), 0o700);
        assert!(root.join("a/module").is_dir());
        let own = work.add(b"secret").unwrap();
        assert_eq!(mode(&own), 0o600);
        assert_eq!(
            work.clean(&format!("no {}/a/b in {}", root.display(), root.display())),
            "no a/b in ."
        );
        let kept = root.clone();
        drop(work);
        assert!(!kept.exists());
    }

    #[tokio::test]
    async fn the_root_is_everything() {
        let work = WorkDir::new(&tree(), &BTreeSet::from([String::new()]))
            .await
            .unwrap();
        assert!(work.tree().join("c/other.yaml").exists());
    }
}
