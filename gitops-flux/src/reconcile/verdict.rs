//! Whether an object has done what was asked of it: pure, from one look at the object.
//!
//! The rules are those of source-controller 1.7, kustomize-controller 1.7 and helm-controller 1.4:
//!
//! - A controller writes the request's token to `status.lastHandledReconcileAt` at the end of a run, after the conditions and in another request. Conditions seen together with the token are
//!   therefore the run's result; conditions seen without it are of an older run.
//! - A failing Kustomization keeps Reconciling=True and does not advance `observedGeneration`: what counts is the generation that the Ready condition is about.
//! - Nobody reconciles an ExternalArtifact of Flux's own accord: it is done when it has an artifact, whoever put it there.
//! - A suspended source calls its newest generation observed and stays Ready: suspension is looked at first.
//! - The first run of an object adds a finalizer, marks the token handled and begins again: without a Ready condition nothing is over.
//! - A controller reads sources from a cache that may lag behind: a run that handled the token may have worked on the revision before. It begins again by itself when it sees the new one.

use super::state::{State, StateCondition, Truth};

/// What is to be true before a wait is over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expectation {
    /// The token of the request that must be handled. Without one, the state of the newest generation counts, whoever asked for it.
    pub token: Option<String>,
    /// The revision of its source that the object must have worked on.
    pub revision: Option<String>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It is reconciled.
    Done {
        /// What it is at: see [`State::revision`].
        revision: Option<String>,
        /// What the Ready condition says.
        message: String,
    },
    /// Not yet.
    Pending {
        /// What it waits for.
        waiting: Waiting,
        /// The reason in one word, from the condition; may be empty.
        reason: String,
        /// What the controller says.
        message: String,
    },
    /// It looks failed, but that may be an older run's doing: it counts when nothing changes any more.
    Doubtful(Failure),
    /// It failed.
    Failed(Failure),
}

/// What a pending object waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Waiting {
    /// The controller has written nothing yet about this request or generation.
    Controller,
    /// A run is under way.
    Run,
    /// An object of `spec.dependsOn` is not ready.
    Dependency,
    /// Its source has no artifact, or cannot be had.
    Source,
    /// The run that is over worked on an older revision of the source.
    Revision,
}

/// Why it failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind of failure.
    pub cause: Cause,
    /// The reason in one word, from the condition (`BuildFailed`, `HealthCheckFailed`, …).
    pub reason: String,
    /// What the controller says.
    pub message: String,
}

/// What kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// The run failed; the controller tries again by itself.
    Failed,
    /// The controller has given up until the spec changes or somebody asks.
    Stalled,
    /// It is suspended: no controller will do anything.
    Suspended,
    /// It is being deleted.
    Deleted,
}

impl Verdict {
    /// Whether waiting is over.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Done { .. } | Self::Failed(_))
    }
}

/// The reasons for which Ready is False although nothing failed: the controller is at work.
const AT_WORK: [&str; 2] = ["Progressing", "ProgressingWithRetry"];

/// Judges an object.
pub fn verdict(state: &State, expected: &Expectation) -> Verdict {
    if state.deleting {
        return failed(Cause::Deleted, "", "it is being deleted");
    }
    if state.suspended {
        return failed(
            Cause::Suspended,
            "Suspended",
            "it is suspended: no controller reconciles it until it is resumed",
        );
    }
    if state.passive {
        return passive(state, expected);
    }
    if let Some(token) = &expected.token
        && !is_handled(state, token)
    {
        return unhandled(state);
    }
    if let Some(stalled) = state.condition("Stalled")
        && stalled.status == Truth::True
        && state.is_current(stalled)
    {
        return failed(Cause::Stalled, &stalled.reason, &stalled.message);
    }
    let Some(ready) = state.condition("Ready") else {
        return unhandled(state);
    };
    if !state.is_current(ready) {
        return unhandled(state);
    }
    match ready.status {
        Truth::Unknown => running(state, ready),
        Truth::False => not_ready(state, ready, expected),
        Truth::True => is_ready(state, ready, expected),
    }
}

/// What nobody reconciles is as good as it gets, but an ExternalArtifact: whoever keeps it says when it has failed, and until it has an artifact kustomize-controller and helm-controller wait for one.
fn passive(state: &State, expected: &Expectation) -> Verdict {
    if state.kind == "ExternalArtifact" {
        let ready = state.condition("Ready");
        if let Some(ready) =
            ready.filter(|ready| ready.status == Truth::False && state.is_current(ready))
        {
            return not_ready(state, ready, expected);
        }
        if state.revision.is_none() {
            return Verdict::Pending {
                waiting: Waiting::Source,
                reason: String::new(),
                message: "it has no artifact".to_owned(),
            };
        }
    }
    Verdict::Done {
        revision: state.revision.clone(),
        message: String::new(),
    }
}

