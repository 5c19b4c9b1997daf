//! Drift detection, repair, rollback and history for gitops.
