//! End-to-end tests, against the real components. One binary, so that its tests share servers; run them with `cargo xtask e2e`.

// Helpers outside of test functions may fail a test as well.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod applyset;
mod argocd;
mod argocd_types;
mod conformance;
mod diff;
mod engine;
mod examples;
mod faults;
mod flux;
mod flux_types;
mod git;
mod harness;
mod health;
mod install;
mod kill;
mod memory;
mod model;
mod noop;
mod notify;
mod peers;
mod place;
mod quickstart;
mod receiver;
mod redis;
mod removal;
mod render;
mod replicas;
mod round_trip;
mod rules;
mod store;
mod validate;
mod validators;
mod webhook;
mod yaml;
