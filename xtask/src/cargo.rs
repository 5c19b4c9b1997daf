//! Cargo, started from a program that cargo started.

pub(crate) use e2e::cargo;
