//! Plain directories of YAML and JSON files.

use std::collections::BTreeSet;

use async_trait::async_trait;
use globset::{GlobBuilder, GlobMatcher};

use super::overrides::is_override;
use super::paths::{self, shown};
use super::{Fingerprint, RenderRequest, Renderer};
use crate::application::{Directory, Render};
use crate::error::{Error, Result};
use crate::manifest::{ManifestSet, Tree, TreeEntry, yaml};

/// The first line of a Git LFS pointer (git-lfs, `docs/spec.md`).
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1";
/// A file that holds this is left out (argo-cd 3.2, `reposerver/repository/repository.go`).
const SKIP_MARKER: &[u8] = b"+argocd:skip-file-rendering";

/// Reads `.yaml`, `.yml` and `.json` files, as Argo CD's directory sources and `kubectl apply -f DIR` do.
///
/// As in Argo CD 3.2, globs are matched against the path relative to the source's, their `*` matches `/` too, `exclude` wins over `include`,
/// and a file that holds `+argocd:skip-file-rendering` is left out. Unlike there, a YAML file that holds no Kubernetes objects is an error
/// and not passed over: exclude it, or mark it. Jsonnet is not evaluated: a `.jsonnet` file that is not excluded is an error.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

#[async_trait]
impl Renderer for Plain {
    async fn render(&self, request: &RenderRequest) -> Result<ManifestSet> {
        // The files share their bytes: this clones names only. Reading a thousand objects takes longer than an async task may.
        let request = request.clone();
        tokio::task::spawn_blocking(move || read_all(&request))
            .await
            .map_err(|error| Error::internal("reading manifests stopped").with_source(error))?
    }

    fn fingerprint(&self, request: &RenderRequest) -> Option<Fingerprint> {
        let paths = BTreeSet::from([request.path.clone()]);
        Some(Fingerprint::new("plain", request)?.paths(&request.tree, paths))
    }
}

fn read_all(request: &RenderRequest) -> Result<ManifestSet> {
    let settings = match &request.source.render {
        Render::Directory(directory) => directory.clone(),
        _ => Directory::default(),
    };
    let filter = Filter::new(&settings)?;
    let mut set = ManifestSet::new();
    for file in files(&request.tree, &request.path, &filter)? {
        let bytes = read(&request.tree, &file)?;
        if is_skipped(bytes) {
            continue;
        }
        // Errors and positions name the file as the repository has it.
        for object in yaml::parse(&shown(&request.tree, &file), bytes)? {
            set.insert(object)?;
        }
    }
    Ok(set)
}

/// A glob of Argo CD's, which knows no separators: there `**` is `*`, while for our library `**/x` would match `x` as well.
fn plain_stars(pattern: &str) -> String {
    let mut plain = String::with_capacity(pattern.len());
    let (mut escaped, mut class) = (false, false);
    for c in pattern.chars() {
        if c == '*' && !escaped && !class && plain.ends_with('*') && !plain.ends_with("\\*") {
            continue;
        }
        match c {
            '[' if !escaped => class = true,
            ']' if !escaped => class = false,
            _ => {}
        }
        escaped = c == '\\' && !escaped;
        plain.push(c);
    }
    plain
}

struct Filter {
    recurse: bool,
    include: Option<GlobMatcher>,
    exclude: Option<GlobMatcher>,
}

impl Filter {
    fn new(settings: &Directory) -> Result<Self> {
        let glob = |pattern: &Option<String>| {
            pattern
                .as_deref()
                .filter(|pattern| !pattern.is_empty())
                .map(|pattern| {
                    GlobBuilder::new(&plain_stars(pattern))
                        .literal_separator(false)
                        .backslash_escape(true)
                        .empty_alternates(true)
                        .build()
                        .map(|glob| glob.compile_matcher())
                        .map_err(|error| {
                            Error::invalid(format!("glob {pattern:?} is not valid"))
                                .with_source(error)
                        })
                })
                .transpose()
        };
        Ok(Self {
            recurse: settings.recurse,
            include: glob(&settings.include)?,
            exclude: glob(&settings.exclude)?,
        })
    }

