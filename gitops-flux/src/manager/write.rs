//! Making and changing objects.

use std::time::Duration;

use gitops_core::{Error, ErrorKind, Result, ResultExt as _};
use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::request::{Answer, Request, object as path_of, with_query};
use super::{FluxManager, FluxRef, unreadable};
use crate::FluxResource;
use crate::reconcile::{Reconciled, WaitOptions};
use crate::types::{GitRepository, Kustomization};

/// How often a write is tried again that lost a race.
const RACES: u32 = 15;

/// How to make an object what it should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApplyOptions {
    /// Takes over fields that other managers own, instead of `Conflict`.
    pub force: bool,
    /// The API server goes through all but storing it.
    pub dry_run: bool,
    /// Only the object at this resource version, else `Conflict`. Such an apply is tried again only where the API server says that it did nothing: after an answer that was lost, the
    /// version may be another by our own doing.
    pub version: Option<String>,
}

/// What an apply did.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied<K> {
    /// Whether it was made, changed, or was as it should be already.
    pub change: Change,
    /// The object as it is now.
    pub object: K,
}

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// It is new.
    Created,
    /// It was there, and was changed.
    Updated,
    /// It was there, and was as it should be.
    Unchanged,
}

impl FluxManager {
    /// Makes a GitRepository, or makes the one that is there what `repository` says.
    ///
    /// # Errors
    /// Those of [`create`](Self::create).
    pub async fn create_git_repository(
        &self,
        repository: &GitRepository,
    ) -> Result<Applied<GitRepository>> {
        self.create(repository).await
    }

    /// Makes a Kustomization, or makes the one that is there what `kustomization` says.
    ///
    /// # Errors
    /// Those of [`create`](Self::create).
    pub async fn create_kustomization(
        &self,
        kustomization: &Kustomization,
    ) -> Result<Applied<Kustomization>> {
        self.create(kustomization).await
    }

    /// Makes an object, or makes the one that is there what `object` says, by server-side apply: fields that this manager set before and `object` has no more are removed, fields of
    /// others stay. Status, UID and the like of `object` are not sent.
    ///
    /// Whether it is suspended stays as it is unless `object` says: what [`suspend`](Self::suspend) set is no field of an earlier `create`. With `suspend: Some(false)` it is resumed.
    ///
    /// Where the API server cannot be reached or turns the request away, it is tried again as [`FluxOptions::retry_for`](super::FluxOptions::retry_for) says.
    ///
    /// # Errors
    /// `Conflict`, naming managers and fields, where another manager owns a field that is to change; `InvalidInput` for what the API server refuses.
    pub async fn create<K: FluxResource>(&self, object: &K) -> Result<Applied<K>> {
        self.apply(object, &ApplyOptions::default()).await
    }

    /// [`create`](Self::create) with options.
    ///
    /// # Errors
    /// As there; `Conflict` too where [`ApplyOptions::version`] is not the object's, or where it is not there.
    pub async fn apply<K: FluxResource>(
        &self,
        object: &K,
        options: &ApplyOptions,
    ) -> Result<Applied<K>> {
        let named = self.resolve(&FluxRef::of(object));
        let apply = async {
            let body = body(object, &named)?;
            let (change, answer) = self.apply_value(&named, body, options).await?;
            let object = serde_json::from_slice(answer.bytes())
                .map_err(|error| unreadable(&named, error))?;
            Ok(Applied { change, object })
        };
        apply.await.context(|| format!("apply {named}"))
    }

