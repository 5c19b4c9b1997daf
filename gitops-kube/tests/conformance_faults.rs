//! The conformance suite of `Cluster` finds clusters that are wrong, and leaves nothing behind when it does.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use gitops_core::Result;
use gitops_core::manifest::{GroupKind, GroupVersionKind, Object};
use gitops_kube::cluster::conformance::{Place, lifecycle, objects, ownership, watches};
use gitops_kube::cluster::{
    ApiKind, Cluster, DeleteParams, InMemoryCluster, ListParams, ObjectKey, ObjectList, Patch,
    WatchEvent, WriteParams,
};

/// What is wrong with a cluster.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wrong {
    IgnoresUids,
    IgnoresVersions,
    AlwaysForces,
    WritesInDryRuns,
    DeletesInDryRuns,
    ForgetsPropagation,
    ForgetsFinalizers,
    IgnoresSelectors,
    LosesTokens,
    AppliesByReplacing,
    NeverSynced,
    KeepsDeletionsToItself,
}

struct Faulty {
    inner: InMemoryCluster,
    wrong: Wrong,
}

impl Faulty {
    fn is(&self, wrong: Wrong) -> bool {
        self.wrong == wrong
    }

    fn params(&self, params: &WriteParams) -> WriteParams {
        let mut params = params.clone();
        params.force |= self.is(Wrong::AlwaysForces);
        params.dry_run &= !self.is(Wrong::WritesInDryRuns);
        params
    }

    fn object(&self, object: &Object) -> Object {
        let mut object = object.clone();
        if self.is(Wrong::IgnoresVersions) {
            object.metadata_mut().remove("resourceVersion");
        }
        if self.is(Wrong::ForgetsFinalizers) {
            object.metadata_mut().remove("finalizers");
        }
        object
    }

    fn list_params(&self, params: &ListParams) -> ListParams {
        let mut params = params.clone();
        if self.is(Wrong::IgnoresSelectors) {
            (params.labels, params.fields) = (None, None);
        }
        if self.is(Wrong::LosesTokens) {
            params.continue_token = None;
        }
        params
    }
}

#[async_trait]
impl Cluster for Faulty {
    async fn resolve(&self, gvk: &GroupVersionKind) -> Result<ApiKind> {
        self.inner.resolve(gvk).await
    }

    async fn resolve_any(&self, kind: &GroupKind) -> Result<ApiKind> {
        self.inner.resolve_any(kind).await
    }

    fn invalidate(&self) {
        self.inner.invalidate();
    }

    async fn get(&self, key: ObjectKey<'_>) -> Result<Option<Object>> {
        self.inner.get(key).await
    }

    async fn list(&self, kind: &ApiKind, params: &ListParams) -> Result<ObjectList> {
        let mut list = self.inner.list(kind, &self.list_params(params)).await?;
        if self.is(Wrong::LosesTokens) {
            list.continue_token = None;
        }
        Ok(list)
    }

    async fn create(
        &self,
        kind: &ApiKind,
        object: &Object,
        params: &WriteParams,
    ) -> Result<Object> {
        self.inner
            .create(kind, &self.object(object), &self.params(params))
            .await
    }

    async fn apply(&self, kind: &ApiKind, object: &Object, params: &WriteParams) -> Result<Object> {
        let (object, params) = (self.object(object), self.params(params));
        let key = ObjectKey {
            kind,
            namespace: object.namespace(),
            name: object.name(),
        };
        if self.is(Wrong::AppliesByReplacing) && self.inner.get(key).await?.is_some() {
            return self.inner.replace(kind, &object, &params).await;
        }
        self.inner.apply(kind, &object, &params).await
    }

    async fn replace(
        &self,
        kind: &ApiKind,
        object: &Object,
        params: &WriteParams,
    ) -> Result<Object> {
        self.inner
            .replace(kind, &self.object(object), &self.params(params))
            .await
    }

    async fn patch(
        &self,
        key: ObjectKey<'_>,
        patch: &Patch,
        params: &WriteParams,
    ) -> Result<Object> {
        self.inner.patch(key, patch, &self.params(params)).await
    }

    async fn delete(&self, key: ObjectKey<'_>, params: &DeleteParams) -> Result<()> {
        let mut params = params.clone();
        match self.wrong {
            Wrong::IgnoresUids => params.uid = None,
            Wrong::IgnoresVersions => params.resource_version = None,
            Wrong::ForgetsPropagation => params.propagation = None,
            Wrong::DeletesInDryRuns => params.dry_run = false,
            _ => {}
        }
        self.inner.delete(key, &params).await
    }

