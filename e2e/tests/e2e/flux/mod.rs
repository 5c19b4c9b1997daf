//! Flux.

mod build;
mod fixture;
mod support;
