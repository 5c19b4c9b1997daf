//! Repositories for gitops: trees, commits, pushes, watching.
