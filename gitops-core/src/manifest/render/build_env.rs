//! Argo CD's build environment: variables that settings may name (argo-cd 3.2, `docs/user-guide/build-environment.md`).

use std::collections::BTreeMap;

use super::RenderRequest;

/// The variables, by name.
pub(super) fn variables(request: &RenderRequest) -> BTreeMap<String, String> {
    let revision = &request.tree.revision;
    let short = |length| revision.get(..length).unwrap_or(revision).to_owned();
    let source = &request.source;
    [
        ("ARGOCD_APP_NAME", request.app_name.clone()),
        ("ARGOCD_APP_NAMESPACE", request.namespace.clone()),
        ("ARGOCD_APP_PROJECT_NAME", request.project.clone()),
        ("ARGOCD_APP_REVISION", revision.clone()),
        ("ARGOCD_APP_REVISION_SHORT", short(7)),
        ("ARGOCD_APP_REVISION_SHORT_8", short(8)),
        (
            "ARGOCD_APP_SOURCE_REPO_URL",
            crate::error::redact_url(&source.repo_url),
        ),
        (
            "ARGOCD_APP_SOURCE_PATH",
            source.path.clone().unwrap_or_default(),
        ),
        (
            "ARGOCD_APP_SOURCE_TARGET_REVISION",
            source.target_revision.clone().unwrap_or_default(),
        ),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// Puts values in for `$NAME` and `${NAME}` as Go's `os.Expand` does; `$$` is a dollar sign, an unknown name nothing.
pub(super) fn substitute(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let value = |name: &str| match name {
            "$" => "$",
            name => variables.get(name).map_or("", String::as_str),
        };
        if let Some(inner) = rest.strip_prefix('{') {
            match inner.split_once('}') {
                Some((name, after)) => {
                    out.push_str(value(name));
                    rest = after;
                }
                // Bad syntax: Go eats the two characters.
                None => rest = inner,
            }
        } else if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else {
            let end = rest
                .find(|c: char| c != '_' && !c.is_ascii_alphanumeric())
                .unwrap_or(rest.len());
            if end == 0 {
                // Not a name: the dollar sign stays.
                out.push('$');
                continue;
            }
            // A digit is a name of its own.
            let end = if rest.starts_with(|c: char| c.is_ascii_digit()) {
                1
            } else {
                end
            };
            out.push_str(value(&rest[..end]));
            rest = &rest[end..];
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_expanded_as_go_does() {
        let variables = BTreeMap::from([
            ("A".to_owned(), "x".to_owned()),
            ("A_B".to_owned(), "y".to_owned()),
        ]);
        for (text, expanded) in [
            ("plain", "plain"),
            ("$A", "x"),
            ("${A}b$A_B!", "xby!"),
            ("$$A", "$A"),
            ("$GONE-z", "-z"),
            ("5$", "5$"),
            ("a$ b", "a$ b"),
            ("$1A", "A"),
            ("${A", "A"),
        ] {
            assert_eq!(substitute(text, &variables), expanded, "{text}");
        }
    }
}
