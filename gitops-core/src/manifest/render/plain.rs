//! Plain directories of YAML and JSON files.

use std::collections::BTreeSet;

use async_trait::async_trait;
use globset::{GlobBuilder, GlobMatcher};

use super::{RenderRequest, Renderer};
use crate::application::{Directory, Render};
use crate::error::{Error, Result};
use crate::manifest::{ManifestSet, Tree, TreeEntry, yaml};

/// The first line of a Git LFS pointer (git-lfs, `docs/spec.md`).
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1";
/// A chain of links that is longer is taken for a circle.
const MAX_LINKS: usize = 40;

/// Reads `.yaml`, `.yml` and `.json` files, as Argo CD's directory sources and `kubectl apply -f DIR` do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

#[async_trait]
impl Renderer for Plain {
    async fn render(&self, request: &RenderRequest) -> Result<ManifestSet> {
        let settings = match &request.source.render {
            Render::Directory(directory) => directory.clone(),
            _ => Directory::default(),
        };
        if settings.jsonnet.is_some() {
            return Err(Error::unsupported("Jsonnet", "the plain renderer"));
        }
        let filter = Filter::new(&settings)?;
        let mut set = ManifestSet::new();
        for file in files(&request.tree, &request.path, &filter)? {
            let bytes = read(&request.tree, &file)?;
            // Errors and positions name the file as the repository has it.
            let shown = match request.tree.path.as_str() {
                "" => file.clone(),
                path => format!("{path}/{file}"),
            };
            for object in yaml::parse(&shown, bytes)? {
                set.insert(object)?;
            }
        }
        Ok(set)
    }
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
                    GlobBuilder::new(pattern)
                        .literal_separator(false)
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
    let prefix = if path.is_empty() {
        String::new()
    } else {
        format!("{path}/")
    };
    let mut found = BTreeSet::new();
    let mut any = false;
    for (file, entry) in tree.iter() {
        let Some(relative) = file.strip_prefix(&prefix) else {
            continue;
        };
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
    let mut at = file.to_owned();
    for _ in 0..MAX_LINKS {
        match tree.get(&at) {
            Some(TreeEntry::File(bytes) | TreeEntry::Executable(bytes)) => {
                if bytes.starts_with(LFS_POINTER) {
                    return Err(Error::invalid(format!(
                        "{file} is a Git LFS pointer; its content is not in the repository"
                    )));
                }
                return Ok(bytes);
            }
            Some(TreeEntry::Link(target)) => at.clone_from(target),
            Some(TreeEntry::Submodule(_)) => {
                return Err(Error::invalid(format!("{file} leads into submodule {at}")));
            }
            None => {
                return Err(Error::invalid(format!(
                    "{file} is a link to {at}, which is not there"
                )));
            }
        }
    }
    Err(Error::invalid(format!(
        "{file} is a link that leads in a circle"
    )))
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
            namespace: String::new(),
            refs: Default::default(),
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
                "not there",
            ),
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
                ErrorKind::InvalidInput | ErrorKind::NotFound
            ));
        }
    }
}
