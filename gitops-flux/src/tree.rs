//! What a Kustomization or a HelmRelease has in the cluster, nested: `flux tree`.
//!
//! The rules are those of `flux tree kustomization` of flux 2.7: a Kustomization's objects are its inventory's; a HelmRelease's those of the manifest of its latest
//! release in Helm's storage, with the definitions that helm-controller labelled (helm-controller 1.4 keeps no inventory in its status). Unlike the command, Kustomizations
//! and HelmReleases are expanded wherever they are, cycles and depth are bounded, and what cannot be read leaves the rest readable: its node says why.

use std::collections::BTreeSet;
use std::fmt;
use std::io::Read as _;

use base64::Engine as _;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use gitops_core::manifest::{GroupVersionKind, Object, ObjectId, yaml};
use gitops_core::{Error, ErrorKind, Result, ResultExt as _};
use gitops_kube::cluster::{ApiKind, Cluster, ListParams, ObjectKey, Scope};
use serde_json::{Value, json};

use crate::kind::{FluxKind, HELM};
use crate::manager::{FluxManager, FluxRef};
use crate::view::{self, line};

/// The most that a release may be, unpacked: Secrets hold 1 MiB, and manifests shrink to about a tenth.
const RELEASE_BYTES: u64 = 64 << 20;

/// How a tree is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeOptions {
    /// Flux's own objects only.
    pub compact: bool,
    /// How many levels of Kustomizations and HelmReleases are expanded below the root (16).
    pub depth: usize,
    /// How many objects the whole tree may have (100,000); what is more is left out, and told.
    pub objects: usize,
}

impl Default for TreeOptions {
    fn default() -> Self {
        Self {
            compact: false,
            depth: 16,
            objects: 100_000,
        }
    }
}

/// Why a node has not the children that one would expect.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TreeNote {
    /// The object is not in the cluster.
    Missing,
    /// It delivers to another cluster (`spec.kubeConfig`): its objects are not here.
    Remote,
    /// It is one of those above it.
    Cycle,
    /// The depth or the number of objects is used up.
    Bounded,
    /// The HelmRelease has no release in Helm's storage.
    NoRelease,
    /// It, or something of it, could not be read; the text says what.
    Unreadable(String),
}

impl fmt::Display for TreeNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("missing"),
            Self::Remote => f.write_str("on another cluster"),
            Self::Cycle => f.write_str("shown above"),
            Self::Bounded => f.write_str("not expanded"),
            Self::NoRelease => f.write_str("no release"),
            // It quotes what others wrote.
            Self::Unreadable(why) => f.write_str(&line(why)),
        }
    }
}

/// An object, and what it brought into the cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct TreeNode {
    /// The object.
    pub id: ObjectId,
    /// Why there are fewer children than one would expect.
    pub note: Option<TreeNote>,
    /// What it brought, in the order of the inventory or manifest.
    pub children: Vec<TreeNode>,
}

impl TreeNode {
    fn leaf(id: ObjectId) -> Self {
        Self {
            id,
            note: None,
            children: Vec::new(),
        }
    }

    /// All nodes, each before its children, with their depths; the root has 0.
    pub fn walk(&self) -> Vec<(usize, &TreeNode)> {
        let mut nodes = Vec::new();
        let mut stack = vec![(0, self)];
        while let Some((depth, node)) = stack.pop() {
            nodes.push((depth, node));
            stack.extend(node.children.iter().rev().map(|child| (depth + 1, child)));
        }
        nodes
    }

    /// The tree as `flux tree -o json` writes it.
    pub fn to_json(&self) -> Value {
        let id = &self.id;
        let mut value = json!({"resource": {
            "Namespace": id.namespace, "Name": id.name,
            "GroupKind": {"Group": id.group, "Kind": id.kind},
        }});
        if !self.children.is_empty() {
            value["resources"] = self.children.iter().map(Self::to_json).collect();
        }
        value
    }

    fn print(&self, f: &mut fmt::Formatter<'_>, prefix: &str) -> fmt::Result {
        f.write_str(&line(&view::flux_name(&self.id)))?;
        if let Some(note) = &self.note {
            write!(f, " ({note})")?;
        }
        writeln!(f)?;
        for (at, child) in self.children.iter().enumerate() {
            let last = at + 1 == self.children.len();
            f.write_str(prefix)?;
            f.write_str(if last { "└── " } else { "├── " })?;
            let below = if last { "    " } else { "│   " };
            child.print(f, &format!("{prefix}{below}"))?;
        }
        Ok(())
    }
}

impl fmt::Display for TreeNode {
    /// As `flux tree` prints it, with notes in parentheses.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.print(f, "")
    }
}

