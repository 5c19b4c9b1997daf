//! The builder.

use std::fmt;
use std::sync::Arc;

use gitops_core::application::Source;
use gitops_core::manifest::render::{KustomizeRenderer, RenderRequest};
use gitops_core::manifest::{ManifestSet, Object, ObjectId, Tree, yaml};
use gitops_core::{Error, Result};
use serde_json::Value;

use super::decrypt::{self, Decryptor, Encrypted, Who};
use super::generate::{Generated, generate};
use super::objects::{self, Document};
use super::values::{From, SubstituteValues, variables};
use super::variables::Variables;
use crate::blocking::off_thread;
use crate::types::{Kustomization, annotation};

/// What was built.
#[derive(Clone, Debug, Default)]
pub struct Build {
    /// The objects, in kustomize's order.
    pub manifests: ManifestSet,
    /// Those of them that the controller does not apply.
    pub excluded: Vec<Excluded>,
    /// What a person may want to know: components that are missing, variables that were not asked for.
    pub warnings: Vec<String>,
}

impl Build {
    /// The objects that the controller applies: all but the [excluded](Self::excluded).
    pub fn applied(&self) -> impl Iterator<Item = &Object> {
        self.manifests.iter().filter(|object| {
            let id = object.id();
            !self.excluded.iter().any(|excluded| excluded.id == id)
        })
    }

    /// [`applied`](Self::applied), as a set.
    ///
    /// # Errors
    /// None, for identities are distinct already.
    pub fn into_applied(self) -> Result<ManifestSet> {
        let excluded = self.excluded;
        let left = self.manifests.into_iter();
        ManifestSet::from_objects(left.filter(|object| {
            let id = object.id();
            !excluded.iter().any(|excluded| excluded.id == id)
        }))
    }
}

/// An object that is built and not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excluded {
    /// Which one.
    pub id: ObjectId,
    /// Why.
    pub why: Exclusion,
}

/// Why an object is not applied: what a label or annotation of it says, in any case of letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Exclusion {
    /// `kustomize.toolkit.fluxcd.io/ssa: Ignore`.
    SsaIgnore,
    /// `kustomize.toolkit.fluxcd.io/reconcile: disabled`.
    ReconcileDisabled,
}

/// Builds the manifests of `Kustomization`s as kustomize-controller 1.7 does.
///
/// - `spec.path` and everything that kustomizations name must be inside the source; remote bases need a renderer that may use the network.
///   Files may be loaded from anywhere in the source (see [`KustomizeRenderer::whole_tree`]).
/// - Where the directory has no kustomization, one is made: of all files below that end in `.yaml` or `.yml`, and of directories with a
///   kustomization of their own. A YAML file that is no manifest is an error. Ignore files count when source-controller packs, not here.
/// - Settings of the spec are put in: `targetNamespace`, `namePrefix`, `nameSuffix`, `patches`, `components`, `images`.
/// - Variables are substituted after the build; see [`envsubst`](super::envsubst).
/// - Objects get the labels of their owner and `commonMetadata`, unless [`raw`](Self::raw).
///
/// Stricter than the controller: a `..` too many in `spec.path`, two objects with one identity, a name or label that substitution makes a
/// number, keys twice in what substitution makes, and a Secret that SOPS encrypted where the spec has no `decryption` (the controller
/// means to refuse it, and applies what is encrypted) are errors; the controller goes on with something else than was meant. It reads
/// an unknown field inside of a patch or generator over; kustomize, which sees these here, does not.
#[derive(Clone)]
pub struct Builder {
    renderer: KustomizeRenderer,
    from: From,
    decryptor: Option<Arc<dyn Decryptor>>,
    strict: bool,
    raw: bool,
}

impl Default for Builder {
    /// With the `kustomize` (else `kubectl`) on PATH, without network.
    fn default() -> Self {
        Self::new(KustomizeRenderer::default())
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("renderer", &self.renderer)
            .field("decryptor", &self.decryptor.is_some())
            .field("strict", &self.strict)
            .field("raw", &self.raw)
            .finish_non_exhaustive()
    }
}

impl Builder {
    /// With a renderer, whose options say which program runs, for how long, and whether it may use the network.
    pub fn new(renderer: KustomizeRenderer) -> Self {
        Self {
            renderer: renderer.whole_tree(),
            from: From::Unknown,
            decryptor: None,
            strict: false,
            raw: false,
        }
    }

