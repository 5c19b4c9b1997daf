//! Manifests, as kustomize-controller builds them.

pub mod envsubst;
mod variables;

pub use self::variables::Variables;
