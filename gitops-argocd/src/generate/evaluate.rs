//! Generators, one within another.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use gitops_core::{Error, Result};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::Value;

use super::budget::{Budget, check_count};
use super::combine::{ByKey, pair};
use super::place::Place;
use super::selector::Selector;
use super::sources::SetSources;
use super::survey::{Kind, survey};
use super::text::fill_all;
use super::{Params, git, list};
use crate::types::ApplicationSet;
use crate::types::set::{Generator, MatrixGenerator, MergeGenerator};

/// What one generator makes as one of the kinds that it names.
pub(super) type Made = (Kind, Vec<Params>);

/// One evaluation of a set.
pub(super) struct Evaluation<'a> {
    sources: &'a dyn SetSources,
    project: Option<&'a str>,
    pub(super) budget: Budget,
}

impl<'a> Evaluation<'a> {
    pub(super) fn new(set: &'a ApplicationSet, sources: &'a dyn SetSources) -> Result<Self> {
        survey(set)?;
        let project = set.spec.template.spec.project.as_str();
        Ok(Self {
            sources,
            // As Argo CD's resolveProjectName: one that is yet to be filled is none.
            project: (!project.is_empty() && !project.contains("{{")).then_some(project),
            budget: Budget::default(),
        })
    }

    /// What one generator makes, for each kind that it names, as `Transform` of Argo CD 3.2 (`applicationset/generators/generator_spec_processor.go`).
    pub(super) fn transform<'f>(
        &'f mut self,
        generator: &'f Generator,
        selector: Option<&'f LabelSelector>,
        place: &'f Place,
    ) -> BoxFuture<'f, Result<Vec<Made>>> {
        async move {
            let selector = selector
                .map(Selector::new)
                .transpose()
                .map_err(|error| error.context(place.field("selector").to_string()))?;
            let mut all = Vec::new();
            for kind in Kind::all(generator) {
                let mut sets = self.sets(kind, generator, place).await?;
                if let Some(selector) = &selector {
                    sets.retain(|params| selector.matches(params));
                }
                all.push((kind, sets));
            }
            Ok(all)
        }
        .boxed()
    }

    async fn sets(
        &mut self,
        kind: Kind,
        generator: &Generator,
        place: &Place,
    ) -> Result<Vec<Params>> {
        let place = place.field(kind.field());
        let here = |error: Error| error.context(place.to_string());
        match kind {
            Kind::List => match &generator.list {
                Some(it) => list::params(it, &mut self.budget).map_err(here),
                None => Ok(Vec::new()),
            },
            Kind::Git => match &generator.git {
                Some(it) => git::params(it, self.project, self.sources, &mut self.budget)
                    .await
                    .map_err(here),
                None => Ok(Vec::new()),
            },
            Kind::Matrix => match &generator.matrix {
                Some(it) => self.matrix(it, &place).await,
                None => Ok(Vec::new()),
            },
            Kind::Merge => match &generator.merge {
                Some(it) => self.merge(it, &place).await,
                None => Ok(Vec::new()),
            },
        }
    }

    /// A generator within another names one kind.
    async fn nested(
        &mut self,
        generator: &Generator,
        selector: Option<&LabelSelector>,
        place: &Place,
    ) -> Result<Vec<Params>> {
        let mut all = self.transform(generator, selector, place).await?;
        Ok(all.pop().map(|(_, sets)| sets).unwrap_or_default())
    }

    /// As `applicationset/generators/matrix.go` of Argo CD 3.2: the second generator's texts are filled with each of the first's sets; its own selector's are not.
    async fn matrix(&mut self, matrix: &MatrixGenerator, place: &Place) -> Result<Vec<Params>> {
        let here = |error: Error| error.context(place.to_string());
        let [first, second] = matrix.generators.as_slice() else {
            return Err(here(Error::invalid("it must have two generators")));
        };
        let firsts = self
            .nested(first, first.selector.as_ref(), &place.nested(0))
            .await?;
        let place_of_second = place.nested(1);
        let in_second = |error: Error| error.context(place_of_second.to_string());
        let unfilled = serde_json::to_value(second)
            .map_err(|error| in_second(Error::internal("no object").with_source(error)))?;
        let mut combined = Vec::new();
        // The second generator as it was filled last, and what it made: often it has no placeholders.
        let mut last: Option<(Value, Vec<Params>)> = None;
        for first in &firsts {
            // So that a long evaluation can be cancelled, and lets others run.
            tokio::task::yield_now().await;
            let filled = if first.is_empty() {
                unfilled.clone()
            } else {
                fill_all(&unfilled, first, &mut self.budget).map_err(in_second)?
            };
            let seconds = match last.take() {
                Some((generator, sets)) if generator == filled => sets,
                _ => {
                    let generator: Generator = serde_json::from_value(filled.clone())
                        .map_err(|_| in_second(Error::invalid("filled, it is no generator")))?;
                    self.nested(&generator, second.selector.as_ref(), &place_of_second)
                        .await?
                }
            };
            check_count(combined.len() + seconds.len()).map_err(here)?;
            for second in &seconds {
                combined.push(pair(first, second, &mut self.budget).map_err(here)?);
            }
            last = Some((filled, seconds));
        }
        Ok(combined)
    }

    /// As `applicationset/generators/merge.go` of Argo CD 3.2.
    async fn merge(&mut self, merge: &MergeGenerator, place: &Place) -> Result<Vec<Params>> {
        let mut base: Option<ByKey> = None;
        for (index, generator) in merge.generators.iter().enumerate() {
            let place = place.nested(index);
            let sets = self
                .nested(generator, generator.selector.as_ref(), &place)
                .await?;
            let sets = ByKey::new(&merge.merge_keys, sets)
                .map_err(|error| error.context(place.to_string()))?;
            match &mut base {
                None => base = Some(sets),
                Some(base) => base
                    .merge(&sets, &mut self.budget)
                    .map_err(|error| error.context(place.to_string()))?,
            }
        }
        Ok(base.map(ByKey::into_sets).unwrap_or_default())
    }
}
