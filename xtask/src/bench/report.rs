//! The table, and the file.

use std::fmt;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use super::measure::Medians;

/// One case's result.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Outcome {
    pub(super) name: String,
    pub(super) ours_ms: f64,
    /// Whom ours is compared with.
    pub(super) peer: String,
    /// `null` where ours is held against a limit.
    pub(super) peer_ms: Option<f64>,
    /// peer / ours: more is better for us.
    pub(super) ratio: f64,
    /// The ratio to reach.
    pub(super) wanted: f64,
    /// Our peak memory, where it was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ours_mb: Option<f64>,
}

impl Outcome {
    /// Ours against a peer; name and mark are filled in by the runner.
    pub(super) fn of(peer: impl Into<String>, medians: Medians) -> Self {
        Self {
            name: String::new(),
            ours_ms: medians.ours,
            peer: peer.into(),
            peer_ms: Some(medians.peer),
            ratio: medians.peer / medians.ours,
            wanted: 0.0,
            ours_mb: None,
        }
    }

    pub(super) fn is_reached(&self) -> bool {
        self.ratio >= self.wanted
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<24} {:>10.1} {:>10} {:>7.2} {:>7.2} {:<6}  {}",
            self.name,
            self.ours_ms,
            self.peer_ms
                .map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1}")),
            self.ratio,
            self.wanted,
            if self.is_reached() { "yes" } else { "MISSED" },
            self.peer,
        )?;
        if let Some(mb) = self.ours_mb {
            write!(f, " (ours: {mb:.0} MB)")?;
        }
        Ok(())
    }
}

pub(super) fn print(outcomes: &[Outcome]) {
    println!(
        "{:<24} {:>10} {:>10} {:>7} {:>7} {:<6}  peer",
        "case", "ours ms", "peer ms", "ratio", "wanted", "met"
    );
    for outcome in outcomes {
        println!("{outcome}");
    }
}

pub(super) fn write(path: &Path, outcomes: &[Outcome]) -> Result<()> {
    let mut text = serde_json::to_string_pretty(outcomes)?;
    text.push('\n');
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
    }
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