    /// Whether the file, relative to the source's path, is wanted.
    fn wants(&self, file: &str) -> Result<bool> {
        if !self.recurse && file.contains('/') {
            return Ok(false);
        }
        if is_override(file.rsplit('/').next().unwrap_or(file)) {
            return Ok(false);
        }
        if self
            .exclude
            .as_ref()
            .is_some_and(|glob| glob.is_match(file))
        {
            return Ok(false);
        }
        if self
            .include
            .as_ref()
            .is_some_and(|glob| !glob.is_match(file))
        {
            return Ok(false);
        }
        let extension = file.rsplit_once('.').map(|(_, extension)| extension);
        match extension {
            Some("yaml" | "yml" | "json") => Ok(true),
            Some("jsonnet") => Err(Error::unsupported(
                &format!("Jsonnet ({file})"),
                "the plain renderer",
            )),
            _ => Ok(false),
        }
    }
}

fn files(tree: &Tree, path: &str, filter: &Filter) -> Result<BTreeSet<String>> {
    // A single file may be named, as with kubectl.
    if !path.is_empty() && tree.get(path).is_some_and(|entry| entry.bytes().is_some()) {
        return Ok(BTreeSet::from([path.to_owned()]));
    }
    let skip = if path.is_empty() { 0 } else { path.len() + 1 };
    let mut found = BTreeSet::new();
    let mut any = false;
    for (file, entry) in tree.below(path) {
        let relative = &file[skip..];
        any = true;
        if let TreeEntry::Submodule(_) = entry {
            if filter.recurse || !relative.contains('/') {
                return Err(Error::invalid(format!(
                    "{file} is a submodule; submodules are not followed"
                )));
            }
            continue;
        }
        if filter.wants(relative)? {
            found.insert(file.to_owned());
        }
    }
    if !any {
        return Err(Error::not_found(format!(
            "path {path:?} does not exist at revision {}",
            tree.revision
        )));
    }
    Ok(found)
}

/// The bytes of a file, links followed inside the tree.
fn read<'t>(tree: &'t Tree, file: &str) -> Result<&'t [u8]> {
    let bytes = paths::file(tree, file)?.ok_or_else(|| {
        Error::invalid(format!(
            "{} is a link to what is not a file",
            shown(tree, file)
        ))
    })?;
    if bytes.starts_with(LFS_POINTER) {
        return Err(Error::invalid(format!(
            "{} is a Git LFS pointer; its content is not in the repository",
            shown(tree, file)
        )));
    }
    Ok(bytes)
}

