//! Lists and watches.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::StreamExt;
use futures::stream::BoxStream;
use gitops_core::manifest::{GroupVersionKind, Object, ObjectId};
use gitops_core::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

use super::faults::{Faults, Verb};
use super::identity::served;
use super::kinds::Kind;
use super::selector::{Fields, Labels};
use super::state::State;

use crate::cluster::{ListParams, ObjectList, WatchEvent};

/// Where a page ended.
#[derive(Serialize, Deserialize)]
struct Token {
    revision: u64,
    namespace: String,
    name: String,
}

struct Selection {
    namespace: Option<String>,
    labels: Labels,
    fields: Fields,
}

impl Selection {
    fn new(kind: &Kind, params: &ListParams) -> Result<Self> {
        Ok(Self {
            namespace: params
                .namespace
                .clone()
                .filter(|namespace| kind.api.is_namespaced() && !namespace.is_empty()),
            labels: Labels::parse(params.labels.as_deref().unwrap_or_default())?,
            fields: Fields::parse(
                params.fields.as_deref().unwrap_or_default(),
                &kind.api.gvk.kind,
            )?,
        })
    }

    fn matches(&self, id: &ObjectId, value: &Value) -> bool {
        self.namespace
            .as_ref()
            .is_none_or(|namespace| *namespace == id.namespace)
            && self.labels.matches(value)
            && self.fields.matches(value)
    }
}

pub(super) fn list(state: &State, kind: &Kind, params: &ListParams) -> Result<ObjectList> {
    let selection = Selection::new(kind, params)?;
    let group_kind = kind.api.group_kind();
    let namespace = selection.namespace.as_deref();
    let (objects, revision, after) = match params.continue_token.as_deref() {
        None | Some("") => (
            state
                .of_kind(&group_kind, namespace)
                .map(|(id, value)| (id.clone(), value.clone()))
                .collect(),
            state.revision(),
            None,
        ),
        Some(token) => {
            let token = read_token(token)?;
            let objects: BTreeMap<_, _> = state
                .of_kind_at(&group_kind, namespace, token.revision)
                .ok_or_else(|| {
                    Error::conflict(
                        "The provided continue parameter is too old to display a consistent list result",
                    )
                })?;
            (objects, token.revision, Some((token.namespace, token.name)))
        }
    };
    let limit = params
        .limit
        .and_then(|limit| usize::try_from(limit).ok())
        .filter(|limit| *limit > 0)
        .unwrap_or(usize::MAX);
    let mut items = Vec::new();
    let mut continue_token = None;
    let mut last: Option<&ObjectId> = None;
    for (id, value) in &objects {
        if after
            .as_ref()
            .is_some_and(|(namespace, name)| (&id.namespace, &id.name) <= (namespace, name))
            || !selection.matches(id, value)
        {
            continue;
        }
        if items.len() == limit {
            continue_token = last.map(|last| write_token(revision, last)).transpose()?;
            break;
        }
        items.push(match params.metadata_only {
            true => metadata(kind, value)?,
            false => object(kind, value)?,
        });
        last = Some(id);
    }
    Ok(ObjectList {
        items,
        resource_version: revision.to_string(),
        continue_token,
    })
}

/// An object as the server answers it.
pub(super) fn object(kind: &Kind, value: &Value) -> Result<Object> {
    Object::new(served(kind, value), None)
}

/// An object as the server answers it, without what it is besides its metadata.
fn metadata(kind: &Kind, value: &Value) -> Result<Object> {
    let mut whole = served(kind, value);
    if let Value::Object(map) = &mut whole {
        map.retain(|field, _| ["apiVersion", "kind", "metadata"].contains(&field.as_str()));
    }
    Object::new(whole, None)
}

fn read_token(token: &str) -> Result<Token> {
    URL_SAFE_NO_PAD
        .decode(token)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .ok_or_else(|| Error::invalid("continue key is not valid"))
}

fn write_token(revision: u64, last: &ObjectId) -> Result<String> {
    let token = Token {
        revision,
        namespace: last.namespace.clone(),
        name: last.name.clone(),
    };
    serde_json::to_vec(&token)
        .map(|bytes| URL_SAFE_NO_PAD.encode(bytes))
        .map_err(|error| Error::internal("a continue token cannot be written").with_source(error))
}

/// A kind that is not served yet is asked for again after this.
const ASK_AGAIN: Duration = Duration::from_secs(1);