/// The tree of a Kustomization or a HelmRelease.
///
/// One request per Kustomization, two or three per HelmRelease. Dropping the future stops.
///
/// # Errors
/// `InvalidInput` for another kind of root; `NotFound` when the root is not there; what reading the root meets. What goes wrong below it is in the tree's notes.
pub async fn tree(
    cluster: &dyn Cluster,
    root: &ObjectId,
    options: &TreeOptions,
) -> Result<TreeNode> {
    let expand = Expander {
        cluster,
        options,
        left: std::sync::atomic::AtomicUsize::new(options.objects),
    };
    let object = expand
        .get(root)
        .await?
        .ok_or_else(|| Error::not_found(format!("{root} does not exist")))?;
    let mut node = TreeNode::leaf(root.clone());
    expand
        .children(&mut node, &object, &mut BTreeSet::from([root.clone()]), 0)
        .await;
    match node.note {
        // The root itself could be read; what is wrong with it is the answer.
        Some(TreeNote::Unreadable(why)) if node.children.is_empty() => {
            Err(Error::failed(why).context(root.to_string()))
        }
        _ => Ok(node),
    }
}

impl FluxManager {
    /// What a Kustomization or a HelmRelease brought: [`tree`].
    ///
    /// # Errors
    /// As there.
    pub async fn tree(&self, root: &FluxRef, options: &TreeOptions) -> Result<TreeNode> {
        tree(self.cluster(), &self.resolve(root).id(), options).await
    }
}

struct Expander<'a> {
    cluster: &'a dyn Cluster,
    options: &'a TreeOptions,
    left: std::sync::atomic::AtomicUsize,
}

impl Expander<'_> {
    async fn get(&self, id: &ObjectId) -> Result<Option<Object>> {
        let kind = expandable(id).ok_or_else(|| {
            Error::invalid(format!(
                "{id} has no tree: only Kustomizations and HelmReleases have"
            ))
        })?;
        let key = ObjectKey {
            kind: &kind,
            namespace: &id.namespace,
            name: &id.name,
        };
        self.cluster.get(key).await.context(|| format!("get {id}"))
    }

    /// Takes one object from the budget.
    fn take(&self) -> bool {
        use std::sync::atomic::Ordering::Relaxed;
        self.left
            .fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1))
            .is_ok()
    }

    /// Gives `node` what `object`, which it stands for, brought.
    fn children<'a>(
        &'a self,
        node: &'a mut TreeNode,
        object: &'a Object,
        above: &'a mut BTreeSet<ObjectId>,
        depth: usize,
    ) -> BoxFuture<'a, ()> {
        async move {
            if view::is_remote(object) {
                node.note = Some(TreeNote::Remote);
                return;
            }
            let ids = if object.kind() == "HelmRelease" {
                match release_objects(self.cluster, object).await {
                    Ok(Some(ids)) => ids,
                    Ok(None) => {
                        node.note = Some(TreeNote::NoRelease);
                        return;
                    }
                    Err(error) => {
                        node.note = Some(TreeNote::Unreadable(error.to_string()));
                        return;
                    }
                }
            } else {
                let (ids, unreadable) = view::inventory(object);
                if let Some(first) = unreadable.first() {
                    node.note = Some(TreeNote::Unreadable(format!(
                        "{} entries of the inventory cannot be read, the first is {first:?}",
                        unreadable.len()
                    )));
                }
                ids
            };
            for id in ids {
                // The root Kustomization of a bootstrap has itself in its inventory.
                if id == node.id
                    || (self.options.compact && !id.group.contains("toolkit.fluxcd.io"))
                {
                    continue;
                }
                if !self.take() {
                    node.note = Some(TreeNote::Bounded);
                    return;
                }
                let mut child = TreeNode::leaf(id);
                if expandable(&child.id).is_some() {
                    self.expand(&mut child, above, depth + 1).await;
                }
                node.children.push(child);
            }
        }
        .boxed()
    }

    async fn expand(&self, node: &mut TreeNode, above: &mut BTreeSet<ObjectId>, depth: usize) {
        if above.contains(&node.id) {
            node.note = Some(TreeNote::Cycle);
            return;
        }
        if depth > self.options.depth {
            node.note = Some(TreeNote::Bounded);
            return;
        }
        match self.get(&node.id).await {
            Ok(Some(object)) => {
                let id = node.id.clone();
                above.insert(id.clone());
                self.children(node, &object, above, depth).await;
                above.remove(&id);
            }
            Ok(None) => node.note = Some(TreeNote::Missing),
            Err(error) => node.note = Some(TreeNote::Unreadable(error.to_string())),
        }
    }
}

fn expandable(id: &ObjectId) -> Option<ApiKind> {
    view::flux_kind(id)
        .filter(|kind| matches!(kind, FluxKind::Kustomization | FluxKind::HelmRelease))
        .map(view::served)
}

