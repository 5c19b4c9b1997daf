//! Argo CD.

mod conformance;
mod fixture;
mod sets;
mod support;
mod sync;
