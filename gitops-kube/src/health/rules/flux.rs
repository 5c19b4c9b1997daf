//! Flux' sources, Kustomization, HelmRelease, and the kinds of notification and image automation that report Ready.
//!
//! Facts: Flux source-controller 1.7.3, kustomize-controller 1.7.3, helm-controller 1.4.3. kstatus waits for Reconciling to go, but on an
//! ordinary failure a Kustomization keeps it True and does not advance `observedGeneration`: that wait lasts until its time-out.
//! Strict reads the Ready condition: False for the newest generation is Degraded, with its reason, except where the
//! controller waits for something else to become ready; Unknown is Progressing. True counts only once the newest generation
//! is observed and nothing is being reconciled.

use super::super::generic::unobserved;
use super::super::view::{Checked, Truth, View, find};
use super::super::{degraded, healthy, progressing, suspended};
use super::Builtin;

pub(super) static RULE: Builtin = Builtin {
    kinds: &[
        ("source.toolkit.fluxcd.io", "GitRepository"),
        ("source.toolkit.fluxcd.io", "OCIRepository"),
        ("source.toolkit.fluxcd.io", "Bucket"),
        ("source.toolkit.fluxcd.io", "HelmRepository"),
        ("source.toolkit.fluxcd.io", "HelmChart"),
        ("source.toolkit.fluxcd.io", "ExternalArtifact"),
        ("kustomize.toolkit.fluxcd.io", "Kustomization"),
        ("helm.toolkit.fluxcd.io", "HelmRelease"),
        ("image.toolkit.fluxcd.io", "ImageRepository"),
        ("image.toolkit.fluxcd.io", "ImagePolicy"),
        ("image.toolkit.fluxcd.io", "ImageUpdateAutomation"),
        ("notification.toolkit.fluxcd.io", "Receiver"),
    ],
    strict,
    kstatus: None,
};

/// Reasons for which Ready is False while nothing failed.
const WAITING: &[&str] = &[
    "Progressing",
    "ProgressingWithRetry",
    "DependencyNotReady",
    "ArtifactFailed",
    "SourceNotReady",
];

fn strict(view: &View<'_>) -> Checked {
    if view.flag("spec.suspend")? {
        return Ok(suspended("its reconciliation is suspended"));
    }
    let conditions = view.conditions()?;
    if let Some(condition) = find(&conditions, "Stalled")
        && condition.truth == Truth::True
    {
        return Ok(degraded(condition.says()));
    }
    let Some(ready) = find(&conditions, "Ready") else {
        // A HelmRepository of type oci is a mere pointer: no controller ever writes to it.
        if view.text("kind")? == Some("HelmRepository") && view.text("spec.type")? == Some("oci") {
            return Ok(healthy(""));
        }
        return Ok(progressing("its controller has not seen it yet"));
    };
    let generation = view.int("metadata.generation")?;
    if let (Some(generation), Some(observed)) = (generation, ready.observed_generation)
        && observed < generation
    {
        return Ok(progressing(format!(
            "generation {generation} is not reconciled yet"
        )));
    }
    match ready.truth {
        Truth::False if !WAITING.contains(&ready.reason) => return Ok(degraded(ready.says())),
        Truth::False | Truth::Unknown => return Ok(progressing(ready.says())),
        Truth::True => {}
    }
    if let Some(condition) = find(&conditions, "Reconciling")
        && condition.truth == Truth::True
    {
        return Ok(progressing(condition.says()));
    }
    if let Some(health) = unobserved(view)? {
        return Ok(health);
    }
    Ok(healthy(ready.message))
}
