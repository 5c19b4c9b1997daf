//! What a reconcile takes that is not the controller's.
//!
//! A witness watches the same objects on a connection, a thread and a runtime of its own, and notes when each change arrives at this machine: what it reads is the raw stream of a
//! watch, and nothing of `gitops-flux` is in it. For each object that is asked to reconcile, the controller's time goes from the answer to our request (the PATCH of the
//! annotation) to the arrival of the first change in which the object both names the request's token in `status.lastHandledReconcileAt` and is Ready. All the rest of the call is ours:
//! what is read before the request, the request itself until it is answered, and from that arrival until the call returns. Where ours is told before the witness is, the
//! controller's time ends there: it is never given time after we were done.
//!
//! The API server's audit log, whose times have microseconds, says the same from the other side and without this process: there the controller's time goes from the end of our
//! request to the moment at which the API server receives the last status that the controller wrote before that arrival. Storing it and telling the watchers then counts as ours.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use futures::{AsyncBufReadExt as _, TryStreamExt as _};
use gitops_flux::reconcile::{ReconcileOptions, Reconciled, Update, WaitOptions};
use gitops_flux::{FluxKind, FluxManager, FluxOptions, FluxRef};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use super::audit;
use crate::clock;

/// Longer than any controller takes here.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Args)]
pub(crate) struct Reconcile {
    /// The cluster.
    #[arg(long)]
    kubeconfig: PathBuf,
    /// The Kustomization's namespace, and its source's.
    #[arg(long)]
    namespace: String,
    /// The Kustomization's name, and its GitRepository's.
    #[arg(long)]
    name: String,
    /// How often.
    #[arg(long)]
    rounds: usize,
    /// Its source first.
    #[arg(long)]
    with_source: bool,
    /// The API server's audit log.
    #[arg(long)]
    audit_log: PathBuf,
}

/// A change of one of the objects, as the witness saw it.
struct Seen {
    at: Instant,
    kind: FluxKind,
    /// `status.lastHandledReconcileAt`.
    handled: String,
    ready: bool,
}

pub(crate) fn reconcile(arguments: &Reconcile) -> Result<()> {
    ensure!(arguments.rounds > 0, "at least one round");
    let mut kinds = vec![FluxKind::Kustomization];
    if arguments.with_source {
        kinds.insert(0, FluxKind::GitRepository);
    }
    let witness = witness(arguments, &kinds)?;
    let runtime = Runtime::new()?;
    let manager = runtime.block_on(super::manager(
        &arguments.kubeconfig,
        FluxOptions::default(),
    ))?;
    let mut rounds = Vec::new();
    for _ in 0..arguments.rounds {
        let round = runtime.block_on(round(arguments, &manager))?;
        ensure!(
            round.requests.len() == kinds.len(),
            "{} requests instead of {}",
            round.requests.len(),
            kinds.len()
        );
        rounds.push(split(arguments, &round, &witness)?);
    }
    let times = |of: fn(&Split) -> Duration| rounds.iter().map(of).map(clock::ms).collect();
    let slowest = rounds
        .iter()
        .map(|round| clock::ms(round.ours))
        .fold(0.0, f64::max);
    let [ours, audited, controllers, after] = [
        times(|round| round.ours),
        times(|round| round.audited),
        times(|round| round.controllers),
        times(|round| round.after),
    ]
    .map(clock::median);
    let revision = rounds.last().map(|round| &round.revision);
    println!(
        "{}",
        json!({
            "ms": ours, "slowest_ms": slowest, "audited_ms": audited, "controllers_ms": controllers, "after_ms": after, "rounds": rounds.len(), "revision": revision,
        })
    );
    Ok(())
}

/// One call, as it went.
struct Round {
    begun: Instant,
    begun_at: Timestamp,
    ended: Instant,
    requests: Vec<Request>,
    reconciled: Reconciled,
}

struct Request {
    kind: FluxKind,
    token: String,
    /// When it was answered.
    answered: Instant,
    /// When ours took it for done.
    done: Instant,
}

async fn round(arguments: &Reconcile, manager: &FluxManager) -> Result<Round> {
    let told: Arc<Mutex<Vec<(Instant, Update)>>> = Arc::default();
    let progress = Arc::clone(&told);
    let wait = WaitOptions::within(PATIENCE).progress(move |update| {
        let at = Instant::now();
        progress
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((at, update.clone()));
    });
    let mut options = ReconcileOptions::default().wait(wait);
    if arguments.with_source {
        options = options.with_source();
    }
    let object = FluxRef::new(
        FluxKind::Kustomization,
        &*arguments.namespace,
        &*arguments.name,
    );
    let (begun, begun_at) = (Instant::now(), Timestamp::now());
    let reconciled = manager.reconcile(&object, &options).await?;
    let ended = Instant::now();
    let told = told.lock().unwrap_or_else(PoisonError::into_inner);
    let requests = told
        .iter()
        .filter_map(|(at, update)| match update {
            Update::Requested { object, token } => Some((at, object, token)),
            _ => None,
        })
        .map(|(answered, object, token)| {
            let done = told.iter().find_map(|(at, update)| match update {
                Update::Done { object: done, .. } if done == object => Some(*at),
                _ => None,
            });
            Ok(Request {
                kind: object.kind,
                token: token.clone(),
                answered: *answered,
                done: done.with_context(|| format!("{object} was never told to be done"))?,
            })
        })
        .collect::<Result<_>>()?;
    Ok(Round {
        begun,
        begun_at,
        ended,
        requests,
        reconciled,
    })
}

