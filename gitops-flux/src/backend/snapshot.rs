//! All applications of a namespace, or of all, with one list for each kind.

use std::collections::{HashMap, HashSet};

use gitops_core::application::AppRef;
use gitops_core::backend::Selector;
use gitops_core::{Error, ErrorKind, Result};
use serde_json::Value;

use super::FluxBackend;
use super::access::{Loaded, SUFFIX, named_source, read_source};
use crate::convert::{Parts, SourceObject, Workload};
use crate::kind::{FluxKind, FluxResource};
use crate::manager::read::says_not_installed;
use crate::manager::{FluxRef, ListOptions, Unreadable};
use crate::types::{
    Bucket, ExternalArtifact, GitRepository, HelmChart, HelmRelease, HelmRepository, Kustomization,
    OCIRepository,
};

/// The objects of Flux that applications are made of.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    pub(super) workloads: HashMap<FluxRef, Workload>,
    pub(super) sources: HashMap<FluxRef, SourceObject>,
    pub(super) charts: HashMap<FluxRef, HelmChart>,
    pub(super) unreadable: Vec<Unreadable>,
}

impl Snapshot {
    /// The application of a workload.
    pub(super) fn loaded(&self, workload: &Workload) -> Loaded {
        let (source, chart) = (named_source(workload), chart_of(workload));
        Loaded {
            parts: Parts {
                source: source.and_then(|named| self.sources.get(&named).cloned()),
                workload: workload.clone(),
            },
            chart: chart.and_then(|named| self.charts.get(&named).cloned()),
            value: Value::Null,
        }
    }

    /// What the application of a workload is called.
    pub(super) fn name(&self, backend: &FluxBackend, named: &FluxRef) -> AppRef {
        let twin = FluxRef::new(FluxKind::Kustomization, &*named.namespace, &*named.name);
        match named.kind == FluxKind::HelmRelease && self.workloads.contains_key(&twin) {
            true => backend.name_in(&named.namespace, &format!("{}{SUFFIX}", named.name)),
            false => backend.name_in(&named.namespace, &named.name),
        }
    }
}

/// The chart that a release had made: `status.helmChart` is `namespace/name`.
fn chart_of(workload: &Workload) -> Option<FluxRef> {
    let Workload::HelmRelease(object) = workload else {
        return None;
    };
    object.spec.chart.as_ref()?;
    let (namespace, name) = object
        .status
        .as_ref()?
        .helm_chart
        .as_deref()?
        .split_once('/')?;
    Some(FluxRef::new(FluxKind::HelmChart, namespace, name))
}

/// The source that a workload names, and the chart that was made for it.
pub(super) fn uses(workload: &Workload) -> impl Iterator<Item = FluxRef> {
    let both = [named_source(workload), chart_of(workload)];
    both.into_iter().flatten()
}

impl FluxBackend {
    /// Where the applications of a selector are; `None` for everywhere.
    pub(super) fn scope(&self, selector: &Selector) -> ListOptions {
        let own = || self.manager.options().namespace.clone();
        let named = |namespace: &str| match namespace {
            "" => own(),
            namespace => namespace.to_owned(),
        };
        let namespace = match (&selector.app, &selector.namespace) {
            (Some(app), _) => Some(named(&app.namespace)),
            (None, Some(namespace)) => Some(named(namespace)),
            (None, None) => (!self.options.everywhere).then(own),
        };
        ListOptions {
            namespace,
            labels: None,
        }
    }

    async fn list_into<K: FluxResource>(
        &self,
        options: &ListOptions,
        unreadable: &mut Vec<Unreadable>,
        mut take: impl FnMut(FluxRef, K),
    ) -> Result<()> {
        let list = match self.manager.list::<K>(options).await {
            Ok(list) => list,
            // A Flux without this kind has none of its objects.
            Err(error) if says_not_installed(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        unreadable.extend(list.unreadable);
        for object in list.items {
            take(FluxRef::of(&object), object);
        }
        Ok(())
    }

    /// The objects of a selector's namespace, and the sources and charts of other namespaces that they name, as far as those may be read.
    pub(super) async fn snapshot(&self, selector: &Selector) -> Result<Snapshot> {
        let options = self.scope(selector);
        let mut all = Snapshot::default();
        let Snapshot {
            workloads,
            sources,
            charts,
            unreadable,
        } = &mut all;
        self.list_into(&options, unreadable, |named, object: Kustomization| {
            workloads.insert(named, Workload::Kustomization(Box::new(object)));
        })
        .await?;
        self.list_into(&options, unreadable, |named, object: HelmRelease| {
            workloads.insert(named, Workload::HelmRelease(Box::new(object)));
        })
        .await?;
        self.list_into(&options, unreadable, |named, object: GitRepository| {
            sources.insert(named, SourceObject::Git(Box::new(object)));
        })
        .await?;
        self.list_into(&options, unreadable, |named, object: OCIRepository| {
            sources.insert(named, SourceObject::Oci(Box::new(object)));
        })
        .await?;
        self.list_into(&options, unreadable, |named, object: HelmRepository| {
            sources.insert(named, SourceObject::Helm(Box::new(object)));
        })
        .await?;
        self.list_into(&options, unreadable, |named, object: Bucket| {
            sources.insert(named, SourceObject::Bucket(Box::new(object)));
        })
        .await?;
        self.list_into(&options, unreadable, |named, object: ExternalArtifact| {
            sources.insert(named, SourceObject::External(Box::new(object)));
        })
        .await?;
        self.list_into(&options, unreadable, |named, object: HelmChart| {
            charts.insert(named, object);
        })
        .await?;
        if let Some(namespace) = &options.namespace {
            self.add_from_elsewhere(namespace, &mut all).await?;
        }
        Ok(all)
    }

    async fn add_from_elsewhere(&self, own: &str, all: &mut Snapshot) -> Result<()> {
        let named: HashSet<FluxRef> = all
            .workloads
            .values()
            .flat_map(uses)
            .filter(|named| named.namespace != own)
            .collect();
        for named in named {
            let value = match self.find(&named).await {
                Ok(Some(value)) => value,
                Ok(None) => continue,
                Err(error) if error.kind() == ErrorKind::PermissionDenied => continue,
                Err(error) => return Err(error),
            };
            // One that cannot be read is as one that is not there: it is nobody's of this namespace.
            if named.kind == FluxKind::HelmChart {
                if let Ok(chart) = serde_json::from_value(value) {
                    all.charts.insert(named, chart);
                }
            } else if let Ok(Some(source)) = read_source(named.kind, value) {
                all.sources.insert(named, source);
            }
        }
        Ok(())
    }
}

/// What could not be read, as errors.
pub(super) fn broken(one: &Unreadable) -> Error {
    Error::integrity(format!("{} cannot be read: {}", one.object, one.reason))
}
