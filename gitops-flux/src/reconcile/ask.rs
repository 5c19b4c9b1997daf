//! Asking.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use gitops_core::{Error, Result, ResultExt as _};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::options::{ReconcileOptions, Reconciled, Update, WaitOptions};
use super::state::State;
use super::token::{self, FORCE_AT, REQUESTED_AT, RESET_AT};
use super::verdict::Expectation;
use super::wait::Waiter;
use super::{repository_of, source_of};
use crate::deadline;
use crate::manager::{FluxManager, FluxRef};
use crate::{FluxKind, FluxResource};

impl FluxManager {
    /// Asks the controller to reconcile an object now, as `flux reconcile` does, and waits for the result.
    ///
    /// With [`ReconcileOptions::with_source`], the sources go first, each waited for before the next is asked: of a Kustomization its source; of a HelmRelease its repository, then its
    /// HelmChart, or the object of `chartRef`. Sources that no controller reconciles (an ExternalArtifact, a HelmRepository of type `oci`) are left out.
    ///
    /// A result is one of this request: an older run's state is never taken for it, and a Kustomization must have applied the revision that its source had, or a newer one.
    ///
    /// # Errors
    /// `Conflict` for what is suspended ([`ReconcileOptions::resume`] resumes it) or being deleted; `Unsupported` for kinds that no controller reconciles; `InvalidInput` for `force`
    /// and `reset` of what is no HelmRelease. Those of [`wait`](Self::wait).
    pub async fn reconcile(
        &self,
        object: &FluxRef,
        options: &ReconcileOptions,
    ) -> Result<Reconciled> {
        let object = self.resolve(object);
        if (options.force || options.reset) && object.kind != FluxKind::HelmRelease {
            return Err(Error::invalid(format!(
                "{object}: only a HelmRelease can be forced or reset by a request"
            )));
        }
        let timeout = options
            .wait
            .as_ref()
            .map_or_else(|| WaitOptions::default().timeout, |options| options.timeout);
        self.ask(object, options.clone(), deadline::after(timeout))
            .await
    }

    /// [`reconcile`](Self::reconcile) for a typed kind.
    ///
    /// # Errors
    /// As there.
    pub async fn reconcile_named<K: FluxResource>(
        &self,
        namespace: &str,
        name: &str,
        options: &ReconcileOptions,
    ) -> Result<Reconciled> {
        self.reconcile(&FluxRef::to::<K>(namespace, name), options)
            .await
    }

    fn ask(
        &self,
        object: FluxRef,
        options: ReconcileOptions,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<Reconciled>> {
        async move {
            let wait = options.wait.clone().unwrap_or_default();
            let mut value = within(deadline, self.get_value(&object)).await?;
            let state = State::of(&value);
            if state.deleting {
                return Err(Error::conflict(format!("{object} is being deleted")));
            }
            if state.passive || !object.kind.can_reconcile() {
                return Err(Error::unsupported(
                    "a request to reconcile",
                    &object.to_string(),
                ));
            }
            if state.suspended {
                if !options.resume {
                    return Err(Error::conflict(format!(
                        "{object} is suspended: resume it before it can be reconciled"
                    )));
                }
                value = within(deadline, self.set_suspended(&object, false))
                    .await
                    .context(|| format!("resume {object}"))?;
                wait.progress.tell(|| Update::Resumed {
                    object: object.clone(),
                });
            }
            let sources = match options.with_source {
                true => {
                    self.ask_sources(&object, &value, &options, deadline)
                        .await?
                }
                false => Vec::new(),
            };
            let token = token::fresh(state.requested.as_deref());
            let request = self.request(&object, &token, &state.uid, &options);
            let value = within(deadline, request)
                .await
                .context(|| format!("reconcile {object}"))?;
            wait.progress.tell(|| Update::Requested {
                object: object.clone(),
                token: token.clone(),
            });
            let mut reconciled = match &options.wait {
                Some(wait) => {
                    let expected = Expectation {
                        token: Some(token),
                        revision: None,
                    };
                    Waiter::new(self, &object, wait, deadline)
                        .run(value, expected)
                        .await?
                }
                None => Reconciled {
                    object: object.clone(),
                    token: Some(token),
                    revision: None,
                    message: String::new(),
                    value,
                    sources: Vec::new(),
                },
            };
            reconciled.sources = sources;
            Ok(reconciled)
        }
        .boxed()
    }

    /// The annotations of a request. With the UID in it, the patch is refused for another object of the same name.
    async fn request(
        &self,
        object: &FluxRef,
        token: &str,
        uid: &str,
        options: &ReconcileOptions,
    ) -> Result<Value> {
        let mut annotations = json!({REQUESTED_AT: token});
        if options.force {
            annotations[FORCE_AT] = json!(token);
        }
        if options.reset {
            annotations[RESET_AT] = json!(token);
        }
        let mut metadata = json!({"annotations": annotations});
        if !uid.is_empty() {
            metadata["uid"] = json!(uid);
        }
        self.merge(object, &json!({"metadata": metadata})).await
    }

    /// Reconciles the sources of an object, the farthest first.
    async fn ask_sources(
        &self,
        object: &FluxRef,
        value: &Value,
        options: &ReconcileOptions,
        deadline: Instant,
    ) -> Result<Vec<Reconciled>> {
        let has_source = matches!(
            object.kind,
            FluxKind::Kustomization | FluxKind::HelmRelease | FluxKind::HelmChart
        );
        let Some(mut source) = source_of(value) else {
            return match has_source {
                true => Err(Error::invalid(format!(
                    "{object} names no source that can be reconciled"
                ))),
                false => Ok(Vec::new()),
            };
        };
        let mut found = within(deadline, self.find_value(&source)).await?;
        if found.is_none()
            && object.kind == FluxKind::HelmRelease
            && let Some(repository) = repository_of(value)
        {
            // helm-controller makes the chart in the first run of the release.
            source = repository;
            found = within(deadline, self.find_value(&source)).await?;
        }
        let Some(found) = found else {
            return Err(Error::not_found(format!(
                "{source}, the source of {object}, does not exist"
            )));
        };
        let wait = options.wait.clone().unwrap_or_default();
        if State::of(&found).passive {
            wait.progress.tell(|| Update::Skipped {
                object: source.clone(),
            });
            return Ok(Vec::new());
        }
        let options = ReconcileOptions {
            with_source: source.kind == FluxKind::HelmChart,
            force: false,
            reset: false,
            resume: options.resume,
            wait: Some(wait),
        };
        let mut reconciled = self
            .ask(source, options, deadline)
            .await
            .context(|| format!("reconcile the source of {object}"))?;
        let mut sources = std::mem::take(&mut reconciled.sources);
        sources.push(reconciled);
        Ok(sources)
    }
}

/// Requests before the wait count too.
pub(super) async fn within<T>(
    deadline: Instant,
    request: impl Future<Output = Result<T>>,
) -> Result<T> {
    match tokio::time::timeout_at(deadline, request).await {
        Ok(answer) => answer,
        Err(_) => Err(Error::timeout(
            "the API server did not answer before the time was up",
        )),
    }
}
