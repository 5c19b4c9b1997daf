//! Rendering with the real kustomize and helm: what they print is what comes out.

mod corpus;
mod faults;
mod remote;
mod settings;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use gitops_core::application::{Helm, Kustomize, Render, Source};
use gitops_core::manifest::render::{
    HelmRenderer, KustomizeRenderer, ProgramOptions, RenderRequest, Renderers,
};
use gitops_core::manifest::{ManifestSet, Tree, TreeEntry, yaml};
use serde_json::Value;

pub(super) fn options(program: &str) -> Result<ProgramOptions> {
    Ok(ProgramOptions {
        program: Some(e2e::program(program)?),
        ..ProgramOptions::default()
    })
}

fn renderers() -> Result<Renderers> {
    Ok(Renderers::default()
        .with_kustomize(KustomizeRenderer::new(options("kustomize")?))
        .with_helm(HelmRenderer::new(options("helm")?)))
}

/// Files, in a directory for the programs and in a tree for us.
struct Files {
    dir: tempfile::TempDir,
    tree: Tree,
}

impl Files {
    fn new(files: &[(&str, &str)]) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut tree = Tree::new("0123456789abcdef0123456789abcdef01234567", "", "");
        for (path, text) in files {
            let at = dir.path().join(path);
            std::fs::create_dir_all(at.parent().context("a file without a directory")?)?;
            std::fs::write(at, text)?;
            tree.insert(*path, TreeEntry::File(text.as_bytes().into()))?;
        }
        Ok(Self { dir, tree })
    }

    fn request(&self, path: &str, render: Render) -> RenderRequest {
        RenderRequest {
            tree: self.tree.clone(),
            path: path.to_owned(),
            source: Source::git("https://example.com/repo")
                .path(path)
                .render(render),
            app_name: "app".into(),
            namespace: "apps".into(),
            ..RenderRequest::default()
        }
    }

    fn helm(&self, path: &str, helm: Helm) -> RenderRequest {
        self.request(path, Render::Helm(Box::new(helm)))
    }

    fn kustomize(&self, path: &str, kustomize: Kustomize) -> RenderRequest {
        self.request(path, Render::Kustomize(Box::new(kustomize)))
    }
}

/// A directory as a tree, links that stay inside kept.
pub(super) fn read_tree(root: &Path) -> Result<Tree> {
    let root = root.canonicalize()?;
    let mut tree = Tree::new("0123456789abcdef0123456789abcdef01234567", "", "");
    let mut queue = vec![root.clone()];
    while let Some(dir) = queue.pop() {
        for entry in std::fs::read_dir(&dir)? {
            let entry = entry?;
            let path = entry.path();
            let kind = entry.file_type()?;
            let key = path
                .strip_prefix(&root)?
                .to_str()
                .context("a name that is not UTF-8")?
                .to_owned();
            if kind.is_dir() {
                queue.push(path);
            } else if kind.is_symlink() {
                if let Ok(target) = path.canonicalize()
                    && let Ok(target) = target.strip_prefix(&root)
                {
                    tree.insert(
                        key,
                        TreeEntry::Link(
                            target
                                .to_str()
                                .context("a name that is not UTF-8")?
                                .to_owned(),
                        ),
                    )?;
                }
            } else {
                tree.insert(key, TreeEntry::File(std::fs::read(&path)?.into()))?;
            }
        }
    }
    Ok(tree)
}

/// What a program prints, as objects; without network, and without the user's settings.
pub(super) fn printed(program: &str, cwd: &Path, args: &[&str]) -> Result<Vec<Value>> {
    let home = tempfile::tempdir()?;
    let output = Command::new(e2e::program(program)?)
        .args(args)
        .current_dir(cwd)
        .env_clear()
        .env("HOME", home.path())
        .env("TMPDIR", home.path())
        .env("HTTPS_PROXY", "http://127.0.0.1:9")
        .env("HTTP_PROXY", "http://127.0.0.1:9")
        .output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    let objects = yaml::parse("output", &output.stdout)?;
    Ok(objects
        .into_iter()
        .map(|object| object.into_value())
        .collect())
}

fn values(set: ManifestSet) -> Vec<Value> {
    set.into_objects()
        .into_iter()
        .map(|object| object.into_value())
        .collect()
}

fn module(path: &str) -> Result<PathBuf> {
    let (module, inner) = path.split_once("//").context("MODULE//PATH")?;
    Ok(e2e::module_dir(module)?.join(inner))
}
