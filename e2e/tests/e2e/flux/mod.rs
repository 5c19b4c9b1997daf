//! Flux.

mod bootstrap;
mod build;
mod commands;
mod conformance;
mod examples;
mod faults;
mod fixture;
mod history;
mod manager;
mod operations;
mod reconcile;
mod sources;
mod store;
mod support;
mod tenancy;
