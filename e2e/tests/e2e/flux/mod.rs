//! Flux.

mod fixture;
mod support;