/// Whether a file asks to be left out.
fn is_skipped(bytes: &[u8]) -> bool {
    bytes
        .windows(SKIP_MARKER.len())
        .any(|window| window == SKIP_MARKER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::Source;
    use crate::error::ErrorKind;
    use std::sync::Arc;

    fn file(text: &str) -> TreeEntry {
        TreeEntry::File(Arc::from(text.as_bytes()))
    }

    fn config_map(name: &str) -> TreeEntry {
        file(&format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n"
        ))
    }

    async fn render(
        entries: Vec<(&str, TreeEntry)>,
        path: &str,
        directory: Directory,
    ) -> Result<Vec<String>> {
        let mut tree = Tree::new("abc", "", "");
        for (name, entry) in entries {
            tree.insert(name, entry)?;
        }
        let request = RenderRequest {
            tree,
            path: path.into(),
            source: Source::git("x").render(Render::Directory(directory)),
            app_name: "app".into(),
            ..RenderRequest::default()
        };
        let set = Plain.render(&request).await?;
        Ok(set.iter().map(|object| object.name().to_owned()).collect())
    }

    #[tokio::test]
    async fn files_are_chosen_as_the_settings_say() {
        let entries = || {
            vec![
                ("d/a.yaml", config_map("a")),
                ("d/sub/b.yml", config_map("b")),
                ("d/notes.txt", file("x")),
                ("other/c.yaml", config_map("c")),
            ]
        };
        assert_eq!(
            render(entries(), "d", Directory::default()).await.unwrap(),
            ["a"]
        );
        let recurse = Directory {
            recurse: true,
            ..Directory::default()
        };
        assert_eq!(
            render(entries(), "d", recurse.clone()).await.unwrap(),
            ["a", "b"]
        );
        let only = Directory {
            include: Some("*.yml".into()),
            ..recurse.clone()
        };
        assert_eq!(render(entries(), "d", only).await.unwrap(), ["b"]);
        let but = Directory {
            exclude: Some("{sub/*,x}".into()),
            ..recurse
        };
        assert_eq!(render(entries(), "d", but).await.unwrap(), ["a"]);
        assert_eq!(
            render(entries(), "d/a.yaml", Directory::default())
                .await
                .unwrap(),
            ["a"]
        );
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_named() {
        for (entries, path, says) in [
            (
                vec![("a.yaml", config_map("a"))],
                "missing",
                "does not exist",
            ),
            (
                vec![("a.yaml", TreeEntry::Submodule("abc".into()))],
                "",
                "submodule",
            ),
            (
                vec![(
                    "a.yaml",
                    file("version https://git-lfs.github.com/spec/v1\noid x\n"),
                )],
                "",
                "LFS pointer",
            ),
            (
                vec![
                    ("a.yaml", TreeEntry::Link("b.yaml".into())),
                    ("b.yaml", TreeEntry::Link("a.yaml".into())),
                ],
                "",
                "circle",
            ),
            (
                vec![("a.yaml", TreeEntry::Link("gone.yaml".into()))],
                "",
                "not a file",
            ),
            (vec![("a.jsonnet", file("{}"))], "", "Jsonnet (a.jsonnet)"),
            (
                vec![("a.yaml", config_map("a")), ("b.yaml", config_map("a"))],
                "",
                "a.yaml:1:1 and at b.yaml:1:1",
            ),
            (vec![("a.yaml", file("kind: X\n"))], "", "a.yaml:1"),
        ] {
            let error = render(entries, path, Directory::default())
                .await
                .unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
            assert!(matches!(
                error.kind(),
                ErrorKind::InvalidInput | ErrorKind::NotFound | ErrorKind::Unsupported
            ));
        }
    }

    #[tokio::test]
    async fn what_argo_cd_leaves_out_is_left_out() {
        let entries = || {
            vec![
                ("a.yaml", config_map("a")),
                (
                    "b.yaml",
                    file("# +argocd:skip-file-rendering\nnot: an object\n"),
                ),
                (".argocd-source.yaml", file("kustomize: {}\n")),
                (".argocd-source-app.yaml", file("kustomize: {}\n")),
                ("c.jsonnet", file("{}")),
            ]
        };
        let exclude = Directory {
            exclude: Some("*.jsonnet".into()),
            // Argo CD's interface writes it whatever the files are.
            jsonnet: Some(Default::default()),
            ..Directory::default()
        };
        assert_eq!(render(entries(), "", exclude).await.unwrap(), ["a"]);
    }

    /// As github.com/gobwas/glob without separators, which Argo CD uses.
    #[test]
    fn globs_are_argo_cds() {
        for (pattern, path, matches) in [
            ("*.yaml", "a/b.yaml", true),
            ("**/b.yaml", "a/b.yaml", true),
            ("**/b.yaml", "b.yaml", false),
            ("a/**/b.yaml", "a/b.yaml", false),
            ("a/**/b.yaml", "a/x/y/b.yaml", true),
            ("{a,b}/*", "b/c.yaml", true),
            ("{a.yaml,}", "", true),
            ("config-?.yaml", "config-1.yaml", true),
            ("[!a].yaml", "b.yaml", true),
            ("[!a].yaml", "a.yaml", false),
            ("\\*.yaml", "a.yaml", false),
            ("\\**.yaml", "*x.yaml", true),
        ] {
            let filter = Filter::new(&Directory {
                include: Some(pattern.into()),
                ..Directory::default()
            })
            .unwrap();
            assert_eq!(
                filter.include.unwrap().is_match(path),
                matches,
                "{pattern} {path}"
            );
        }
    }
}
