//! Deployment pipelines and Tekton backend for gitops.
