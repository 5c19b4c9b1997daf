//! Operations: how they are named, and what an application's record says of one.
//!
//! Argo CD gives operations no names. Each that this crate starts carries a note (`operation.info`) with one, which the controller keeps in
//! `status.operationState`; those of others are named by the time at which the controller started them, to the second, as it records it.

use gitops_core::application::{AppRef, OperationPhase, OperationStatus};
use gitops_core::backend::{Operation, ResourceAction, ResourceResult, SyncOutcome};
use gitops_core::manifest::ObjectId;
use jiff::Timestamp;

use crate::types::lean;

/// The note with an operation's name.
pub(crate) const ID: &str = "gitops.rs/operation";
/// The note with the time at which whoever waits terminates it.
pub(crate) const DEADLINE: &str = "gitops.rs/deadline";
/// The note with who asked for it.
pub(crate) const INITIATOR: &str = "gitops.rs/initiator";

/// A name for an operation that is to be started.
pub(crate) fn new_id() -> String {
    format!(
        "{}-{:016x}",
        Timestamp::now().as_millisecond(),
        fastrand::u64(..)
    )
}

/// The name of an operation.
pub(crate) fn id_of(operation: &lean::Operation, started_at: Option<Timestamp>) -> Option<String> {
    match (operation.note(ID), started_at) {
        (Some(id), _) => Some(id.to_owned()),
        (None, Some(at)) => Some(format!("started-{at}")),
        (None, None) => None,
    }
}

/// What an application's record says of one operation.
#[derive(Debug)]
pub(crate) enum Seen<'a> {
    /// It is asked for, and no controller has taken it up.
    Pending,
    /// It runs, or waits for its next try.
    Running(&'a lean::OperationState),
    /// It ended.
    Ended(&'a lean::OperationState),
    /// Nothing: a newer one took its place, or it never was.
    Nothing,
}

/// What `app` says of operation `id`.
pub(crate) fn look<'a>(app: &'a lean::Application, id: &str) -> Seen<'a> {
    let state = app
        .status
        .operation_state
        .as_ref()
        .filter(|state| id_of(&state.operation, state.started_at).as_deref() == Some(id));
    let asked = app
        .operation
        .as_ref()
        .is_some_and(|operation| operation.note(ID) == Some(id));
    match state {
        // It has ended when the controller has taken `operation` away; until then it may begin its next try.
        Some(state) if state.phase.is_completed() && !asked => Seen::Ended(state),
        Some(state) => Seen::Running(state),
        None if asked => Seen::Pending,
        None => Seen::Nothing,
    }
}

/// Whether `status` tells of after an operation's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// It tells of before.
    No,
    /// It cannot be told; another comparison comes within moments if it tells of before.
    Perhaps,
    /// It tells of after it.
    Yes,
}

/// Whether the controller has compared the application since the operation ended: until then `status` tells of before (argo-cd#5592). A dry run changes
/// nothing. `compared` is the last comparison that was seen before the end.
pub(crate) fn settled(
    app: &lean::Application,
    state: &lean::OperationState,
    compared: Option<Timestamp>,
) -> Settled {
    let sync = state.operation.sync.as_ref();
    if sync.is_some_and(|sync| sync.dry_run) {
        return Settled::Yes;
    }
    let (Some(reconciled), Some(finished)) = (app.status.reconciled_at, state.finished_at) else {
        return Settled::No;
    };
    if reconciled < finished {
        return Settled::No;
    }
    // Argo CD's times count seconds: which came first is only known of a comparison that was seen before the end, or of one of another second.
    let is_old = reconciled == compared.unwrap_or(finished);
    // The controller learns of what it applied from its watches (gitops-engine, `cache`): the first comparison may come before that.
    let is_early = state.phase == lean::Phase::Succeeded
        && app.status.sync.status != lean::SyncCode::Synced
        && reconciled.duration_since(finished).as_secs() <= 1;
    match is_old || is_early {
        true => Settled::Perhaps,
        false => Settled::Yes,
    }
}

/// The running or last operation, as core's types have it.
pub(crate) fn status_of(app: &lean::Application) -> Option<OperationStatus> {
    let status = match (&app.status.operation_state, &app.operation) {
        (Some(state), _) => OperationStatus {
            id: id_of(&state.operation, state.started_at).unwrap_or_default(),
            phase: phase(state, app.operation.is_some()),
            message: state.message.clone(),
            revisions: revisions(state),
            started_at: state.started_at,
            finished_at: state.finished_at.filter(|_| state.phase.is_completed()),
            initiated_by: initiator(&state.operation),
            retry_count: u32::try_from(state.retry_count).unwrap_or_default(),
        },
        (None, Some(operation)) => OperationStatus {
            id: id_of(operation, None).unwrap_or_default(),
            phase: OperationPhase::Running,
            revisions: operation
                .sync
                .as_ref()
                .map(|sync| lean::revisions(sync.revisions.clone(), sync.revision.clone()))
                .unwrap_or_default(),
            initiated_by: initiator(operation),
            ..OperationStatus::default()
        },
        (None, None) => return None,
    };
    Some(status)
}

