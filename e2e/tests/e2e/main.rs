//! End-to-end tests, against the real components. One binary, so that its tests share servers; run them with `cargo xtask e2e`.

mod applyset;
mod engine;
mod faults;
mod harness;
mod install;
mod kill;
mod peers;
