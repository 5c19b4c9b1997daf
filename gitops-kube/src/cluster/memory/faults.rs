//! Faults on request, latency, and the count of requests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gitops_core::manifest::GroupKind;
use gitops_core::{Error, Result};

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    /// Discovery: `resolve` and `resolve_any`.
    Discover,
    /// `get`.
    Get,
    /// `list`.
    List,
    /// `watch`; counted once for each time that it begins.
    Watch,
    /// `create`.
    Create,
    /// `apply`.
    Apply,
    /// `replace`.
    Replace,
    /// `patch`.
    Patch,
    /// `delete`.
    Delete,
}

impl Verb {
    /// Whether it changes the cluster (unless it is a dry-run).
    pub fn is_write(self) -> bool {
        matches!(
            self,
            Self::Create | Self::Apply | Self::Replace | Self::Patch | Self::Delete
        )
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Discover => "discover",
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Apply | Self::Patch => "patch",
            Self::Replace => "update",
            Self::Delete => "delete",
        }
    }
}

/// What a fault answers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultAnswer {
    /// 401: `Unauthenticated`.
    Unauthorized,
    /// 403: `PermissionDenied`.
    Forbidden,
    /// 409: `Conflict`.
    Conflict,
    /// 422: `InvalidInput`, with a message.
    Invalid(String),
    /// 429: `RateLimited`, with the time to wait.
    TooManyRequests(Duration),
    /// 500: `Unavailable`.
    Internal,
    /// 503: `Unavailable`, with the time to wait.
    Unavailable(Option<Duration>),
    /// 504: `Timeout`; the request is not carried out.
    Timeout,
    /// The request is carried out, but its answer is lost: `Timeout`.
    LostAnswer,
    /// No answer ever comes; the request is not carried out.
    Hang,
}

/// Which requests fail, how, and how often. Empty fields match everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The verb.
    pub verb: Option<Verb>,
    /// The kind.
    pub kind: Option<GroupKind>,
    /// The namespace.
    pub namespace: Option<String>,
    /// The object's name.
    pub name: Option<String>,
    /// How many matching requests are let through first.
    pub skip: usize,
    /// How many requests fail; `None` means all from now on.
    pub times: Option<usize>,
    /// What they are answered.
    pub answer: FaultAnswer,
}

impl Fault {
    /// The next request, whatever it is, gets `answer`.
    pub fn new(answer: FaultAnswer) -> Self {
        Self {
            verb: None,
            kind: None,
            namespace: None,
            name: None,
            skip: 0,
            times: Some(1),
            answer,
        }
    }

    /// Only requests with this verb.
    #[must_use]
    pub fn on(mut self, verb: Verb) -> Self {
        self.verb = Some(verb);
        self
    }

    /// Only requests for this kind.
    #[must_use]
    pub fn kind(mut self, group: &str, kind: &str) -> Self {
        self.kind = Some(GroupKind::new(group, kind));
        self
    }

    /// Only requests in this namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        self
    }

    /// Only requests for objects of this name.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Lets so many matching requests through first.
    #[must_use]
    pub fn after(mut self, requests: usize) -> Self {
        self.skip = requests;
        self
    }

    /// So many requests.
    #[must_use]
    pub fn times(mut self, times: usize) -> Self {
        self.times = Some(times);
        self
    }

    /// All requests from now on.
    #[must_use]
    pub fn always(mut self) -> Self {
        self.times = None;
        self
    }

    fn matches(&self, request: &Request<'_>) -> bool {
        self.verb.is_none_or(|verb| verb == request.verb)
            && self.kind.as_ref().is_none_or(|kind| kind == request.kind)
            && self
                .namespace
                .as_ref()
                .is_none_or(|namespace| namespace == request.namespace)
            && self.name.as_ref().is_none_or(|name| name == request.name)
    }
}

/// How many requests there were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    counts: BTreeMap<Verb, usize>,
    dry_runs: usize,
}

impl Requests {
    /// With this verb, dry-runs not counted.
    pub fn count(&self, verb: Verb) -> usize {
        self.counts.get(&verb).copied().unwrap_or_default()
    }

    /// That changed the cluster, or tried to; dry-runs not counted.
    pub fn writes(&self) -> usize {
        self.sum(Verb::is_write)
    }

    /// That only read.
    pub fn reads(&self) -> usize {
        self.sum(|verb| !verb.is_write())
    }

    /// Writes that were dry-runs.
    pub fn dry_runs(&self) -> usize {
        self.dry_runs
    }

    fn sum(&self, which: impl Fn(Verb) -> bool) -> usize {
        self.counts
            .iter()
            .filter(|(verb, _)| which(**verb))
            .map(|(_, count)| count)
            .sum()
    }
}

