//! Flux backend for gitops.
