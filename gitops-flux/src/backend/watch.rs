//! Watching: what is, then what changes, on one connection per kind. Nothing is told before all kinds were read: where one may not be read, its errors are all that is told.

mod users;

use std::collections::{HashMap, HashSet, VecDeque};

use futures::stream::{BoxStream, SelectAll};
use futures::{FutureExt as _, StreamExt as _};
use gitops_core::Result;
use gitops_core::application::{AppRef, ApplicationStatus};
use gitops_core::backend::{Selector, StatusEvent};

use self::users::Users;
use super::snapshot::{Snapshot, broken};
use super::{FluxBackend, status};
use crate::convert::{SourceObject, Workload};
use crate::kind::{FluxKind, FluxResource};
use crate::manager::read::says_not_installed;
use crate::manager::{FluxEvent, FluxRef, ListOptions};
use crate::types::{
    Bucket, ExternalArtifact, GitRepository, HelmChart, HelmRelease, HelmRepository, Kustomization,
    OCIRepository,
};

/// A change of one object.
#[derive(Debug)]
enum Object {
    Workload(Workload),
    Source(SourceObject),
    Chart(Box<HelmChart>),
}

#[derive(Debug)]
enum News {
    Restarted(FluxKind),
    Is(FluxRef, Object),
    Gone(FluxRef),
    Synced(FluxKind),
    Failed(FluxKind, gitops_core::Error),
}

fn news<K: FluxResource>(
    backend: &FluxBackend,
    options: &ListOptions,
    object: fn(Box<K>) -> Object,
) -> BoxStream<'static, News> {
    let events = backend.manager.watch::<K>(options);
    events
        .map(move |event| match event {
            Ok(FluxEvent::Restarted) => News::Restarted(K::KIND),
            Ok(FluxEvent::Applied(one)) => News::Is(FluxRef::of(&one), object(Box::new(one))),
            Ok(FluxEvent::Deleted(one)) => News::Gone(FluxRef::of(&one)),
            Ok(FluxEvent::Synced) => News::Synced(K::KIND),
            Ok(FluxEvent::Unreadable(one)) => News::Failed(K::KIND, broken(&one)),
            Err(error) => News::Failed(K::KIND, error),
        })
        .boxed()
}

const KINDS: [FluxKind; 8] = [
    FluxKind::Kustomization,
    FluxKind::HelmRelease,
    FluxKind::GitRepository,
    FluxKind::OCIRepository,
    FluxKind::HelmRepository,
    FluxKind::Bucket,
    FluxKind::ExternalArtifact,
    FluxKind::HelmChart,
];

struct Watch {
    backend: FluxBackend,
    selector: Selector,
    streams: SelectAll<BoxStream<'static, News>>,
    all: Snapshot,
    users: Users,
    /// What was there before a kind was told again, and has not been told since.
    stale: HashMap<FluxKind, HashSet<FluxRef>>,
    synced: HashSet<FluxKind>,
    /// Kinds whose absence was told.
    missing: HashSet<FluxKind>,
    told: HashMap<FluxRef, (AppRef, Option<ApplicationStatus>)>,
    dirty: HashSet<FluxRef>,
    queue: VecDeque<Result<StatusEvent>>,
}

pub(super) fn watch(
    backend: FluxBackend,
    selector: Selector,
) -> BoxStream<'static, Result<StatusEvent>> {
    let options = backend.scope(&selector);
    let mut streams = SelectAll::new();
    streams.push(news::<Kustomization>(&backend, &options, |one| {
        Object::Workload(Workload::Kustomization(one))
    }));
    streams.push(news::<HelmRelease>(&backend, &options, |one| {
        Object::Workload(Workload::HelmRelease(one))
    }));
    streams.push(news::<GitRepository>(&backend, &options, |one| {
        Object::Source(SourceObject::Git(one))
    }));
    streams.push(news::<OCIRepository>(&backend, &options, |one| {
        Object::Source(SourceObject::Oci(one))
    }));
    streams.push(news::<HelmRepository>(&backend, &options, |one| {
        Object::Source(SourceObject::Helm(one))
    }));
    streams.push(news::<Bucket>(&backend, &options, |one| {
        Object::Source(SourceObject::Bucket(one))
    }));
    streams.push(news::<ExternalArtifact>(&backend, &options, |one| {
        Object::Source(SourceObject::External(one))
    }));
    streams.push(news::<HelmChart>(&backend, &options, Object::Chart));
    let watch = Watch {
        backend,
        selector,
        streams,
        all: Snapshot::default(),
        users: Users::default(),
        stale: HashMap::new(),
        synced: HashSet::new(),
        missing: HashSet::new(),
        told: HashMap::new(),
        dirty: HashSet::new(),
        queue: VecDeque::new(),
    };
    futures::stream::unfold(watch, |mut watch| async move {
        let event = watch.next().await?;
        Some((event, watch))
    })
    .boxed()
}

