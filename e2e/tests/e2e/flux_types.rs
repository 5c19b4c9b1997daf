//! The manifests, examples and documentation of Flux's own modules, read into the types of gitops-flux and written again.

use anyhow::Result;
use gitops_flux::kind::{HELM, IMAGE, KUSTOMIZE, NOTIFICATION, SOURCE};
use gitops_flux::types::{
    Alert, Bucket, ExternalArtifact, GitRepository, HelmChart, HelmRelease, HelmRepository,
    ImagePolicy, ImageRepository, ImageUpdateAutomation, Kustomization, OCIRepository, Provider,
    Receiver,
};

use crate::round_trip::{Kind, Suite};

/// The kinds, and how many documents of each there are at least.
const KINDS: &[Kind] = &[
    Kind::new::<GitRepository>(SOURCE, "GitRepository", 1),
    Kind::new::<OCIRepository>(SOURCE, "OCIRepository", 1),
    Kind::new::<Bucket>(SOURCE, "Bucket", 1),
    Kind::new::<HelmRepository>(SOURCE, "HelmRepository", 1),
    Kind::new::<HelmChart>(SOURCE, "HelmChart", 1),
    Kind::new::<ExternalArtifact>(SOURCE, "ExternalArtifact", 1),
    Kind::new::<Kustomization>(KUSTOMIZE, "Kustomization", 1),
    Kind::new::<HelmRelease>(HELM, "HelmRelease", 1),
    Kind::new::<Alert>(NOTIFICATION, "Alert", 1),
    Kind::new::<Provider>(NOTIFICATION, "Provider", 1),
    Kind::new::<Receiver>(NOTIFICATION, "Receiver", 1),
    Kind::new::<ImageRepository>(IMAGE, "ImageRepository", 1),
    Kind::new::<ImagePolicy>(IMAGE, "ImagePolicy", 1),
    Kind::new::<ImageUpdateAutomation>(IMAGE, "ImageUpdateAutomation", 1),
];

const UNREADABLE: &[(&str, &str)] = &[];

const REQUIRED: &[&str] = &[];

/// The modules that hold documents, and what their places begin with.
const MODULES: &[(&str, &str)] = &[
    ("source-controller/", "github.com/fluxcd/source-controller"),
    (
        "kustomize-controller/",
        "github.com/fluxcd/kustomize-controller",
    ),
    ("helm-controller/", "github.com/fluxcd/helm-controller"),
    ("flux2/", "github.com/fluxcd/flux2/v2"),
];

const SUITE: Suite = Suite {
    modules: MODULES,
    kinds: KINDS,
    unreadable: UNREADABLE,
    required: REQUIRED,
};

#[test]
fn fluxs_documents_come_back_as_they_were() -> Result<()> {
    SUITE.check()
}
