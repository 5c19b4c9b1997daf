//! What helm prints: objects, or why there are none.

use super::super::paths::join;
use super::super::redact::{Masker, shorten};
use super::chart::Names;
use crate::error::{Error, Result};
use crate::manifest::{Object, yaml};

/// Begins the line with which helm says where a document comes from.
const SOURCE: &str = "# Source: ";

/// Whether helm stopped because charts that this one depends on are not there.
pub(super) fn misses_dependencies(stderr: &str) -> bool {
    stderr.contains("found in Chart.yaml, but missing in charts/ directory")
        || stderr.contains("found in requirements.yaml, but missing in charts")
}

/// The objects, each with the template that it comes from; lines count from the beginning of what that template printed.
pub(super) fn parse(names: &Names, output: &[u8]) -> Result<Vec<Object>> {
    let text = std::str::from_utf8(output).map_err(|error| {
        Error::invalid(format!(
            "helm printed what is not UTF-8 for {}",
            names.place.clone()
        ))
        .with_source(error)
    })?;
    let mut objects = Vec::new();
    for (source, document) in split(text) {
        let file = match source {
            Some(source) => format!("{} (rendered)", location(names, source)),
            None => format!("{} (rendered)", names.place.clone()),
        };
        objects.extend(yaml::parse(&file, document.as_bytes())?);
    }
    Ok(objects)
}

/// Splits where helm says that another template begins. `---` at the front of a line ends a document whatever stands around it, so that no
/// template's text is taken apart elsewhere.
fn split(text: &str) -> Vec<(Option<&str>, &str)> {
    let mut parts = Vec::new();
    let (mut source, mut start) = (None, 0);
    let mut at = 0;
    let mut after_marker = false;
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end();
        if after_marker && let Some(next) = bare.strip_prefix(SOURCE) {
            parts.push((source, &text[start..at]));
            source = Some(next);
            start = at;
        }
        after_marker = bare == "---";
        at += line.len();
    }
    parts.push((source, &text[start..]));
    parts
}

/// A template as helm names it, `CHART/templates/x.yaml`, as the repository has it.
fn location(names: &Names, source: &str) -> String {
    match source
        .strip_prefix(&names.chart)
        .and_then(|rest| rest.strip_prefix('/'))
    {
        Some(inner) if names.place == "." => inner.to_owned(),
        Some(inner) => join(&names.place, inner),
        None => source.to_owned(),
    }
}

/// The error of a run that failed: where, what, and no value that was given.
pub(super) fn failure(what: &str, names: &Names, message: &str, masker: &Masker) -> Error {
    let message = message
        .split("\n\nUse --debug flag")
        .next()
        .unwrap_or(message)
        .trim();
    let message = message
        .lines()
        // Of the private copy's making.
        .filter(|line| !line.starts_with("WARNING: "))
        .collect::<Vec<_>>()
        .join("\n");
    let message = message.strip_prefix("Error: ").unwrap_or(&message);
    let message = message
        .strip_prefix("INSTALLATION FAILED: ")
        .unwrap_or(message);
    // Found before values are taken out: one of them may be in a file's name.
    let place = find_location(names, message).unwrap_or_else(|| names.place.clone());
    Error::invalid(format!(
        "{place}: {what} failed: {}",
        shorten(&masker.mask(message))
    ))
}

/// The first template, with line and column, that a message names.
fn find_location(names: &Names, message: &str) -> Option<String> {
    if names.chart.is_empty() {
        return None;
    }
    let start = format!("{}/", names.chart);
    for (at, _) in message.match_indices(&start) {
        let before = message[..at].chars().next_back();
        if before.is_some_and(|c| !c.is_whitespace() && !matches!(c, '(' | '"' | '\'' | '<')) {
            continue;
        }
        let rest = &message[at..];
        let end = rest
            .find(|c: char| c.is_whitespace() || matches!(c, ')' | '"' | '\'' | '>'))
            .unwrap_or(rest.len());
        let found = rest[..end].trim_end_matches([':', ',']);
        if found.contains("templates/") || found.contains("crds/") {
            return Some(location(names, found));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::chart::Chart;
    use super::*;
    use crate::manifest::{Tree, TreeEntry};

    fn tree() -> Tree {
        let mut tree = Tree::new("", "", "");
        tree.insert(
            "charts/web/Chart.yaml",
            TreeEntry::File(b"name: web-app".as_slice().into()),
        )
        .unwrap();
        tree
    }

    #[test]
    fn objects_know_their_template() {
        let tree = tree();
        let chart = Chart::open(&tree, "charts/web").unwrap().names();
        let output = "---\n# Source: web-app/crds/a.yaml\napiVersion: v1\nkind: A\nmetadata: {name: a}\n---\napiVersion: v1\nkind: A\nmetadata: {name: b}\n\
                      ---\n# Source: web-app/charts/sub/templates/c.yaml\napiVersion: v1\nkind: A\nmetadata: {name: c}\ntext: |\n  ---\n  # Source: not\n\
                      ---\n# Source: web-app/templates/empty.yaml\n";
        let objects = parse(&chart, output.as_bytes()).unwrap();
        let seen: Vec<String> = objects
            .iter()
            .map(|object| format!("{} {}", object.name(), object.origin().unwrap()))
            .collect();
        assert_eq!(
            seen,
            [
                "a charts/web/crds/a.yaml (rendered):2:1",
                "b charts/web/crds/a.yaml (rendered):6:1",
                "c charts/web/charts/sub/templates/c.yaml (rendered):2:1",
            ]
        );
    }

    #[test]
    fn failures_name_the_template() {
        let tree = tree();
        let chart = Chart::open(&tree, "charts/web").unwrap().names();
        let mut masker = Masker::default();
        masker.add("hunter2");
        for (message, says) in [
            (
                "Error: execution error at (web-app/templates/d.yaml:3:4): bad hunter2\n\nUse --debug flag to render out invalid YAML",
                "charts/web/templates/d.yaml:3:4: helm template failed: execution error at (web-app/templates/d.yaml:3:4): bad *****",
            ),
            (
                "Error: template: web-app/templates/d.yaml:5:12: executing \"web-app/templates/d.yaml\" at <.Values.a>: nil",
                "charts/web/templates/d.yaml:5:12: helm template failed: template: ",
            ),
            (
                "Error: YAML parse error on web-app/charts/s/templates/d.yaml: x",
                "charts/web/charts/s/templates/d.yaml: helm template failed: ",
            ),
            (
                "Error: parse error at (web-app/templates/d.yaml:3): unclosed action",
                "charts/web/templates/d.yaml:3: ",
            ),
            (
                "Error: something else",
                "charts/web: helm template failed: something else",
            ),
        ] {
            let error = failure("helm template", &chart, message, &masker).to_string();
            assert!(error.starts_with(says), "{error}");
            assert!(!error.contains("hunter2"));
        }
    }
}
