//! What every [`Cluster`] has to do, as tests.
//!
//! The suite says what the real API server (v1.34) was seen to do, as far as the engine relies on it. [`KubeCluster`](super::KubeCluster) and
//! [`InMemoryCluster`](super::InMemoryCluster) pass it under the same test names; so should a `Cluster` of your own:
//!
//! ```
//! use std::sync::Arc;
//! use gitops_kube::cluster::{Cluster, InMemoryCluster};
//!
//! async fn make() -> gitops_core::Result<Arc<dyn Cluster>> {
//!     Ok(Arc::new(InMemoryCluster::new()))
//! }
//!
//! mod conformance {
//!     gitops_kube::cluster_conformance!(super::make());
//! }
//! ```
//!
//! Each case makes a namespace of its own, with a name of its own, and removes it. Cluster-wide objects get names of their own too, so cases may run at
//! the same time on a shared cluster. The cases of [`workloads`] need nodes; [`cluster_workload_conformance`](crate::cluster_workload_conformance) runs them.

pub mod lifecycle;
pub mod objects;
pub mod ownership;
pub mod watches;
pub mod workloads;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use gitops_core::manifest::{GroupVersionKind, Object};
use gitops_core::{Error, ErrorKind, Result};
use serde_json::{Value, json};

use super::{ApiKind, Cluster, DeleteParams, ObjectKey, Patch, WriteParams};

/// How long a cluster may take until controllers have done their work.
const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster and a namespace in it, for one case.
pub struct Place {
    /// The cluster.
    pub cluster: Arc<dyn Cluster>,
    /// The namespace.
    pub namespace: String,
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

impl Place {
    /// Makes a namespace for the case `name`.
    ///
    /// # Errors
    /// Whatever the cluster answers.
    pub async fn new(cluster: Arc<dyn Cluster>, name: &str) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let place = Self {
            cluster,
            namespace: format!(
                "c-{}-{:x}-{}",
                name.replace('_', "-")
                    .chars()
                    .take(40)
                    .collect::<String>()
                    .trim_end_matches('-'),
                now.subsec_nanos() ^ std::process::id(),
                NEXT.fetch_add(1, Ordering::Relaxed)
            ),
        };
        place
            .apply("setup", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": place.namespace}}))
            .await?;
        Ok(place)
    }

    /// Removes the namespace. It goes on in the background.
    ///
    /// # Errors
    /// Whatever the cluster answers but "not found".
    pub async fn remove(&self) -> Result<()> {
        self.delete("v1", "Namespace", &self.namespace, &DeleteParams::default())
            .await
            .or_else(gone)
    }

    async fn kind(&self, api_version: &str, kind: &str) -> Result<ApiKind> {
        self.cluster
            .resolve(&GroupVersionKind::from_api_version(api_version, kind))
            .await
    }

    /// The object; namespaced kinds in the case's namespace unless they say where.
    fn object(&self, value: Value, kind: &ApiKind) -> Result<Object> {
        let mut object = Object::new(value, None)?;
        if kind.is_namespaced() && object.namespace().is_empty() {
            object.set_namespace(&self.namespace);
        }
        Ok(object)
    }

    async fn write(&self, value: Value, params: &WriteParams) -> Result<Object> {
        let kind = self.kind_of(&value).await?;
        self.cluster
            .apply(&kind, &self.object(value, &kind)?, params)
            .await
    }

    async fn kind_of(&self, value: &Value) -> Result<ApiKind> {
        let text = |field: &str| value[field].as_str().unwrap_or_default();
        self.kind(text("apiVersion"), text("kind")).await
    }

    async fn apply(&self, manager: &str, value: Value) -> Result<Object> {
        self.write(value, &by(manager)).await
    }

    async fn force(&self, manager: &str, value: Value) -> Result<Object> {
        self.write(
            value,
            &WriteParams {
                force: true,
                ..by(manager)
            },
        )
        .await
    }

    async fn get(&self, api_version: &str, kind: &str, name: &str) -> Result<Option<Object>> {
        let kind = self.kind(api_version, kind).await?;
        self.cluster.get(self.key(&kind, name)).await
    }

