//! What holds for every kind: the observed generation and the conditions Reconciling, Stalled and Ready.
//!
//! Facts: kstatus' `checkGenericProperties` and `checkReadyCondition` (fluxcd/cli-utils 0.36.0-flux.15, `pkg/kstatus/status`).

use gitops_core::application::Health;

use super::view::{Checked, Truth, View, find};
use super::{degraded, healthy, progressing};

/// Progressing while the controller has not seen the newest `spec`. An object without either number passes: not every kind counts.
pub(super) fn unobserved(view: &View<'_>) -> Checked<Option<Health>> {
    let (Some(generation), Some(observed)) = (
        view.int("metadata.generation")?,
        view.int("status.observedGeneration")?,
    ) else {
        return Ok(None);
    };
    Ok((generation != observed).then(|| {
        progressing(format!(
            "generation {generation} is not observed yet, the last one was {observed}"
        ))
    }))
}

/// The same for kinds whose controller is known to count: Progressing until it has.
pub(super) fn unobserved_workload(view: &View<'_>) -> Checked<Option<Health>> {
    if view.inner("status")?.is_none() {
        return Ok(Some(progressing("its controller has not seen it yet")));
    }
    if let Some(generation) = view.int("metadata.generation")?
        && view.int("status.observedGeneration")?.is_none()
    {
        return Ok(Some(progressing(format!(
            "generation {generation} is not observed yet"
        ))));
    }
    unobserved(view)
}

/// Generation, Reconciling and Stalled; what kstatus looks at before anything else.
pub(super) fn standard(view: &View<'_>) -> Checked<Option<Health>> {
    if let Some(health) = unobserved(view)? {
        return Ok(Some(health));
    }
    for condition in view.conditions()? {
        if condition.is("Reconciling", Truth::True) {
            return Ok(Some(progressing(condition.says())));
        }
        if condition.is("Stalled", Truth::True) {
            return Ok(Some(degraded(condition.says())));
        }
    }
    Ok(None)
}

/// The Ready condition. One that is False may still become True, nobody can tell: Progressing.
pub(super) fn ready(view: &View<'_>) -> Checked<Option<Health>> {
    let conditions = view.conditions()?;
    Ok(
        find(&conditions, "Ready").map(|condition| match condition.truth {
            Truth::True => healthy(condition.message),
            Truth::False | Truth::Unknown => progressing(condition.says()),
        }),
    )
}

/// For kinds that nobody gave a rule for: `None` where the object says nothing about its health.
///
/// Stricter than kstatus in one thing: a Ready condition that was set for an older generation does not count.
pub(super) fn strict(view: &View<'_>) -> Checked<Option<Health>> {
    if let Some(health) = standard(view)? {
        return Ok(Some(health));
    }
    let conditions = view.conditions()?;
    if let (Some(generation), Some(ready)) =
        (view.int("metadata.generation")?, find(&conditions, "Ready"))
        && ready.observed_generation.is_some_and(|g| g < generation)
    {
        return Ok(Some(progressing(format!(
            "the Ready condition is not about generation {generation} yet"
        ))));
    }
    ready(view)
}
