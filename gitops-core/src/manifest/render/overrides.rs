//! Which renderer a source gets, and settings that the repository itself overrides.

use serde_json::{Map, Value};

use super::paths::{self, join, shown};
use super::{KUSTOMIZATIONS, RenderRequest};
use crate::application::{Directory, Helm, Kustomize, Render};
use crate::error::{Error, Result};
use crate::manifest::yaml;

/// The file that overrides settings of every application that renders its directory (argo-cd 3.2, `docs/user-guide/parameters.md`).
pub(super) const SOURCE_FILE: &str = ".argocd-source.yaml";
/// The tools whose settings may be overridden.
const TOOLS: [&str; 4] = ["helm", "kustomize", "directory", "plugin"];

/// Whether a file is one that overrides settings: no manifest.
pub(super) fn is_override(name: &str) -> bool {
    name == SOURCE_FILE || (name.starts_with(".argocd-source-") && name.ends_with(".yaml"))
}

/// How the request is rendered in the end, never `Auto`: the source's settings, with `.argocd-source.yaml` and `.argocd-source-APP.yaml` of
/// its directory merged in (RFC 7386), then by what is there. Of a kustomization file and `Chart.yaml` the former wins, as in Argo CD 3.2
/// (`util/app/discovery`, where the last name in the alphabet decides).
pub(super) fn settle(request: &RenderRequest) -> Result<Render> {
    let render = overridden(request)?;
    if render != Render::Auto {
        return Ok(render);
    }
    let has = |name: &str| request.tree.get(&join(&request.path, name)).is_some();
    Ok(if KUSTOMIZATIONS.iter().any(|name| has(name)) {
        Render::Kustomize(Box::<Kustomize>::default())
    } else if has("Chart.yaml") {
        Render::Helm(Box::<Helm>::default())
    } else {
        Render::Directory(Directory::default())
    })
}

fn overridden(request: &RenderRequest) -> Result<Render> {
    let mut names = vec![SOURCE_FILE.to_owned()];
    if !request.app_name.is_empty() && !request.app_name.contains(['/', '\\']) {
        names.push(format!(".argocd-source-{}.yaml", request.app_name));
    }
    let mut merged: Option<Value> = None;
    let mut last = String::new();
    for name in names {
        let path = join(&request.path, &name);
        if request.tree.get(&path).is_none() {
            continue;
        }
        let Some(bytes) = paths::file(&request.tree, &path)? else {
            continue;
        };
        last = shown(&request.tree, &path);
        let mut patch = yaml::parse_value(&last, bytes)?;
        match &mut patch {
            Value::Null => continue,
            // Only how it is rendered can be overridden, not what.
            Value::Object(map) => map.retain(|key, _| TOOLS.contains(&key.as_str())),
            _ => return Err(Error::invalid(format!("{last}: expected an object"))),
        }
        let target = match &mut merged {
            Some(target) => target,
            none => none.insert(to_value(&request.source.render)?),
        };
        merge(target, &patch);
    }
    match merged {
        Some(value) => from_value(value, &last),
        None => Ok(request.source.render.clone()),
    }
}

/// In Argo CD's form: an object with a key per tool.
fn to_value(render: &Render) -> Result<Value> {
    Ok(match serde_json::to_value(render) {
        Ok(Value::Object(map)) => Value::Object(map),
        Ok(_) => Value::Object(Map::new()),
        Err(error) => {
            return Err(
                Error::internal("cannot write a source's settings as JSON").with_source(error)
            );
        }
    })
}

fn from_value(value: Value, file: &str) -> Result<Render> {
    let tools = value.as_object().map_or(0, Map::len);
    match tools {
        0 => Ok(Render::Auto),
        1 => serde_json::from_value(value)
            .map_err(|error| Error::invalid(format!("{file}: {}", field_error(&error)))),
        _ => Err(Error::invalid(format!(
            "{file}: together with the application's source it asks for several of {}",
            TOOLS.join(", ")
        ))),
    }
}

/// What serde says without the value that it saw.
fn field_error(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match (text.strip_prefix("invalid type: "), text.find("expected ")) {
        (Some(_), Some(at)) => format!("a setting has the wrong type: {}", &text[at..]),
        _ => "a setting is not valid".to_owned(),
    }
}

/// JSON merge patch (RFC 7386).
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    if let Value::Object(target) = target {
        for (key, value) in patch {
            if value.is_null() {
                target.remove(key);
            } else {
                merge(target.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::{HelmParameter, Source};
    use crate::manifest::TreeEntry;

    fn request(files: &[(&str, &str)], render: Render) -> RenderRequest {
        let mut request = RenderRequest {
            path: "d".into(),
            source: Source::git("x").render(render),
            app_name: "web".into(),
            ..RenderRequest::default()
        };
        for (path, text) in files {
            request
                .tree
                .insert(*path, TreeEntry::File(text.as_bytes().into()))
                .unwrap();
        }
        request
    }

    #[test]
    fn files_decide() {
        let kind = |files: &[&str]| {
            let files: Vec<(&str, &str)> = files.iter().map(|file| (*file, "")).collect();
            match settle(&request(&files, Render::Auto)).unwrap() {
                Render::Helm(_) => "helm",
                Render::Kustomize(_) => "kustomize",
                Render::Directory(_) => "directory",
                _ => "other",
            }
        };
        assert_eq!(kind(&["d/Chart.yaml"]), "helm");
        assert_eq!(kind(&["d/kustomization.yml"]), "kustomize");
        assert_eq!(kind(&["d/Kustomization"]), "kustomize");
        assert_eq!(kind(&["d/Chart.yaml", "d/kustomization.yaml"]), "kustomize");
        assert_eq!(
            kind(&["Chart.yaml", "d/sub/Chart.yaml", "d/x.yaml"]),
            "directory"
        );
    }

    #[test]
    fn the_repository_overrides() {
        let helm = Render::Helm(Box::new(Helm {
            release_name: "r".into(),
            parameters: vec![HelmParameter {
                name: "a".into(),
                value: "1".into(),
                force_string: false,
            }],
            ..Helm::default()
        }));
        let files = [
            (
                "d/.argocd-source.yaml",
                "helm: {releaseName: all, skipCrds: true}\nrepoURL: evil\n",
            ),
            (
                "d/.argocd-source-web.yaml",
                "helm: {releaseName: web, parameters: [{name: b, value: '2'}]}",
            ),
            ("d/.argocd-source-other.yaml", "helm: {releaseName: other}"),
        ];
        let Render::Helm(helm) = settle(&request(&files, helm)).unwrap() else {
            panic!("not helm");
        };
        assert_eq!((helm.release_name.as_str(), helm.skip_crds), ("web", true));
        assert_eq!(helm.parameters[0].name, "b");
        let Render::Kustomize(kustomize) = settle(&request(
            &[("d/.argocd-source.yaml", "kustomize: {images: ['a=b:c']}")],
            Render::Auto,
        ))
        .unwrap() else {
            panic!("not kustomize");
        };
        assert_eq!(kustomize.images, ["a=b:c"]);
    }

    #[test]
    fn wrong_overrides_are_named_without_their_values() {
        let error = |text: &str| {
            settle(&request(
                &[("d/.argocd-source.yaml", text)],
                Render::Helm(Box::default()),
            ))
            .unwrap_err()
            .to_string()
        };
        assert!(error("kustomize: {}").contains("several"));
        let message = error("helm: {releaseName: [canary]}");
        assert!(
            message.contains("d/.argocd-source.yaml") && !message.contains("canary"),
            "{message}"
        );
        assert!(error("- x").contains("expected an object"));
    }
}
