//! The objects that make one application.

use gitops_core::application::{Application, Source, SourceKind};
use gitops_core::{Error, Result};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::{APPLICATION, source};
use crate::kind::{FluxKind, FluxResource as _};
use crate::types::{
    Artifact, Bucket, Condition, ExternalArtifact, GitRepository, HelmRelease, HelmRepository,
    Kustomization, OCIRepository, ObjectReference,
};

/// The source of an application.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SourceObject {
    /// A Git repository.
    Git(Box<GitRepository>),
    /// An artifact of a registry.
    Oci(Box<OCIRepository>),
    /// A Helm repository.
    Helm(Box<HelmRepository>),
    /// A bucket; others make it.
    Bucket(Box<Bucket>),
    /// What another controller offers; others make it.
    External(Box<ExternalArtifact>),
}

macro_rules! each {
    ($self:expr, $object:ident => $value:expr) => {
        match $self {
            SourceObject::Git($object) => $value,
            SourceObject::Oci($object) => $value,
            SourceObject::Helm($object) => $value,
            SourceObject::Bucket($object) => $value,
            SourceObject::External($object) => $value,
        }
    };
}

impl SourceObject {
    /// Its kind.
    pub fn kind(&self) -> FluxKind {
        match self {
            Self::Git(_) => FluxKind::GitRepository,
            Self::Oci(_) => FluxKind::OCIRepository,
            Self::Helm(_) => FluxKind::HelmRepository,
            Self::Bucket(_) => FluxKind::Bucket,
            Self::External(_) => FluxKind::ExternalArtifact,
        }
    }

    /// Its metadata.
    pub fn metadata(&self) -> &ObjectMeta {
        each!(self, object => &object.metadata)
    }

    /// Its metadata, to be changed.
    pub(crate) fn metadata_mut(&mut self) -> &mut ObjectMeta {
        each!(self, object => &mut object.metadata)
    }

    /// As the API server takes it.
    pub(crate) fn to_value(&self) -> Result<Value> {
        each!(self, object => serde_json::to_value(object))
            .map_err(|error| Error::internal("a source is no JSON").with_source(error))
    }

    /// What it offers.
    pub fn artifact(&self) -> Option<&Artifact> {
        each!(self, object => object.artifact())
    }

    /// Its conditions.
    pub fn conditions(&self) -> &[Condition] {
        each!(self, object => object.conditions())
    }

    /// Whether the last change of its specification has been taken up, and it is ready.
    pub(crate) fn is_settled(&self) -> bool {
        let meta = self.metadata();
        each!(self, object => object.observed_generation())
            .is_none_or(|seen| Some(seen) == meta.generation)
    }

    /// Whether it was made for that application.
    pub(crate) fn is_own(&self, app: &str) -> bool {
        let annotations = self.metadata().annotations.as_ref();
        annotations
            .and_then(|annotations| annotations.get(APPLICATION))
            .map(String::as_str)
            == Some(app)
    }
}

/// What applies the source.
#[derive(Clone, Debug, PartialEq)]
pub enum Workload {
    /// Manifests, through kustomize.
    Kustomization(Box<Kustomization>),
    /// A chart.
    HelmRelease(Box<HelmRelease>),
}

macro_rules! either {
    ($self:expr, $object:ident => $value:expr) => {
        match $self {
            Workload::Kustomization($object) => $value,
            Workload::HelmRelease($object) => $value,
        }
    };
}

impl Workload {
    /// Its kind.
    pub fn kind(&self) -> FluxKind {
        match self {
            Self::Kustomization(_) => FluxKind::Kustomization,
            Self::HelmRelease(_) => FluxKind::HelmRelease,
        }
    }

    /// Whether it is a `HelmRelease`.
    pub fn is_helm(&self) -> bool {
        matches!(self, Self::HelmRelease(_))
    }

