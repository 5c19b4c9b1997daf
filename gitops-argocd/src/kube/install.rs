//! Whether Argo CD is there.
//!
//! Nothing here installs it: that is a sync like any other, of its manifests by `gitops_kube::direct::DirectBackend`.

use gitops_core::{Error, ErrorKind, Result, SecretString};
use gitops_kube::cluster::from_kube;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{PodTemplateSpec, Secret};
use kube::api::ListParams;
use kube::{Api, Client};

use super::checked;

/// What is known of an installation of Argo CD.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Installation {
    /// The kinds that the cluster serves: of `Application`, `AppProject` and `ApplicationSet`.
    pub kinds: Vec<String>,
    /// The tag of the image that the controller or, without one, another component runs, such as `v3.2.11`; none where no component was found.
    pub version: Option<String>,
    /// The components that were found: a name, and how many of its replicas are ready.
    pub components: Vec<(String, i32)>,
}

impl Installation {
    /// Whether applications can be made and something acts on them: the three kinds are served, and an application controller is ready.
    pub fn is_ready(&self) -> bool {
        self.kinds.len() == 3
            && self
                .components
                .iter()
                .any(|(name, ready)| name.contains("application-controller") && *ready > 0)
    }
}

/// Looks for Argo CD in `namespace`: which of its kinds are served, which of its components run (`app.kubernetes.io/part-of=argocd`), and in which version.
///
/// To install it, commit its manifests to a repository and sync them with `gitops_kube::direct::DirectBackend`, which applies what is committed, waits until it is healthy,
/// and prunes what a newer version no longer has.
///
/// # Errors
/// `PermissionDenied` without the right to list Deployments and StatefulSets there; what reaching the API server meets.
pub async fn installation(client: &Client, namespace: &str) -> Result<Installation> {
    checked(namespace)?;
    let group_version = format!("{}/{}", crate::types::GROUP, crate::types::VERSION);
    let mut found = Installation::default();
    match client.list_api_group_resources(&group_version).await {
        Ok(list) => {
            let ours = ["Application", "AppProject", "ApplicationSet"];
            found.kinds = list
                .resources
                .into_iter()
                .filter(|resource| !resource.name.contains('/'))
                .map(|resource| resource.kind)
                .filter(|kind| ours.contains(&kind.as_str()))
                .collect();
            found.kinds.sort_unstable();
        }
        Err(error) => {
            let error = from_kube(error);
            if error.kind() != ErrorKind::NotFound {
                return Err(error.context("look for Argo CD's kinds"));
            }
        }
    }
    let params = ListParams::default().labels("app.kubernetes.io/part-of=argocd");
    let wrong = |error| from_kube(error).context(format!("look for Argo CD in {namespace}"));
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let sets: Api<StatefulSet> = Api::namespaced(client.clone(), namespace);
    let mut images = Vec::new();
    for deployment in deployments.list(&params).await.map_err(wrong)? {
        let ready = deployment
            .status
            .and_then(|status| status.ready_replicas)
            .unwrap_or_default();
        let name = deployment.metadata.name.unwrap_or_default();
        images.extend(
            deployment
                .spec
                .map(|spec| (name.clone(), image(&spec.template))),
        );
        found.components.push((name, ready));
    }
    for set in sets.list(&params).await.map_err(wrong)? {
        let ready = set
            .status
            .and_then(|status| status.ready_replicas)
            .unwrap_or_default();
        let name = set.metadata.name.unwrap_or_default();
        images.extend(set.spec.map(|spec| (name.clone(), image(&spec.template))));
        found.components.push((name, ready));
    }
    found.components.sort_unstable();
    // Redis and Dex have versions of their own.
    images.retain(|(_, image)| image.contains("argocd"));
    images.sort_by_key(|(name, _)| !name.contains("application-controller"));
    found.version = images.first().and_then(|(_, image)| tag(image));
    Ok(found)
}

fn image(template: &PodTemplateSpec) -> String {
    template
        .spec
        .as_ref()
        .and_then(|spec| spec.containers.first()?.image.clone())
        .unwrap_or_default()
}

/// The tag of an image's name.
fn tag(image: &str) -> Option<String> {
    let name = image.split('@').next()?;
    let last = name.rsplit('/').next()?;
    last.split_once(':').map(|(_, tag)| tag.to_owned())
}

/// The password of `admin` that Argo CD made when it was installed (`argocd admin initial-password`).
///
/// # Errors
/// `NotFound` when it was deleted, as it should be once another password is set; `PermissionDenied`.
pub async fn initial_admin_password(client: &Client, namespace: &str) -> Result<SecretString> {
    let name = "argocd-initial-admin-secret";
    let secrets: Api<Secret> = Api::namespaced(client.clone(), checked(namespace)?);
    let secret = secrets
        .get(name)
        .await
        .map_err(|error| from_kube(error).context("read the initial password"))?;
    let password = secret
        .data
        .and_then(|mut data| data.remove("password"))
        .ok_or_else(|| Error::not_found(format!("Secret {name} has no password")))?;
    String::from_utf8(password.0)
        .map(SecretString::from)
        .map_err(|_| Error::integrity(format!("the password in Secret {name} is no text")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_of_the_last_part() {
        for (image, wanted) in [
            ("quay.io/argoproj/argocd:v3.2.11", Some("v3.2.11")),
            ("registry:5000/argocd", None),
            ("registry:5000/argocd:v1@sha256:abc", Some("v1")),
            ("argocd@sha256:abc", None),
            ("", None),
        ] {
            assert_eq!(tag(image).as_deref(), wanted, "{image}");
        }
    }
}
