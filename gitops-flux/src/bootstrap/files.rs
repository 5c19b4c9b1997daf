//! The three files.

use gitops_core::manifest::render::{KUSTOMIZATIONS, RenderRequest, Renderer as _};
use gitops_core::manifest::{Object, yaml};
use gitops_core::{Error, Result, ResultExt as _};
use gitops_git::{Edits, Repository, Snapshot};
use serde_json::{Value, json};

use super::BootstrapOptions;
use crate::kind::FluxKind;
use crate::view;

const COMPONENTS: &str = "gotk-components.yaml";
const SYNC: &str = "gotk-sync.yaml";

/// The directory of the files, from the repository's root.
fn directory(options: &BootstrapOptions) -> String {
    let path = options.kustomization_path();
    let path = path.trim_start_matches("./");
    if path.is_empty() {
        options.namespace.clone()
    } else {
        format!("{path}/{}", options.namespace)
    }
}

fn sync_values(options: &BootstrapOptions) -> Result<Vec<Value>> {
    let (repository, kustomization) = options.sync();
    let failed = |error| Error::internal("the objects cannot be written").with_source(error);
    Ok(vec![
        serde_json::to_value(repository).map_err(failed)?,
        serde_json::to_value(kustomization).map_err(failed)?,
    ])
}

fn kustomization_value() -> Value {
    json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [COMPONENTS, SYNC],
    })
}

/// What has to be written; nothing when all is there. A file that says the same in other words stays as it is.
pub(super) async fn edits(snapshot: Snapshot, options: &BootstrapOptions) -> Result<Edits> {
    let directory = directory(options);
    let mut edits = Edits::new();
    let components = format!("{directory}/{COMPONENTS}");
    if snapshot.read(&components).await?.as_deref() != Some(&options.components) {
        edits = edits.put(components, options.components.clone());
    }
    let sync = format!("{directory}/{SYNC}");
    let wanted = sync_values(options)?;
    let same = match snapshot.read(&sync).await? {
        Some(bytes) => yaml::parse_values(&sync, &bytes)
            .is_ok_and(|documents| documents.iter().map(|document| &document.value).eq(&wanted)),
        None => false,
    };
    if !same {
        let text = yaml::to_yaml_documents(&wanted);
        edits = edits.put(
            sync,
            format!("# This file was written by a bootstrap of Flux, which writes it again.\n---\n{text}"),
        );
    }
    let mut found = None;
    for name in KUSTOMIZATIONS {
        let file = format!("{directory}/{name}");
        if let Some(bytes) = snapshot.read(&file).await? {
            found = Some((file, bytes));
            break;
        }
    }
    match found {
        Some((file, bytes)) => check(&file, &bytes)?,
        None => {
            let file = format!("{directory}/{}", KUSTOMIZATIONS[0]);
            edits = edits.put(file, yaml::to_yaml(&kustomization_value()));
        }
    }
    Ok(edits)
}

/// A kustomization file that is there takes in both files: else Flux would prune itself.
fn check(file: &str, bytes: &[u8]) -> Result<()> {
    let value = yaml::parse_value(file, bytes)?;
    let resources = value.get("resources").and_then(Value::as_array);
    for name in [COMPONENTS, SYNC] {
        let named = resources.into_iter().flatten().any(|resource| {
            resource
                .as_str()
                .is_some_and(|resource| resource.trim_start_matches("./") == name)
        });
        if !named {
            return Err(Error::invalid(format!(
                "{file} does not have {name} among its resources: Flux would delete what is in it"
            )));
        }
    }
    Ok(())
}

/// What is applied.
pub(super) struct Rendered {
    pub(super) components: Vec<Object>,
    /// The GitRepository and the Kustomization.
    pub(super) sync: Vec<Object>,
}

/// The objects, with the patches of a kustomization file that is not our own; those need the program `kustomize`.
pub(super) async fn rendered(
    repository: &Repository,
    commit: &str,
    options: &BootstrapOptions,
    components: Vec<Object>,
) -> Result<Rendered> {
    let directory = directory(options);
    let files = repository.tree(commit, &directory).await?;
    let own = KUSTOMIZATIONS.iter().all(|name| {
        files
            .get(name)
            .and_then(|entry| entry.bytes())
            .is_none_or(|bytes| {
                yaml::parse_value(name, bytes).is_ok_and(|value| value == kustomization_value())
            })
    });
    let objects = if own {
        let sync = sync_values(options)?
            .into_iter()
            .map(|value| Object::new(value, None));
        components
            .into_iter()
            .map(Ok)
            .chain(sync)
            .collect::<Result<Vec<_>>>()?
    } else {
        let request = RenderRequest {
            // From the root: a patch may be anywhere in the repository.
            tree: repository.tree(commit, "").await?,
            path: directory.clone(),
            ..RenderRequest::default()
        };
        let set = options
            .kustomize
            .render(&request)
            .await
            .context(|| format!("build {directory}"))?;
        set.iter().cloned().collect()
    };
    let is_sync = |object: &Object| {
        matches!(
            view::flux_kind(&object.id()),
            Some(FluxKind::GitRepository | FluxKind::Kustomization)
        ) && object.namespace() == options.namespace
            && object.name() == options.name
    };
    let (sync, components) = objects.into_iter().partition(is_sync);
    Ok(Rendered { components, sync })
}
