//! The direct backend passes the conformance suite of backends, with a repository on disk and the in-memory cluster.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixture;

gitops_core::backend_conformance!(fixture::make());
