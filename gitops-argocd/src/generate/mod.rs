//! The applications of an [`ApplicationSet`], evaluated here: to preview a set, or to use one with any backend, without asking Argo CD.
//!
//! ```
//! # use std::collections::BTreeMap;
//! # use gitops_argocd::types::set::Generator;
//! # use gitops_argocd::types::{Application, ApplicationSet, Destination, Source};
//! # struct Nothing;
//! # #[async_trait::async_trait]
//! # impl gitops_argocd::generate::SetSources for Nothing {
//! #     async fn directories(&self, _: &str, _: &str, _: Option<&str>) -> gitops_core::Result<Vec<String>> {
//! #         Ok(Vec::new())
//! #     }
//! #     async fn files(&self, _: &str, _: &str, _: Option<&str>, _: &str) -> gitops_core::Result<BTreeMap<String, bytes::Bytes>> {
//! #         Ok(BTreeMap::new())
//! #     }
//! # }
//! # async fn example() -> gitops_core::Result<()> {
//! # let sources = Nothing;
//! let set = ApplicationSet::new("guestbook")
//!     .generator(Generator::list([[("stage", "dev")], [("stage", "prod")]]))
//!     .template(
//!         Application::new("guestbook-{{stage}}")
//!             .source(Source::git("https://git.example.com/team/config.git").path("guestbook/{{stage}}"))
//!             .destination(Destination::name("{{stage}}")),
//!     );
//! // With feature `git`: GitSetSources::new(GitClient::new(RepositoryOptions::default())?)
//! let applications = gitops_argocd::generate::generate(&set, &sources).await?;
//! assert_eq!(applications[1].name(), "guestbook-prod");
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(example()).unwrap();
//! ```
//!
//! # What is evaluated
//!
//! The rules are those of Argo CD 3.2 (`applicationset/generators`, `applicationset/utils`, `applicationset/controllers/template`) with its default
//! settings, for sets without Go templates.
//!
//! | generator | |
//! | --- | --- |
//! | `list` | yes, `elementsYaml` too |
//! | `git` | yes, by [`SetSources`]; signatures of commits are not verified, and submodules not read |
//! | `matrix`, `merge` | yes, two levels deep |
//! | `selector`, templates of generators, `templatePatch` | yes; of a patch's directives all but `$setElementOrder` |
//! | `clusters`, `clusterDecisionResource`, `scmProvider`, `pullRequest`, `plugin` | `Unsupported`: the server must do it |
//! | any, with `goTemplate: true` | `Unsupported`, likewise |
//!
//! The order of the applications is that of Argo CD; where it has none (`merge`), it is that of the first generator.
//!
//! # What differs
//!
//! - A key twice in a mapping of a file is an error here; Argo CD lets the later one win.
//! - Argo CD's API refuses sets whose project is a placeholder; its controller does not, and neither does this.
//! - Everything is bounded: [`MAX_PARAMETER_SETS`], [`MAX_FILE_BYTES`], [`MAX_BYTES`].
//! - "New Git file globbing" is not evaluated, nor magic in pathspecs ([`Pathspec`]).

mod budget;
mod combine;
mod evaluate;
mod git;
#[cfg(feature = "git")]
mod git_sources;
mod go;
mod list;
mod names;
mod patch;
mod path_match;
mod pathspec;
mod place;
mod refusal;
mod selector;
mod sources;
mod strategic;
mod survey;
mod template;
mod text;

use std::collections::BTreeMap;

use gitops_core::Result;
use serde_json::Value;

use self::budget::check_count;
pub use self::budget::{MAX_BYTES, MAX_FILE_BYTES, MAX_PARAMETER_SETS};
use self::evaluate::Evaluation;
#[cfg(feature = "git")]
pub use self::git_sources::GitSetSources;
pub use self::pathspec::Pathspec;
use self::place::Place;
pub use self::refusal::{Refusal, RefusalReason, refusals};
pub use self::sources::SetSources;
use self::template::{Form, combined};
use crate::types::{Application, ApplicationSet};

/// One set of parameters: what the placeholders of a template are filled with. Values that are no texts (only `elementsYaml` makes them) fill nothing.
pub type Params = BTreeMap<String, Value>;

/// The applications of a set, in Argo CD's order, as its server's generate call answers. What Argo CD would go on to refuse of them, [`refusals`] tells.
///
/// Dropping the future stops it; nothing is written anywhere.
///
/// # Errors
/// `Unsupported` for what only a server can evaluate, before anything is read; `InvalidInput` for what Argo CD refuses too and for a passed limit; what
/// `sources` answers. Errors name the generator by a JSON pointer into the set, such as `/spec/generators/1/matrix/generators/0/git`.
#[tracing::instrument(skip_all, fields(set = set.name()))]
pub async fn generate(set: &ApplicationSet, sources: &dyn SetSources) -> Result<Vec<Application>> {
    let mut evaluation = Evaluation::new(set, sources)?;
    let mut applications = Vec::new();
    for (index, generator) in set.spec.generators.iter().enumerate() {
        let place = Place::generator(index);
        let made = evaluation.transform(generator, generator.selector.as_ref(), &place);
        for (kind, sets) in made.await? {
            let place = place.field(kind.field()).to_string();
            check_count(applications.len() + sets.len())
                .map_err(|error| error.context(place.clone()))?;
            let template = combined(kind.template(generator), &set.spec.template)?;
            let form = Form::new(set, template)?;
            for (number, params) in sets.iter().enumerate() {
                let application = form.fill(params, &mut evaluation.budget).map_err(|error| {
                    error
                        .context(format!("set of parameters {number}"))
                        .context(place.clone())
                })?;
                applications.push(application);
            }
        }
    }
    Ok(applications)
}

/// The sets of parameters of a set's generators alone, in the order of [`generate`]'s applications.
///
/// # Errors
/// Those of [`generate`], but for what concerns the template.
#[tracing::instrument(skip_all, fields(set = set.name()))]
pub async fn parameters(set: &ApplicationSet, sources: &dyn SetSources) -> Result<Vec<Params>> {
    let mut evaluation = Evaluation::new(set, sources)?;
    let mut all = Vec::new();
    for (index, generator) in set.spec.generators.iter().enumerate() {
        let place = Place::generator(index);
        let made = evaluation.transform(generator, generator.selector.as_ref(), &place);
        for (kind, sets) in made.await? {
            check_count(all.len() + sets.len())
                .map_err(|error| error.context(place.field(kind.field()).to_string()))?;
            all.extend(sets);
        }
    }
    Ok(all)
}
