//! Flux.

mod bootstrap;
mod build;
mod commands;
mod faults;
mod conformance;
mod fixture;
mod manager;
mod reconcile;
mod support;
mod tenancy;
