//! Flux.

mod bootstrap;
mod build;
mod commands;
mod faults;
mod fixture;
mod manager;
mod reconcile;
mod support;
mod tenancy;