/// Whether the run that a request asked for is over. A later request takes the place of an earlier one in the annotation; a run that has seen the later one began after the earlier.
fn is_handled(state: &State, token: &str) -> bool {
    match (&state.handled, &state.requested) {
        (Some(handled), _) if handled == token => true,
        (Some(handled), Some(requested)) => requested != token && handled == requested,
        _ => false,
    }
}

fn unhandled(state: &State) -> Verdict {
    match state.condition("Reconciling") {
        // Of an older generation, perhaps: the controller is at work, and sees the newer one afterwards.
        Some(condition) if state.is_running() => pending(Waiting::Run, condition),
        _ => Verdict::Pending {
            waiting: Waiting::Controller,
            reason: String::new(),
            message: "its controller has not taken it up yet".to_owned(),
        },
    }
}

fn running(state: &State, ready: &StateCondition) -> Verdict {
    let says = state
        .condition("Reconciling")
        .filter(|condition| condition.status == Truth::True && !condition.message.is_empty());
    pending(Waiting::Run, says.unwrap_or(ready))
}

fn not_ready(state: &State, ready: &StateCondition, expected: &Expectation) -> Verdict {
    if AT_WORK.contains(&ready.reason.as_str()) {
        return running(state, ready);
    }
    if let Some(waiting) = holds_up(ready) {
        return pending(waiting, ready);
    }
    let failure = Failure {
        cause: Cause::Failed,
        reason: ready.reason.clone(),
        message: ready.message.clone(),
    };
    // Ready stays False while the next run begins.
    let begun_again = expected.token.is_none() && state.is_running();
    if begun_again || worked_on_another(state, expected) {
        return Verdict::Doubtful(failure);
    }
    Verdict::Failed(failure)
}

/// Something else that must come first: the controller looks again by itself, and nothing of its own has failed.
fn holds_up(ready: &StateCondition) -> Option<Waiting> {
    // "Source artifact not found", "Source is not ready, artifact not found" (kustomize-controller), "Source not ready: artifact not found" (helm-controller), and the API server's
    // `gitrepositories.source.toolkit.fluxcd.io "x" not found`; but not "kustomization path not found".
    let lacks_source = || {
        let message = ready.message.to_lowercase();
        message.contains("artifact not found")
            || (message.contains(".source.toolkit.fluxcd.io") && message.contains("not found"))
    };
    match ready.reason.as_str() {
        "DependencyNotReady" => Some(Waiting::Dependency),
        "SourceNotReady" | "NoSourceArtifact" | "SourceUnavailable" => Some(Waiting::Source),
        "ArtifactFailed" if lacks_source() => Some(Waiting::Source),
        _ => None,
    }
}

/// Whether the failed run worked on another revision than the expected one, as far as the object tells. A Kustomization notes the revision only once it has found its path; before,
/// the message of its progress names it.
fn worked_on_another(state: &State, expected: &Expectation) -> bool {
    let (Some(expected), Some(attempted)) = (&expected.revision, &state.attempted) else {
        return false;
    };
    let named = || {
        state
            .condition("Reconciling")
            .is_some_and(|condition| condition.message.contains(expected.as_str()))
    };
    !is_revision(attempted, expected) && !named()
}

fn is_ready(state: &State, ready: &StateCondition, expected: &Expectation) -> Verdict {
    // The status is written after the conditions.
    let behind = state
        .observed_generation
        .is_some_and(|observed| observed != state.generation);
    if behind {
        return Verdict::Pending {
            waiting: Waiting::Run,
            reason: String::new(),
            message: format!("generation {} is not observed yet", state.generation),
        };
    }
    if state.is_true("Reconciling") {
        return running(state, ready);
    }
    let worked_on = match state.kind.as_str() {
        "Kustomization" => &state.revision,
        _ => &state.attempted,
    };
    if let Some(expected) = &expected.revision
        && !worked_on
            .as_ref()
            .is_some_and(|revision| is_revision(revision, expected))
    {
        return Verdict::Pending {
            waiting: Waiting::Revision,
            reason: String::new(),
            message: format!(
                "it is at {} of its source, which is at {expected}",
                worked_on.as_deref().unwrap_or("no revision")
            ),
        };
    }
    Verdict::Done {
        revision: state.revision.clone(),
        message: ready.message.clone(),
    }
}

/// Whether `found` names `expected`. A HelmRelease notes only the digest of an OCIRepository's revision `1.2.3@sha256:…`.
fn is_revision(found: &str, expected: &str) -> bool {
    found == expected
        || expected
            .split_once('@')
            .is_some_and(|(_, digest)| digest == found)
}

fn pending(waiting: Waiting, says: &StateCondition) -> Verdict {
    Verdict::Pending {
        waiting,
        reason: says.reason.clone(),
        message: says.message.clone(),
    }
}

fn failed(cause: Cause, reason: &str, message: &str) -> Verdict {
    Verdict::Failed(Failure {
        cause,
        reason: reason.to_owned(),
        message: message.to_owned(),
    })
}

#[cfg(test)]
mod tests;