    /// What the answer alone does not tell: whether anything changed. The object is read before, and its version sent along, so that the API server refuses when it is no longer that one:
    /// what differs between the two is our doing. The version alone would not do; the first apply after an object was made stores the status that its definition defaults, and a dry
    /// run stores nothing.
    async fn apply_value(
        &self,
        object: &FluxRef,
        mut body: Map<String, Value>,
        options: &ApplyOptions,
    ) -> Result<(Change, Answer)> {
        let query = |force: bool| {
            let mut query = vec![
                ("fieldManager", self.options().field_manager.as_str()),
                ("fieldValidation", "Strict"),
            ];
            query.extend(force.then_some(("force", "true")));
            query.extend(options.dry_run.then_some(("dryRun", "All")));
            query
        };
        let path = path_of(object)?;
        let mut tries = self.requests.tries();
        // What was there before a try whose answer was lost.
        let mut first: Option<Option<Value>> = None;
        let mut lost = 0;
        loop {
            let before = self.find_value(object).await?;
            let version = match &options.version {
                Some(version) => Some(version.clone()),
                None => before.as_ref().and_then(version_of),
            };
            // Against somebody who never rests, the apply counts more than who did what.
            let version = version.filter(|_| lost < RACES);
            let has_version = version.is_some();
            if let Some(Value::Object(metadata)) = body.get_mut("metadata") {
                match version {
                    Some(version) => metadata.insert("resourceVersion".into(), json!(version)),
                    None => metadata.remove("resourceVersion"),
                };
            }
            let mut request = Request {
                method: Method::PATCH,
                path: with_query(&path, &query(options.force)),
                content_type: Some("application/apply-patch+yaml"),
                // JSON is YAML.
                body: serde_json::to_vec(&body).map_err(|error| {
                    Error::internal("the object cannot be written").with_source(error)
                })?,
                kind: Some(object.kind),
            };
            let mut answer = self.requests.once(&request).await;
            // What we suspended or resumed is the API server's another manager of the same name. The version sees to it that no other manager's fields come in between.
            if has_version
                && answer
                    .as_ref()
                    .is_err_and(|error| is_with(error, &self.options().field_manager))
            {
                request.path = with_query(&path, &query(true));
                answer = self.requests.once(&request).await;
            }
            let answer = match answer {
                Ok(answer) => answer,
                Err(error) if was_overtaken(&error) => match &options.version {
                    Some(version) => {
                        return Err(Error::conflict(format!(
                            "it is not at version {version} any more"
                        )));
                    }
                    None if lost == RACES => return Err(outrun()),
                    // Somebody else changed it, or deleted it, since it was read.
                    None => {
                        pause(lost).await;
                        lost += 1;
                        continue;
                    }
                },
                Err(error) => {
                    let nothing_done = error.kind() == ErrorKind::RateLimited;
                    if options.version.is_some() && !nothing_done {
                        return Err(error);
                    }
                    tries.pause(error).await?;
                    if !nothing_done {
                        first.get_or_insert(before);
                    }
                    continue;
                }
            };
            if answer.code == StatusCode::CREATED {
                return Ok((Change::Created, answer));
            }
            let was_lost = first.is_some();
            let change = match first.unwrap_or(before) {
                None if was_lost => Change::Created,
                Some(before) if is_same(&before, &answer.value()?) => Change::Unchanged,
                _ => Change::Updated,
            };
            return Ok((change, answer));
        }
    }

    /// Suspends an object: its controller leaves it alone until it is resumed. What is suspended already stays so. A suspended Kustomization or HelmRelease that is deleted leaves what
    /// it deployed.
    ///
    /// # Errors
    /// `NotFound`; `Unsupported` for an ExternalArtifact, which has no controller to suspend.
    pub async fn suspend(&self, object: &FluxRef) -> Result<()> {
        let object = self.resolve(object);
        self.set_suspended(&object, true)
            .await
            .map(drop)
            .context(|| format!("suspend {object}"))
    }

    /// Resumes an object. What is not suspended stays so.
    ///
    /// With `wait`, it waits as `flux resume` does: until the newest generation, which resuming makes new, is reconciled. `None` comes back without one.
    ///
    /// # Errors
    /// `NotFound`, `Unsupported`; with `wait`, those of [`wait`](Self::wait).
    pub async fn resume(
        &self,
        object: &FluxRef,
        wait: Option<&WaitOptions>,
    ) -> Result<Option<Reconciled>> {
        let object = self.resolve(object);
        self.set_suspended(&object, false)
            .await
            .context(|| format!("resume {object}"))?;
        match wait {
            Some(options) => self.wait(&object, options).await.map(Some),
            None => Ok(None),
        }
    }