impl Watch {
    async fn next(&mut self) -> Option<Result<StatusEvent>> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Some(event);
            }
            let news = self.streams.next().await?;
            self.take(news);
            // What is there at once belongs together: a sync changes an object several times.
            while let Some(Some(news)) = self.streams.next().now_or_never() {
                self.take(news);
            }
            if KINDS.iter().all(|kind| self.synced.contains(kind)) {
                self.tell();
            }
        }
    }

    fn take(&mut self, news: News) {
        match news {
            News::Restarted(kind) => {
                let known = self.known(kind);
                self.stale.insert(kind, known);
            }
            News::Is(named, object) => {
                if let Some(stale) = self.stale.get_mut(&named.kind) {
                    stale.remove(&named);
                }
                match object {
                    Object::Workload(workload) => {
                        self.users.insert(&named, &workload);
                        self.all.workloads.insert(named.clone(), workload);
                        self.dirty.insert(named);
                    }
                    Object::Source(source) => {
                        self.all.sources.insert(named.clone(), source);
                        self.touch(&named);
                    }
                    Object::Chart(chart) => {
                        self.all.charts.insert(named.clone(), *chart);
                        self.touch(&named);
                    }
                }
            }
            News::Gone(named) => self.gone(&named),
            News::Synced(kind) => {
                for named in self.stale.remove(&kind).unwrap_or_default() {
                    self.gone(&named);
                }
                self.missing.remove(&kind);
                self.synced.insert(kind);
            }
            // A Flux without the kind has none of its objects; it may get it later.
            News::Failed(kind, error)
                if says_not_installed(&error) && kind != FluxKind::Kustomization =>
            {
                if self.missing.insert(kind) {
                    tracing::debug!(%kind, "the kind is not installed");
                }
                self.synced.insert(kind);
            }
            News::Failed(_, error) => {
                // A gap: all that is is told again.
                for (_, status) in self.told.values_mut() {
                    *status = None;
                }
                self.dirty.extend(self.all.workloads.keys().cloned());
                self.queue.push_back(Err(error));
            }
        }
    }

    fn known(&self, kind: FluxKind) -> HashSet<FluxRef> {
        let workloads = self.all.workloads.keys();
        let sources = self.all.sources.keys();
        let all = workloads.chain(sources).chain(self.all.charts.keys());
        all.filter(|named| named.kind == kind).cloned().collect()
    }

    fn gone(&mut self, named: &FluxRef) {
        self.all.sources.remove(named);
        self.all.charts.remove(named);
        self.touch(named);
        if self.all.workloads.remove(named).is_some() {
            self.users.remove(named);
            self.dirty.remove(named);
            if let Some((app, _)) = self.told.remove(named) {
                self.queue.push_back(Ok(StatusEvent::Deleted { app }));
            }
        }
    }

    /// The workloads that depend on an object are to be looked at.
    fn touch(&mut self, changed: &FluxRef) {
        self.dirty.extend(self.users.of(changed).cloned());
    }

    fn tell(&mut self) {
        for named in std::mem::take(&mut self.dirty) {
            let Some(workload) = self.all.workloads.get(&named) else {
                continue;
            };
            let loaded = self.all.loaded(workload);
            let name = self.all.name(&self.backend, &named);
            let seen = self.backend.application(&loaded.parts).and_then(|mut app| {
                app.name.clone_from(&name.name);
                Ok((
                    self.backend.selects(&self.selector, &app),
                    status::of(&loaded)?,
                ))
            });
            let (is_meant, now) = match seen {
                Ok(seen) => seen,
                Err(error) => {
                    self.queue.push_back(Err(error));
                    continue;
                }
            };
            if !is_meant {
                if let Some((app, _)) = self.told.remove(&named) {
                    self.queue.push_back(Ok(StatusEvent::Deleted { app }));
                }
                continue;
            }
            let same = |before: &ApplicationStatus| {
                ApplicationStatus {
                    observed_at: None,
                    ..before.clone()
                } == ApplicationStatus {
                    observed_at: None,
                    ..now.clone()
                }
            };
            let known = self
                .told
                .get(&named)
                .and_then(|(_, status)| status.as_ref());
            if known.is_some_and(same) {
                continue;
            }
            self.told.insert(named, (name.clone(), Some(now.clone())));
            self.queue.push_back(Ok(StatusEvent::Status {
                app: name,
                status: Box::new(now),
            }));
        }
    }
}
