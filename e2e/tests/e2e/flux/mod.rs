//! Flux.

mod bootstrap;
mod build;
mod commands;
mod fixture;
mod support;
mod tenancy;
