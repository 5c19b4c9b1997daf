//! Argo CD.

mod conformance;
mod fixture;
mod support;
mod sync;
