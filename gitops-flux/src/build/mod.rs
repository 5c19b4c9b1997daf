//! Manifests of a `Kustomization`, built as kustomize-controller 1.7 builds them.
//!
//! ```text
//! Tree ─> kustomization made or completed ─> kustomize build ─> decryption ─> ${VAR} ─> labels, annotations ─> ManifestSet
//! ```
//!
//! A [`Builder`] takes the files of a source, fetched by an [`ArtifactReader`](crate::artifact::ArtifactReader) or read from Git, and a
//! [`Kustomization`](crate::types::Kustomization). It needs the program `kustomize`, and no cluster: ConfigMaps and Secrets with
//! variables come through [`SubstituteValues`], which [`KubeValues`] reads from a cluster and [`MapValues`] has in memory.
//!
//! ```no_run
//! use gitops_flux::build::{Builder, KubeValues};
//! # use gitops_core::manifest::Tree;
//! # use gitops_flux::types::Kustomization;
//!
//! # async fn example(client: kube::Client, tree: Tree, app: Kustomization) -> gitops_core::Result<()> {
//! let build = Builder::default().values(KubeValues::new(client)).build(&tree, &app).await?;
//! for object in build.applied() {
//!     println!("{}", object.id());
//! }
//! # Ok(())
//! # }
//! ```

mod builder;
mod decrypt;
pub mod envsubst;
mod generate;
mod objects;
mod paths;
mod values;
mod variables;

pub use self::builder::{Build, Builder, Excluded, Exclusion};
pub use self::decrypt::{Decryptor, SopsFormat};
pub use self::values::{KubeValues, MapValues, SubstituteValues};
pub use self::variables::Variables;