struct Watch {
    faults: Arc<Faults>,
    state: Arc<Mutex<State>>,
    told: tokio::sync::watch::Receiver<u64>,
    gvk: GroupVersionKind,
    params: ListParams,
    /// The last revision that was told; `None` before the first list and after a gap.
    cursor: Option<u64>,
    ready: VecDeque<Result<WatchEvent>>,
    /// The last look failed: the next one waits.
    failed: bool,
}

pub(super) fn watch(
    state: Arc<Mutex<State>>,
    faults: Arc<Faults>,
    gvk: GroupVersionKind,
    params: ListParams,
) -> BoxStream<'static, Result<WatchEvent>> {
    let told = lock(&state).subscribe();
    let watch = Watch {
        faults,
        state,
        told,
        gvk,
        params,
        cursor: None,
        ready: VecDeque::new(),
        failed: false,
    };
    futures::stream::unfold(watch, |mut watch| async move {
        let event = watch.next().await;
        Some((event, watch))
    })
    .boxed()
}

pub(super) fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watch {
    async fn next(&mut self) -> Result<WatchEvent> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return event;
            }
            if std::mem::take(&mut self.failed) {
                tokio::time::sleep(ASK_AGAIN).await;
            }
            if self.cursor.is_none() {
                let namespace = self.params.namespace.as_deref().unwrap_or_default();
                let kind = self.gvk.group_kind();
                let pass = self
                    .faults
                    .pass(Verb::Watch, &kind, namespace, "", false)
                    .await;
                pass.inspect_err(|_| self.failed = true)?
                    .answer(Ok(()))
                    .await
                    .inspect_err(|_| self.failed = true)?;
            }
            let due = self.poll().inspect_err(|_| self.failed = true)?;
            if !self.ready.is_empty() {
                continue;
            }
            match due {
                Some(due) => {
                    let _ = tokio::time::timeout_at(due, self.told.changed()).await;
                }
                None => {
                    let _ = self.told.changed().await;
                }
            }
        }
    }

    /// Collects what is new; answers when to look again at the latest.
    fn poll(&mut self) -> Result<Option<Instant>> {
        let mut state = lock(&self.state);
        state.advance();
        self.told.mark_unchanged();
        let Some(kind) = state.kinds.get(&self.gvk).cloned() else {
            let again = Instant::now() + ASK_AGAIN;
            // Told once; then the kind is waited for.
            if self.cursor.replace(u64::MAX) != Some(u64::MAX) {
                return Err(Error::not_found(format!(
                    "the cluster does not serve {}",
                    self.gvk
                )));
            }
            return Ok(Some(state.next_due().map_or(again, |due| due.min(again))));
        };
        let selection = Selection::new(&kind, &self.params)?;
        let revision = state.revision();
        let changes = self
            .cursor
            .filter(|cursor| *cursor != u64::MAX)
            .and_then(|cursor| state.changes_since(cursor));
        match changes {
            None => {
                for (id, value) in
                    state.of_kind(&kind.api.group_kind(), selection.namespace.as_deref())
                {
                    if selection.matches(id, value) {
                        self.ready
                            .push_back(object(&kind, value).map(WatchEvent::Added));
                    }
                }
                self.ready.push_back(Ok(WatchEvent::Synced));
            }
            Some(changes) => {
                for change in changes {
                    if change.id.group != kind.api.gvk.group || change.id.kind != kind.api.gvk.kind
                    {
                        continue;
                    }
                    let before = change
                        .before
                        .as_ref()
                        .filter(|value| selection.matches(&change.id, value));
                    let after = change
                        .after
                        .as_ref()
                        .filter(|value| selection.matches(&change.id, value));
                    let event = match (before, after) {
                        (None, Some(after)) => object(&kind, after).map(WatchEvent::Added),
                        (Some(_), Some(after)) => object(&kind, after).map(WatchEvent::Modified),
                        (Some(before), None) => {
                            // The version is that of the deletion.
                            let mut last = (**before).clone();
                            last["metadata"]["resourceVersion"] =
                                change.revision.to_string().into();
                            object(&kind, &last).map(WatchEvent::Deleted)
                        }
                        (None, None) => continue,
                    };
                    self.ready.push_back(event);
                }
            }
        }
        self.cursor = Some(revision);
        Ok(state.next_due())
    }
}
