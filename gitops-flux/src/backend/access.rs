//! Reading the objects of an application, and changing them at the version that was read.

use gitops_core::application::{AppRef, Application};
use gitops_core::{Error, ErrorKind, Result, ResultExt as _};
use http::Method;
use serde_json::{Value, json};

use super::FluxBackend;
use super::record::{Record, record};
use crate::convert::{Parts, SourceObject, Workload, to_application};
use crate::kind::FluxKind;
use crate::manager::request::{Request, collection, object as path_of, with_query};
use crate::manager::{FluxRef, unreadable};
use crate::reconcile::source_of;
use crate::types::{HelmChart, HelmRelease, Kustomization, ObjectReference};

/// What the name of a `HelmRelease` ends in where a `Kustomization` has its name.
pub(super) const SUFFIX: &str = ".helmrelease";
/// What the API server says of a write at a version that is no more.
const MODIFIED: &str = "the object has been modified";

/// The objects of one application, as they were read.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) parts: Parts,
    /// The chart that a `HelmRelease` had made.
    pub(crate) chart: Option<HelmChart>,
    /// The workload as the API server sent it.
    pub(crate) value: Value,
}

impl Loaded {
    pub(crate) fn workload(&self) -> &Workload {
        &self.parts.workload
    }

    pub(crate) fn version(&self) -> &str {
        self.workload()
            .metadata()
            .resource_version
            .as_deref()
            .unwrap_or_default()
    }

    pub(crate) fn workload_ref(&self) -> FluxRef {
        let workload = self.workload();
        FluxRef::new(workload.kind(), workload.namespace(), workload.name())
    }

    pub(crate) fn source_ref(&self) -> Option<FluxRef> {
        let source = self.parts.source.as_ref()?;
        let meta = source.metadata();
        Some(FluxRef::new(
            source.kind(),
            meta.namespace.clone()?,
            meta.name.clone()?,
        ))
    }

    pub(crate) fn record(&self) -> Result<Option<Record>> {
        record(self.workload())
    }

    pub(crate) fn is_deleting(&self) -> bool {
        self.workload().metadata().deletion_timestamp.is_some()
    }
}

pub(crate) fn reference(named: &ObjectReference, own: &str) -> Option<FluxRef> {
    let kind = FluxKind::of_reference(named)?;
    let namespace = named
        .namespace
        .as_deref()
        .filter(|text| !text.is_empty())
        .unwrap_or(own);
    Some(FluxRef::new(kind, namespace, &*named.name))
}

/// The source that a workload names.
pub(crate) fn named_source(workload: &Workload) -> Option<FluxRef> {
    reference(&workload.source_ref()?, workload.namespace())
}

pub(crate) fn read_source(kind: FluxKind, value: Value) -> Result<Option<SourceObject>> {
    let what = || FluxRef::new(kind, text(&value, "namespace"), text(&value, "name"));
    let named = what();
    let broken = |error| unreadable(named, error);
    Ok(Some(match kind {
        FluxKind::GitRepository => {
            SourceObject::Git(serde_json::from_value(value).map_err(broken)?)
        }
        FluxKind::OCIRepository => {
            SourceObject::Oci(serde_json::from_value(value).map_err(broken)?)
        }
        FluxKind::HelmRepository => {
            SourceObject::Helm(serde_json::from_value(value).map_err(broken)?)
        }
        FluxKind::Bucket => SourceObject::Bucket(serde_json::from_value(value).map_err(broken)?),
        FluxKind::ExternalArtifact => {
            SourceObject::External(serde_json::from_value(value).map_err(broken)?)
        }
        _ => return Ok(None),
    }))
}

