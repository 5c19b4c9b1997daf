//! What is measured, and on what.
//!
//! The corpus is made here and handed to both sides as files: `ours` (this crate's binary) and the Go peers (`peers/`).
//! `cargo xtask bench` runs them in turns; the in-process cases are criterion benches as well (`cargo bench -p benches`).

pub mod applications;
pub mod corpus;
pub mod helpers;
pub mod kustomizations;
pub mod pairs;
