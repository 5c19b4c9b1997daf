//! Rules in an order, the first yes wins.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;

use super::{Decision, SyncContext, SyncRule};
use crate::error::{Error, Result, ResultExt};

/// What a [`SyncStrategy`] decided, and what led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether to sync.
    pub sync: bool,
    /// The rule that decided; `None` when none said yes.
    pub rule: Option<String>,
    /// Why, for people and the audit log: the deciding rule's reason, or the reasons of all that said no.
    pub reason: String,
    /// What each rule that was asked answered, in order; rules behind the deciding one are not asked.
    pub answers: Vec<(String, Decision)>,
}

impl fmt::Display for Verdict {
    /// `sync (out-of-sync): the live state differs`, `no sync: …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.sync { "sync" } else { "no sync" })?;
        if let Some(rule) = &self.rule {
            write!(f, " ({rule})")?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl From<Verdict> for Decision {
    fn from(verdict: Verdict) -> Self {
        Self {
            sync: verdict.sync,
            reason: match verdict.rule {
                Some(rule) => format!("{rule}: {}", verdict.reason),
                None => verdict.reason,
            },
        }
    }
}

/// Rules in an order: yes at the first that says yes, an error at the first that fails, no when none says yes.
///
/// A rule that must hold whatever the others say (a maintenance window, an approval) does not belong beside them but around them: `all([window, any([…])])`.
///
/// ```
/// use gitops_core::application::Application;
/// use gitops_core::rule::{Decision, SyncContext, SyncStrategy, rule_fn};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let mut strategy = SyncStrategy::new();
/// strategy.add_rule(rule_fn("never-shop", |context| {
///     Ok(if context.app.name == "shop" { Decision::no("it is the shop") } else { Decision::yes("it is not the shop") })
/// }));
/// let app = Application::new("blog");
/// let verdict = strategy.should_sync(&SyncContext::new(&app)).await?;
/// assert!(verdict.sync);
/// assert_eq!(verdict.rule.as_deref(), Some("never-shop"));
/// # Ok::<(), gitops_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Default)]
pub struct SyncStrategy {
    rules: Vec<Arc<dyn SyncRule>>,
}

impl SyncStrategy {
    /// A strategy without rules, which never says yes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a rule behind those that are there.
    pub fn add_rule(&mut self, rule: impl SyncRule + 'static) -> &mut Self {
        self.rules.push(Arc::new(rule));
        self
    }

    /// Adds a rule behind those that are there.
    #[must_use]
    pub fn rule(mut self, rule: impl SyncRule + 'static) -> Self {
        self.add_rule(rule);
        self
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Asks the rules in order.
    ///
    /// # Errors
    /// That of the first rule that fails, or panics, before one said yes, with the rule's name as context.
    ///
    /// # Cancellation
    /// Dropping the future stops asking; rules change nothing.
    pub async fn should_sync(&self, context: &SyncContext<'_>) -> Result<Verdict> {
        let mut answers = Vec::with_capacity(self.rules.len());
        for rule in &self.rules {
            let decision = ask(&**rule, context).await?;
            let yes = decision.sync.then(|| decision.reason.clone());
            answers.push((rule.name().to_owned(), decision));
            if let Some(reason) = yes {
                return Ok(Verdict {
                    sync: true,
                    rule: Some(rule.name().to_owned()),
                    reason,
                    answers,
                });
            }
        }
        let reason = match answers.is_empty() {
            true => "there are no rules".to_owned(),
            false => join(&answers),
        };
        Ok(Verdict {
            sync: false,
            rule: None,
            reason,
            answers,
        })
    }
}

impl fmt::Debug for SyncStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.rules.iter().map(|rule| rule.name()))
            .finish()
    }
}

/// A strategy is a rule as well, so that strategies nest.
#[async_trait]
impl SyncRule for SyncStrategy {
    fn name(&self) -> &str {
        "strategy"
    }

    async fn evaluate(&self, context: &SyncContext<'_>) -> Result<Decision> {
        Ok(self.should_sync(context).await?.into())
    }
}

/// A rule that panics has failed.
pub(super) async fn ask(rule: &dyn SyncRule, context: &SyncContext<'_>) -> Result<Decision> {
    // Within a future of its own, so that what is done before the rule's first wait is caught too.
    let answer = AssertUnwindSafe(async { rule.evaluate(context).await }).catch_unwind();
    answer
        .await
        .unwrap_or_else(|_| Err(Error::internal("the rule panicked")))
        .context(|| format!("rule {} about {}", rule.name(), context.app.app_ref()))
}

/// `name: reason; name: reason`.
pub(super) fn join(answers: &[(String, Decision)]) -> String {
    let parts: Vec<_> = answers
        .iter()
        .map(|(name, decision)| format!("{name}: {}", decision.reason))
        .collect();
    parts.join("; ")
}
