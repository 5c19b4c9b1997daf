//! Health told by CEL expressions, as Flux's `healthCheckExprs` (fluxcd/pkg `runtime/cel/status_evaluator.go`, RFC 0009).

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use cel::{Context, Program, Value as Cel};
use gitops_core::application::Health;
use gitops_core::manifest::{GroupKind, Object};
use gitops_core::{Error, Result};
use serde_json::Value;

use super::{HealthRule, degraded, healthy, progressing};

/// Expressions are a few lines; what is longer or deeper is no health check.
const MAX_LENGTH: usize = 1024;
const MAX_DEPTH: usize = 32;
/// The parser and the evaluation recurse, and a stack that overflows cannot be caught: this is enough for the longest expression.
const STACK: usize = 64 * 1024 * 1024;

/// The expressions for one kind, in Flux's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CelExpressions {
    /// True when the object is as it should be. Required.
    pub current: String,
    /// True while it is on its way.
    pub in_progress: Option<String>,
    /// True when it failed.
    pub failed: Option<String>,
}

/// A rule made of CEL expressions over an object's fields.
///
/// The object's top-level fields are variables (`status.phase == "Ready"`); `metadata`, `spec` and `status` are there, empty, even in an object that lacks them.
/// An object whose `status.observedGeneration` is not its generation is Progressing. Then `in_progress`, `failed` and `current` are asked in this order;
/// the first that is true decides, and if none is, the object is Progressing.
///
/// An expression that cannot be evaluated (a field that is not there: ask with `has(…)`), or is no boolean, makes the health Unknown, with the reason. Expressions
/// are limited in depth but not in time: take them from whom you trust.
///
/// ```
/// use gitops_core::application::HealthStatus;
/// use gitops_core::manifest::{GroupKind, Object};
/// use gitops_kube::health::HealthRules;
/// use gitops_kube::health::cel::{CelExpressions, CelRule};
///
/// let rule = CelRule::new(
///     GroupKind::new("example.com", "Database"),
///     &CelExpressions {
///         current: "status.conditions.exists(c, c.type == 'Up' && c.status == 'True')".into(),
///         failed: Some("has(status.phase) && status.phase == 'Broken'".into()),
///         ..CelExpressions::default()
///     },
/// )?;
/// let database = serde_json::json!({
///     "apiVersion": "example.com/v1", "kind": "Database", "metadata": {"name": "db"},
///     "status": {"conditions": [{"type": "Up", "status": "True"}]},
/// });
/// let health = HealthRules::strict().with(rule).assess(&Object::new(database, None)?);
/// assert_eq!(health.status, HealthStatus::Healthy);
/// # Ok::<(), gitops_core::Error>(())
/// ```
pub struct CelRule {
    kind: GroupKind,
    in_progress: Option<Expression>,
    failed: Option<Expression>,
    current: Expression,
}

struct Expression {
    text: String,
    program: Program,
}

impl fmt::Debug for CelRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CelRule")
            .field("kind", &self.kind)
            .field("current", &self.current.text)
            .finish_non_exhaustive()
    }
}

impl CelRule {
    /// Compiles the expressions for a kind.
    ///
    /// # Errors
    /// `InvalidInput` for an expression that cannot be compiled, or an empty `current`.
    pub fn new(kind: GroupKind, expressions: &CelExpressions) -> Result<Self> {
        let optional = |text: &Option<String>| {
            text.as_deref()
                .filter(|text| !text.trim().is_empty())
                .map(Expression::compile)
                .transpose()
        };
        Ok(Self {
            kind,
            in_progress: optional(&expressions.in_progress)?,
            failed: optional(&expressions.failed)?,
            current: Expression::compile(&expressions.current)?,
        })
    }
}

impl HealthRule for CelRule {
    fn kinds(&self) -> Vec<GroupKind> {
        vec![self.kind.clone()]
    }

    fn assess(&self, object: &Object) -> Result<Option<Health>> {
        let generation = object.pointer("/metadata/generation");
        let observed = object.pointer("/status/observedGeneration");
        if let (Some(generation), Some(observed)) = (generation, observed)
            && generation != observed
        {
            return Ok(Some(progressing(format!(
                "generation {generation} is not observed yet, {observed} is"
            ))));
        }
        let context = variables(object);
        let holds = |expression: &Option<Expression>| match expression {
            Some(expression) => expression.holds(&context),
            None => Ok(false),
        };
        Ok(Some(if holds(&self.in_progress)? {
            progressing("the expression for in progress holds")
        } else if holds(&self.failed)? {
            degraded("the expression for failed holds")
        } else if self.current.holds(&context)? {
            healthy("")
        } else {
            progressing("the expression for current does not hold yet")
        }))
    }
}

