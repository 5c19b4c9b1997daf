//! Flux.

mod bootstrap;
mod build;
mod commands;
mod faults;
mod conformance;
mod examples;
mod fixture;
mod manager;
mod reconcile;
mod history;
mod support;
mod tenancy;
