//! The requests, as the Kubernetes API conventions write them.

use gitops_core::backend::Propagation;
use gitops_core::manifest::Object;
use gitops_core::{Error, Result};
use kube::core::discovery::v2::ACCEPT_AGGREGATED_DISCOVERY_V2;
use serde_json::{Value, json};
use url::form_urlencoded::Serializer;

use crate::cluster::{
    ApiKind, DeleteParams, FieldValidation, ListParams, ObjectKey, Patch, WriteParams,
};

type Request = http::Request<Vec<u8>>;

/// Lists of metadata, and whole objects from API servers that are aggregated and cannot leave the rest out.
const METADATA: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

pub(super) fn get(key: ObjectKey<'_>) -> Result<Request> {
    build(
        "GET",
        path(key.kind, Some(key.namespace), Some(key.name))?,
        None,
        Vec::new(),
    )
}

/// All groups below `path`, which is `/api` or `/apis`, in one answer.
pub(super) fn discovery(path: &str) -> Result<Request> {
    http::Request::get(path)
        .header(http::header::ACCEPT, ACCEPT_AGGREGATED_DISCOVERY_V2)
        .body(Vec::new())
        .map_err(|error| Error::invalid("the request cannot be built").with_source(error))
}

pub(super) fn list(kind: &ApiKind, params: &ListParams) -> Result<Request> {
    let mut query = Serializer::new(String::new());
    for (name, value) in [
        ("labelSelector", &params.labels),
        ("fieldSelector", &params.fields),
        ("continue", &params.continue_token),
    ] {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    if let Some(limit) = params.limit {
        query.append_pair("limit", &limit.to_string());
    }
    let path = path(kind, params.namespace.as_deref(), None)?;
    let mut request = build("GET", with_query(path, query), None, Vec::new())?;
    if params.metadata_only {
        request.headers_mut().insert(
            http::header::ACCEPT,
            http::HeaderValue::from_static(METADATA),
        );
    }
    Ok(request)
}

pub(super) fn create(kind: &ApiKind, object: &Object, params: &WriteParams) -> Result<Request> {
    let path = path(kind, Some(object.namespace()), None)?;
    build(
        "POST",
        with_query(path, write_query(params)),
        Some("application/json"),
        body(object)?,
    )
}

pub(super) fn apply(kind: &ApiKind, object: &Object, params: &WriteParams) -> Result<Request> {
    if params.field_manager.is_empty() {
        return Err(Error::invalid("an apply needs a field manager"));
    }
    let path = path(kind, Some(object.namespace()), Some(object.name()))?;
    let mut query = write_query(params);
    if params.force {
        query.append_pair("force", "true");
    }
    // JSON is YAML; the server decodes it faster.
    build(
        "PATCH",
        with_query(path, query),
        Some("application/apply-patch+yaml"),
        body(object)?,
    )
}

pub(super) fn replace(kind: &ApiKind, object: &Object, params: &WriteParams) -> Result<Request> {
    let path = path(kind, Some(object.namespace()), Some(object.name()))?;
    build(
        "PUT",
        with_query(path, write_query(params)),
        Some("application/json"),
        body(object)?,
    )
}

pub(super) fn patch(key: ObjectKey<'_>, patch: &Patch, params: &WriteParams) -> Result<Request> {
    let path = path(key.kind, Some(key.namespace), Some(key.name))?;
    let (content_type, value) = match patch {
        Patch::Json(value) => ("application/json-patch+json", value),
        Patch::Merge(value) => ("application/merge-patch+json", value),
    };
    build(
        "PATCH",
        with_query(path, write_query(params)),
        Some(content_type),
        json_bytes(value)?,
    )
}

pub(super) fn delete(key: ObjectKey<'_>, params: &DeleteParams) -> Result<Request> {
    let mut options = json!({"apiVersion": "v1", "kind": "DeleteOptions"});
    let mut preconditions = json!({});
    if let Some(uid) = &params.uid {
        preconditions["uid"] = json!(uid);
    }
    if let Some(version) = &params.resource_version {
        preconditions["resourceVersion"] = json!(version);
    }
    if preconditions != json!({}) {
        options["preconditions"] = preconditions;
    }
    if let Some(propagation) = params.propagation {
        options["propagationPolicy"] = json!(match propagation {
            Propagation::Foreground => "Foreground",
            Propagation::Background => "Background",
            Propagation::Orphan => "Orphan",
        });
    }
    if params.dry_run {
        options["dryRun"] = json!(["All"]);
    }
    let path = path(key.kind, Some(key.namespace), Some(key.name))?;
    build(
        "DELETE",
        path,
        Some("application/json"),
        json_bytes(&options)?,
    )
}

fn write_query(params: &WriteParams) -> Serializer<'static, String> {
    let mut query = Serializer::new(String::new());
    if !params.field_manager.is_empty() {
        query.append_pair("fieldManager", &params.field_manager);
    }
    if params.dry_run {
        query.append_pair("dryRun", "All");
    }
    if let Some(validation) = params.validation {
        query.append_pair(
            "fieldValidation",
            match validation {
                FieldValidation::Ignore => "Ignore",
                FieldValidation::Warn => "Warn",
                FieldValidation::Strict => "Strict",
            },
        );
    }
    query
}