    /// Reads the ConfigMaps and Secrets of `substituteFrom` there. Without it, references are an error.
    #[must_use]
    pub fn values(mut self, values: impl SubstituteValues + 'static) -> Self {
        self.from = From::Values(Arc::new(values));
        self
    }

    /// Passes the references of `substituteFrom` over, with a warning, as `flux build kustomization --dry-run` does.
    #[must_use]
    pub fn without_values(mut self) -> Self {
        self.from = From::Nowhere;
        self
    }

    /// Decrypts what SOPS encrypted. Without it, what is encrypted is `Unsupported`.
    #[must_use]
    pub fn decryptor(mut self, decryptor: impl Decryptor + 'static) -> Self {
        self.decryptor = Some(Arc::new(decryptor));
        self
    }

    /// Whether a variable that is not there is an error (kustomize-controller's feature gate `StrictPostBuildSubstitutions`); off unless
    /// set.
    #[must_use]
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// Leaves the objects as kustomize and substitution made them: without the labels of the owner and `commonMetadata`, with `status`,
    /// and with what is encrypted when the spec has no `decryption`.
    #[must_use]
    pub fn raw(mut self, raw: bool) -> Self {
        self.raw = raw;
        self
    }

    /// Builds the manifests that `kustomization` makes of `tree`, the files of its source from their root. Dropping the future stops
    /// kustomize, and what follows on it.
    ///
    /// # Errors
    /// - `NotFound` when `spec.path`, or a ConfigMap or Secret that is not optional, does not exist.
    /// - `InvalidInput` for what cannot be built, naming file or object; no message holds a value of a variable or a Secret.
    /// - `Unsupported` for what is encrypted, when nobody was named who decrypts.
    /// - `Unavailable` when kustomize is not installed; `Timeout`; and what reading the values gives.
    pub async fn build(&self, tree: &Tree, kustomization: &Kustomization) -> Result<Build> {
        let name = kustomization.metadata.name.as_deref().unwrap_or_default();
        self.run(tree, kustomization)
            .await
            .map_err(|error| error.context(format!("build Kustomization {name}")))
    }

    async fn run(&self, tree: &Tree, kustomization: &Kustomization) -> Result<Build> {
        let spec = &kustomization.spec;
        let Generated {
            mut tree,
            dir,
            mut warnings,
        } = generate(tree, spec)?;
        let sops = spec
            .decryption
            .as_ref()
            .is_some_and(|decryption| decryption.provider == "sops");
        let who = self.decryptor.as_deref();
        if sops {
            decrypt::sources(&mut tree, &dir, who).await?;
        }
        let file = format!("{} (kustomize)", if dir.is_empty() { "." } else { &dir });
        let request = RenderRequest {
            source: Source::git(String::new()).path(dir.as_str()),
            tree,
            path: dir,
            ..RenderRequest::default()
        };
        let output = self.renderer.print(&request).await?;
        let mut documents = off_thread(WORK, move |_| read_documents(&output, &file, sops)).await?;
        decrypt_documents(&mut documents, request.tree, who).await?;
        let substitutes = documents
            .list
            .iter()
            .any(|document| !objects::substitution_disabled(&document.value));
        let variables = match &spec.post_build {
            // The controller looks at them for the first object that wants them.
            Some(post_build) if substitutes => {
                let namespace = kustomization.metadata.namespace.as_deref();
                variables(
                    post_build,
                    namespace.unwrap_or_default(),
                    &self.from,
                    &mut warnings,
                )
                .await?
            }
            _ => Variables::new(),
        };
        let (strict, raw, owner) = (self.strict, self.raw, kustomization.clone());
        let mut build = off_thread(WORK, move |wanted| {
            let mut build = Build::default();
            for document in documents.list {
                wanted.check()?;
                for object in document.finish(&documents.file, &variables, strict)? {
                    add(&mut build, object, &owner, raw)?;
                }
            }
            Ok(build)
        })
        .await?;
        build.warnings = warnings;
        Ok(build)
    }
}

/// What is done off the asynchronous threads.
const WORK: &str = "building manifests";

/// What kustomize printed.
struct Printed {
    list: Vec<OneOfThem>,
    file: String,
}

struct OneOfThem {
    document: Document,
    value: Value,
    /// What is to be decrypted of it.
    encrypted: Option<Encrypted>,
}

