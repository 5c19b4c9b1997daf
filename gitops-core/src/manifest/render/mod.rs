//! From files to manifests.
//!
//! A [`Renderer`] turns the files of a source into a [`ManifestSet`]. [`Renderers`] picks the one that a source asks for, or, as Argo CD
//! does, the one that its files call for: a kustomization file means kustomize, `Chart.yaml` helm, anything else a plain directory.
//!
//! [`KustomizeRenderer`] and [`HelmRenderer`] run the programs that users run, `kustomize` and `helm`, on a private copy of the files:
//! with a cleared environment, a deadline, a limit on what they print, and without network unless [`Network::Allowed`] says otherwise.
//! What such a program says when it fails reaches the error without the values that it was given.

mod build_env;
mod cache;
mod fingerprint;
mod fold;
mod helm;
mod kustomize;
mod overrides;
mod paths;
mod plain;
mod process;
mod program;
mod redact;
mod renderers;
mod sandbox;
mod workdir;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

pub use self::cache::RenderCache;
pub use self::fingerprint::Fingerprint;
pub use self::helm::HelmRenderer;
pub use self::kustomize::KustomizeRenderer;
pub use self::plain::Plain;
pub use self::program::{Network, ProgramOptions};
pub use self::renderers::Renderers;
use super::{ManifestSet, Tree};
use crate::application::Source;
use crate::error::Result;

/// What is to be rendered.
#[derive(Clone, Default)]
pub struct RenderRequest {
    /// The files. Their root is the repository's, so that an overlay reaches its base; [`path`](Self::path) says where to begin.
    pub tree: Tree,
    /// The path inside the tree; empty is its root.
    pub path: String,
    /// The source, with its settings.
    pub source: Source,
    /// The application's name: helm's release name, unless the source says otherwise.
    pub app_name: String,
    /// The destination's namespace.
    pub namespace: String,
    /// The application's project, for `$ARGOCD_APP_PROJECT_NAME` in settings.
    pub project: String,
    /// What the destination offers, for charts that ask; the source's own settings win.
    pub capabilities: Capabilities,
    /// The files of other sources, by their `ref` names, for helm's value files.
    pub refs: BTreeMap<String, Tree>,
}

impl fmt::Debug for RenderRequest {
    /// Without files and settings: both may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RenderRequest")
            .field("app_name", &self.app_name)
            .field("revision", &self.tree.revision)
            .field("path", &self.path)
            .field("namespace", &self.namespace)
            .field("refs", &self.refs.keys())
            .finish_non_exhaustive()
    }
}

/// What a cluster offers, as helm's `Capabilities` has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Its Kubernetes version (`1.34.4`); empty leaves helm's own.
    pub kube_version: String,
    /// Its API versions (`apps/v1`, `apps/v1/Deployment`).
    pub api_versions: Vec<String>,
}

/// Turns files into manifests.
///
/// # Contract
/// - The same request gives the same manifests.
/// - Nothing outside of the request's trees is read, and the network is not used, unless the renderer was told that it may.
/// - Bad input is an error that names file and line; nothing is left out silently.
/// - No error, log line or `Debug` text holds values that the source gives.
/// - Dropping the future stops the work.
#[async_trait]
pub trait Renderer: Send + Sync {
    /// Renders.
    ///
    /// # Errors
    /// `InvalidInput` for what cannot be rendered; `Unavailable` when a program that is needed is not installed; `Timeout`.
    async fn render(&self, request: &RenderRequest) -> Result<ManifestSet>;

    /// A digest of everything that decides the result, under which it is cached: see [`Fingerprint`]. `None`, as unless implemented, means
    /// that results must not be cached.
    fn fingerprint(&self, request: &RenderRequest) -> Option<Fingerprint> {
        let _ = request;
        None
    }
}

macro_rules! forward {
    ($($wrapper:ty),*) => {$(
        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<T: Renderer + ?Sized> Renderer for $wrapper {
            async fn render(&self, request: &RenderRequest) -> Result<ManifestSet> {
                (**self).render(request).await
            }

            fn fingerprint(&self, request: &RenderRequest) -> Option<Fingerprint> {
                (**self).fingerprint(request)
            }
        }
    )*};
}

forward!(&T, Box<T>, Arc<T>);

/// The names of kustomization files (kustomize 5, `api/konfig/general.go`).
pub const KUSTOMIZATIONS: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];
