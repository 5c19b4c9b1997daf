//! The renderers that a backend has, and which of them a source gets.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::{
    Fingerprint, HelmRenderer, KustomizeRenderer, Plain, RenderCache, RenderRequest, Renderer,
    overrides,
};
use crate::application::{Plugin, Render};
use crate::error::{Error, Result};
use crate::manifest::ManifestSet;

/// The renderers that a backend has. It renders with the one that the source's settings name; without any, with the one that the files call
/// for (see [the module](super)). `.argocd-source.yaml` and `.argocd-source-APP.yaml` override settings, as they do in Argo CD.
///
/// Results are [cached](RenderCache): an unchanged commit is rendered once.
#[derive(Clone)]
pub struct Renderers {
    plain: Arc<dyn Renderer>,
    kustomize: Option<Arc<dyn Renderer>>,
    helm: Option<Arc<dyn Renderer>>,
    plugins: BTreeMap<String, Arc<dyn Renderer>>,
    cache: Option<RenderCache>,
}

impl std::fmt::Debug for Renderers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Renderers")
            .field("kustomize", &self.kustomize.is_some())
            .field("helm", &self.helm.is_some())
            .field("plugins", &self.plugins.keys())
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

impl Default for Renderers {
    /// Plain directories only, with a cache of the default size.
    fn default() -> Self {
        Self {
            plain: Arc::new(Plain),
            kustomize: None,
            helm: None,
            plugins: BTreeMap::new(),
            cache: Some(RenderCache::default()),
        }
    }
}

impl Renderers {
    /// Plain directories, kustomizations and charts, the latter two by the programs on PATH. A program is looked for when it is needed: one
    /// that is missing is an error of the applications that need it.
    pub fn with_programs() -> Self {
        Self::default()
            .with_kustomize(KustomizeRenderer::default())
            .with_helm(HelmRenderer::default())
    }

    /// With a renderer for kustomizations, such as [`KustomizeRenderer`].
    #[must_use]
    pub fn with_kustomize(mut self, renderer: impl Renderer + 'static) -> Self {
        self.kustomize = Some(Arc::new(renderer));
        self
    }

    /// With a renderer for helm charts, such as [`HelmRenderer`].
    #[must_use]
    pub fn with_helm(mut self, renderer: impl Renderer + 'static) -> Self {
        self.helm = Some(Arc::new(renderer));
        self
    }

    /// With a renderer under the name of a config management plugin.
    #[must_use]
    pub fn with_plugin(
        mut self,
        name: impl Into<String>,
        renderer: impl Renderer + 'static,
    ) -> Self {
        self.plugins.insert(name.into(), Arc::new(renderer));
        self
    }

    /// With a cache of another size, or one that is shared; `None` renders every time.
    #[must_use]
    pub fn with_cache(mut self, cache: impl Into<Option<RenderCache>>) -> Self {
        self.cache = cache.into();
        self
    }

    /// The cache.
    pub fn cache(&self) -> Option<&RenderCache> {
        self.cache.as_ref()
    }

    fn pick(&self, render: &Render) -> Result<&Arc<dyn Renderer>> {
        let missing = |what: &str| Error::unsupported(&format!("rendering {what}"), "this backend");
        match render {
            Render::Kustomize(_) => self
                .kustomize
                .as_ref()
                .ok_or_else(|| missing("kustomizations")),
            Render::Helm(_) => self.helm.as_ref().ok_or_else(|| missing("helm charts")),
            Render::Plugin(plugin) => self.plugin(plugin),
            Render::Directory(_) | Render::Auto => Ok(&self.plain),
        }
    }

    /// The plugin of that name; without a name, the only one that there is.
    fn plugin(&self, plugin: &Plugin) -> Result<&Arc<dyn Renderer>> {
        let found = match plugin.name.as_str() {
            "" if self.plugins.len() == 1 => self.plugins.values().next(),
            name => self.plugins.get(name),
        };
        found.ok_or_else(|| {
            let known = match self.plugins.keys().map(String::as_str).collect::<Vec<_>>() {
                names if names.is_empty() => "none".to_owned(),
                names => names.join(", "),
            };
            Error::unsupported(
                &format!(
                    "rendering with config management plugin {:?} (registered: {known})",
                    plugin.name
                ),
                "this backend",
            )
        })
    }

