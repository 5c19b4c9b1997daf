//! Following an application until something has happened, over cut streams and restarted servers.

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use gitops_core::application::{AppRef, Health};
use gitops_core::backend::{
    EventKind, Operation, ResourceAction, Selector, SyncEvent, SyncOutcome,
};
use gitops_core::manifest::ObjectId;
use gitops_core::{Error, ErrorKind, Result};
use jiff::Timestamp;
use tokio::time::Instant;

use super::{ArgoCdBackend, after};
use crate::operation::{DEADLINE, Seen, Settled, action, look, object_id, outcome, settled};
use crate::types::lean;

const FIRST_DELAY: Duration = Duration::from_millis(250);
const LAST_DELAY: Duration = Duration::from_secs(5);
/// How long a "no" is doubted that was a "yes" before.
const DOUBT: Duration = Duration::from_secs(20);
/// How long another comparison is waited for where it cannot be told whether the one that is there is of after the end.
const PERHAPS: Duration = Duration::from_secs(2);

/// The error of an operation that nothing is known of.
pub(super) fn unknown(operation: &Operation) -> Error {
    Error::not_found(format!(
        "nothing is known of operation {} of application {}: a newer one may have taken its place",
        operation.id, operation.app
    ))
}

/// Looks at `app` until `wanted` gives something of it as it is.
pub(super) async fn until<T>(
    backend: &ArgoCdBackend,
    app: &AppRef,
    mut wanted: impl FnMut(&lean::Application) -> Option<T>,
) -> Result<T> {
    let mut looks = Looks::new(backend, app);
    loop {
        let (record, from) = looks.next(None).await?;
        let found = record.as_ref().and_then(&mut wanted);
        match (found, from) {
            (Some(found), From::Get) => return Ok(found),
            // A stream may tell of before: what counts is what is.
            (Some(_), From::Stream) => looks.again(),
            (None, _) => {}
        }
    }
}

/// Where a look at an application came from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    /// Asked for: as it is now.
    Get,
    /// Told: as it was a while ago, perhaps before what was seen already.
    Stream,
}

/// Looks at one application: as it is, then what the stream tells, and again as it is at least every [`look`](super::ArgoCdOptions::look).
struct Looks<'a> {
    backend: &'a ArgoCdBackend,
    app: &'a AppRef,
    stream: Option<BoxStream<'static, Result<lean::WatchEvent>>>,
    look_at: Instant,
    away_since: Option<Instant>,
    /// Since when the answer is a "no" that was a "yes" before.
    doubted_since: Option<Instant>,
    /// Whether it was seen: what was allowed and there a moment ago may be so again in a moment.
    seen: bool,
    delay: Duration,
}

impl<'a> Looks<'a> {
    fn new(backend: &'a ArgoCdBackend, app: &'a AppRef) -> Self {
        Self {
            backend,
            app,
            stream: None,
            look_at: Instant::now(),
            away_since: None,
            doubted_since: None,
            seen: false,
            delay: FIRST_DELAY,
        }
    }

    /// Asks again at once.
    fn again(&mut self) {
        self.look_at = Instant::now();
    }

    /// The next look; none when `until` came first, whatever is being done or waited for then.
    async fn next(&mut self, until: Option<Instant>) -> Result<(Option<lean::Application>, From)> {
        let look = self.look();
        let looked = match until {
            Some(until) => tokio::time::timeout_at(until, look).await,
            None => Ok(look.await),
        };
        match looked {
            Ok(look) => look.map(|(record, from)| (Some(record), from)),
            Err(_) => Ok((None, From::Stream)),
        }
    }

    async fn look(&mut self) -> Result<(lean::Application, From)> {
        loop {
            if self.look_at <= Instant::now() {
                match self.get().await? {
                    Some(record) => return Ok((record, From::Get)),
                    None => continue,
                }
            }
            if self.stream.is_none() {
                self.open().await?;
            }
            let told = match &mut self.stream {
                Some(stream) => tokio::time::timeout_at(self.look_at, stream.next()).await,
                None => {
                    tokio::time::sleep_until(self.look_at).await;
                    Ok(None)
                }
            };
            match told {
                // Time to look.
                Err(_) => {}
                Ok(Some(Ok(event))) if event.kind == "DELETED" => {
                    if self.is_ours(&event.application) {
                        self.again();
                    }
                }
                Ok(Some(Ok(event))) => {
                    if self.is_ours(&event.application) {
                        return Ok((event.application, From::Stream));
                    }
                }
                Ok(ended) => {
                    if let Some(Err(error)) = ended {
                        tracing::debug!(app = %self.app, %error, "the stream was cut");
                    }
                    self.stream = None;
                    // What happened meanwhile was not told.
                    self.look_at = self.look_at.min(Instant::now() + FIRST_DELAY);
                }
            }
        }
    }

