//! Watching objects.

use std::time::Duration;

use backon::ExponentialBuilder;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use gitops_core::{Error, Result};
use gitops_kube::cluster::from_kube;
use kube::Api;
use kube::api::DynamicObject;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, ExponentialBackoff, watch_object};
use serde_json::Value;

use super::read::describe_value;
use super::request::not_installed;
use super::{FluxManager, FluxRef, ListOptions, Unreadable};
use crate::{FluxKind, FluxResource};

/// News of a watch.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum FluxEvent<K> {
    /// All objects are told again from here on, because the watch begins, or because news were missed: what is not told before the next [`Synced`](Self::Synced) is gone.
    Restarted,
    /// An object is there: new, changed, or told again.
    Applied(K),
    /// An object is gone; its last state.
    Deleted(K),
    /// An object is there, and cannot be read as its kind.
    Unreadable(Unreadable),
    /// All objects that were there have been told.
    Synced,
}

/// Tries again soon at first: an API server that is restarted is back within seconds.
fn backoff() -> ExponentialBackoff {
    ExponentialBackoff::from(
        ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(Duration::from_secs(5))
            .with_factor(1.5)
            .with_jitter()
            .without_max_times(),
    )
}

impl FluxManager {
    /// Watches objects: first each that is there, then [`FluxEvent::Synced`], then changes. The stream ends only when it is dropped. Errors are told and it goes on: it asks again, less
    /// and less often, from where it was; where news were missed, [`FluxEvent::Restarted`] says so and all are told again.
    ///
    /// # Errors
    /// In the stream: `Unavailable`, `PermissionDenied`, `NotFound` for a kind that is not installed.
    pub fn watch<K: FluxResource>(
        &self,
        options: &ListOptions,
    ) -> BoxStream<'static, Result<FluxEvent<K>>> {
        let config = watcher::Config {
            label_selector: options.labels.clone(),
            ..watcher::Config::default()
        };
        let api = self.api(K::KIND, options.namespace.as_deref());
        watcher::watcher(api, config)
            .backoff(backoff())
            .map(|event| {
                Ok(match event.map_err(|error| interrupted(K::KIND, error))? {
                    watcher::Event::Init => FluxEvent::Restarted,
                    watcher::Event::InitDone => FluxEvent::Synced,
                    watcher::Event::InitApply(object) | watcher::Event::Apply(object) => {
                        read(object, FluxEvent::Applied)
                    }
                    watcher::Event::Delete(object) => read(object, FluxEvent::Deleted),
                })
            })
            .boxed()
    }

    /// One object, each time that it changes; `None` when it is not there. It ends only when it is dropped.
    pub(crate) fn watch_one(&self, object: &FluxRef) -> BoxStream<'static, Result<Option<Value>>> {
        let kind = object.kind;
        watch_object(self.api(kind, Some(&object.namespace)), &object.name)
            .backoff(backoff())
            .map(move |event| match event {
                Ok(Some(object)) => plain(object).map(Some),
                Ok(None) => Ok(None),
                Err(error) => Err(interrupted(kind, error)),
            })
            .boxed()
    }

    fn api(&self, kind: FluxKind, namespace: Option<&str>) -> Api<DynamicObject> {
        let resource = kind.api_resource();
        let client = self.client().clone();
        match namespace {
            Some(namespace) => {
                Api::namespaced_with(client, self.namespace_or_own(namespace), &resource)
            }
            None => Api::all_with(client, &resource),
        }
    }
}

fn read<K: FluxResource>(object: DynamicObject, event: fn(K) -> FluxEvent<K>) -> FluxEvent<K> {
    let value = match plain(object) {
        Ok(value) => value,
        Err(error) => {
            return FluxEvent::Unreadable(Unreadable {
                object: FluxRef::new(K::KIND, "", ""),
                reason: error.to_string(),
            });
        }
    };
    match K::deserialize(&value) {
        Ok(object) => event(object),
        Err(error) => FluxEvent::Unreadable(describe_value(K::KIND, &value, &error)),
    }
}

fn plain(object: DynamicObject) -> Result<Value> {
    serde_json::to_value(object).map_err(|error| {
        Error::internal("an object from the API server cannot be read").with_source(error)
    })
}

/// Whatever interrupts a watch, in the SDK's kinds.
fn interrupted(kind: FluxKind, error: watcher::Error) -> Error {
    let context = "the watch was interrupted";
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => match error {
            // The path is not known: kube makes a status of the text.
            kube::Error::Api(status) if status.code == 404 => not_installed(kind),
            error => from_kube(error).context(context),
        },
        watcher::Error::WatchError(status) => from_kube(kube::Error::Api(status)).context(context),
        error => Error::unavailable(context).with_source(error),
    }
}
