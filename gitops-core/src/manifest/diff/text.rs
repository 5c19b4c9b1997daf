//! A difference as people read it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use console::Style;
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use super::Change;
use crate::manifest::ObjectId;
use crate::manifest::yaml::to_yaml;

/// Whether to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Color {
    /// When standard output is a terminal that takes colours (and `NO_COLOR` is not set).
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    fn style(self) -> Style {
        match self {
            Self::Auto => Style::new(),
            Self::Always => Style::new().force_styling(true),
            Self::Never => Style::new().force_styling(false),
        }
    }
}

pub(super) fn unified(
    id: &ObjectId,
    before: Option<&Value>,
    after: Option<&Value>,
    changes: &[Change],
    color: Color,
) -> String {
    let yaml = |value: Option<&Value>| value.map(to_yaml).unwrap_or_default();
    let (before, after) = (yaml(before), yaml(after));
    let mut out = String::new();
    let bold = color.style().bold();
    let _ = writeln!(out, "{}", bold.apply_to(format!("--- {id} (live)")));
    let _ = writeln!(out, "{}", bold.apply_to(format!("+++ {id} (desired)")));
    let diff = TextDiff::from_lines(&before, &after);
    for hunk in diff.unified_diff().context_radius(3).iter_hunks() {
        let _ = writeln!(
            out,
            "{}",
            color
                .style()
                .cyan()
                .apply_to(hunk.header().to_string().trim_end())
        );
        for change in hunk.iter_changes() {
            let (sign, style) = match change.tag() {
                ChangeTag::Delete => ('-', color.style().red()),
                ChangeTag::Insert => ('+', color.style().green()),
                ChangeTag::Equal => (' ', color.style().dim()),
            };
            let line = change.value().trim_end_matches(['\n', '\r']);
            let _ = writeln!(out, "{}", style.apply_to(format!("{sign}{}", escape(line))));
        }
    }
    let mut owners: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for change in changes {
        if let Some(manager) = &change.manager {
            owners.entry(manager).or_default().push(&change.pointer);
        }
    }
    for (manager, pointers) in owners {
        let line = format!("# {} by field manager {:?}", pointers.join(", "), manager);
        let _ = writeln!(out, "{}", color.style().yellow().apply_to(escape(&line)));
    }
    out
}

/// Values come from clusters and repositories: what could steer a terminal is shown, not sent.
fn escape(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    for c in line.chars() {
        if c.is_control() && c != '\t' {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}
