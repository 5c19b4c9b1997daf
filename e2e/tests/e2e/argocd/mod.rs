//! Argo CD.

mod away;
mod conformance;
mod fixture;
mod support;
mod sync;
