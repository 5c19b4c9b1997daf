//! Watching.

use std::time::Duration;

use backon::ExponentialBuilder;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use gitops_core::manifest::Object;
use gitops_core::{Error, Result};
use kube::api::{ApiResource, DynamicObject, TypeMeta};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, ExponentialBackoff, watcher};
use kube::{Api, Client};

use super::error::from_watch;
use super::request;
use crate::cluster::{ApiKind, ListParams, WatchEvent};

/// How long a watch waits between its tries, for [`kube::runtime::WatchStreamExt::backoff`]: 100 ms at first, since an API server that is restarted is back within seconds, then up to 5 s.
///
/// It begins anew with every event. kube's watcher tells [`Event::Init`] before it has asked for anything: take that out of the stream before this is applied, else a list that fails is
/// asked for every 100 ms.
pub fn watch_backoff() -> ExponentialBackoff {
    ExponentialBackoff::from(
        ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(Duration::from_secs(5))
            .with_factor(1.5)
            .with_jitter()
            .without_max_times(),
    )
}

pub(super) fn watch(
    client: &Client,
    kind: &ApiKind,
    params: ListParams,
) -> BoxStream<'static, Result<WatchEvent>> {
    // kube writes whatever it is given into the path.
    if let Err(error) = request::path(kind, params.namespace.as_deref(), None) {
        let told = stream::once(futures::future::ready(Err(error)));
        return told.chain(stream::pending()).boxed();
    }
    let resource = ApiResource {
        group: kind.gvk.group.clone(),
        version: kind.gvk.version.clone(),
        api_version: kind.gvk.api_version(),
        kind: kind.gvk.kind.clone(),
        plural: kind.plural.clone(),
    };
    let api: Api<DynamicObject> = match params.namespace.as_deref() {
        Some(namespace) if kind.is_namespaced() && !namespace.is_empty() => {
            Api::namespaced_with(client.clone(), namespace, &resource)
        }
        _ => Api::all_with(client.clone(), &resource),
    };
    let config = watcher::Config {
        label_selector: params.labels,
        field_selector: params.fields,
        ..watcher::Config::default()
    };
    let types = TypeMeta {
        api_version: kind.gvk.api_version(),
        kind: kind.gvk.kind.clone(),
    };
    watcher(api, config)
        .filter(|event| futures::future::ready(!matches!(event, Ok(Event::Init))))
        .backoff(watch_backoff())
        .filter_map(move |event| {
            let types = types.clone();
            // The API server leaves them out of lists.
            let plain = move |mut object: DynamicObject| {
                object.types.get_or_insert(types);
                plain(object)
            };
            futures::future::ready(match event {
                Ok(Event::Init) => None,
                Ok(Event::InitApply(object)) => Some(plain(object).map(WatchEvent::Added)),
                Ok(Event::InitDone) => Some(Ok(WatchEvent::Synced)),
                Ok(Event::Apply(object)) => Some(plain(object).map(WatchEvent::Modified)),
                Ok(Event::Delete(object)) => Some(plain(object).map(WatchEvent::Deleted)),
                Err(error) => Some(Err(from_watch(error))),
            })
        })
        .boxed()
}

fn plain(object: DynamicObject) -> Result<Object> {
    let value = serde_json::to_value(object).map_err(|error| {
        Error::internal("an object from the API server cannot be read").with_source(error)
    })?;
    Object::new(value, None)
}
