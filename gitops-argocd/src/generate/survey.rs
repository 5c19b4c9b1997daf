//! A look at all generators before any is evaluated.

use gitops_core::{Error, ErrorKind, Result};

use super::place::Place;
use crate::types::ApplicationSet;
use crate::types::set::{Generator, SetTemplate};

/// The generators that are evaluated here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    List,
    Git,
    Matrix,
    Merge,
}

impl Kind {
    /// Those that a generator names, in Argo CD's order: that of the fields of `ApplicationSetGenerator`.
    pub(super) fn all(generator: &Generator) -> impl Iterator<Item = Self> {
        [
            (Self::List, generator.list.is_some()),
            (Self::Git, generator.git.is_some()),
            (Self::Matrix, generator.matrix.is_some()),
            (Self::Merge, generator.merge.is_some()),
        ]
        .into_iter()
        .filter_map(|(kind, there)| there.then_some(kind))
    }

    pub(super) fn field(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Git => "git",
            Self::Matrix => "matrix",
            Self::Merge => "merge",
        }
    }

    /// The template of a generator's own.
    pub(super) fn template(self, generator: &Generator) -> Option<&SetTemplate> {
        match self {
            Self::List => generator.list.as_ref()?.template.as_deref(),
            Self::Git => generator.git.as_ref()?.template.as_deref(),
            Self::Matrix => generator.matrix.as_ref()?.template.as_deref(),
            Self::Merge => generator.merge.as_ref()?.template.as_deref(),
        }
    }
}

/// Refuses what cannot be evaluated at all, before anything is read: what only a server can do, and what Argo CD refuses whatever the parameters are.
pub(super) fn survey(set: &ApplicationSet) -> Result<()> {
    if set.spec.go_template == Some(true) {
        return Err(unsupported("Go templates").context("/spec/goTemplate"));
    }
    for (index, generator) in set.spec.generators.iter().enumerate() {
        look(generator, &Place::generator(index), 0)?;
    }
    Ok(())
}

fn unsupported(what: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!(
            "{what} cannot be evaluated without Argo CD: ask its server to generate the set's applications (`argocd appset generate`)"
        ),
    )
}

fn look(generator: &Generator, place: &Place, depth: usize) -> Result<()> {
    for (field, there) in [
        ("clusters", generator.clusters.is_some()),
        ("scmProvider", generator.scm_provider.is_some()),
        (
            "clusterDecisionResource",
            generator.cluster_decision_resource.is_some(),
        ),
        ("pullRequest", generator.pull_request.is_some()),
        ("plugin", generator.plugin.is_some()),
    ] {
        if there {
            return Err(unsupported(&format!("the generator {field}"))
                .context(place.field(field).to_string()));
        }
    }
    let at =
        |place: &Place, why: &str| Err(Error::invalid(why.to_owned()).context(place.to_string()));
    match (depth, Kind::all(generator).count()) {
        (0, 0) if generator.selector.is_some() => {}
        (_, 0) => {
            let unknown: Vec<_> = generator.extra.keys().map(String::as_str).collect();
            let why = match unknown.as_slice() {
                [] => "it names no generator".to_owned(),
                unknown => format!("it names no known generator, but {}", unknown.join(", ")),
            };
            return at(place, &why);
        }
        (0, _) | (_, 1) => {}
        _ => return at(place, "it names more than one generator, within another"),
    }
    if let Some(git) = &generator.git {
        let none = |list: Option<usize>| list.is_none_or(|length| length == 0);
        if none(git.directories.as_ref().map(Vec::len)) && none(git.files.as_ref().map(Vec::len)) {
            return at(
                &place.field("git"),
                "it names neither directories nor files",
            );
        }
    }
    let nested = [
        (
            Kind::Matrix,
            generator.matrix.as_ref().map(|it| &it.generators),
        ),
        (
            Kind::Merge,
            generator.merge.as_ref().map(|it| &it.generators),
        ),
    ];
    for (kind, generators) in nested {
        let Some(generators) = generators else {
            continue;
        };
        let place = place.field(kind.field());
        match (kind, generators.len()) {
            _ if depth == 2 => {
                return at(
                    &place,
                    "it is within a generator within a generator, deeper than Argo CD goes",
                );
            }
            (Kind::Matrix, 2) | (Kind::Merge, 2..) => {}
            (Kind::Matrix, _) => return at(&place, "it must have two generators"),
            _ => return at(&place, "it must have two generators or more"),
        }
        for (index, generator) in generators.iter().enumerate() {
            look(generator, &place.nested(index), depth + 1)?;
        }
    }
    Ok(())
}
