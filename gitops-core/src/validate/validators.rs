//! Several validators at once.

use std::any::Any;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};

use super::{Context, Finding, Validator};
use crate::application::{AppRef, Application};
use crate::backend::Severity;
use crate::error::{Error, ErrorKind, Result};

/// When [`Validators`] stops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// When all have looked.
    #[default]
    All,
    /// At the first validator, in the order in which they were added, that finds an error or cannot look; what others found behind it is dropped.
    FailFast,
}

/// What [`Validators`] found.
#[derive(Debug, Default)]
pub struct Report {
    /// The application.
    pub app: AppRef,
    /// The findings, in the order of the validators.
    pub findings: Vec<Finding>,
    /// The validators that could not look, by name, and why. Nobody takes that for "nothing found".
    pub failures: Vec<(String, Error)>,
}

impl Report {
    /// Whether the application may be synced: everybody could look, and nobody found an error.
    pub fn is_valid(&self) -> bool {
        self.failures.is_empty() && self.errors().next().is_none()
    }

    /// The findings that forbid the sync.
    pub fn errors(&self) -> impl Iterator<Item = &Finding> {
        self.of(Severity::Error)
    }

    /// The findings that somebody should look at.
    pub fn warnings(&self) -> impl Iterator<Item = &Finding> {
        self.of(Severity::Warning)
    }

    fn of(&self, severity: Severity) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(move |finding| finding.severity == severity)
    }

    /// The findings that do not forbid the sync, when none does.
    ///
    /// # Errors
    /// The error of the first validator that could not look; else `InvalidInput`, which lists the errors found.
    pub fn into_result(mut self) -> Result<Vec<Finding>> {
        if !self.failures.is_empty() {
            let (name, error) = self.failures.swap_remove(0);
            return Err(error.context(format!("validator {name} about {}", self.app)));
        }
        let errors: Vec<_> = self.errors().map(ToString::to_string).collect();
        if errors.is_empty() {
            return Ok(self.findings);
        }
        Err(Error::invalid(format!(
            "{} is not valid: {}",
            self.app,
            errors.join("; ")
        )))
    }
}

impl fmt::Display for Report {
    /// One line for each failure and finding, and one that counts them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, error) in &self.failures {
            writeln!(f, "error: validator {name} could not look: {error}")?;
        }
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        write!(
            f,
            "{}: {} errors, {} warnings",
            self.app,
            self.errors().count() + self.failures.len(),
            self.warnings().count()
        )
    }
}

/// Any number of validators, asked at the same time.
///
/// ```
/// use gitops_core::application::{Application, Source};
/// use gitops_core::validate::{AllowedRepositories, Context, Validators, WellFormed};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let mut validators = Validators::new();
/// validators.add_validator(WellFormed).add_validator(AllowedRepositories::new(["https://example.com/org/*"])?);
///
/// let app = Application::new("shop").source(Source::git("https://elsewhere.com/org/repo"));
/// let report = validators.validate(&app, &Context::default()).await;
/// assert_eq!(report.findings[0].code, "repository-denied");
/// assert!(report.into_result().is_err());
/// # Ok::<(), gitops_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Validators {
    validators: Vec<Arc<dyn Validator>>,
    mode: Mode,
    at_once: usize,
}

impl Default for Validators {
    fn default() -> Self {
        Self {
            validators: Vec::new(),
            mode: Mode::All,
            at_once: 8,
        }
    }
}

impl Validators {
    /// Without validators, which finds nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a validator.
    pub fn add_validator(&mut self, validator: impl Validator + 'static) -> &mut Self {
        self.validators.push(Arc::new(validator));
        self
    }

    /// Adds a validator.
    #[must_use]
    pub fn validator(mut self, validator: impl Validator + 'static) -> Self {
        self.add_validator(validator);
        self
    }

    /// Stops at the first error.
    #[must_use]
    pub fn fail_fast(mut self) -> Self {
        self.mode = Mode::FailFast;
        self
    }

    /// How many validators look at the same time, at least one; 8 unless told.
    #[must_use]
    pub fn at_once(mut self, at_once: usize) -> Self {
        self.at_once = at_once.max(1);
        self
    }

    /// How many validators there are.
    pub fn len(&self) -> usize {
        self.validators.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.validators.is_empty()
    }

    /// Asks the validators. It does not fail: a validator that does, or panics, is among the report's failures.
    ///
    /// # Cancellation
    /// Dropping the future stops the validators; they change nothing.
    pub async fn validate(&self, app: &Application, context: &Context<'_>) -> Report {
        let mut report = Report {
            app: app.app_ref(),
            ..Report::default()
        };
        let jobs = self
            .validators
            .iter()
            .map(|validator| ask(&**validator, app, context));
        let jobs: Vec<_> = jobs.collect();
        // In order, so that the same application gives the same report.
        let mut answers = stream::iter(jobs).buffered(self.at_once);
        while let Some((name, answer)) = answers.next().await {
            let stop = match answer {
                Ok(Ok(findings)) => {
                    let stop = findings.iter().any(|f| f.severity == Severity::Error);
                    report.findings.extend(findings);
                    stop
                }
                Ok(Err(error)) => {
                    report.failures.push((name.to_owned(), error));
                    true
                }
                Err(panic) => {
                    let error = Error::new(ErrorKind::Internal, panic_message(&*panic));
                    report.failures.push((name.to_owned(), error));
                    true
                }
            };
            if stop && self.mode == Mode::FailFast {
                break;
            }
        }
        report
    }
}

impl fmt::Debug for Validators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.validators.iter().map(|v| v.name()).collect();
        f.debug_struct("Validators")
            .field("validators", &names)
            .field("mode", &self.mode)
            .finish()
    }
}

/// That it panicked; not with what, which may hold anything (a message of `assert_eq!` quotes values).
fn panic_message(_: &(dyn Any + Send)) -> &'static str {
    "it panicked"
}

/// What one validator answers. Boxed: in a stream the compiler does not see otherwise that it may go to another thread.
fn ask<'a>(
    validator: &'a dyn Validator,
    app: &'a Application,
    context: &'a Context<'a>,
) -> BoxFuture<'a, (&'a str, std::thread::Result<Result<Vec<Finding>>>)> {
    Box::pin(async move {
        // One that panics must neither take the caller down nor count as "nothing found".
        // Nor one that panics before there is a future.
        let answer = async { validator.validate(app, context).await };
        (
            validator.name(),
            AssertUnwindSafe(answer).catch_unwind().await,
        )
    })
}
