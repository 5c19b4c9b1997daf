//! Times from the API server's audit log. They have microseconds, and are of the same clock as ours: the servers run on this machine.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use gitops_flux::FluxKind;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// The log is written when a request is over, which may be a moment after its answer.
const LOOKS: usize = 20;
const PAUSE: Duration = Duration::from_millis(100);

/// A request for one object to be reconciled, as this process knows it.
pub(super) struct Asked<'a> {
    pub(super) kind: FluxKind,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    /// The call began then.
    pub(super) begun: Timestamp,
    /// The object was seen done then.
    pub(super) arrived: Timestamp,
}

/// From the end of our request to the moment at which the API server received the last status that the controller wrote before it arrived.
pub(super) fn controller_time(log: &Path, asked: &Asked<'_>) -> Result<Duration> {
    for _ in 0..LOOKS {
        let text = std::fs::read_to_string(log).with_context(|| log.display().to_string())?;
        if let Some(time) = asked.time(&text) {
            return Ok(time);
        }
        std::thread::sleep(PAUSE);
    }
    anyhow::bail!(
        "the audit log has no request of ours, or no status of the {}",
        asked.kind
    )
}

impl Asked<'_> {
    fn time(&self, log: &str) -> Option<Duration> {
        let controller = format!(":{}", self.kind.controller());
        let (mut answered, mut written) = (None, None);
        // The last line may be half written.
        let events = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        for event in events.filter(|event| self.is_about(event)) {
            let received = at(&event, "requestReceivedTimestamp")?;
            if received < self.begun || received > self.arrived {
                continue;
            }
            let user = event["user"]["username"].as_str().unwrap_or_default();
            let is_status = event["objectRef"]["subresource"] == "status";
            match (user.ends_with(&controller), is_status) {
                (true, true) => written = written.max(Some(received)),
                (false, false) => answered = answered.max(at(&event, "stageTimestamp")),
                _ => {}
            }
        }
        let time: SignedDuration = written?.duration_since(answered?);
        // A controller that is done before our request is over has taken no time of its own.
        Some(Duration::try_from(time).unwrap_or_default())
    }

    fn is_about(&self, event: &Value) -> bool {
        let object = &event["objectRef"];
        matches!(event["verb"].as_str(), Some("patch" | "update"))
            && object["resource"] == self.kind.plural()
            && object["namespace"] == self.namespace
            && object["name"] == self.name
    }
}

fn at(event: &Value, field: &str) -> Option<Timestamp> {
    event[field].as_str()?.parse().ok()
}