    fn watch(&self, kind: &ApiKind, params: ListParams) -> BoxStream<'static, Result<WatchEvent>> {
        let wrong = self.wrong;
        self.inner
            .watch(kind, self.list_params(&params))
            .map(move |event| match event {
                // Something else instead, so that nobody has to wait until patience ends.
                Ok(WatchEvent::Synced) if wrong == Wrong::NeverSynced => {
                    Err(gitops_core::Error::unavailable("the watch was interrupted"))
                }
                Ok(WatchEvent::Deleted(object)) if wrong == Wrong::KeepsDeletionsToItself => {
                    Ok(WatchEvent::Modified(object))
                }
                event => event,
            })
            .boxed()
    }
}

type Case = for<'a> fn(&'a Place) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// Names of what is left of a kind that cases make.
async fn left(cluster: &InMemoryCluster, kind: GroupKind) -> Vec<String> {
    let kind = cluster.resolve_any(&kind).await.unwrap();
    let list = cluster.list(&kind, &ListParams::default()).await.unwrap();
    let names = list.items.iter().map(|item| item.name().to_owned());
    names
        .filter(|name| name.starts_with("c-") || name.starts_with("things."))
        .collect()
}

#[tokio::test]
async fn every_fault_is_found_and_cleaned_up_after() {
    let cases: [(Wrong, Case); 19] = [
        (Wrong::IgnoresUids, |p| {
            Box::pin(lifecycle::a_deletion_with_another_uid_is_refused(p))
        }),
        (Wrong::IgnoresUids, |p| {
            Box::pin(lifecycle::what_is_made_again_has_another_uid(p))
        }),
        (Wrong::IgnoresVersions, |p| {
            Box::pin(lifecycle::a_deletion_at_another_version_is_refused(p))
        }),
        (Wrong::IgnoresVersions, |p| {
            Box::pin(objects::a_replace_needs_the_version_it_names(p))
        }),
        (Wrong::IgnoresVersions, |p| {
            Box::pin(ownership::an_apply_needs_the_version_it_names(p))
        }),
        (Wrong::AlwaysForces, |p| {
            Box::pin(ownership::a_conflict_names_the_manager_and_the_field(p))
        }),
        (Wrong::AlwaysForces, |p| {
            Box::pin(ownership::atomic_lists_have_one_owner(p))
        }),
        (Wrong::WritesInDryRuns, |p| {
            Box::pin(ownership::a_dry_run_changes_nothing(p))
        }),
        (Wrong::DeletesInDryRuns, |p| {
            Box::pin(lifecycle::a_dry_run_deletes_nothing(p))
        }),
        (Wrong::ForgetsPropagation, |p| {
            Box::pin(lifecycle::orphans_stay(p))
        }),
        (Wrong::ForgetsFinalizers, |p| {
            Box::pin(lifecycle::a_finalizer_holds_what_is_deleted(p))
        }),
        (Wrong::ForgetsFinalizers, |p| {
            Box::pin(ownership::sets_are_merged(p))
        }),
        (Wrong::IgnoresSelectors, |p| {
            Box::pin(objects::labels_select(p))
        }),
        (Wrong::LosesTokens, |p| {
            Box::pin(objects::lists_come_in_pages(p))
        }),
        (Wrong::AppliesByReplacing, |p| {
            Box::pin(ownership::what_another_manager_owns_stays(p))
        }),
        (Wrong::AppliesByReplacing, |p| {
            Box::pin(ownership::entries_keyed_by_name_are_merged(p))
        }),
        // Fails in the middle, with a definition made and an object held.
        (Wrong::AppliesByReplacing, |p| {
            Box::pin(lifecycle::a_kind_comes_and_goes_with_its_definition(p))
        }),
        (Wrong::NeverSynced, |p| {
            Box::pin(watches::a_watch_tells_the_mark_and_then_the_end(p))
        }),
        (Wrong::KeepsDeletionsToItself, |p| {
            Box::pin(watches::a_watch_tells_what_is_there_and_what_changes(p))
        }),
    ];
    for (number, (wrong, case)) in cases.into_iter().enumerate() {
        let inner = InMemoryCluster::new();
        let cluster = Arc::new(Faulty {
            inner: inner.clone(),
            wrong,
        });
        let place = Place::new(cluster, "fault").await.unwrap();
        let result = case(&place).await;
        place.remove().await.unwrap();
        assert!(
            result.is_err(),
            "case {number} does not notice that a cluster {wrong:?}"
        );
        for kind in [
            GroupKind::new("", "Namespace"),
            GroupKind::new("apiextensions.k8s.io", "CustomResourceDefinition"),
        ] {
            let left = left(&inner, kind).await;
            assert!(left.is_empty(), "case {number}, {wrong:?}: {left:?}");
        }
    }
}
