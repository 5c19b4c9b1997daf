//! Deployment pipelines for `gitops`.
//!
//! What will be here: steps that build, publish, update configuration in Git and sync, forges, and Tekton as the place where they run; on any backend that
//! implements [`gitops_core::backend`]. Nothing is here yet.