struct Request<'a> {
    verb: Verb,
    kind: &'a GroupKind,
    namespace: &'a str,
    name: &'a str,
}

#[derive(Default)]
struct Inner {
    faults: Vec<Fault>,
    forbidden: BTreeSet<GroupKind>,
    requests: Requests,
    latency: Duration,
}

pub(super) struct Faults(Mutex<Inner>);

/// A request that is let through.
#[must_use]
pub(super) struct Pass {
    lost: bool,
}

impl Pass {
    /// The answer, unless it gets lost.
    pub(super) async fn answer<T>(self, result: Result<T>) -> Result<T> {
        if self.lost {
            return Err(Error::timeout("the API server did not answer in time"));
        }
        result
    }
}

impl Faults {
    pub(super) fn new(latency: Duration) -> Self {
        Self(Mutex::new(Inner {
            latency,
            ..Inner::default()
        }))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, fault: Fault) {
        self.inner().faults.push(fault);
    }

    pub(super) fn forbid_cluster_wide(&self, kind: GroupKind) {
        self.inner().forbidden.insert(kind);
    }

    pub(super) fn clear(&self) {
        let mut inner = self.inner();
        inner.faults.clear();
        inner.forbidden.clear();
    }

    pub(super) fn requests(&self) -> Requests {
        self.inner().requests.clone()
    }

    pub(super) fn reset_requests(&self) {
        self.inner().requests = Requests::default();
    }

    pub(super) fn set_latency(&self, latency: Duration) {
        self.inner().latency = latency;
    }

    /// Counts a request, lets it wait, and fails it if a fault says so.
    pub(super) async fn pass(
        &self,
        verb: Verb,
        kind: &GroupKind,
        namespace: &str,
        name: &str,
        dry_run: bool,
    ) -> Result<Pass> {
        let request = Request {
            verb,
            kind,
            namespace,
            name,
        };
        let (latency, forbidden, answer) = {
            let mut inner = self.inner();
            if dry_run {
                inner.requests.dry_runs += 1;
            } else {
                *inner.requests.counts.entry(verb).or_default() += 1;
            }
            let forbidden = matches!(verb, Verb::List | Verb::Watch)
                && namespace.is_empty()
                && inner.forbidden.contains(kind);
            (inner.latency, forbidden, inner.take(&request))
        };
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        match answer {
            Some(FaultAnswer::Hang) => std::future::pending().await,
            Some(FaultAnswer::LostAnswer) => Ok(Pass { lost: true }),
            Some(answer) => Err(answer.error(&request)),
            None if forbidden => Err(FaultAnswer::Forbidden.error(&request)),
            None => Ok(Pass { lost: false }),
        }
    }
}

impl Inner {
    fn take(&mut self, request: &Request<'_>) -> Option<FaultAnswer> {
        for at in 0..self.faults.len() {
            let fault = &mut self.faults[at];
            if !fault.matches(request) {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            let answer = fault.answer.clone();
            match &mut fault.times {
                Some(0) => continue,
                Some(1) => {
                    self.faults.remove(at);
                }
                Some(times) => *times -= 1,
                None => {}
            }
            return Some(answer);
        }
        None
    }
}

impl FaultAnswer {
    /// The error that a real cluster's answer becomes.
    fn error(&self, request: &Request<'_>) -> Error {
        match self {
            Self::Unauthorized => Error::unauthenticated("Unauthorized"),
            Self::Forbidden => {
                let place = if request.namespace.is_empty() {
                    "at the cluster scope".to_owned()
                } else {
                    format!("in the namespace {:?}", request.namespace)
                };
                Error::permission_denied(format!(
                    "{} {:?} is forbidden: User \"test\" cannot {} resource {place}",
                    request.kind,
                    request.name,
                    request.verb.as_str(),
                ))
            }
            Self::Conflict => Error::conflict(format!(
                "Operation cannot be fulfilled on {} {:?}: the object has been modified; please apply your changes to the latest version and try again",
                request.kind, request.name
            )),
            Self::Invalid(message) => Error::invalid(message.clone()),
            Self::TooManyRequests(after) => Error::new(
                gitops_core::ErrorKind::RateLimited,
                "too many requests, please try again later",
            )
            .with_retry_after(*after),
            Self::Internal => Error::unavailable(
                "an error on the server has prevented the request from succeeding",
            ),
            Self::Unavailable(after) => {
                let error =
                    Error::unavailable("the server is currently unable to handle the request");
                match after {
                    Some(after) => error.with_retry_after(*after),
                    None => error,
                }
            }
            Self::Timeout | Self::LostAnswer | Self::Hang => {
                Error::timeout("the API server did not answer in time")
            }
        }
    }
}
