//! Watching objects.

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use gitops_core::{Error, Result};
use gitops_kube::cluster::{from_watch, watch_backoff};
use kube::Api;
use kube::api::DynamicObject;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watch_object};
use serde_json::Value;

use super::read::describe_value;
use super::request::{not_installed, segment};
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

impl FluxManager {
    /// Watches objects: first each that is there, then [`FluxEvent::Synced`], then changes. The stream ends only when it is dropped. Errors are told and it goes on: it asks again, less
    /// and less often, from where it was; where news were missed, [`FluxEvent::Restarted`] says so and all are told again.
    ///
    /// # Errors
    /// In the stream: `Unavailable`, `PermissionDenied`, `NotFound` for a kind that is not installed; `InvalidInput` for a namespace that is none, and nothing after it.
    pub fn watch<K: FluxResource>(
        &self,
        options: &ListOptions,
    ) -> BoxStream<'static, Result<FluxEvent<K>>> {
        let config = watcher::Config {
            label_selector: options.labels.clone(),
            ..watcher::Config::default()
        };
        let api = match self.api(K::KIND, options.namespace.as_deref()) {
            Ok(api) => api,
            Err(error) => return only(error),
        };
        let mut restarting = false;
        watcher::watcher(api, config)
            // That a list begins says nothing yet, and would begin the pauses anew at each try: it is told with what follows it.
            .filter_map(move |event| {
                futures::future::ready(match event {
                    Ok(Event::Init) => {
                        restarting = true;
                        None
                    }
                    Ok(event) => Some(Ok((std::mem::take(&mut restarting), event))),
                    Err(error) => Some(Err(error)),
                })
            })
            .backoff(watch_backoff())
            .flat_map(|event| {
                let (restarted, event) = match event {
                    Ok((restarted, event)) => (restarted, told(event).map(Ok)),
                    Err(error) => (false, Some(Err(interrupted(K::KIND, error)))),
                };
                stream::iter(
                    restarted
                        .then_some(Ok(FluxEvent::Restarted))
                        .into_iter()
                        .chain(event),
                )
            })
            .boxed()
    }

    /// One object, each time that it changes; `None` when it is not there. It ends only when it is dropped.
    pub(crate) fn watch_one(&self, object: &FluxRef) -> BoxStream<'static, Result<Option<Value>>> {
        let kind = object.kind;
        let api = match self.api(kind, Some(&object.namespace)) {
            Ok(api) => api,
            Err(error) => return only(error),
        };
        watch_object(api, &object.name)
            .backoff(watch_backoff())
            .map(move |event| match event {
                Ok(Some(object)) => plain(object).map(Some),
                Ok(None) => Ok(None),
                Err(error) => Err(interrupted(kind, error)),
            })
            .boxed()
    }

    /// kube writes whatever namespace it is given into the path.
    fn api(&self, kind: FluxKind, namespace: Option<&str>) -> Result<Api<DynamicObject>> {
        let resource = kind.api_resource();
        let client = self.client().clone();
        Ok(match namespace {
            Some(namespace) => {
                let namespace = segment(self.namespace_or_own(namespace))?;
                Api::namespaced_with(client, namespace, &resource)
            }
            None => Api::all_with(client, &resource),
        })
    }
}

/// A watch that cannot begin.
fn only<T: Send + 'static>(error: Error) -> BoxStream<'static, Result<T>> {
    stream::once(futures::future::ready(Err(error)))
        .chain(stream::pending())
        .boxed()
}

fn told<K: FluxResource>(event: Event<DynamicObject>) -> Option<FluxEvent<K>> {
    Some(match event {
        Event::Init => return None,
        Event::InitDone => FluxEvent::Synced,
        Event::InitApply(object) | Event::Apply(object) => read(object, FluxEvent::Applied),
        Event::Delete(object) => read(object, FluxEvent::Deleted),
    })
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
    match error {
        // The path is not known: kube makes a status of the text.
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
            if status.code == 404 =>
        {
            not_installed(kind)
        }
        error => from_watch(error),
    }
}