    fn is_ours(&self, record: &lean::Application) -> bool {
        record.metadata.name == self.app.name
            && (self.app.namespace.is_empty() || record.metadata.namespace == self.app.namespace)
    }

    async fn get(&mut self) -> Result<Option<lean::Application>> {
        match self.backend.access.get(self.app).await {
            Ok(record) => {
                self.away_since = None;
                self.doubted_since = None;
                self.seen = true;
                self.delay = FIRST_DELAY;
                self.look_at = after(self.backend.options.look);
                Ok(Some(record))
            }
            Err(error) => {
                self.away(error).await?;
                Ok(None)
            }
        }
    }

    async fn open(&mut self) -> Result<()> {
        let selector = Selector::one(self.app.clone());
        match self.backend.access.watch(&selector, None).await {
            Ok(stream) => self.stream = Some(stream),
            // Without a stream there are still looks, at their own pace.
            Err(error) => {
                tracing::debug!(app = %self.app, %error, "no stream");
                self.look_at = self
                    .look_at
                    .min(Instant::now() + LAST_DELAY.min(self.backend.options.look));
                tokio::time::sleep(self.delay).await;
                self.delay = (self.delay * 2).min(LAST_DELAY);
            }
        }
        Ok(())
    }

    /// How much longer an error is put up with.
    fn patience(&mut self, error: &Error) -> Duration {
        let now = Instant::now();
        let away_since = *self.away_since.get_or_insert(now);
        let left = (self.backend.options.patience).saturating_sub(now - away_since);
        match error.kind() {
            _ if error.is_retryable() => {
                self.doubted_since = None;
                left
            }
            // What Argo CD's API server says while Kubernetes' is away: it cannot tell, and lets nobody see (argo-cd 3.2,
            // `getAppEnforceRBAC`); and what Kubernetes' says before it serves custom resources again.
            ErrorKind::Internal if self.seen => left,
            ErrorKind::PermissionDenied | ErrorKind::Unauthenticated | ErrorKind::NotFound
                if self.seen =>
            {
                // A "no" after Argo CD was away for long is as doubtful as one that comes at once.
                let doubted_since = *self.doubted_since.get_or_insert(now);
                left.min(DOUBT.saturating_sub(now - doubted_since))
            }
            _ => Duration::ZERO,
        }
    }

    /// A pause, while Argo CD is away for no longer than the options allow.
    async fn away(&mut self, error: Error) -> Result<()> {
        let left = self.patience(&error);
        if left.is_zero() {
            return Err(error);
        }
        // As long as the server says, as far as there is patience.
        let pause = error
            .retry_after()
            .unwrap_or_default()
            .max(self.delay)
            .min(left);
        tracing::debug!(app = %self.app, %error, ?pause, "Argo CD is away");
        tokio::time::sleep(pause).await;
        self.delay = (self.delay * 2).min(LAST_DELAY);
        Ok(())
    }
}

