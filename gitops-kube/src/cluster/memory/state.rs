//! What the cluster holds: the objects, their history, and the work that its controllers have still to do.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use gitops_core::manifest::{GroupKind, ObjectId};
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use super::InMemoryOptions;
use super::controllers;
use super::kinds::Kinds;

/// One write, as watches and old lists see it.
#[derive(Clone)]
pub(super) struct Change {
    pub(super) revision: u64,
    pub(super) id: ObjectId,
    pub(super) before: Option<Arc<Value>>,
    pub(super) after: Option<Arc<Value>>,
}

/// What a controller has to look at.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Task {
    /// An object changed, or its time has come.
    Reconcile(ObjectId),
    /// An owner is gone: its dependents go too.
    Orphaned(String),
}

pub(super) struct State {
    pub(super) options: InMemoryOptions,
    pub(super) kinds: Kinds,
    pub(super) now: Instant,
    objects: BTreeMap<ObjectId, Arc<Value>>,
    by_uid: HashMap<String, ObjectId>,
    dependents: HashMap<String, BTreeSet<ObjectId>>,
    revision: u64,
    history: VecDeque<Change>,
    compacted: u64,
    tasks: BTreeMap<(Instant, u64), Task>,
    queued: HashMap<Task, (Instant, u64)>,
    serial: u64,
    salt: RandomState,
    epoch: (Instant, Timestamp),
    /// By how much this cluster's clock is ahead.
    ahead: Duration,
    told: watch::Sender<u64>,
    /// When controllers first saw something of an object, by its UID.
    clocks: HashMap<String, Clock>,
    orphans: bool,
}

/// What controllers remember about an object.
struct Clock {
    begun: Instant,
    /// What the object was last seen doing, and since when.
    step: (String, Instant),
}

/// So many tasks are done at one go; two controllers that undo each other's work must not hang the caller.
const TASKS_AT_ONCE: usize = 20_000;

