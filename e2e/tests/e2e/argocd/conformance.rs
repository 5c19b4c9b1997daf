//! Core's suite for backends, through both doors.

mod over_rest {
    use super::super::support::{Door, fixture};

    gitops_core::backend_conformance!(fixture(Door::Rest));
}

mod over_kubernetes {
    use super::super::support::{Door, fixture};

    gitops_core::backend_conformance!(fixture(Door::Kubernetes));
}