/// Follows `operation` to its end.
pub(super) async fn to_the_end(
    backend: &ArgoCdBackend,
    operation: &Operation,
    tell: &mut (dyn FnMut(SyncEvent) + Send),
) -> Result<SyncOutcome> {
    let mut looks = Looks::new(backend, &operation.app);
    let mut told = Told::new(operation);
    let mut ended: Option<(SyncOutcome, Instant)> = None;
    let mut terminate_at: Option<Instant> = None;
    // An operation whose time is up before any controller has taken it up.
    let (mut pending, mut withdrawn, mut late_since) = (false, false, None);
    // The last comparison that was seen before the end.
    let mut compared = None;
    loop {
        let until = match &ended {
            Some((_, settle_at)) => Some(*settle_at),
            None => terminate_at,
        };
        let (record, from) = match looks.next(until).await {
            Ok(look) => look,
            // It ended, and what comes after is not ours to wait for.
            Err(error) => match ended {
                Some((outcome, _)) => return Ok(told.finished(outcome, tell)),
                None => return Err(error),
            },
        };
        if let Some((outcome, at)) = &ended
            && *at <= Instant::now()
        {
            return Ok(told.finished(outcome.clone(), tell));
        }
        if terminate_at.is_some_and(|at| at <= Instant::now()) && ended.is_none() {
            terminate_at = None;
            tracing::info!(app = %operation.app, operation = operation.id, "the operation's time is up");
            let late_since = *late_since.get_or_insert_with(Instant::now);
            if terminate(backend, operation).await? {
                withdrawn = pending;
                looks.again();
            } else if pending && late_since.elapsed() >= backend.options.patience {
                return Err(never_begun(operation, "still asked for"));
            }
        }
        let Some(record) = record else { continue };
        let seen = look(&record, &operation.id);
        pending = matches!(seen, Seen::Pending);
        if matches!(seen, Seen::Pending | Seen::Running(_)) {
            compared = compared.max(record.status.reconciled_at);
        }
        match seen {
            Seen::Pending => {
                if terminate_at.is_none() {
                    terminate_at = record.operation.as_ref().and_then(deadline);
                }
            }
            Seen::Running(state) => {
                told.progress(state, tell);
                if terminate_at.is_none() && state.phase == lean::Phase::Running {
                    terminate_at = deadline(&state.operation);
                }
            }
            Seen::Ended(state) => {
                told.progress(state, tell);
                let outcome = outcome(operation, state);
                let settle = backend.options.settle;
                let at = match settled(&record, state, compared) {
                    Settled::Yes => return Ok(told.finished(outcome, tell)),
                    Settled::Perhaps => after(settle.min(PERHAPS)),
                    Settled::No => after(settle),
                };
                let at = ended.map_or(at, |(_, before)| before.min(at));
                ended = Some((outcome, at));
            }
            // A stream may tell of before: what counts is what is.
            Seen::Nothing if from == From::Stream && ended.is_none() => looks.again(),
            Seen::Nothing => match ended {
                Some((outcome, _)) => return Ok(told.finished(outcome, tell)),
                None if withdrawn => return Err(never_begun(operation, "withdrawn")),
                None => return Err(unknown(operation)),
            },
        }
    }
}

fn never_begun(operation: &Operation, but: &str) -> Error {
    Error::timeout(format!(
        "the time of operation {} of application {} is up, and no controller has taken it up: it is {but}",
        operation.id, operation.app
    ))
}

