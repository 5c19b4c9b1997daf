//! A cluster for gitops: apply engine, health, direct backend, in-memory cluster.