fn phase(state: &lean::OperationState, asked: bool) -> OperationPhase {
    match state.phase {
        // A newer server's phase: with the operation gone it is over, and nobody here can say how.
        lean::Phase::Unknown if !asked && state.finished_at.is_some() => OperationPhase::Error,
        phase => phase.into(),
    }
}

fn initiator(operation: &lean::Operation) -> String {
    if let Some(name) = operation.note(INITIATOR) {
        return name.to_owned();
    }
    match (
        &*operation.initiated_by.username,
        operation.initiated_by.automated,
    ) {
        ("", true) => "automated sync policy".to_owned(),
        (name, _) => name.to_owned(),
    }
}

fn revisions(state: &lean::OperationState) -> Vec<String> {
    let done = state
        .sync_result
        .as_ref()
        .map(|result| lean::revisions(result.revisions.clone(), result.revision.clone()))
        .unwrap_or_default();
    if !done.is_empty() {
        return done;
    }
    state
        .operation
        .sync
        .as_ref()
        .map(|sync| lean::revisions(sync.revisions.clone(), sync.revision.clone()))
        .unwrap_or_default()
}

/// The outcome of an operation that ended.
pub(crate) fn outcome(operation: &Operation, state: &lean::OperationState) -> SyncOutcome {
    let resources = state
        .sync_result
        .iter()
        .flat_map(|result| &result.resources);
    SyncOutcome {
        operation: operation.clone(),
        phase: phase(state, false),
        message: state.message.clone(),
        revisions: revisions(state),
        resources: resources.map(resource).collect(),
        finished_at: state.finished_at.unwrap_or_else(Timestamp::now),
    }
}

pub(crate) fn object_id(result: &lean::ResourceResult) -> ObjectId {
    ObjectId::new(
        &*result.group,
        &*result.kind,
        &*result.namespace,
        &*result.name,
    )
}

/// What happened to a resource. Argo CD's result says only that it was synced; `kubectl apply`'s own words, which it keeps as the message, say how.
pub(crate) fn action(result: &lean::ResourceResult) -> ResourceAction {
    let failed = matches!(result.hook_phase, lean::Phase::Failed | lean::Phase::Error);
    match result.status {
        lean::ResultCode::SyncFailed => ResourceAction::Failed,
        lean::ResultCode::Pruned => ResourceAction::Pruned,
        lean::ResultCode::PruneSkipped => ResourceAction::PruneSkipped,
        lean::ResultCode::Synced | lean::ResultCode::Unknown if failed => ResourceAction::Failed,
        lean::ResultCode::Synced | lean::ResultCode::Unknown => {
            let said = result.message.trim_end_matches(" (dry run)");
            let said = said.trim_end_matches(" (server dry run)");
            if said.ends_with(" created") {
                ResourceAction::Created
            } else if said.ends_with(" configured")
                || said.ends_with(" replaced")
                || said.ends_with(" serverside-applied")
            {
                ResourceAction::Updated
            } else {
                ResourceAction::Unchanged
            }
        }
    }
}

fn resource(result: &lean::ResourceResult) -> ResourceResult {
    ResourceResult {
        id: object_id(result),
        action: action(result),
        message: result.message.clone(),
        health: None,
    }
}