    /// Its metadata.
    pub fn metadata(&self) -> &ObjectMeta {
        either!(self, object => &object.metadata)
    }

    pub(crate) fn metadata_mut(&mut self) -> &mut ObjectMeta {
        either!(self, object => &mut object.metadata)
    }

    /// Its conditions.
    pub fn conditions(&self) -> &[Condition] {
        either!(self, object => object.conditions())
    }

    /// The condition of that type.
    pub(crate) fn condition(&self, kind: &str) -> Option<&Condition> {
        either!(self, object => object.condition(kind))
    }

    /// Whether `spec.suspend` is set.
    pub fn is_suspended(&self) -> bool {
        either!(self, object => object.suspended()).unwrap_or_default()
    }

    /// As the API server takes it.
    pub(crate) fn to_value(&self) -> Result<Value> {
        either!(self, object => serde_json::to_value(object))
            .map_err(|error| Error::internal("a workload is no JSON").with_source(error))
    }

    pub(crate) fn set_suspended(&mut self, suspended: bool) {
        either!(self, object => object.set_suspended(suspended));
    }

    /// Its source, with the namespace.
    pub(crate) fn source_ref(&self) -> Option<ObjectReference> {
        either!(self, object => object.resolved_source_ref())
    }

    /// Its label of that name.
    pub(crate) fn label(&self, name: &str) -> Option<&str> {
        self.metadata()
            .labels
            .as_ref()?
            .get(name)
            .map(String::as_str)
    }

    /// Its annotation of that name.
    pub(crate) fn annotation(&self, name: &str) -> Option<&str> {
        self.metadata()
            .annotations
            .as_ref()?
            .get(name)
            .map(String::as_str)
    }

    /// Name and namespace.
    pub(crate) fn name(&self) -> &str {
        self.metadata().name.as_deref().unwrap_or_default()
    }

    pub(crate) fn namespace(&self) -> &str {
        self.metadata().namespace.as_deref().unwrap_or_default()
    }
}

/// The objects that make one application.
#[derive(Clone, Debug, PartialEq)]
pub struct Parts {
    /// Where it comes from; none when what the workload names is not there.
    pub source: Option<SourceObject>,
    /// What applies it.
    pub workload: Workload,
}

impl Parts {
    /// New objects for an application of that source, with names only.
    pub(super) fn new(app: &Application, from: &Source) -> Self {
        let source = match from.kind {
            SourceKind::Helm => SourceObject::Helm(Box::default()),
            SourceKind::Oci => SourceObject::Oci(Box::default()),
            _ => SourceObject::Git(Box::default()),
        };
        let workload = match source::is_helm(from) {
            true => Workload::HelmRelease(Box::default()),
            false => Workload::Kustomization(Box::default()),
        };
        let mut made = Self {
            source: Some(source),
            workload,
        };
        if let Some(source) = &mut made.source {
            made.workload.metadata_mut().name = Some(app.name.clone());
            source.metadata_mut().name = Some(app.name.clone());
        }
        made
    }

    /// How the workload names the source: without a namespace where it is the same.
    pub(super) fn source_reference(&self, app: &Application) -> ObjectReference {
        match &self.source {
            Some(source) => {
                let meta = source.metadata();
                let mut reference = ObjectReference::new(
                    source.kind().kind(),
                    meta.name.clone().unwrap_or_else(|| app.name.clone()),
                );
                reference.namespace = meta.namespace.clone().filter(|namespace| {
                    Some(namespace) != self.workload.metadata().namespace.as_ref()
                });
                reference
            }
            None => self.workload.source_ref().unwrap_or_default(),
        }
    }

    /// Whether its revisions are Git's.
    pub(crate) fn is_git(&self) -> bool {
        match &self.source {
            Some(source) => source.kind() == FluxKind::GitRepository,
            None => self
                .workload
                .source_ref()
                .is_some_and(|source| source.kind == FluxKind::GitRepository.kind()),
        }
    }
}
