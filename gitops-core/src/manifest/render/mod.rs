//! From files to manifests.
//!
//! A [`Renderer`] turns the files of a source into a [`ManifestSet`]. [`Renderers`] picks the one that a source asks for, or, as Argo CD
//! does, the one that its files call for: `Chart.yaml` means helm, a kustomization file kustomize, anything else a plain directory.

mod plain;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

pub use self::plain::Plain;
use super::{ManifestSet, Tree};
use crate::application::{Render, Source};
use crate::error::{Error, Result};

/// What is to be rendered.
#[derive(Clone, Debug)]
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
    /// The files of other sources, by their `ref` names, for helm's value files.
    pub refs: BTreeMap<String, Tree>,
}

/// Turns files into manifests.
///
/// # Contract
/// - The same request gives the same manifests.
/// - Nothing outside of the request's trees is read, and the network is not used, unless the renderer was told that it may.
/// - Bad input is an error that names file and line; nothing is left out silently.
/// - Dropping the future stops the work.
#[async_trait]
pub trait Renderer: Send + Sync {
    /// Renders.
    ///
    /// # Errors
    /// `InvalidInput` for what cannot be rendered; `Unavailable` when a program that is needed is not installed; `Timeout`.
    async fn render(&self, request: &RenderRequest) -> Result<ManifestSet>;
}

macro_rules! forward {
    ($($wrapper:ty),*) => {$(
        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<T: Renderer + ?Sized> Renderer for $wrapper {
            async fn render(&self, request: &RenderRequest) -> Result<ManifestSet> {
                (**self).render(request).await
            }
        }
    )*};
}

forward!(&T, Box<T>, Arc<T>);

/// The renderers that a backend has.
#[derive(Clone)]
pub struct Renderers {
    plain: Arc<dyn Renderer>,
    kustomize: Option<Arc<dyn Renderer>>,
    helm: Option<Arc<dyn Renderer>>,
    plugins: BTreeMap<String, Arc<dyn Renderer>>,
}

impl std::fmt::Debug for Renderers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Renderers")
            .field("kustomize", &self.kustomize.is_some())
            .field("helm", &self.helm.is_some())
            .field("plugins", &self.plugins.keys())
            .finish_non_exhaustive()
    }
}

impl Default for Renderers {
    /// Plain directories only.
    fn default() -> Self {
        Self {
            plain: Arc::new(Plain),
            kustomize: None,
            helm: None,
            plugins: BTreeMap::new(),
        }
    }
}

impl Renderers {
    /// With a renderer for kustomizations.
    #[must_use]
    pub fn with_kustomize(mut self, renderer: impl Renderer + 'static) -> Self {
        self.kustomize = Some(Arc::new(renderer));
        self
    }

    /// With a renderer for helm charts.
    #[must_use]
    pub fn with_helm(mut self, renderer: impl Renderer + 'static) -> Self {
        self.helm = Some(Arc::new(renderer));
        self
    }

    /// With a renderer under the name of a plugin.
    #[must_use]
    pub fn with_plugin(
        mut self,
        name: impl Into<String>,
        renderer: impl Renderer + 'static,
    ) -> Self {
        self.plugins.insert(name.into(), Arc::new(renderer));
        self
    }

    fn pick(&self, request: &RenderRequest) -> Result<&Arc<dyn Renderer>> {
        let missing = |what: &str| Error::unsupported(&format!("rendering {what}"), "this backend");
        match &request.source.render {
            Render::Directory(_) => Ok(&self.plain),
            Render::Kustomize(_) => self
                .kustomize
                .as_ref()
                .ok_or_else(|| missing("kustomizations")),
            Render::Helm(_) => self.helm.as_ref().ok_or_else(|| missing("helm charts")),
            Render::Plugin(plugin) => self
                .plugins
                .get(&plugin.name)
                .ok_or_else(|| missing(&format!("with plugin {:?}", plugin.name))),
            Render::Auto => {
                let has = |name: &str| request.tree.get(&join(&request.path, name)).is_some();
                if has("Chart.yaml") {
                    self.helm.as_ref().ok_or_else(|| missing("helm charts"))
                } else if KUSTOMIZATIONS.iter().any(|name| has(name)) {
                    self.kustomize
                        .as_ref()
                        .ok_or_else(|| missing("kustomizations"))
                } else {
                    Ok(&self.plain)
                }
            }
        }
    }
}

#[async_trait]
impl Renderer for Renderers {
    async fn render(&self, request: &RenderRequest) -> Result<ManifestSet> {
        self.pick(request)?.render(request).await
    }
}

/// The names of kustomization files (kustomize 5, `api/konfig/general.go`).
pub const KUSTOMIZATIONS: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// A name below a path; the root's path is empty.
fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}/{name}")
    }
}