impl State {
    pub(super) fn new(options: InMemoryOptions) -> Self {
        let now = Instant::now();
        Self {
            options,
            kinds: Kinds::builtin(),
            now,
            objects: BTreeMap::new(),
            by_uid: HashMap::new(),
            dependents: HashMap::new(),
            revision: 1,
            history: VecDeque::new(),
            compacted: 0,
            tasks: BTreeMap::new(),
            queued: HashMap::new(),
            serial: 0,
            salt: RandomState::new(),
            epoch: (now, Timestamp::now()),
            ahead: Duration::ZERO,
            told: watch::Sender::new(1),
            clocks: HashMap::new(),
            orphans: false,
        }
    }

    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// Wakes whenever something is written.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.told.subscribe()
    }

    pub(super) fn get(&self, id: &ObjectId) -> Option<&Arc<Value>> {
        self.objects.get(id)
    }

    pub(super) fn by_uid(&self, uid: &str) -> Option<&ObjectId> {
        self.by_uid.get(uid)
    }

    /// The objects that name `uid` as an owner.
    pub(super) fn dependents(&self, uid: &str) -> Vec<ObjectId> {
        self.dependents
            .get(uid)
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }

    /// All of a kind, in the order of namespace and name.
    pub(super) fn of_kind<'s>(
        &'s self,
        kind: &'s GroupKind,
        namespace: Option<&'s str>,
    ) -> impl Iterator<Item = (&'s ObjectId, &'s Arc<Value>)> {
        let first = ObjectId::new(
            kind.group.as_str(),
            kind.kind.as_str(),
            namespace.unwrap_or_default(),
            "",
        );
        self.objects
            .range((Bound::Included(first), Bound::Unbounded))
            .take_while(move |(id, _)| {
                id.group == kind.group
                    && id.kind == kind.kind
                    && namespace.is_none_or(|namespace| id.namespace == namespace)
            })
    }

    /// All of a kind as they were at a revision; `None` when the history does not reach back so far.
    pub(super) fn of_kind_at(
        &self,
        kind: &GroupKind,
        namespace: Option<&str>,
        revision: u64,
    ) -> Option<BTreeMap<ObjectId, Arc<Value>>> {
        if revision < self.compacted || revision > self.revision {
            return None;
        }
        let mut objects: BTreeMap<ObjectId, Arc<Value>> = self
            .of_kind(kind, namespace)
            .map(|(id, value)| (id.clone(), value.clone()))
            .collect();
        for change in self.history.iter().rev() {
            if change.revision <= revision {
                break;
            }
            if change.id.group != kind.group
                || change.id.kind != kind.kind
                || namespace.is_some_and(|namespace| change.id.namespace != namespace)
            {
                continue;
            }
            match &change.before {
                Some(before) => objects.insert(change.id.clone(), before.clone()),
                None => objects.remove(&change.id),
            };
        }
        Some(objects)
    }

    /// The changes after a revision; `None` when the history does not reach back so far.
    pub(super) fn changes_since(&self, revision: u64) -> Option<impl Iterator<Item = &Change>> {
        let from = self
            .history
            .partition_point(|change| change.revision <= revision);
        (revision >= self.compacted).then(|| self.history.range(from..))
    }

    /// Forgets the history: continue tokens are too old, and watches that lag behind begin again.
    pub(super) fn compact(&mut self) {
        self.history.clear();
        self.compacted = self.revision;
    }

    /// Stores an object at a new revision.
    pub(super) fn put(&mut self, id: &ObjectId, mut value: Value) -> Arc<Value> {
        self.revision += 1;
        value["metadata"]["resourceVersion"] = self.revision.to_string().into();
        let value = Arc::new(value);
        let before = self.objects.insert(id.clone(), value.clone());
        self.index(id, before.as_deref(), Some(&value));
        self.record(id, before, Some(value.clone()));
        value
    }

    /// Removes an object for good.
    pub(super) fn remove(&mut self, id: &ObjectId) {
        let Some(before) = self.objects.remove(id) else {
            return;
        };
        self.revision += 1;
        self.index(id, Some(&before), None);
        let uid = text(&before, "/metadata/uid");
        self.clocks.remove(uid);
        if self.dependents.contains_key(uid) {
            self.schedule(Task::Orphaned(uid.to_owned()), self.soon());
        }
        self.record(id, Some(before), None);
    }

    fn index(&mut self, id: &ObjectId, before: Option<&Value>, after: Option<&Value>) {
        if let Some(before) = before {
            for owner in owners(before) {
                let uid = text(owner, "/uid");
                if let Some(dependents) = self.dependents.get_mut(uid) {
                    dependents.remove(id);
                    if dependents.is_empty() {
                        self.dependents.remove(uid);
                    }
                }
            }
            if after.is_none() {
                self.by_uid.remove(text(before, "/metadata/uid"));
            }
        }
        let Some(after) = after else {
            return;
        };
        self.by_uid
            .insert(text(after, "/metadata/uid").to_owned(), id.clone());
        for owner in owners(after) {
            let uid = text(owner, "/uid");
            self.dependents
                .entry(uid.to_owned())
                .or_default()
                .insert(id.clone());
            // The real collector deletes what names an owner that never was, too.
            if !self.by_uid.contains_key(uid) {
                self.schedule(Task::Orphaned(uid.to_owned()), self.soon());
            }
        }
    }

    fn record(&mut self, id: &ObjectId, before: Option<Arc<Value>>, after: Option<Arc<Value>>) {
        controllers::changed(self, id, before.as_deref(), after.as_deref());
        self.history.push_back(Change {
            revision: self.revision,
            id: id.clone(),
            before,
            after,
        });
        while self.history.len() > self.options.history.max(1) {
            if let Some(old) = self.history.pop_front() {
                self.compacted = old.revision;
            }
        }
        self.told.send_replace(self.revision);
    }

    /// When controllers get to what is changed now.
    pub(super) fn soon(&self) -> Instant {
        self.now + self.options.controller_delay
    }

    /// Puts a task on the list, unless it is there for an earlier time already.
    pub(super) fn schedule(&mut self, task: Task, due: Instant) {
        if let Some(at) = self.queued.get(&task) {
            if at.0 <= due {
                return;
            }
            self.tasks.remove(at);
        }
        self.serial += 1;
        let at = (due, self.serial);
        self.tasks.insert(at, task.clone());
        self.queued.insert(task, at);
    }

    /// When the next task is due, by the runtime's clock.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let (due, _) = self.tasks.keys().next()?;
        Some(due.checked_sub(self.ahead).unwrap_or(*due))
    }

    /// Puts the clock forward.
    pub(super) fn skip(&mut self, by: Duration) {
        self.ahead += by;
        self.told.send_replace(self.revision);
    }

    /// Lets the controllers do what was due until now.
    pub(super) fn advance(&mut self) {
        let now = Instant::now() + self.ahead;
        for _ in 0..TASKS_AT_ONCE {
            let Some(entry) = self
                .tasks
                .first_entry()
                .filter(|entry| entry.key().0 <= now)
            else {
                break;
            };
            let (due, _) = *entry.key();
            let task = entry.remove();
            self.queued.remove(&task);
            // Things happen at the time that they were due, however late somebody looks.
            self.now = self.now.max(due);
            match task {
                Task::Reconcile(id) => controllers::reconcile(self, &id),
                Task::Orphaned(uid) => super::delete::collect(self, &uid),
            }
        }
        self.now = self.now.max(now);
    }

    fn clock(&mut self, uid: &str) -> &mut Clock {
        let now = self.now;
        self.clocks.entry(uid.to_owned()).or_insert(Clock {
            begun: now,
            step: (String::new(), now),
        })
    }

    /// When a controller first looked at an object.
    pub(super) fn begun(&mut self, uid: &str) -> Instant {
        self.clock(uid).begun
    }

    /// Since when an object is at `step`.
    pub(super) fn since(&mut self, uid: &str, step: &str) -> Instant {
        let now = self.now;
        let clock = self.clock(uid);
        if clock.step.0 != step {
            clock.step = (step.to_owned(), now);
        }
        clock.step.1
    }

    /// Whether anything was ever left without its owner, so that controllers look for what they may adopt.
    pub(super) fn has_orphans(&self) -> bool {
        self.orphans
    }

    pub(super) fn note_orphan(&mut self) {
        self.orphans = true;
    }

    /// The time as objects tell it.
    pub(super) fn timestamp(&self) -> String {
        let (instant, time) = self.epoch;
        let seconds = self.now.saturating_duration_since(instant).as_secs_f64();
        let seconds = time.as_millisecond() as f64 / 1000.0 + seconds;
        Timestamp::from_second(seconds as i64)
            .unwrap_or(time)
            .to_string()
    }

    /// Random hexadecimal digits.
    pub(super) fn random(&mut self) -> u64 {
        self.serial += 1;
        self.salt.hash_one(self.serial)
    }

    /// A UID in the form of UUID version 4.
    pub(super) fn uid(&mut self) -> String {
        let (high, low) = (self.random(), self.random());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:x}{:03x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xfff,
            8 + (low >> 62),
            (low >> 48) & 0xfff,
            low & 0xffff_ffff_ffff,
        )
    }

    /// The suffix of a generated name, in the alphabet that Kubernetes uses.
    pub(super) fn suffix(&mut self) -> String {
        let mut random = self.random();
        let mut suffix = String::new();
        for _ in 0..5 {
            suffix.push(safe_char(random));
            random /= 27;
        }
        suffix
    }
}

/// apimachinery, `pkg/util/rand`: no vowels, and nothing that looks like one.
pub(super) fn safe_char(number: u64) -> char {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    char::from(ALPHABET[usize::try_from(number % 27).unwrap_or_default()])
}

/// The text at a JSON pointer; empty when there is none.
pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The owner references of an object.
pub(super) fn owners(value: &Value) -> impl Iterator<Item = &Value> {
    value
        .pointer("/metadata/ownerReferences")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// Whether an object is being deleted.
pub(super) fn is_terminating(value: &Value) -> bool {
    !text(value, "/metadata/deletionTimestamp").is_empty()
}

/// The finalizers of an object.
pub(super) fn finalizers(value: &Value) -> Vec<&str> {
    value
        .pointer("/metadata/finalizers")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}
