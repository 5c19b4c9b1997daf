//! What the workload's annotations say of the backend's operations.
//!
//! Flux gives operations no names and keeps none. An operation is a record in the annotation [`OPERATION`], changed only at the version that was read: whoever writes it first has started the
//! operation, and whoever looks at it can carry it on. What it deployed goes into the annotation [`HISTORY`].

use gitops_core::application::{AppRef, HistoryEntry, OperationPhase, OperationStatus};
use gitops_core::backend::{Initiator, Operation, ResourceAction, ResourceResult, SyncOutcome};
use gitops_core::{Error, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub(crate) use crate::convert::OPERATION;
use crate::convert::Workload;
use crate::types::InventoryEntry;

/// The annotation with what was deployed by operations of this backend.
pub(crate) const HISTORY: &str = "gitops.rs/history";
/// The annotation with the digest of the specification that was applied last by an operation.
pub(crate) const APPLIED: &str = "gitops.rs/applied";

// All annotations of an object may have 256 KiB together: the record, 64 KiB of `gitops.rs/kept`, the history, and those of others.

/// The most bytes of resources that are kept with an outcome; of more the unchanged ones are left out.
const RESOURCES: usize = 40 << 10;
/// The most bytes of a message that are kept.
const MESSAGE: usize = 4096;
/// The most bytes of what is asked for: the initiator and what else is to be noted.
const ASK: usize = 8 << 10;
/// The most bytes of a name that is kept in the history.
const NAME: usize = 256;

/// How far an operation is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Step {
    /// The source fetches.
    #[default]
    Source,
    /// The workload is reconciled.
    Workload,
    /// A source that was pinned is let go.
    Release,
    /// It ended.
    Ended,
}

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Ask {
    /// The revision, when it is not the application's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) revision: Option<String>,
    pub(crate) prune: bool,
    pub(crate) force: bool,
    /// How often to try again.
    pub(crate) retries: u32,
    /// How long before the first of them, in milliseconds.
    pub(crate) pause: u64,
    /// What each pause is longer than the one before.
    pub(crate) factor: u32,
    /// The longest pause, in milliseconds.
    pub(crate) longest_pause: u64,
    pub(crate) initiator: Initiator,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) info: Vec<(String, String)>,
}

impl Ask {
    /// # Errors
    /// `InvalidInput` for more than an annotation has room for.
    pub(crate) fn check(&self) -> Result<()> {
        let size = to_text(self)?.len();
        if size > ASK {
            return Err(Error::invalid(format!(
                "info, initiator, revisions: {size} bytes are more than the {ASK} that are kept of an operation"
            )));
        }
        Ok(())
    }
}

/// `spec` of a `Kustomization` before the operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Before {
    pub(crate) prune: bool,
    pub(crate) force: bool,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ended {
    pub(crate) phase: OperationPhase,
    pub(crate) message: String,
    pub(crate) revisions: Vec<String>,
    /// Entries as in inventories, with what happened.
    pub(crate) resources: Vec<(String, ResourceAction)>,
    pub(crate) finished_at: Timestamp,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) started_at: Timestamp,
    /// When it is given up.
    pub(crate) deadline: Timestamp,
    #[serde(default)]
    pub(crate) step: Step,
    #[serde(default)]
    pub(crate) ask: Ask,
    /// Which try, from 0.
    #[serde(default)]
    pub(crate) attempt: u32,
    /// The revision of the source, in Flux's form, that is to be applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expected: Option<String>,
    /// Somebody asked to stop.
    #[serde(default)]
    pub(crate) terminating: bool,
    /// The workload was suspended when it began.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) suspended: bool,
    /// What the operation changes for its time.
    #[serde(default)]
    pub(crate) before: Before,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) outcome: Option<Ended>,
}

impl Record {
    /// The token by which the controllers are asked, a new one for each try.
    pub(crate) fn token(&self) -> String {
        match self.attempt {
            0 => self.id.clone(),
            n => format!("{}.{n}", self.id),
        }
    }

