//! Argo CD.

mod away;
mod calls;
mod conformance;
mod examples;
mod fixture;
mod names;
mod pending;
mod reach;
mod sets;
mod support;
mod sync;