fn with_query(mut path: String, mut query: Serializer<'_, String>) -> String {
    let query = query.finish();
    if !query.is_empty() {
        path.push('?');
        path.push_str(&query);
    }
    path
}

/// Kubernetes takes no other name as part of a path either (apimachinery, `IsValidPathSegmentName`); in a URL it would be another path.
///
/// For code that builds paths itself, and before names are given to [`kube::Api`], which puts them into its paths as they are.
///
/// # Errors
/// `InvalidInput` for what is empty, `.` or `..`, or holds `/`, `%`, `?`, `#`, `\`, white space or control characters.
pub fn path_segment(part: &str) -> Result<&str> {
    let broken = part.is_empty()
        || part == "."
        || part == ".."
        || part.contains(['/', '%', '?', '#', '\\'])
        || part.contains(|c: char| c.is_whitespace() || c.is_control());
    if broken {
        return Err(Error::invalid(format!(
            "{part:?} cannot be part of an object's name"
        )));
    }
    Ok(part)
}

/// The path of an object, or of a kind's objects; an empty namespace means all.
pub(super) fn path(kind: &ApiKind, namespace: Option<&str>, name: Option<&str>) -> Result<String> {
    let mut path = String::from(if kind.gvk.group.is_empty() {
        "/api"
    } else {
        "/apis"
    });
    let namespace = namespace.filter(|namespace| kind.is_namespaced() && !namespace.is_empty());
    let parts = [
        Some(kind.gvk.group.as_str()).filter(|group| !group.is_empty()),
        Some(kind.gvk.version.as_str()),
        namespace.map(|_| "namespaces"),
        namespace,
        Some(kind.plural.as_str()),
        name,
    ];
    for part in parts.into_iter().flatten() {
        path.push('/');
        path.push_str(path_segment(part)?);
    }
    if name.is_some() && kind.is_namespaced() && namespace.is_none() {
        return Err(Error::invalid(format!(
            "{} is namespaced, and no namespace is named",
            kind.group_kind()
        )));
    }
    Ok(path)
}

fn body(object: &Object) -> Result<Vec<u8>> {
    serde_json::to_vec(object)
        .map_err(|error| Error::internal("an object cannot be serialised").with_source(error))
}

fn json_bytes(value: &Value) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|error| Error::internal("a value cannot be serialised").with_source(error))
}

fn build(method: &str, uri: String, content_type: Option<&str>, body: Vec<u8>) -> Result<Request> {
    let mut request = http::Request::builder()
        .method(method)
        .uri(uri)
        .header(http::header::ACCEPT, "application/json");
    if let Some(content_type) = content_type {
        request = request.header(http::header::CONTENT_TYPE, content_type);
    }
    request
        .body(body)
        .map_err(|error| Error::invalid("the request cannot be built").with_source(error))
}
