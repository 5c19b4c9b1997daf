//! Flux.

mod build;
mod bootstrap;
mod commands;
mod fixture;
mod support;
mod tenancy;
