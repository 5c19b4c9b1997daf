//! A cluster as the target of GitOps: the apply engine, health, the direct backend, and an in-memory cluster.

pub mod cluster;
pub mod direct;
pub mod engine;
pub mod health;
pub mod lease;
pub mod notify;
pub mod store;
pub mod validate;
