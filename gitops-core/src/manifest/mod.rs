//! Manifests: Kubernetes objects as Git holds them.
//!
//! `Tree` → [`render`](Tree) → [`ManifestSet`]: files of one path at one commit become objects with identities, positions and an order.

pub mod diff;
pub mod digest;
pub mod edit;
pub mod ignore;
pub mod mask;
mod object;
pub mod order;
pub mod render;
mod set;
mod tree;
pub mod yaml;

pub use self::object::{GroupKind, GroupVersionKind, Object, ObjectId, Origin};
pub use self::set::ManifestSet;
pub use self::tree::{Tree, TreeEntry, check_path};
