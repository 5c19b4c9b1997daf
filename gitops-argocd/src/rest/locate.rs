//! Where an application is: its project, which every call names, and Argo CD's own namespace.

use gitops_core::application::AppRef;
use gitops_core::{Error, ErrorKind, Result};
use reqwest::Response;
use serde::de::DeserializeOwned;

use super::answer::decode;
use super::call::Call;
use super::{ApplicationQuery, ArgoCd};
use crate::types::{Application, lean};

/// What is needed to learn an application's project.
const PROJECT: &str = "items.metadata.name,items.metadata.namespace,items.spec";

impl ArgoCd {
    pub(super) fn remember(&self, app: &Application) {
        let name = AppRef::namespaced(app.namespace(), app.name());
        self.know(name, &app.spec.project);
    }

    pub(crate) fn remember_lean(&self, app: &lean::Application) {
        self.know(app.app_ref(), &app.spec.project);
    }

    pub(super) fn know(&self, app: AppRef, project: &str) {
        if project.is_empty() || app.name.is_empty() {
            return;
        }
        // Callers name applications of the server's own namespace with or without it.
        let is_own = self
            .0
            .namespace
            .get()
            .is_some_and(|own| *own == app.namespace);
        let short = is_own.then(|| AppRef::new(&*app.name));
        for name in short.into_iter().chain([app]) {
            let known = self.0.projects.get(&name);
            if known.as_deref() != Some(project) {
                self.0.projects.insert(name, project.to_owned());
            }
        }
    }

    /// Argo CD's own namespace; none where the server does not say, as it does not to nobody in particular.
    pub(super) async fn own_namespace(&self) -> Result<Option<String>> {
        if let Some(own) = self.0.namespace.get() {
            return Ok(Some(own.clone()));
        }
        let own = self.settings().await?.controller_namespace;
        if own.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.0.namespace.get_or_init(|| own).clone()))
    }

    /// The application's project, asked for once.
    pub(crate) async fn project_of(&self, app: &AppRef) -> Result<String> {
        match self.0.projects.get(app) {
            Some(project) => Ok(project),
            None => self.look_project_up(app).await,
        }
    }

    async fn look_project_up(&self, app: &AppRef) -> Result<String> {
        let what = "look an application's project up";
        // Without a namespace the server would answer any one application of that name.
        let namespace = match &*app.namespace {
            "" => self.own_namespace().await?,
            namespace => Some(namespace.to_owned()),
        };
        let query = ApplicationQuery {
            name: Some(app.name.clone()),
            namespace: namespace.clone(),
            ..ApplicationQuery::default()
        };
        let body = self
            .applications(&query, &["applications"], what)
            .query("fields", PROJECT)
            .bytes()
            .await?;
        let list: lean::ApplicationList = decode(&body, what)?;
        let found = list.items.into_iter().find(|found| {
            found.metadata.name == app.name
                && namespace
                    .as_ref()
                    .is_none_or(|namespace| found.metadata.namespace == *namespace)
        });
        match found {
            Some(found) => {
                let project = match found.spec.project {
                    project if project.is_empty() => "default".to_owned(),
                    project => project,
                };
                self.0.projects.insert(app.clone(), project.clone());
                Ok(project)
            }
            None => {
                self.0.projects.remove(app);
                Err(Error::not_found(format!(
                    "there is no application {app}, or this account may not see it"
                )))
            }
        }
    }

    /// The answer to what `make` makes for the application's project; once more where it has moved to another project.
    pub(super) async fn app_json<'a, T: DeserializeOwned>(
        &'a self,
        app: &AppRef,
        make: impl Fn(&str) -> Result<Call<'a>> + Send + Sync,
    ) -> Result<T> {
        self.with_project(app, make, |call| async move { call.json().await })
            .await
    }

    /// The same for an answer in parts.
    pub(super) async fn app_stream<'a>(
        &'a self,
        app: &AppRef,
        make: impl Fn(&str) -> Result<Call<'a>> + Send + Sync,
    ) -> Result<(Response, String)> {
        self.with_project(app, make, Call::stream).await
    }

    async fn with_project<'a, T, F: Future<Output = Result<T>> + Send>(
        &'a self,
        app: &AppRef,
        make: impl Fn(&str) -> Result<Call<'a>> + Send + Sync,
        send: impl Fn(Call<'a>) -> F + Send + Sync,
    ) -> Result<T> {
        let project = self.project_of(app).await?;
        match send(make(&project)?).await {
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::PermissionDenied | ErrorKind::NotFound
                ) =>
            {
                let now = self.look_project_up(app).await?;
                if now == project {
                    return Err(error);
                }
                send(make(&now)?).await
            }
            result => result,
        }
    }
}