/// Whose time it was.
struct Split {
    ours: Duration,
    /// Ours, by the audit log.
    audited: Duration,
    controllers: Duration,
    /// Of ours, what came after the last object was done.
    after: Duration,
    revision: String,
}

fn split(arguments: &Reconcile, round: &Round, witness: &Receiver<Seen>) -> Result<Split> {
    let mut seen: Vec<Seen> = Vec::new();
    let mut controllers = Duration::ZERO;
    let mut audited = Duration::ZERO;
    let mut after = Duration::ZERO;
    for request in &round.requests {
        let is_it =
            |seen: &Seen| seen.kind == request.kind && seen.ready && seen.handled == request.token;
        let at = loop {
            if let Some(seen) = seen.iter().find(|seen| is_it(seen)) {
                break seen.at;
            }
            match witness.recv_timeout(PATIENCE) {
                Ok(one) => seen.push(one),
                Err(RecvTimeoutError::Timeout) => {
                    bail!("the witness never saw that {} was done", request.kind)
                }
                Err(RecvTimeoutError::Disconnected) => bail!("the witness is gone"),
            }
        };
        let asked = audit::Asked {
            kind: request.kind,
            namespace: &arguments.namespace,
            name: &arguments.name,
            begun: round.begun_at,
            arrived: round.begun_at + at.saturating_duration_since(round.begun),
        };
        audited += audit::controller_time(&arguments.audit_log, &asked)?;
        controllers += at
            .min(request.done)
            .saturating_duration_since(request.answered);
        after = round.ended.saturating_duration_since(at);
    }
    let total = round.ended.duration_since(round.begun);
    Ok(Split {
        ours: total.saturating_sub(controllers),
        audited: total.saturating_sub(audited),
        controllers,
        after,
        revision: round.reconciled.revision.clone().context("no revision")?,
    })
}

/// Watches the objects from now on. It ends with the process.
fn witness(arguments: &Reconcile, kinds: &[FluxKind]) -> Result<Receiver<Seen>> {
    let (sender, receiver) = channel();
    let (ready, is_ready) = channel();
    for kind in kinds.iter().copied() {
        let (sender, ready) = (sender.clone(), ready.clone());
        let (kubeconfig, namespace, name) = (
            arguments.kubeconfig.clone(),
            arguments.namespace.clone(),
            arguments.name.clone(),
        );
        thread::spawn(move || {
            let tell = |at, object: &Value| {
                let text = |path| object.pointer(path).and_then(Value::as_str);
                let conditions = object
                    .pointer("/status/conditions")
                    .and_then(Value::as_array);
                let seen = Seen {
                    at,
                    kind,
                    handled: text("/status/lastHandledReconcileAt")
                        .unwrap_or_default()
                        .to_owned(),
                    ready: conditions.into_iter().flatten().any(|condition| {
                        condition["type"] == "Ready" && condition["status"] == "True"
                    }),
                };
                // Nobody listens any more: the process ends.
                let _ = sender.send(seen);
            };
            let runtime = match Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(ready.send(Err(error.into()))),
            };
            let watch = runtime.block_on(watch(&kubeconfig, kind, &namespace, &name, &ready, tell));
            if let Err(error) = watch {
                let _ = ready.send(Err(error));
            }
        });
    }
    for _ in kinds {
        is_ready
            .recv_timeout(PATIENCE)
            .context("the witness does not come")??;
    }
    Ok(receiver)
}

/// A raw watch, line by line.
async fn watch(
    kubeconfig: &Path,
    kind: FluxKind,
    namespace: &str,
    name: &str,
    ready: &std::sync::mpsc::Sender<Result<()>>,
    tell: impl Fn(Instant, &Value),
) -> Result<()> {
    let client = super::cluster(kubeconfig).await?.client().clone();
    let path = format!(
        "/apis/{}/{}/namespaces/{namespace}/{}?watch=true&fieldSelector=metadata.name%3D{name}",
        kind.group(),
        kind.version(),
        kind.plural()
    );
    let request = http::Request::get(path).body(Vec::new())?;
    let mut lines = client.request_stream(request).await?.lines();
    let mut is_first = true;
    while let Some(line) = lines.try_next().await? {
        let at = Instant::now();
        let event: Value = serde_json::from_str(&line)?;
        ensure!(event["type"] != "ERROR", "the watch ended: {line}");
        tell(at, &event["object"]);
        // Without a version the watch begins with the object as it is.
        if std::mem::take(&mut is_first) {
            let _ = ready.send(Ok(()));
        }
    }
    Ok(())
}