    pub(crate) async fn set_suspended(&self, object: &FluxRef, suspended: bool) -> Result<Value> {
        if !object.kind.can_suspend() {
            return Err(Error::unsupported("suspending it", object.kind.kind()));
        }
        // As `flux resume` 2.7 does, the field goes when it says what is the default.
        let value = if suspended { json!(true) } else { Value::Null };
        self.merge(object, &json!({"spec": {"suspend": value}}))
            .await
    }

    /// A merge patch, tried again where somebody else was faster.
    pub(crate) async fn merge(&self, object: &FluxRef, patch: &Value) -> Result<Value> {
        let query = [("fieldManager", self.options().field_manager.as_str())];
        let request = Request {
            method: Method::PATCH,
            path: with_query(&path_of(object)?, &query),
            content_type: Some("application/merge-patch+json"),
            body: serde_json::to_vec(patch).map_err(|error| {
                Error::internal("the patch cannot be written").with_source(error)
            })?,
            kind: Some(object.kind),
        };
        for lost in 0..RACES {
            match self.requests.again(&request).await {
                Err(error) if was_overtaken(&error) => pause(lost).await,
                other => return other?.value(),
            }
        }
        Err(outrun())
    }
}

fn outrun() -> Error {
    Error::conflict(format!("somebody else was faster {RACES} times"))
}

/// Between two tries: longer and longer, and never the same for two writers.
async fn pause(lost: u32) {
    let longest = 5_u64 << lost.min(5);
    tokio::time::sleep(Duration::from_millis(fastrand::u64(1..=longest))).await;
}

/// Whether two states of an object differ in nothing but version and times of writing.
fn is_same(before: &Value, after: &Value) -> bool {
    let bare = |object: &Value| {
        let mut object = object.clone();
        let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
        if let Some(metadata) = metadata {
            metadata.remove("resourceVersion");
            for entry in metadata
                .get_mut("managedFields")
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
            {
                if let Some(entry) = entry.as_object_mut() {
                    entry.remove("time");
                }
            }
        }
        object
    };
    bare(before) == bare(after)
}

/// What is sent of an object: what people write, and nothing that the server does.
fn body<K: FluxResource>(object: &K, named: &FluxRef) -> Result<Map<String, Value>> {
    let value = serde_json::to_value(object)
        .map_err(|error| Error::internal("the object cannot be written").with_source(error))?;
    let Value::Object(mut body) = value else {
        return Err(Error::internal("the object is none"));
    };
    body.remove("status");
    body.insert("apiVersion".into(), json!(K::KIND.api_version()));
    body.insert("kind".into(), json!(K::KIND.kind()));
    let mut metadata = match body.remove("metadata") {
        Some(Value::Object(metadata)) => metadata,
        _ => Map::new(),
    };
    metadata.retain(|field, _| {
        matches!(
            field.as_str(),
            "labels" | "annotations" | "ownerReferences" | "finalizers"
        )
    });
    metadata.insert("name".into(), json!(named.name));
    metadata.insert("namespace".into(), json!(named.namespace));
    body.insert("metadata".into(), Value::Object(metadata));
    Ok(body)
}

fn version_of(object: &Value) -> Option<String> {
    object["metadata"]["resourceVersion"]
        .as_str()
        .map(str::to_owned)
}

/// Whether an error is a conflict with managers of this name alone. The API server has one manager per name and operation: what was applied, and what was patched.
fn is_with(error: &Error, manager: &str) -> bool {
    let Some(told) = error.message().strip_prefix("Apply failed with ") else {
        return false;
    };
    let Some((_, told)) = told.split_once(": ") else {
        return false;
    };
    // `conflict with "a" using v1: .spec.x`, or for each manager `conflicts with "a" using v1:` and a line per field (apimachinery, `getConflictMessage`).
    let own = format!("with {manager:?}");
    let mut managers = told
        .lines()
        .filter(|line| !line.starts_with("- "))
        .peekable();
    error.kind() == ErrorKind::Conflict
        && managers.peek().is_some()
        && managers.all(|line| {
            let line = line
                .strip_prefix("conflicts ")
                .or_else(|| line.strip_prefix("conflict "));
            line.and_then(|line| line.strip_prefix(&own))
                .is_some_and(|rest| rest.starts_with([' ', ':']))
        })
}