/// An operation as its name.
pub(crate) fn named(app: &AppRef, id: String, started_at: Timestamp) -> Operation {
    Operation {
        app: app.clone(),
        id,
        started_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(json: &str) -> lean::Application {
        serde_json::from_str(json).unwrap()
    }

    const OURS: &str =
        r#""info":[{"name":"gitops.rs/operation","value":"a"}],"sync":{"revision":"main"}"#;

    #[test]
    fn an_operation_is_followed_by_its_name() {
        let cases = [
            (format!(r#"{{"operation":{{{OURS}}}}}"#), "pending"),
            (
                format!(r#"{{"operation":{{{OURS}}},"status":{{"operationState":{{"phase":"Running","startedAt":"2026-01-01T00:00:00Z","operation":{{{OURS}}}}}}}}}"#),
                "running",
            ),
            // A try that failed, while the next one is waited for.
            (
                format!(r#"{{"operation":{{{OURS}}},"status":{{"operationState":{{"phase":"Running","finishedAt":"2026-01-01T00:00:00Z","operation":{{{OURS}}}}}}}}}"#),
                "running",
            ),
            // The phase is written before the operation goes.
            (
                format!(r#"{{"operation":{{{OURS}}},"status":{{"operationState":{{"phase":"Failed","operation":{{{OURS}}}}}}}}}"#),
                "running",
            ),
            (
                format!(r#"{{"status":{{"operationState":{{"phase":"Failed","operation":{{{OURS}}}}}}}}}"#),
                "ended",
            ),
            (
                r#"{"status":{"operationState":{"phase":"Succeeded","startedAt":"2026-01-01T00:00:00Z","operation":{"info":[{"name":"gitops.rs/operation","value":"b"}]}}}}"#.into(),
                "nothing",
            ),
            (r#"{"operation":{"sync":{}}}"#.into(), "nothing"),
            (r#"{"status":{"operationState":null},"operation":null}"#.into(), "nothing"),
        ];
        for (json, wanted) in cases {
            let app = app(&json);
            let seen = match look(&app, "a") {
                Seen::Pending => "pending",
                Seen::Running(_) => "running",
                Seen::Ended(_) => "ended",
                Seen::Nothing => "nothing",
            };
            assert_eq!(seen, wanted, "{json}");
        }
    }

    #[test]
    fn operations_of_others_are_named_by_their_start() {
        let app = app(
            r#"{"status":{"operationState":{"phase":"Succeeded","startedAt":"2026-01-01T00:00:00Z","operation":{"sync":{}}}}}"#,
        );
        assert!(matches!(
            look(&app, "started-2026-01-01T00:00:00Z"),
            Seen::Ended(_)
        ));
        assert_eq!(status_of(&app).unwrap().id, "started-2026-01-01T00:00:00Z");
    }

    #[test]
    fn unknown_phases_of_newer_servers_do_not_end_a_running_operation() {
        let running = app(&format!(
            r#"{{"operation":{{{OURS}}},"status":{{"operationState":{{"phase":"Pondering","operation":{{{OURS}}}}}}}}}"#
        ));
        assert_eq!(status_of(&running).unwrap().phase, OperationPhase::Running);
        assert!(matches!(look(&running, "a"), Seen::Running(_)));
        let over = app(&format!(
            r#"{{"status":{{"operationState":{{"phase":"Pondered","finishedAt":"2026-01-01T00:00:00Z","operation":{{{OURS}}}}}}}}}"#
        ));
        assert_eq!(status_of(&over).unwrap().phase, OperationPhase::Error);
    }

    #[test]
    fn kubectls_words_tell_what_happened() {
        let cases = [
            (
                "Synced",
                "deployment.apps/a created",
                ResourceAction::Created,
            ),
            (
                "Synced",
                "deployment.apps/a configured",
                ResourceAction::Updated,
            ),
            (
                "Synced",
                "deployment.apps/a serverside-applied",
                ResourceAction::Updated,
            ),
            (
                "Synced",
                "deployment.apps/a replaced",
                ResourceAction::Updated,
            ),
            (
                "Synced",
                "deployment.apps/a unchanged",
                ResourceAction::Unchanged,
            ),
            (
                "Synced",
                "deployment.apps/a created (dry run)",
                ResourceAction::Created,
            ),
            ("Synced", "", ResourceAction::Unchanged),
            ("SyncFailed", "no", ResourceAction::Failed),
            ("Pruned", "pruned", ResourceAction::Pruned),
            ("PruneSkipped", "ignored", ResourceAction::PruneSkipped),
            (
                "Invented",
                "deployment.apps/a created",
                ResourceAction::Created,
            ),
        ];
        for (status, message, wanted) in cases {
            let result: lean::ResourceResult =
                serde_json::from_value(serde_json::json!({"status": status, "message": message}))
                    .unwrap();
            assert_eq!(action(&result), wanted, "{status} {message}");
        }
    }

    #[test]
    fn settled_is_compared_since() {
        let state = |json: &str| serde_json::from_str::<lean::OperationState>(json).unwrap();
        let ended = state(r#"{"phase":"Succeeded","finishedAt":"2026-01-01T00:00:10Z"}"#);
        let time = |second: u32| format!("2026-01-01T00:00:{second:02}Z");
        let at = |second: u32, sync: &str| {
            let (time, sync) = (time(second), format!(r#"{{"status":"{sync}"}}"#));
            app(&format!(
                r#"{{"status":{{"reconciledAt":"{time}","sync":{sync}}}}}"#
            ))
        };
        let compared = |second: u32| Some(time(second).parse().unwrap());
        for (second, sync, before, wanted) in [
            (9, "Synced", compared(8), Settled::No),
            (10, "Synced", compared(9), Settled::Yes),
            (10, "Synced", compared(10), Settled::Perhaps),
            (10, "Synced", None, Settled::Perhaps),
            (11, "Synced", None, Settled::Yes),
            // Before the controller's cache has what was applied.
            (10, "OutOfSync", compared(9), Settled::Perhaps),
            (11, "OutOfSync", compared(9), Settled::Perhaps),
            (12, "OutOfSync", compared(9), Settled::Yes),
        ] {
            let found = settled(&at(second, sync), &ended, before);
            assert_eq!(found, wanted, "{second} {sync} {before:?}");
        }
        assert_eq!(settled(&app("{}"), &ended, None), Settled::No);
        // What failed is as it is.
        let failed = state(r#"{"phase":"Failed","finishedAt":"2026-01-01T00:00:10Z"}"#);
        let found = settled(&at(10, "OutOfSync"), &failed, compared(9));
        assert_eq!(found, Settled::Yes);
        let dry = state(r#"{"operation":{"sync":{"dryRun":true}}}"#);
        assert_eq!(settled(&app("{}"), &dry, None), Settled::Yes);
    }
}
