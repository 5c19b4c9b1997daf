//! What Flux would do differently is refused, with the field's name.

use gitops_core::application::{Application, ClusterRef, Source, SourceKind};
use gitops_core::{Error, Result};

use super::{PREFIX, is_manual, source};

/// Sync options that Flux fulfils by what it does anyway, or that the backend does for it.
const FULFILLED: [&str; 9] = [
    "CreateNamespace=true",
    "CreateNamespace=false",
    "ServerSideApply=true",
    "PruneLast=true",
    "Validate=true",
    "ApplyOutOfSyncOnly=true",
    "ApplyOutOfSyncOnly=false",
    "PrunePropagationPolicy=background",
    "Replace=false",
];

pub(super) fn refused(field: &str, why: &str) -> Error {
    Error::invalid(format!("{field}: {why}"))
}

/// A path inside a source.
pub(super) fn path(field: &str, path: &str) -> Result<()> {
    if path.starts_with('/') || path.contains('\\') || path.split('/').any(|part| part == "..") {
        return Err(refused(
            field,
            &format!("{path:?} does not stay in the source"),
        ));
    }
    Ok(())
}

/// Texts in which Argo CD would replace variables.
pub(super) fn variables(field: &str, text: &str) -> Result<()> {
    if text.contains("$ARGOCD_") || text.contains("${ARGOCD_") {
        return Err(refused(field, "Flux replaces no variables of Argo CD"));
    }
    Ok(())
}

/// All that does not depend on the kind of workload.
pub(super) fn all(app: &Application) -> Result<()> {
    if app.sources.len() != 1 {
        return Err(refused(
            "sources",
            &format!("Flux applies exactly one, not {}", app.sources.len()),
        ));
    }
    if app.hydrate.is_some() {
        return Err(refused("hydrate", "Flux commits no rendered manifests"));
    }
    if let ClusterRef::Server(_) = app.destination.cluster {
        return Err(refused(
            "destination.cluster",
            "Flux reaches another cluster by a Secret with a kubeconfig; give the Secret's name as the cluster's name",
        ));
    }
    for option in app.sync_policy.options.iter() {
        option_is_fulfilled("syncPolicy.syncOptions", option)?;
    }
    for key in app.annotations.keys() {
        if key.starts_with(PREFIX) {
            return Err(refused(
                "annotations",
                &format!("{key:?} is the backend's own"),
            ));
        }
    }
    if let Some(source) = app.sources.first() {
        place(source)?;
    }
    policy(app)
}

/// Whether Flux does what a sync option asks for.
pub(crate) fn option_is_fulfilled(field: &str, option: &str) -> Result<()> {
    if FULFILLED.contains(&option) {
        return Ok(());
    }
    Err(refused(field, &format!("Flux does not do {option:?}")))
}

fn policy(app: &Application) -> Result<()> {
    let is_helm = app.sources.first().is_some_and(source::is_helm);
    let automated = app
        .sync_policy
        .automated
        .filter(|automated| automated.is_enabled());
    if let Some(automated) = automated {
        if !is_helm && !automated.self_heal {
            return Err(refused(
                "syncPolicy.automated.selfHeal",
                "a Kustomization repairs drift at each interval; ask for it, or sync only when asked",
            ));
        }
        if is_helm && !automated.prune {
            return Err(refused(
                "syncPolicy.automated.prune",
                "helm deletes what a chart no longer names; ask for it, or sync only when asked",
            ));
        }
    }
    let ignored = &app.ignore_differences;
    if !is_helm && !is_manual(app) && !ignored.is_empty() {
        return Err(refused(
            "ignoreDifferences",
            "a Kustomization that is reconciled by itself repairs them; annotate the objects with kustomize.toolkit.fluxcd.io/ssa instead",
        ));
    }
    if is_helm && !is_manual(app) {
        for (n, one) in ignored.iter().enumerate() {
            let field = format!("ignoreDifferences[{n}]");
            if !one.jq_path_expressions.is_empty() || !one.managed_fields_managers.is_empty() {
                return Err(refused(&field, "a HelmRelease ignores JSON pointers only"));
            }
            if [&one.group, &one.kind, &one.name, &one.namespace]
                .iter()
                .any(|text| text.chars().any(|c| "*?[]()|^$+\\{}".contains(c)) && *text != "*")
            {
                return Err(refused(
                    &field,
                    "a HelmRelease takes regular expressions, not patterns",
                ));
            }
        }
    }
    Ok(())
}

/// Whether a URL holds what may be a secret: the user of SSH is none, any other may be a token.
pub(crate) fn has_credentials(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else {
        return false;
    };
    // Some readers skip more slashes, and take backslashes for them.
    let slashes = ['/', '\\'];
    let authority = rest
        .trim_start_matches(slashes)
        .split(['/', '\\', '?', '#'])
        .next()
        .unwrap_or_default();
    authority
        .rsplit_once('@')
        .is_some_and(|(user, _)| !scheme.eq_ignore_ascii_case("ssh") || user.contains(':'))
}

/// The repository's URL, and the path.
fn place(source: &Source) -> Result<()> {
    let field = "sources[0].repoURL";
    let url = source::url(source);
    let allowed: &[&str] = match source.kind {
        SourceKind::Git => &["https://", "http://", "ssh://"],
        SourceKind::Helm => &["https://", "http://", "oci://"],
        SourceKind::Oci => &["oci://"],
        _ => &[],
    };
    let Some(rest) = allowed.iter().find_map(|scheme| url.strip_prefix(scheme)) else {
        return Err(refused(
            field,
            &format!("Flux reads {} here", allowed.join(", ")),
        ));
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if has_credentials(&url) {
        return Err(refused(
            field,
            "credentials do not belong into a URL that everybody may read; use a Secret",
        ));
    }
    if authority.is_empty() || url.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(refused(field, "no URL"));
    }
    if let Some(inside) = &source.path {
        path("sources[0].path", inside)?;
    }
    if source
        .ref_name
        .as_deref()
        .is_some_and(|name| !name.is_empty())
    {
        return Err(refused(
            "sources[0].ref",
            "there is no other source to use it",
        ));
    }
    Ok(())
}