    async fn there(&self, api_version: &str, kind: &str, name: &str) -> Result<Object> {
        self.get(api_version, kind, name)
            .await?
            .ok_or_else(|| Error::failed(format!("{kind} {name} is not there")))
    }

    async fn delete(
        &self,
        api_version: &str,
        kind: &str,
        name: &str,
        params: &DeleteParams,
    ) -> Result<()> {
        let kind = self.kind(api_version, kind).await?;
        self.cluster.delete(self.key(&kind, name), params).await
    }

    /// Takes the finalizers off a ConfigMap, so that it can go.
    async fn release(&self, namespace: &str, name: &str) -> Result<()> {
        let kind = self.kind("v1", "ConfigMap").await?;
        let key = ObjectKey {
            kind: &kind,
            namespace,
            name,
        };
        let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        match self.cluster.patch(key, &patch, &by("m")).await {
            Ok(_) => Ok(()),
            Err(error) => gone(error),
        }
    }

    fn key<'a>(&'a self, kind: &'a ApiKind, name: &'a str) -> ObjectKey<'a> {
        ObjectKey {
            kind,
            namespace: if kind.is_namespaced() {
                &self.namespace
            } else {
                ""
            },
            name,
        }
    }
}

fn by(manager: &str) -> WriteParams {
    WriteParams {
        field_manager: manager.to_owned(),
        ..WriteParams::default()
    }
}

fn config_map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

/// Fails the case with what was seen.
fn check(condition: bool, seen: impl FnOnce() -> String) -> Result<()> {
    if condition {
        Ok(())
    } else {
        Err(Error::failed(seen()))
    }
}

fn equal<T: PartialEq<U> + std::fmt::Debug, U: std::fmt::Debug>(
    seen: T,
    expected: U,
) -> Result<()> {
    check(seen == expected, || {
        format!("{seen:?}, expected {expected:?}")
    })
}

/// The value at a JSON pointer; null when nothing is there.
fn at<'a>(object: &'a Object, pointer: &str) -> &'a Value {
    object.pointer(pointer).unwrap_or(&Value::Null)
}

/// Takes an error of this kind whose message holds every one of `parts`.
fn refused<T: std::fmt::Debug>(result: Result<T>, kind: ErrorKind, parts: &[&str]) -> Result<()> {
    let error = match result {
        Ok(answer) => return Err(Error::failed(format!("it was not refused: {answer:?}"))),
        Err(error) => error,
    };
    let message = error.to_string();
    check(error.kind() == kind, || {
        format!("{:?}, expected {kind:?}: {message}", error.kind())
    })?;
    check(parts.iter().all(|part| message.contains(part)), || {
        format!("{message:?} does not hold {parts:?}")
    })
}

fn gone(error: Error) -> Result<()> {
    if error.kind() == ErrorKind::NotFound {
        Ok(())
    } else {
        Err(error)
    }
}

/// Goes through a case's steps and then, whatever came of them, through what puts the cluster in order again.
async fn then<T>(
    steps: impl Future<Output = Result<T>>,
    tidy: impl Future<Output = Result<()>>,
) -> Result<T> {
    let result = steps.await;
    let tidied = tidy.await;
    let value = result?;
    tidied.map(|()| value)
}