    fn settle(&self, request: &RenderRequest) -> Result<RenderRequest> {
        let mut settled = request.clone();
        settled.source.render = overrides::settle(request)?;
        Ok(settled)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Renderer for Renderers {
    #[tracing::instrument(skip_all, fields(app = request.app_name, path = request.path, revision = request.tree.revision))]
    async fn render(&self, request: &RenderRequest) -> Result<ManifestSet> {
        let request = &self.settle(request)?;
        let renderer = self.pick(&request.source.render)?;
        match (&self.cache, renderer.fingerprint(request)) {
            (Some(cache), Some(fingerprint)) => {
                cache
                    .get_or_render(fingerprint, renderer.render(request))
                    .await
            }
            _ => renderer.render(request).await,
        }
    }

    fn fingerprint(&self, request: &RenderRequest) -> Option<Fingerprint> {
        let request = self.settle(request).ok()?;
        self.pick(&request.source.render)
            .ok()?
            .fingerprint(&request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::Source;
    use crate::error::ErrorKind;
    use crate::manifest::{Object, Tree, TreeEntry};
    use serde_json::json;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Counts its calls and answers with the number.
    #[derive(Default)]
    struct Counting(AtomicUsize);

    #[async_trait]
    impl Renderer for Counting {
        async fn render(&self, request: &RenderRequest) -> Result<ManifestSet> {
            let count = self.0.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            if request.app_name == "broken" {
                return Err(Error::invalid("broken"));
            }
            let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("n{count}")}});
            ManifestSet::from_objects([Object::new(object, None)?])
        }

        fn fingerprint(&self, request: &RenderRequest) -> Option<Fingerprint> {
            match request.namespace.as_str() {
                "uncached" => None,
                _ => Fingerprint::new("1", request).map(|new| new.tree(&request.tree)),
            }
        }
    }

    fn request(hash: &str) -> RenderRequest {
        let mut tree = Tree::new("abc", "", hash);
        tree.insert("kustomization.yaml", TreeEntry::File(b"".as_slice().into()))
            .unwrap();
        RenderRequest {
            tree,
            source: Source::git("x"),
            app_name: "app".into(),
            ..RenderRequest::default()
        }
    }

    async fn name(renderers: &Renderers, request: &RenderRequest) -> String {
        let set = renderers.render(request).await.unwrap();
        set.iter().map(|object| object.name().to_owned()).collect()
    }

    #[tokio::test]
    async fn what_is_unchanged_is_rendered_once() {
        let renderers = Renderers::default().with_kustomize(Counting::default());
        let first = request("t1");
        assert_eq!(name(&renderers, &first).await, "n0");
        assert_eq!(name(&renderers, &first).await, "n0");
        assert_eq!(name(&renderers, &request("t2")).await, "n1");
        let mut other = first.clone();
        other.namespace = "elsewhere".into();
        assert_eq!(name(&renderers, &other).await, "n2");
        other.namespace = "uncached".into();
        assert_eq!(name(&renderers, &other).await, "n3");
        assert_eq!(name(&renderers, &other).await, "n4");
        // Without a hash of Git's the files themselves count.
        let mut bare = request("");
        assert_eq!(name(&renderers, &bare).await, "n5");
        bare.tree
            .insert("x", TreeEntry::File(b"1".as_slice().into()))
            .unwrap();
        assert_eq!(name(&renderers, &bare).await, "n6");
        bare.tree
            .insert("x", TreeEntry::Executable(b"1".as_slice().into()))
            .unwrap();
        assert_eq!(name(&renderers, &bare).await, "n7");
        assert_eq!(name(&renderers, &bare).await, "n7");
        let cache = renderers.cache().unwrap();
        assert_eq!((cache.hits(), cache.misses()), (2, 6));
        cache.clear();
        assert_eq!(name(&renderers, &first).await, "n8");
        let without = renderers.with_cache(None);
        assert_eq!(name(&without, &first).await, "n9");
        assert_eq!(name(&without, &first).await, "n10");
    }

    #[tokio::test]
    async fn two_at_a_time_render_once_and_errors_are_not_kept() {
        let renderers = Renderers::default().with_kustomize(Counting::default());
        let request = request("t");
        let (a, b) = tokio::join!(name(&renderers, &request), name(&renderers, &request));
        assert_eq!((a.as_str(), b.as_str()), ("n0", "n0"));
        let mut broken = request.clone();
        broken.app_name = "broken".into();
        for _ in 0..2 {
            assert!(renderers.render(&broken).await.is_err());
        }
        assert_eq!(renderers.cache().unwrap().misses(), 3);
    }

    #[tokio::test]
    async fn the_cache_is_bounded() {
        let cache = RenderCache::new(4096);
        let renderers = Renderers::default()
            .with_kustomize(Counting::default())
            .with_cache(cache.clone());
        for n in 0..100 {
            name(&renderers, &request(&n.to_string())).await;
        }
        assert!(cache.entries() < 20, "{cache:?}");
    }

    #[tokio::test]
    async fn plugins_are_found_by_name() {
        let plugin = |name: &str| {
            let mut request = request("t");
            request.source.render = Render::Plugin(Plugin {
                name: name.into(),
                ..Plugin::default()
            });
            request
        };
        let none = Renderers::default();
        let error = none.render(&plugin("cue")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(
            error.to_string().contains("\"cue\"") && error.to_string().contains("registered: none"),
            "{error}"
        );
        let one = none.with_plugin("cue", Counting::default());
        assert!(one.render(&plugin("cue")).await.is_ok());
        assert!(one.render(&plugin("")).await.is_ok());
        let error = one.render(&plugin("tanka")).await.unwrap_err();
        assert!(error.to_string().contains("registered: cue"), "{error}");
        let error = Renderers::default()
            .render(&request("t"))
            .await
            .unwrap_err();
        assert!(error.to_string().contains("kustomizations"), "{error}");
    }
}
