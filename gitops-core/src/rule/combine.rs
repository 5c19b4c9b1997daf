//! Rules made of rules, and of closures.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;

use super::strategy::{ask, join};
use super::{Decision, SyncContext, SyncRule};
use crate::error::Result;

/// Says yes when every rule does; see [`all`].
#[derive(Clone)]
pub struct All(Rules);

/// Says yes when one rule does; see [`any`].
#[derive(Clone)]
pub struct Any(Rules);

/// Says the opposite; see [`not`].
#[derive(Clone)]
pub struct Not {
    rule: Arc<dyn SyncRule>,
    name: String,
}

#[derive(Clone)]
struct Rules {
    rules: Vec<Arc<dyn SyncRule>>,
    name: String,
}

impl Rules {
    fn new(name: &str, rules: impl IntoIterator<Item = Box<dyn SyncRule>>) -> Self {
        Self {
            rules: rules.into_iter().map(Arc::from).collect(),
            name: name.to_owned(),
        }
    }
}

macro_rules! named {
    ($($rule:ty),*) => {$(
        impl $rule {
            /// Gives it another name, for reasons and logs.
            #[must_use]
            pub fn named(mut self, name: impl Into<String>) -> Self {
                self.0.name = name.into();
                self
            }
        }
    )*};
}

named!(All, Any);

/// Yes when every rule says yes; the first no decides, the first error is the answer, and rules behind it are not asked. Without rules it is a no: a list that came out
/// empty by mistake must not open the gate.
///
/// ```
/// use gitops_core::rule::{OutOfSync, RevisionChanged, all, not};
///
/// let rule = all([Box::new(OutOfSync) as _, Box::new(not(RevisionChanged::default())) as _]);
/// ```
pub fn all(rules: impl IntoIterator<Item = Box<dyn SyncRule>>) -> All {
    All(Rules::new("all", rules))
}

/// Yes when one rule says yes, which decides; the first error is the answer. Without rules it is a no.
pub fn any(rules: impl IntoIterator<Item = Box<dyn SyncRule>>) -> Any {
    Any(Rules::new("any", rules))
}

/// Yes when `rule` says no. An error stays an error.
pub fn not(rule: impl SyncRule + 'static) -> Not {
    Not {
        name: format!("not({})", rule.name()),
        rule: Arc::new(rule),
    }
}

#[async_trait]
impl SyncRule for All {
    fn name(&self) -> &str {
        &self.0.name
    }

    async fn evaluate(&self, context: &SyncContext<'_>) -> Result<Decision> {
        let mut answers = Vec::with_capacity(self.0.rules.len());
        for rule in &self.0.rules {
            let decision = ask(&**rule, context).await?;
            if !decision.sync {
                return Ok(Decision::no(format!(
                    "{}: {}",
                    rule.name(),
                    decision.reason
                )));
            }
            answers.push((rule.name().to_owned(), decision));
        }
        Ok(match answers.is_empty() {
            true => Decision::no("there are no rules"),
            false => Decision::yes(join(&answers)),
        })
    }
}

#[async_trait]
impl SyncRule for Any {
    fn name(&self) -> &str {
        &self.0.name
    }

    async fn evaluate(&self, context: &SyncContext<'_>) -> Result<Decision> {
        let mut answers = Vec::with_capacity(self.0.rules.len());
        for rule in &self.0.rules {
            let decision = ask(&**rule, context).await?;
            if decision.sync {
                return Ok(Decision::yes(format!(
                    "{}: {}",
                    rule.name(),
                    decision.reason
                )));
            }
            answers.push((rule.name().to_owned(), decision));
        }
        Ok(Decision::no(match answers.is_empty() {
            true => "there are no rules".to_owned(),
            false => join(&answers),
        }))
    }
}

#[async_trait]
impl SyncRule for Not {
    fn name(&self) -> &str {
        &self.name
    }

    async fn evaluate(&self, context: &SyncContext<'_>) -> Result<Decision> {
        let decision = ask(&*self.rule, context).await?;
        Ok(Decision {
            sync: !decision.sync,
            reason: decision.reason,
        })
    }
}

type Answer = dyn for<'a> Fn(&'a SyncContext<'a>) -> BoxFuture<'a, Result<Decision>> + Send + Sync;

/// A rule made of a closure; see [`rule_fn`] and [`async_rule_fn`].
#[derive(Clone)]
pub struct RuleFn {
    name: String,
    answer: Arc<Answer>,
}

/// A rule named `name` that asks a closure, which must not block.
pub fn rule_fn<F>(name: impl Into<String>, answer: F) -> RuleFn
where
    F: Fn(&SyncContext<'_>) -> Result<Decision> + Send + Sync + 'static,
{
    async_rule_fn(name, move |context| {
        Box::pin(std::future::ready(answer(context)))
    })
}

/// A rule named `name` that asks an asynchronous closure.
///
/// ```
/// use gitops_core::rule::{Decision, async_rule_fn};
///
/// let rule = async_rule_fn("freeze", |context| {
///     Box::pin(async move {
///         // Ask a service about context.app here.
///         Ok(Decision::yes(format!("nothing is frozen for {}", context.app.name)))
///     })
/// });
/// ```
pub fn async_rule_fn<F>(name: impl Into<String>, answer: F) -> RuleFn
where
    F: for<'a> Fn(&'a SyncContext<'a>) -> BoxFuture<'a, Result<Decision>> + Send + Sync + 'static,
{
    RuleFn {
        name: name.into(),
        answer: Arc::new(answer),
    }
}

#[async_trait]
impl SyncRule for RuleFn {
    fn name(&self) -> &str {
        &self.name
    }

    async fn evaluate(&self, context: &SyncContext<'_>) -> Result<Decision> {
        (self.answer)(context).await
    }
}

macro_rules! debug_by_name {
    ($($rule:ty),*) => {$(
        impl fmt::Debug for $rule {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    )*};
}

debug_by_name!(All, Any, Not, RuleFn);