    /// How long to wait before the next try.
    pub(crate) fn pause(&self) -> std::time::Duration {
        let ask = &self.ask;
        let factor = u64::from(ask.factor.max(1)).saturating_pow(self.attempt);
        std::time::Duration::from_millis(
            ask.pause
                .saturating_mul(factor)
                .min(ask.longest_pause.max(ask.pause)),
        )
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.step == Step::Ended
    }

    pub(crate) fn operation(&self, app: &AppRef) -> Operation {
        Operation {
            app: app.clone(),
            id: self.id.clone(),
            started_at: self.started_at,
        }
    }

    /// Notes how it ended.
    pub(crate) fn end(&mut self, mut ended: Ended) {
        cut(&mut ended.message, MESSAGE);
        if fitting(&ended.resources) < ended.resources.len() {
            ended
                .resources
                .retain(|(_, action)| *action != ResourceAction::Unchanged);
            ended.resources.truncate(fitting(&ended.resources));
        }
        self.outcome = Some(ended);
    }

    /// What came of it, once it has ended.
    pub(crate) fn outcome(&self, app: &AppRef) -> Option<SyncOutcome> {
        let ended = self.outcome.as_ref().filter(|_| self.has_ended())?;
        let resources = ended.resources.iter().filter_map(|(entry, action)| {
            let entry = InventoryEntry {
                id: entry.clone(),
                version: String::new(),
            };
            Some(ResourceResult {
                id: entry.object_id().ok()?,
                action: *action,
                message: String::new(),
                health: None,
            })
        });
        Some(SyncOutcome {
            operation: self.operation(app),
            phase: ended.phase,
            message: ended.message.clone(),
            revisions: ended.revisions.clone(),
            resources: resources.collect(),
            finished_at: ended.finished_at,
        })
    }

    pub(crate) fn status(&self) -> OperationStatus {
        let ended = self.outcome.as_ref().filter(|_| self.has_ended());
        OperationStatus {
            id: self.id.clone(),
            phase: match ended {
                Some(ended) => ended.phase,
                None if self.terminating => OperationPhase::Terminating,
                None => OperationPhase::Running,
            },
            message: ended.map(|ended| ended.message.clone()).unwrap_or_default(),
            revisions: match ended {
                Some(ended) => ended.revisions.clone(),
                None => self.ask.revision.iter().cloned().collect(),
            },
            started_at: Some(self.started_at),
            finished_at: ended.map(|ended| ended.finished_at),
            initiated_by: self.ask.initiator.name.clone(),
            retry_count: self.attempt,
        }
    }
}

/// How many of the resources have room.
fn fitting(resources: &[(String, ResourceAction)]) -> usize {
    // `["<id>","PruneSkipped"],`
    const AROUND: usize = 24;
    let sizes = resources.iter().scan(0, |size, (id, _)| {
        *size += id.len() + AROUND;
        Some(*size)
    });
    sizes.take_while(|size| *size <= RESOURCES).count()
}

/// Cuts a text where it is too long.
fn cut(text: &mut String, longest: usize) {
    if text.len() > longest {
        text.truncate(text.floor_char_boundary(longest));
        text.push('…');
    }
}

/// As an annotation has it.
pub(crate) fn to_text(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| Error::internal("a record is no JSON").with_source(error))
}

/// One entry of [`HISTORY`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Deployed {
    pub(crate) id: i64,
    /// In Flux's form.
    pub(crate) revision: String,
    /// In core's.
    pub(crate) revisions: Vec<String>,
    pub(crate) started_at: Timestamp,
    pub(crate) deployed_at: Timestamp,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) initiated_by: String,
}

impl Deployed {
    /// What the operation deployed, after `last`, which has the number before it.
    pub(crate) fn of(record: &Record, ended: &Ended, applied: &str, last: i64) -> Self {
        let mut initiated_by = record.ask.initiator.name.clone();
        cut(&mut initiated_by, NAME);
        Self {
            id: ended.finished_at.as_millisecond().max(last + 1),
            revision: applied.to_owned(),
            revisions: ended.revisions.clone(),
            started_at: record.started_at,
            deployed_at: ended.finished_at,
            initiated_by,
        }
    }

    pub(crate) fn entry(&self) -> HistoryEntry {
        HistoryEntry {
            id: self.id,
            revisions: self.revisions.clone(),
            started_at: Some(self.started_at),
            deployed_at: Some(self.deployed_at),
            initiated_by: self.initiated_by.clone(),
            ..HistoryEntry::default()
        }
    }
}

