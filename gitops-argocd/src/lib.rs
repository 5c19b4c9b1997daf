//! Argo CD backend for gitops.
