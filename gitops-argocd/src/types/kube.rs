//! The kinds as `kube` knows them, for `kube::Api`.

use std::borrow::Cow;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;

use super::{AppProject, Application, ApplicationSet, GROUP, VERSION};

macro_rules! resource {
    ($($kind:ident: $plural:literal),* $(,)?) => {$(
        impl Resource for $kind {
            type DynamicType = ();
            type Scope = NamespaceResourceScope;

            fn kind(_: &()) -> Cow<'_, str> {
                stringify!($kind).into()
            }

            fn group(_: &()) -> Cow<'_, str> {
                GROUP.into()
            }

            fn version(_: &()) -> Cow<'_, str> {
                VERSION.into()
            }

            fn plural(_: &()) -> Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    )*};
}

resource!(
    Application: "applications",
    AppProject: "appprojects",
    ApplicationSet: "applicationsets",
);

#[cfg(test)]
mod tests {
    use kube::{Api, Client, ResourceExt};

    use super::*;

    #[test]
    fn the_paths_are_those_of_the_definitions() {
        let path = Application::url_path(&(), Some("argocd"));
        assert_eq!(
            path,
            "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications"
        );
        let path = AppProject::url_path(&(), None);
        assert_eq!(path, "/apis/argoproj.io/v1alpha1/appprojects");
        let path = ApplicationSet::url_path(&(), None);
        assert_eq!(path, "/apis/argoproj.io/v1alpha1/applicationsets");
        let app = Application::new("guestbook").in_namespace("argocd");
        assert_eq!(app.name_any(), "guestbook");
        let reference = app.object_ref(&());
        assert_eq!(
            reference.api_version.as_deref(),
            Some("argoproj.io/v1alpha1")
        );
        assert_eq!(reference.kind.as_deref(), Some("Application"));
    }

    // That it compiles is the test: `Api` reads, writes, patches and watches them.
    #[allow(dead_code)]
    async fn an_api(client: Client) -> kube::Result<()> {
        let applications: Api<Application> = Api::namespaced(client.clone(), "argocd");
        let mut app = applications.get("guestbook").await?;
        app.labels_mut().insert("team".into(), "a".into());
        applications
            .replace("guestbook", &Default::default(), &app)
            .await?;
        let _projects = Api::<AppProject>::all(client.clone())
            .list(&Default::default())
            .await?;
        let _sets = Api::<ApplicationSet>::all(client)
            .watch(&Default::default(), "0")
            .await?;
        Ok(())
    }
}