fn parsed<T: serde::de::DeserializeOwned>(workload: &Workload, name: &str) -> Result<Option<T>> {
    let Some(text) = workload.annotation(name) else {
        return Ok(None);
    };
    serde_json::from_str(text).map(Some).map_err(|error| {
        Error::integrity(format!(
            "the annotation {name} of {} {}/{} cannot be read",
            workload.kind(),
            workload.namespace(),
            workload.name()
        ))
        .with_source(error)
    })
}

/// The running or last operation.
pub(crate) fn record(workload: &Workload) -> Result<Option<Record>> {
    parsed(workload, OPERATION)
}

/// What was deployed by operations, oldest first.
pub(crate) fn deployed(workload: &Workload) -> Result<Vec<Deployed>> {
    parsed(workload, HISTORY).map(Option::unwrap_or_default)
}

/// A name for a new operation: unique, and one that Flux takes as a token.
pub(crate) fn new_id() -> String {
    let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0);
    format!("{}-{random:016x}", Timestamp::now().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            id: "1-a".into(),
            started_at: Timestamp::UNIX_EPOCH,
            deadline: Timestamp::UNIX_EPOCH,
            step: Step::Source,
            ask: Ask::default(),
            attempt: 0,
            expected: None,
            terminating: false,
            suspended: false,
            before: Before::default(),
            outcome: None,
        }
    }

    #[test]
    fn a_record_is_bounded_and_comes_back() {
        let mut record = record();
        let resources = (0..2000).map(|n| {
            let action = match n % 20 {
                0 => ResourceAction::Updated,
                _ => ResourceAction::Unchanged,
            };
            (format!("default_map-{n}__ConfigMap"), action)
        });
        record.end(Ended {
            phase: OperationPhase::Succeeded,
            message: "ü".repeat(10_000),
            revisions: vec!["abc".into()],
            resources: resources.collect(),
            finished_at: Timestamp::UNIX_EPOCH,
        });
        assert_eq!(record.outcome(&AppRef::new("a")), None);
        record.step = Step::Ended;
        let text = serde_json::to_string(&record).unwrap();
        assert!(text.len() < 48 * 1024, "{}", text.len());
        let back: Record = serde_json::from_str(&text).unwrap();
        assert_eq!(back, record);
        let outcome = back.outcome(&AppRef::new("a")).unwrap();
        assert_eq!(outcome.count(ResourceAction::Updated), 100);
        assert_eq!(outcome.operation.id, "1-a");
    }

    #[test]
    fn long_names_do_not_make_a_record_too_large() {
        let mut record = record();
        let long = "x".repeat(250);
        record.step = Step::Ended;
        record.end(Ended {
            phase: OperationPhase::Succeeded,
            message: String::new(),
            revisions: Vec::new(),
            resources: (0..500)
                .map(|n| {
                    (
                        format!("{long}_{long}-{n}_apps_Deployment"),
                        ResourceAction::PruneSkipped,
                    )
                })
                .collect(),
            finished_at: Timestamp::UNIX_EPOCH,
        });
        let text = to_text(&record).unwrap();
        assert!(text.len() < 48 * 1024, "{}", text.len());
        assert!(record.outcome.as_ref().unwrap().resources.len() > 50);

        record.ask.initiator.name = "i".repeat(1000);
        record.ask.check().unwrap();
        let ended = record.outcome.clone().unwrap();
        let entry = Deployed::of(&record, &ended, "1.0.0", 7);
        assert!(entry.initiated_by.len() < 300);
        record.ask.info = vec![("why".into(), "x".repeat(9000))];
        let error = record.ask.check().unwrap_err();
        assert_eq!(error.kind(), gitops_core::ErrorKind::InvalidInput);
        assert!(error.to_string().contains("info"), "{error}");
    }

    #[test]
    fn each_try_has_its_token() {
        let mut record = record();
        assert_eq!(record.token(), "1-a");
        record.attempt = 2;
        assert_eq!(record.token(), "1-a.2");
        assert_ne!(new_id(), new_id());
    }
}
