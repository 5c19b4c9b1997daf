//! Paths inside a source.

use gitops_core::{Error, Result};

/// A name below a directory; the root's path is empty.
pub(super) fn join(dir: &str, name: &str) -> String {
    match dir {
        "" => name.to_owned(),
        dir => format!("{dir}/{name}"),
    }
}

/// `relative`, seen from the directory `base`, by text alone; `None` when it climbs out or could mean something else on the machine.
pub(super) fn inside(base: &str, relative: &str) -> Option<String> {
    if relative.contains(['\0', '\\']) {
        return None;
    }
    let mut parts: Vec<&str> = base.split('/').filter(|part| !part.is_empty()).collect();
    for part in relative.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// `spec.path` as a path of the source. One that begins with `/` begins at the source's root. The controller itself takes a `..` too many
/// for the root; here it is an error, for nobody means it.
pub(super) fn of_spec(path: Option<&str>) -> Result<String> {
    let path = path.unwrap_or_default();
    inside("", path)
        .ok_or_else(|| Error::invalid(format!("spec.path {path:?} leads out of the source")))
}

/// Whether a component's path is one of the source and no address (`pkg/kustomize` 1.24, `IsLocalRelativePath`).
pub(super) fn is_local(path: &str) -> bool {
    const REMOTE: [&str; 8] = [
        "git::",
        "gh:",
        "ssh://",
        "https://",
        "http://",
        "git@",
        "github.com:",
        "github.com/",
    ];
    let lower = path.to_lowercase();
    let remote = REMOTE
        .iter()
        .any(|start| lower.len() > start.len() && lower.starts_with(start));
    let plain = lower.strip_prefix("file://").unwrap_or(&lower);
    !remote && !plain.starts_with('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        for (path, wanted) in [
            (None, ""),
            (Some(""), ""),
            (Some("./"), ""),
            (Some("./a/b/"), "a/b"),
            (Some("/a//b"), "a/b"),
            (Some("a/../b"), "b"),
        ] {
            assert_eq!(of_spec(path).unwrap(), wanted);
        }
        for path in ["..", "../a", "a/../../b", "/..", "a\\..\\b"] {
            assert!(of_spec(Some(path)).is_err(), "{path}");
        }
    }

    #[test]
    fn components_are_local() {
        for local in ["a", "../a", "./git", "gh", "file", "github.company/x"] {
            assert!(is_local(local), "{local}");
        }
        for remote in [
            "https://h/x",
            "HTTP://h",
            "git@h:x",
            "github.com/o/r",
            "ssh://h",
            "/etc",
            "file:///etc",
            "git::x",
        ] {
            assert!(!is_local(remote), "{remote}");
        }
    }
}