fn read_documents(output: &str, file: &str, sops: bool) -> Result<Printed> {
    let mut list = Vec::new();
    for document in objects::documents(output) {
        let value = yaml::parse_value(file, document.text.as_bytes())?;
        let encrypted = match sops {
            true => decrypt::encrypted(&value),
            false => None,
        };
        list.push(OneOfThem {
            document,
            value,
            encrypted,
        });
    }
    Ok(Printed {
        list,
        file: file.to_owned(),
    })
}

/// Decrypts what is encrypted. `tree` is what kustomize read.
async fn decrypt_documents(documents: &mut Printed, tree: Tree, who: Who<'_>) -> Result<()> {
    for OneOfThem {
        document,
        value,
        encrypted,
    } in &mut documents.list
    {
        let Some(encrypted) = encrypted.take() else {
            continue;
        };
        if let Err(error) = decrypt::object(value, encrypted, who).await {
            let name = value["metadata"]["name"].as_str().map(str::to_owned);
            // Only now: it takes long in a large source.
            let file = off_thread(WORK, move |_| {
                let name = name.as_deref();
                let file = name.and_then(|name| decrypt::file_of(&tree, name));
                Ok(file.map(str::to_owned))
            });
            return Err(match file.await? {
                Some(file) => error.context(file),
                None => error,
            });
        }
        document.text = yaml::to_yaml(value);
    }
    Ok(())
}

impl OneOfThem {
    fn finish(mut self, file: &str, variables: &Variables, strict: bool) -> Result<Vec<Object>> {
        if variables.is_empty() || objects::substitution_disabled(&self.value) {
            return objects::read(&self.document, file);
        }
        objects::substitute(&mut self.document, &self.value, variables, strict)?;
        objects::read_substituted(&self.document, &self.value)
    }
}

fn add(build: &mut Build, mut object: Object, owner: &Kustomization, raw: bool) -> Result<()> {
    if !raw {
        if objects::is_kustomization(&object) {
            return Ok(());
        }
        if decrypt::is_encrypted_secret(object.value()) {
            return Err(Error::invalid(format!(
                "{} is encrypted with SOPS, and spec.decryption does not say how to decrypt it",
                object.id()
            )));
        }
        objects::applied(&mut object, owner);
    }
    let says = |key: &str, wanted: &str| {
        [object.label(key), object.annotation(key)]
            .into_iter()
            .flatten()
            .any(|value| value.eq_ignore_ascii_case(wanted))
    };
    let why = if says(annotation::KUSTOMIZE_RECONCILE, "disabled") {
        Some(Exclusion::ReconcileDisabled)
    } else if says(annotation::SSA, "Ignore") {
        Some(Exclusion::SsaIgnore)
    } else {
        None
    };
    if let Some(why) = why {
        let id = object.id();
        build.excluded.push(Excluded { id, why });
    }
    build.manifests.insert(object)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use gitops_core::manifest::TreeEntry;

    use super::*;

    /// A source of 40 MB.
    fn large() -> Tree {
        let mut tree = Tree::new("abc", "", "");
        let text = format!("sops ENC[ {}", "x".repeat(20 << 20));
        tree.insert("a.yaml", TreeEntry::File(text.as_bytes().into()))
            .unwrap();
        let text = format!("{} one-0 sops ENC[", "x".repeat(20 << 20));
        tree.insert("b.yaml", TreeEntry::File(text.as_bytes().into()))
            .unwrap();
        tree
    }

    fn printed(more: &str, sops: bool) -> Printed {
        let document = |at| {
            format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: one-{at}}}\n{more}---\n")
        };
        let output: String = (0..500).map(document).collect();
        read_documents(&output, "x", sops).unwrap()
    }

    #[tokio::test]
    async fn the_source_is_searched_for_what_cannot_be_decrypted_only() {
        let start = Instant::now();
        let mut plain = printed("", true);
        decrypt_documents(&mut plain, large(), None).await.unwrap();
        let mut encrypted = printed("sops: {mac: x}\n", true);
        let error = decrypt_documents(&mut encrypted, large(), None)
            .await
            .unwrap_err();
        let shown = error.to_string();
        assert!(shown.starts_with("b.yaml: "), "{shown}");
        assert!(shown.contains("ConfigMap one-0"), "{shown}");
        let took = start.elapsed();
        assert!(took.as_secs() < 30, "{took:?}");
    }

    #[tokio::test]
    async fn nothing_is_decrypted_that_nobody_asked_for() {
        let mut encrypted = printed("sops: {mac: x}\n", false);
        decrypt_documents(&mut encrypted, Tree::default(), None)
            .await
            .unwrap();
    }
}