fn text(value: &Value, field: &str) -> String {
    value["metadata"][field]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

pub(super) fn read_workload(kind: FluxKind, value: &Value) -> Result<Workload> {
    let named = FluxRef::new(kind, text(value, "namespace"), text(value, "name"));
    Ok(match kind {
        FluxKind::HelmRelease => {
            let object: HelmRelease =
                serde_json::from_value(value.clone()).map_err(|error| unreadable(named, error))?;
            Workload::HelmRelease(Box::new(object))
        }
        _ => {
            let object: Kustomization =
                serde_json::from_value(value.clone()).map_err(|error| unreadable(named, error))?;
            Workload::Kustomization(Box::new(object))
        }
    })
}

impl FluxBackend {
    /// The namespace of an application's objects.
    pub(crate) fn namespace_of<'a>(&'a self, app: &'a AppRef) -> &'a str {
        self.manager.namespace_or_own(&app.namespace)
    }

    /// How callers name an application of these objects.
    pub(crate) fn name_in(&self, namespace: &str, name: &str) -> AppRef {
        match namespace == self.manager.options().namespace {
            true => AppRef::new(name),
            false => AppRef::namespaced(namespace, name),
        }
    }

    /// The application, in the backend's own words for namespaces.
    pub(crate) fn application(&self, parts: &Parts) -> Result<Application> {
        let mut app = to_application(parts)?;
        if app.namespace == self.manager.options().namespace {
            app.namespace.clear();
        }
        Ok(app)
    }

    /// The object, where its kind is installed and it is there.
    pub(crate) async fn find(&self, object: &FluxRef) -> Result<Option<Value>> {
        match self.manager.get_value(object).await {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn find_workload(&self, app: &AppRef) -> Result<Option<(FluxKind, Value)>> {
        let namespace = self.namespace_of(app);
        for kind in [FluxKind::Kustomization, FluxKind::HelmRelease] {
            if let Some(value) = self
                .find(&FluxRef::new(kind, namespace, &*app.name))
                .await?
            {
                return Ok(Some((kind, value)));
            }
        }
        let Some(name) = app.name.strip_suffix(SUFFIX) else {
            return Ok(None);
        };
        let value = self
            .find(&FluxRef::new(FluxKind::HelmRelease, namespace, name))
            .await?;
        Ok(value.map(|value| (FluxKind::HelmRelease, value)))
    }

    /// The objects of an application.
    pub(crate) async fn load(&self, app: &AppRef) -> Result<Loaded> {
        let found = self.find_workload(app).await?;
        let (kind, value) =
            found.ok_or_else(|| Error::not_found(format!("there is no application {app}")))?;
        self.complete(read_workload(kind, &value)?, value).await
    }

    /// The objects again.
    pub(crate) async fn reload(&self, of: &Loaded) -> Result<Loaded> {
        let named = of.workload_ref();
        let value = self.manager.get_value(&named).await?;
        self.complete(read_workload(named.kind, &value)?, value)
            .await
    }

    async fn complete(&self, workload: Workload, value: Value) -> Result<Loaded> {
        let mut chart = None;
        let mut source = None;
        if workload.is_helm()
            && let Some(named) = source_of(&value).filter(|named| named.kind == FluxKind::HelmChart)
            && let Some(found) = self.find(&named).await?
        {
            chart = Some(serde_json::from_value(found).map_err(|error| unreadable(named, error))?);
        }
        if let Some(named) = named_source(&workload)
            && let Some(found) = self.find(&named).await?
        {
            source = read_source(named.kind, found)?;
        }
        Ok(Loaded {
            parts: Parts { source, workload },
            chart,
            value,
        })
    }

    /// A merge patch at a version.
    pub(crate) async fn patch_at(
        &self,
        object: &FluxRef,
        version: &str,
        mut patch: Value,
    ) -> Result<Value> {
        patch["metadata"]["resourceVersion"] = json!(version);
        let query = [(
            "fieldManager",
            self.manager.options().field_manager.as_str(),
        )];
        let request = Request {
            method: Method::PATCH,
            path: with_query(&path_of(&self.manager.resolve(object))?, &query),
            content_type: Some("application/merge-patch+json"),
            body: patch.to_string().into_bytes(),
            kind: Some(object.kind),
        };
        let answer = async { self.manager.requests.once(&request).await?.value() };
        answer.await.context(|| format!("patch {object}"))
    }

    /// Makes an object; with `dry_run` it is only asked whether that would be refused.
    pub(crate) async fn create_object(
        &self,
        kind: FluxKind,
        namespace: &str,
        object: &Value,
        dry_run: bool,
    ) -> Result<Value> {
        let path = collection(kind, Some(namespace))?;
        self.write(Method::POST, kind, &path, object, dry_run).await
    }

    /// Replaces an object at the version that it has in it; with `dry_run` it is only asked whether that would be refused.
    pub(crate) async fn replace_object(
        &self,
        object: &FluxRef,
        with: &Value,
        dry_run: bool,
    ) -> Result<Value> {
        let path = path_of(&self.manager.resolve(object))?;
        self.write(Method::PUT, object.kind, &path, with, dry_run)
            .await
    }

    async fn write(
        &self,
        method: Method,
        kind: FluxKind,
        path: &str,
        object: &Value,
        dry_run: bool,
    ) -> Result<Value> {
        let mut query = vec![
            (
                "fieldManager",
                self.manager.options().field_manager.as_str(),
            ),
            ("fieldValidation", "Strict"),
        ];
        if dry_run {
            query.push(("dryRun", "All"));
        }
        let request = Request {
            method,
            path: with_query(path, &query),
            content_type: Some("application/json"),
            body: object.to_string().into_bytes(),
            kind: Some(kind),
        };
        self.manager.requests.once(&request).await?.value()
    }
}

/// The version of an object that was written.
pub(super) fn version_of(written: &Value) -> &str {
    written["metadata"]["resourceVersion"]
        .as_str()
        .unwrap_or_default()
}

/// Whether somebody else was faster.
pub(crate) fn was_overtaken(error: &Error) -> bool {
    error.kind() == ErrorKind::Conflict
}

/// Whether that is all: with what is there by now it may go well.
pub(super) fn was_modified(error: &Error) -> bool {
    was_overtaken(error) && error.message().contains(MODIFIED)
}

/// Somebody else was faster.
pub(super) fn modified(object: &FluxRef) -> Error {
    Error::conflict(format!("{object}: {MODIFIED}"))
}