/// What the latest release of a HelmRelease has, read from Helm's storage; none when there is no release. Hooks are not part of it, as in Helm itself.
///
/// # Errors
/// `Integrity` for a release that cannot be read; what reading the Secret meets (`PermissionDenied`: it takes the right to read Helm's Secrets).
pub async fn release_objects(
    cluster: &dyn Cluster,
    release: &Object,
) -> Result<Option<Vec<ObjectId>>> {
    let Some((snapshot_namespace, secret)) = storage(release) else {
        return Ok(None);
    };
    let secrets = view::native("", "Secret", "secrets", Scope::Namespaced);
    let key = ObjectKey {
        kind: &secrets,
        namespace: &secret.namespace,
        name: &secret.name,
    };
    let Some(stored) = cluster.get(key).await.context(|| format!("get {secret}"))? else {
        return Ok(None);
    };
    let manifest = manifest(&stored).context(|| secret.to_string())?;
    let objects = yaml::parse("manifest", manifest.as_bytes())
        // What an error quotes may be secret: a release holds Secrets.
        .map_err(|_| Error::integrity("the release's manifest cannot be read"))
        .context(|| secret.to_string())?;
    let mut ids = Vec::with_capacity(objects.len());
    for object in &objects {
        let mut id = object.id();
        if id.namespace.is_empty() && is_namespaced(cluster, &object.gvk()).await {
            id.namespace.clone_from(&snapshot_namespace);
        }
        ids.push(id);
    }
    for id in definitions(cluster, release).await? {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(Some(ids))
}

/// The namespace of the latest release, and the Secret that Helm keeps it in.
fn storage(release: &Object) -> Option<(String, ObjectId)> {
    let namespace = view::text(release, &["status", "storageNamespace"])?;
    let version = |snapshot: &Value| snapshot.get("version").and_then(Value::as_i64);
    let latest = view::at(release, &["status", "history"])?
        .as_array()?
        .iter()
        .max_by_key(|snapshot| version(snapshot))?;
    let name = format!(
        "sh.helm.release.v1.{}.v{}",
        latest.get("name")?.as_str()?,
        version(latest)?
    );
    let of = latest.get("namespace").and_then(Value::as_str);
    Some((
        of.unwrap_or_default().to_owned(),
        ObjectId::new("", "Secret", namespace, name),
    ))
}

/// The manifest in a release as Helm 3 stores it: base64 of gzip of JSON, in a Secret, which is base64 once more.
fn manifest(secret: &Object) -> Result<String> {
    let bad = || Error::integrity("the release cannot be read");
    let engine = &base64::engine::general_purpose::STANDARD;
    let data = view::text(secret, &["data", "release"]).ok_or_else(bad)?;
    let bytes = engine.decode(data).map_err(|_| bad())?;
    let bytes = engine.decode(bytes.trim_ascii()).map_err(|_| bad())?;
    let mut json = Vec::new();
    if bytes.starts_with(&[0x1f, 0x8b, 0x08]) {
        flate2::read::GzDecoder::new(bytes.as_slice())
            .take(RELEASE_BYTES + 1)
            .read_to_end(&mut json)
            .map_err(|_| bad())?;
        if json.len() as u64 > RELEASE_BYTES {
            return Err(Error::integrity("the release is too large"));
        }
    } else {
        json = bytes;
    }
    #[derive(serde::Deserialize)]
    struct Release {
        #[serde(default)]
        manifest: String,
    }
    // serde's error could quote what is in it.
    let release: Release = serde_json::from_slice(&json).map_err(|_| bad())?;
    Ok(release.manifest)
}

async fn is_namespaced(cluster: &dyn Cluster, gvk: &GroupVersionKind) -> bool {
    match cluster.resolve(gvk).await {
        Ok(kind) => kind.is_namespaced(),
        // A kind that is gone: nothing tells, and most kinds are namespaced. Flux's command leaves the namespace out.
        Err(_) => false,
    }
}

/// The definitions that helm-controller made for a release: it labels them, and Helm's storage does not hold them.
async fn definitions(cluster: &dyn Cluster, release: &Object) -> Result<Vec<ObjectId>> {
    let makes = |action: &str| {
        view::text(release, &["spec", action, "crds"]).is_some_and(|policy| policy != "Skip")
    };
    if !makes("install") && !makes("upgrade") {
        return Ok(Vec::new());
    }
    let kind = view::native(
        "apiextensions.k8s.io",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        Scope::Cluster,
    );
    let params = ListParams {
        labels: Some(format!(
            "{HELM}/name={},{HELM}/namespace={}",
            release.name(),
            release.namespace()
        )),
        ..ListParams::default()
    };
    match view::list(cluster, &kind, params, 10_000).await {
        Ok(found) => Ok(found.iter().map(Object::id).collect()),
        // Who may not list definitions sees the rest.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(Vec::new()),
        Err(error) => Err(error.context("list customresourcedefinitions")),
    }
}