impl Expression {
    fn compile(text: &str) -> Result<Self> {
        if text.trim().is_empty() {
            return Err(Error::invalid("the CEL expression for current is missing"));
        }
        let mut depth = 0_usize;
        let deepest = text.bytes().map(|byte| {
            match byte {
                b'(' | b'[' | b'{' => depth += 1,
                b')' | b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth
        });
        if text.len() > MAX_LENGTH || deepest.max().unwrap_or_default() > MAX_DEPTH {
            return Err(Error::invalid(format!(
                "a CEL expression may have {MAX_LENGTH} bytes and {MAX_DEPTH} levels of brackets; this one has more"
            )));
        }
        // Should the parser panic on some text, that text is at fault, not the program.
        match catch_unwind(|| stacker::grow(STACK, || Program::compile(text))) {
            Ok(Ok(program)) => Ok(Self {
                text: text.to_owned(),
                program,
            }),
            Ok(Err(error)) => Err(Error::invalid(format!("CEL expression {text:?}: {error}"))),
            Err(_) => Err(Error::invalid(format!(
                "CEL expression {text:?} cannot be compiled"
            ))),
        }
    }

    fn holds(&self, context: &Context<'_, '_>) -> Result<bool> {
        let failed = |reason: String| {
            Err(Error::invalid(format!(
                "CEL expression {:?}: {reason}",
                self.text
            )))
        };
        let execute = || stacker::grow(STACK, || self.program.execute(context));
        match catch_unwind(AssertUnwindSafe(execute)) {
            Ok(Ok(Cel::Bool(holds))) => Ok(holds),
            Ok(Ok(other)) => failed(format!("a boolean is expected, not a {}", other.type_of())),
            Ok(Err(error)) => failed(error.to_string()),
            Err(_) => failed("it cannot be evaluated".into()),
        }
    }
}

fn variables(object: &Object) -> Context<'static, 'static> {
    let mut context = Context::default();
    for name in ["metadata", "spec", "status"] {
        context.add_variable_from_value(name, HashMap::<String, Cel>::new());
    }
    for (name, value) in object.value() {
        context.add_variable_from_value(name.as_str(), cel(value));
    }
    context
}

/// JSON as CEL; whole numbers are `int`, as Kubernetes' are.
fn cel(value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(value) => Cel::Bool(*value),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Cel::Int(number),
            (None, Some(number)) => Cel::UInt(number),
            (None, None) => Cel::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => items.iter().map(cel).collect::<Vec<_>>().into(),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), cel(value)))
            .collect::<HashMap<_, _>>()
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use gitops_core::application::HealthStatus;
    use serde_json::json;

    use super::*;
    use crate::health::HealthRules;

    fn assess(current: &str, failed: &str, in_progress: &str, status: Value) -> Health {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let rule = CelRule::new(
            GroupKind::new("example.com", "Thing"),
            &CelExpressions {
                current: current.into(),
                failed: some(failed),
                in_progress: some(in_progress),
            },
        )
        .unwrap();
        let object = json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "t", "generation": 2}, "spec": {"size": 3}, "status": status});
        HealthRules::strict()
            .with(rule)
            .assess(&Object::new(object, None).unwrap())
    }

    #[test]
    fn the_first_that_holds_decides() {
        for (current, failed, in_progress, expected) in [
            ("true", "", "", HealthStatus::Healthy),
            ("false", "", "", HealthStatus::Progressing),
            ("true", "true", "", HealthStatus::Degraded),
            ("true", "true", "true", HealthStatus::Progressing),
            ("true", "false", "false", HealthStatus::Healthy),
            ("status.ready == spec.size", "", "", HealthStatus::Healthy),
            ("status.list.all(x, x > 0)", "", "", HealthStatus::Healthy),
            (
                "status.map['a'] == 'b' && metadata.name == 't'",
                "",
                "",
                HealthStatus::Healthy,
            ),
            ("has(status.nothing)", "", "", HealthStatus::Progressing),
        ] {
            let health = assess(
                current,
                failed,
                in_progress,
                json!({"ready": 3, "list": [1, 2], "map": {"a": "b"}}),
            );
            assert_eq!(
                health.status, expected,
                "{current} {failed} {in_progress}: {}",
                health.message
            );
        }
    }

    #[test]
    fn a_generation_that_is_not_observed_is_progressing() {
        let health = assess("true", "", "", json!({"observedGeneration": 1}));
        assert_eq!(health.status, HealthStatus::Progressing);
        assert_eq!(
            assess("true", "", "", json!({"observedGeneration": 2})).status,
            HealthStatus::Healthy
        );
    }

    #[test]
    fn what_cannot_be_told_is_unknown_and_says_why() {
        for wrong in [
            "status.nothing == 1",
            "1 + 1",
            "nothing",
            "status.ready > 'a'",
            "status.list[9] == 1",
            "1 / 0 == 1",
        ] {
            let health = assess(wrong, "", "", json!({"ready": 3, "list": []}));
            assert_eq!(health.status, HealthStatus::Unknown, "{wrong}");
            assert!(health.message.contains(wrong), "{}", health.message);
        }
    }

    #[test]
    fn what_cannot_be_compiled_is_refused() {
        let deep = format!("{}1{} == 1", "(".repeat(33), ")".repeat(33));
        let long = format!("true{}", " && true".repeat(150));
        for wrong in ["", "  ", "a ==", "((", "'unclosed", &deep, &long] {
            let expressions = CelExpressions {
                current: wrong.into(),
                ..CelExpressions::default()
            };
            let error = CelRule::new(GroupKind::new("", "Pod"), &expressions).unwrap_err();
            assert_eq!(error.kind(), gitops_core::ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn the_longest_and_deepest_expressions_end() {
        let nested = format!("{}true{}", "(".repeat(32), ")".repeat(32));
        let selected = format!("has(status{}.x)", ".a".repeat(500));
        for text in [
            format!("{}true", "!".repeat(1020)),
            format!("true{}", " && true".repeat(127)),
            format!("1{} == 1", "+1".repeat(509)),
            format!("true{}", "?true:true".repeat(102)),
            format!("{}1 == 1", "-".repeat(1017)),
            format!("{}{}", "[".repeat(32), "]".repeat(32)),
            selected,
            nested,
        ] {
            let expressions = CelExpressions {
                current: text.clone(),
                ..CelExpressions::default()
            };
            // Refused or told, but never an overflow.
            assert!(text.len() <= MAX_LENGTH, "{}", text.len());
            if CelRule::new(GroupKind::new("example.com", "Thing"), &expressions).is_ok() {
                assess(&text, "", "", json!({}));
            }
        }
    }
}