/// Asks again until the answer is there.
async fn until<T, F, Fut>(what: &str, mut ask: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Option<T>>>,
{
    let asked = async {
        loop {
            if let Some(answer) = ask().await? {
                return Ok(answer);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(Error::timeout(format!("{what}: not within {PATIENCE:?}"))),
    }
}

/// Makes a test of every case: `cluster_conformance!(make())`, where `make()` is a future that gives a `Result<Arc<dyn Cluster>, _>`. Needs tokio with its macros
/// and `rt-multi-thread`.
#[macro_export]
macro_rules! cluster_conformance {
    ($make:expr) => {
        $crate::cluster_conformance!(@module $make, objects;
            kinds_are_resolved_with_their_scope, an_unknown_kind_is_not_found, a_kind_that_is_not_served_is_not_found, an_object_is_created_once,
            an_unnamed_namespace_is_not_found, what_is_not_there_is_none, an_invalid_object_is_refused, an_unknown_field_is_refused,
            an_unknown_field_is_dropped_unless_strict, status_is_not_written_with_the_rest, a_name_that_is_no_name_is_refused,
            a_merge_patch_changes_only_what_it_names, a_json_patch_is_applied, a_patch_needs_the_version_it_names, a_failing_json_patch_is_refused, a_patch_of_nothing_is_not_found,
            a_replace_needs_the_version_it_names, a_replace_of_nothing_is_not_found, generation_counts_changes_of_the_spec,
            labels_select, fields_select, lists_come_in_pages, a_made_up_token_is_refused, lists_are_of_a_namespace_or_all, lists_of_metadata_name_their_objects, string_data_becomes_data,
            the_type_of_a_secret_asks_for_keys, errors_about_secrets_quote_no_value, an_immutable_field_stays
        );
        $crate::cluster_conformance!(@module $make, ownership;
            an_apply_owns_what_it_names, the_same_apply_again_changes_nothing, an_apply_needs_a_manager, a_conflict_names_the_manager_and_the_field, force_takes_a_field_over,
            the_same_value_is_shared, what_is_no_longer_applied_goes, what_another_manager_owns_stays, entries_of_keyed_lists_have_owners,
            entries_keyed_by_name_are_merged,            atomic_lists_have_one_owner, sets_are_merged, an_update_owns_what_it_changes,
            updates_and_applies_of_one_name_are_two_owners, an_apply_needs_the_version_it_names, a_uid_stays, an_apply_that_names_managed_fields_is_refused,
            applies_at_the_same_time_all_count, a_dry_run_changes_nothing
        );
        $crate::cluster_conformance!(@module $make, lifecycle;
            a_deletion_with_another_uid_is_refused, what_is_made_again_has_another_uid, a_deletion_at_another_version_is_refused, a_dry_run_deletes_nothing, a_deletion_of_nothing_is_not_found,
            a_finalizer_holds_what_is_deleted, what_is_being_deleted_takes_no_finalizer, dependents_go_with_their_owner, orphans_stay, a_foreground_deletion_ends_with_the_owner, a_dependent_goes_with_its_last_owner,
            a_namespace_takes_its_objects_along, a_namespace_that_goes_takes_nothing_in, a_kind_comes_and_goes_with_its_definition, unknown_fields_of_custom_kinds_are_refused
        );
        $crate::cluster_conformance!(@module $make, watches;
            a_watch_tells_what_is_there_and_what_changes, a_watch_of_labels_tells_what_leaves, a_watch_tells_the_mark_and_then_the_end,
            a_watch_is_of_a_namespace_or_all
        );
    };
    (@module $make:expr, $module:ident; $($name:ident),* $(,)?) => {
        mod $module {
            // The expression may name what stands around the call.
            #[allow(unused_imports)]
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $name() {
                    let cluster = $make.await.expect("a cluster");
                    let place = $crate::cluster::conformance::Place::new(cluster, stringify!($name)).await.expect("a namespace");
                    let result = $crate::cluster::conformance::$module::$name(&place).await;
                    let removed = place.remove().await;
                    if let Err(error) = result {
                        panic!("{error:#}");
                    }
                    removed.expect("the namespace removed");
                }
            )*
        }
    };
}

/// As [`cluster_conformance`](crate::cluster_conformance), for the cases that need pods to run: `cluster_workload_conformance!(make(), IMAGE)`. The image must have `sleep` and be on the nodes.
#[macro_export]
macro_rules! cluster_workload_conformance {
    ($make:expr, $image:expr) => {
        $crate::cluster_workload_conformance!(@ $make, $image;
            a_deployment_becomes_ready, a_stateful_set_becomes_ready, a_daemon_set_becomes_ready, a_job_completes, an_image_that_cannot_be_had_is_said
        );
    };
    (@ $make:expr, $image:expr; $($name:ident),* $(,)?) => {
        mod workloads {
            #[allow(unused_imports)]
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $name() {
                    let cluster = $make.await.expect("a cluster");
                    let place = $crate::cluster::conformance::Place::new(cluster, stringify!($name)).await.expect("a namespace");
                    let result = $crate::cluster::conformance::workloads::$name(&place, $image).await;
                    let removed = place.remove().await;
                    if let Err(error) = result {
                        panic!("{error:#}");
                    }
                    removed.expect("the namespace removed");
                }
            )*
        }
    };
}