/// Terminates an operation whose time is up, and says whether that was asked for.
async fn terminate(backend: &ArgoCdBackend, operation: &Operation) -> Result<bool> {
    use gitops_core::backend::Syncer as _;
    match backend.terminate(operation).await {
        Ok(()) => Ok(true),
        // Whoever asks next learns how it ended.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        // It runs on; the next look tries again, as long as Argo CD is away for no longer than is allowed.
        Err(error) if error.is_retryable() => {
            tracing::warn!(app = %operation.app, %error, "an operation whose time is up could not be terminated");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// When an operation is to be terminated.
fn deadline(operation: &lean::Operation) -> Option<Instant> {
    let at: Timestamp = operation.note(DEADLINE)?.parse().ok()?;
    let left = at.duration_since(Timestamp::now());
    Some(after(Duration::try_from(left).unwrap_or_default()))
}

/// What was told of an operation, so that it is told once.
struct Told<'a> {
    operation: &'a Operation,
    started: bool,
    retries: i64,
    resources: HashMap<ObjectId, lean::ResourceResult>,
}

impl<'a> Told<'a> {
    fn new(operation: &'a Operation) -> Self {
        Self {
            operation,
            started: false,
            retries: 0,
            resources: HashMap::new(),
        }
    }

    fn event(&self, kind: EventKind) -> SyncEvent {
        SyncEvent::now(self.operation.app.clone(), &*self.operation.id, kind)
    }

    fn progress(&mut self, state: &lean::OperationState, tell: &mut (dyn FnMut(SyncEvent) + Send)) {
        if !self.started {
            self.started = true;
            tell(self.event(EventKind::SyncStarted));
        }
        for result in state
            .sync_result
            .iter()
            .flat_map(|result| &result.resources)
        {
            let id = object_id(result);
            if self.resources.get(&id) == Some(result) {
                continue;
            }
            let before = self.resources.insert(id.clone(), result.clone());
            if let Some(kind) = changed(id, before.as_ref(), result) {
                tell(self.event(kind));
            }
        }
        if state.retry_count > self.retries {
            self.retries = state.retry_count;
            // Each try reports its resources anew.
            self.resources.clear();
            tell(self.event(EventKind::Retrying {
                attempt: u32::try_from(state.retry_count).unwrap_or(u32::MAX),
                message: state.message.clone(),
            }));
        }
    }

    fn finished(
        &self,
        outcome: SyncOutcome,
        tell: &mut (dyn FnMut(SyncEvent) + Send),
    ) -> SyncOutcome {
        tell(self.event(EventKind::SyncFinished {
            outcome: Box::new(outcome.clone()),
        }));
        outcome
    }
}

/// What the change of one resource's result tells.
fn changed(
    id: ObjectId,
    before: Option<&lean::ResourceResult>,
    now: &lean::ResourceResult,
) -> Option<EventKind> {
    if !now.hook_type.is_empty() {
        let phase: gitops_core::application::OperationPhase = now.hook_phase.into();
        return Some(EventKind::Hook {
            id,
            phase: phase.to_string(),
            message: now.message.clone(),
        });
    }
    let is_new =
        before.is_none_or(|before| before.status != now.status || action(before) != action(now));
    if is_new {
        return Some(EventKind::Resource {
            id,
            action: action(now),
            message: now.message.clone(),
        });
    }
    // What comes after the apply is the wait for its health.
    let health = match now.hook_phase {
        lean::Phase::Succeeded => Health::healthy(),
        lean::Phase::Running => Health::new(
            gitops_core::application::HealthStatus::Progressing,
            now.message.clone(),
        ),
        _ => return None,
    };
    (action(now) != ResourceAction::Failed).then_some(EventKind::HealthChanged { id, health })
}

/// The events of an operation as a stream: a task follows it for as long as somebody listens.
pub(super) fn events(
    backend: ArgoCdBackend,
    operation: Operation,
) -> BoxStream<'static, Result<SyncEvent>> {
    // Events are small, and a sync has no more than a few for each of its resources.
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    let follower = async move {
        let closed = sender.clone();
        let mut tell = |event| {
            // Nobody listens any more: the task ends below.
            let _ = sender.send(Ok(event));
        };
        tokio::select! {
            () = closed.closed() => {}
            result = to_the_end(&backend, &operation, &mut tell) => {
                if let Err(error) = result {
                    let _ = closed.send(Err(error));
                }
            }
        }
    };
    let started = std::sync::Once::new();
    let mut follower = Some(follower);
    let mut receiver = receiver;
    futures::stream::poll_fn(move |context| {
        // A stream does nothing until it is asked.
        started.call_once(|| {
            if let Some(follower) = follower.take() {
                tokio::spawn(follower);
            }
        });
        receiver.poll_recv(context)
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rest::{ArgoCd, Config};

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_doubted_for_as_long_after_an_absence() {
        let backend = ArgoCdBackend::new(ArgoCd::new(Config::new("http://127.0.0.1:9")).unwrap());
        let app = AppRef::new("web");
        let mut looks = Looks::new(&backend, &app);
        looks.seen = true;
        let away = Error::unavailable("no connection");
        let no = Error::new(ErrorKind::PermissionDenied, "no");

        let patience = backend.options.patience;
        assert_eq!(looks.patience(&away), patience);
        let absence = DOUBT * 2;
        tokio::time::advance(absence).await;
        assert_eq!(looks.patience(&no), DOUBT);
        tokio::time::advance(DOUBT / 2).await;
        assert_eq!(looks.patience(&no), DOUBT / 2);
        // It was away again, so the next "no" is the first.
        assert_eq!(looks.patience(&away), patience - absence - DOUBT / 2);
        tokio::time::advance(DOUBT / 2).await;
        assert_eq!(looks.patience(&no), DOUBT);
        tokio::time::advance(DOUBT).await;
        assert_eq!(looks.patience(&no), Duration::ZERO);
        // Whoever was never let see is not let see.
        let mut looks = Looks::new(&backend, &app);
        assert_eq!(looks.patience(&no), Duration::ZERO);
    }
}