/// Whether an error is about the object's version, and not about another field manager or another UID.
fn was_overtaken(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Conflict => error.message().contains("the object has been modified"),
        // What the API server says when the object is gone.
        ErrorKind::InvalidInput => error
            .message()
            .contains("resourceVersion should not be set on objects to be created"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conflict_with_ourselves_is_told_from_others() {
        let one = "Apply failed with 1 conflict: conflict with \"gitops-rs\" using kustomize.toolkit.fluxcd.io/v1: .spec.suspend";
        let two = "Apply failed with 2 conflicts: conflicts with \"gitops-rs\" using kustomize.toolkit.fluxcd.io/v1 at 2025-01-02T03:04:05Z:\n- .spec.suspend\n- .spec.interval";
        let others = "Apply failed with 2 conflicts: conflicts with \"gitops-rs\" using v1:\n- .spec.suspend\nconflicts with \"kubectl\":\n- .spec.interval";
        let odd = "Apply failed with 2 conflicts: conflicts with \"a\" using v1:\n- .x\n- .y";
        for (message, own) in [
            (one, true),
            (two, true),
            (others, false),
            (odd, false),
            (
                "Apply failed with 1 conflict: conflict with \"gitops-rs-2\": .x",
                false,
            ),
            (
                "Apply failed with 1 conflict: conflict with \"gitops-rs\\\" \": .x",
                false,
            ),
            ("Apply failed with 1 conflict: ", false),
            ("the object has been modified", false),
        ] {
            assert_eq!(
                is_with(&Error::conflict(message), "gitops-rs"),
                own,
                "{message}"
            );
        }
    }

    #[test]
    fn versions_and_times_are_no_difference() {
        let object = |version: &str, time: &str, fields: Value, suspend: bool| {
            json!({
                "metadata": {"resourceVersion": version, "managedFields": [{"manager": "x", "time": time, "fieldsV1": fields}, 7]},
                "spec": {"suspend": suspend},
            })
        };
        let one = object("1", "2025-01-02T03:04:05Z", json!({}), false);
        assert!(is_same(
            &one,
            &object("2", "2025-01-02T03:04:06Z", json!({}), false)
        ));
        assert!(!is_same(
            &one,
            &object("1", "2025-01-02T03:04:05Z", json!({"f:spec": {}}), false)
        ));
        assert!(!is_same(
            &one,
            &object("1", "2025-01-02T03:04:05Z", json!({}), true)
        ));
        assert!(is_same(&json!(null), &json!(null)));
    }

    #[test]
    fn only_what_people_write_is_sent() {
        let object: Kustomization = serde_json::from_value(json!({
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1beta2", "kind": "Kustomization",
            "metadata": {
                "name": "app", "namespace": "other", "uid": "u", "resourceVersion": "7", "generation": 3, "creationTimestamp": "2025-01-02T03:04:05Z",
                "labels": {"a": "b"}, "managedFields": [{"manager": "x"}],
            },
            "spec": {"interval": "1m", "prune": true, "sourceRef": {"kind": "GitRepository", "name": "a"}},
            "status": {"observedGeneration": 3},
        }))
        .unwrap();
        let named = FluxRef::of(&object);
        let body = Value::Object(body(&object, &named).unwrap());
        assert_eq!(body["apiVersion"], "kustomize.toolkit.fluxcd.io/v1");
        assert_eq!(
            body["metadata"],
            json!({"name": "app", "namespace": "other", "labels": {"a": "b"}})
        );
        assert!(body.get("status").is_none());
        assert_eq!(body["spec"]["prune"], true);
    }
}
