//! Watches.

use std::collections::BTreeMap;

use futures::StreamExt;
use futures::stream::BoxStream;
use gitops_core::{Error, Result};
use serde_json::json;

use super::{PATIENCE, Place, config_map, equal, then};
use crate::cluster::{DeleteParams, ListParams, WatchEvent};

type Events = BoxStream<'static, Result<WatchEvent>>;

/// The next event, but for objects that every namespace gets by itself on a real cluster.
async fn next(events: &mut Events) -> Result<WatchEvent> {
    loop {
        let event = match tokio::time::timeout(PATIENCE, events.next()).await {
            Ok(Some(event)) => event?,
            Ok(None) => return Err(Error::failed("the watch ended")),
            Err(_) => return Err(Error::timeout(format!("no event within {PATIENCE:?}"))),
        };
        match &event {
            WatchEvent::Added(object)
            | WatchEvent::Modified(object)
            | WatchEvent::Deleted(object)
                if object.name() == "kube-root-ca.crt" => {}
            _ => return Ok(event),
        }
    }
}

/// What a watch tells next: `+` or `-` and the object's name, or `synced`.
async fn told(events: &mut Events, count: usize) -> Result<Vec<String>> {
    let mut seen = Vec::new();
    while seen.len() < count {
        seen.push(match next(events).await {
            Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                format!("+{}", object.name())
            }
            Ok(WatchEvent::Deleted(object)) => format!("-{}", object.name()),
            Ok(WatchEvent::Synced) => "synced".to_owned(),
            Err(error) => return Err(error.context(format!("seen so far: {seen:?}"))),
        });
    }
    Ok(seen)
}

fn params(place: &Place, labels: Option<&str>) -> ListParams {
    ListParams {
        namespace: Some(place.namespace.clone()),
        labels: labels.map(str::to_owned),
        ..ListParams::default()
    }
}

/// First what is there, then that this is all, then changes in their order.
pub async fn a_watch_tells_what_is_there_and_what_changes(place: &Place) -> Result<()> {
    place.apply("m", config_map("a", json!({}))).await?;
    place.apply("m", config_map("b", json!({}))).await?;
    let kind = place.kind("v1", "ConfigMap").await?;
    let mut events = place.cluster.watch(&kind, params(place, None));
    let mut first = told(&mut events, 3).await?;
    let synced = first.pop();
    first.sort();
    equal(first, ["+a", "+b"])?;
    equal(synced.as_deref(), Some("synced"))?;
    place.apply("m", config_map("c", json!({}))).await?;
    place.apply("m", config_map("a", json!({"x": "1"}))).await?;
    // No write, no event.
    place.apply("m", config_map("a", json!({"x": "1"}))).await?;
    place
        .delete("v1", "ConfigMap", "b", &DeleteParams::default())
        .await?;
    equal(told(&mut events, 3).await?, ["+c", "+a", "-b"])
}

/// An object that no longer matches the selector is told as deleted, one that begins to match as added.
pub async fn a_watch_of_labels_tells_what_leaves(place: &Place) -> Result<()> {
    let labelled = |name: &str, label: &str| {
        let mut value = config_map(name, json!({}));
        value["metadata"]["labels"] = json!({"l": label});
        value
    };
    let kind = place.kind("v1", "ConfigMap").await?;
    place.apply("m", labelled("a", "yes")).await?;
    place.apply("m", labelled("b", "no")).await?;
    let mut events = place.cluster.watch(&kind, params(place, Some("l=yes")));
    let seen: BTreeMap<_, _> = told(&mut events, 2).await?.into_iter().zip(1..).collect();
    equal(
        seen.keys().map(String::as_str).collect::<Vec<_>>(),
        ["+a", "synced"],
    )?;
    place.apply("m", labelled("a", "no")).await?;
    place.apply("m", labelled("b", "yes")).await?;
    equal(told(&mut events, 2).await?, ["-a", "+b"])
}

/// What is being deleted is told as changed while a finalizer holds it, and as deleted, with its last state, once it is gone.
pub async fn a_watch_tells_the_mark_and_then_the_end(place: &Place) -> Result<()> {
    let mut value = config_map("a", json!({"x": "1"}));
    value["metadata"]["finalizers"] = json!(["example.com/hold"]);
    let made = place.apply("m", value).await?;
    let kind = place.kind("v1", "ConfigMap").await?;
    let mut events = place.cluster.watch(&kind, params(place, None));
    let steps = async {
        equal(told(&mut events, 2).await?, ["+a", "synced"])?;
        place
            .delete("v1", "ConfigMap", "a", &DeleteParams::default())
            .await?;
        match next(&mut events).await? {
            WatchEvent::Modified(object) if object.is_terminating() => Ok(()),
            other => Err(Error::failed(format!("{other:?}"))),
        }
    };
    then(steps, place.release(&place.namespace, "a")).await?;
    loop {
        match next(&mut events).await? {
            WatchEvent::Deleted(object) => {
                equal(object.uid(), made.uid())?;
                equal((object.api_version(), object.kind()), ("v1", "ConfigMap"))?;
                return equal(object.pointer("/data/x"), Some(&json!("1")));
            }
            // The finalizer's end may be told by itself.
            WatchEvent::Modified(object) if object.is_terminating() => {}
            other => return Err(Error::failed(format!("{other:?}"))),
        }
    }
}

/// Without a namespace a watch is of all of them.
pub async fn a_watch_is_of_a_namespace_or_all(place: &Place) -> Result<()> {
    let labelled = |name: &str| {
        let mut value = config_map(name, json!({}));
        value["metadata"]["labels"] = json!({"of": place.namespace});
        value
    };
    let labels = format!("of={}", place.namespace);
    let kind = place.kind("v1", "ConfigMap").await?;
    let mut all = place.cluster.watch(
        &kind,
        ListParams {
            labels: Some(labels.clone()),
            ..ListParams::default()
        },
    );
    let mut elsewhere = place.cluster.watch(
        &kind,
        ListParams {
            namespace: Some("default".into()),
            labels: Some(labels),
            ..ListParams::default()
        },
    );
    equal(told(&mut all, 1).await?, ["synced"])?;
    equal(told(&mut elsewhere, 1).await?, ["synced"])?;
    place.apply("m", labelled("a")).await?;
    let mut there = labelled(&format!("{}-b", place.namespace));
    there["metadata"]["namespace"] = json!("default");
    let name = place.apply("m", there).await?.name().to_owned();
    let steps = async {
        let mut seen = told(&mut all, 2).await?;
        seen.sort();
        equal(seen, ["+a".to_owned(), format!("+{name}")])?;
        equal(told(&mut elsewhere, 1).await?, [format!("+{name}")])
    };
    then(steps, async {
        let key = crate::cluster::ObjectKey {
            kind: &kind,
            namespace: "default",
            name: &name,
        };
        place.cluster.delete(key, &DeleteParams::default()).await
    })
    .await
}
