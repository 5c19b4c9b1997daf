//! Application sets.

use anyhow::Result;
use gitops_argocd::types::convert::IN_CLUSTER;
use gitops_argocd::types::set::Generator;
use gitops_argocd::types::{Application, ApplicationSet, Destination, Source};
use gitops_core::application::AppRef;
use gitops_core::error::ErrorKind;
use serde_json::Value;

use super::super::support::{config_map, repository, rest, unique};
use super::{object, refused, told, until, with_token};

#[tokio::test(flavor = "multi_thread")]
async fn application_sets_are_made_changed_and_deleted() -> Result<()> {
    let argocd = e2e::argocd().await?;
    let client = rest(argocd)?;
    let name = unique("fleet");
    let repository = repository(argocd, &name, &[("map.json", &config_map("map", "1"))]).await?;
    let set = |stages: &[&str]| {
        let elements: Vec<_> = stages.iter().map(|stage| [("stage", *stage)]).collect();
        ApplicationSet::new(&*name)
            .label("fleet", &*name)
            .generator(Generator::list(elements))
            .template(
                Application::new(format!("{name}-{{{{stage}}}}"))
                    .project("default")
                    .source(Source::git(&*repository.http_url).path("."))
                    .destination(Destination::server(IN_CLUSTER).namespace("{{stage}}")),
            )
    };
    let of = AppRef::new(&*name);
    let applications = || async {
        let args = [
            "get",
            "applications",
            "--namespace",
            &argocd.namespace,
            "--output=json",
        ];
        let list: Value = serde_json::from_str(&argocd.cluster.kubectl(&args).await?)?;
        let owned = list["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|one| one["metadata"]["ownerReferences"][0]["name"] == *name);
        anyhow::Ok(
            owned
                .filter_map(|one| one["metadata"]["name"].as_str())
                .collect::<Vec<_>>()
                .join(" "),
        )
    };

    // A dry run says what would be, and makes nothing.
    let dry = client
        .create_application_set(&set(&["dev"]), false, true)
        .await?;
    assert!(
        serde_json::to_string(&dry.status)?.contains(&format!("{name}-dev")),
        "{dry:?}"
    );
    assert!(object(argocd, "applicationset", &name).await.is_err());
    refused(client.get_application_set(&of).await, ErrorKind::NotFound);

    let made = client
        .create_application_set(&set(&["dev"]), false, false)
        .await?;
    assert_eq!(made.name(), name);
    let stored = object(argocd, "applicationset", &name).await?;
    assert_eq!(
        stored["spec"]["generators"][0]["list"]["elements"][0]["stage"],
        "dev"
    );
    until("no application", || async {
        Ok(applications().await? == format!("{name}-dev"))
    })
    .await?;

    // Again it is no change; another one is refused, unless it is to be put in its place.
    client
        .create_application_set(&set(&["dev"]), false, false)
        .await?;
    refused(
        client
            .create_application_set(&set(&["dev", "prod"]), false, false)
            .await,
        ErrorKind::AlreadyExists,
    );
    client
        .create_application_set(&set(&["dev", "prod"]), true, false)
        .await?;
    let stored = told(argocd, &["appset", "get", &name]).await?;
    assert_eq!(
        stored["spec"]["generators"][0]["list"]["elements"][1]["stage"],
        "prod"
    );
    until("no second application", || async {
        Ok(applications().await? == format!("{name}-dev {name}-prod"))
    })
    .await?;

    let listed = client
        .list_application_sets(
            &["default".to_owned()],
            Some(&format!("fleet={name}")),
            None,
        )
        .await?;
    assert_eq!(
        listed.iter().map(ApplicationSet::name).collect::<Vec<_>>(),
        [&*name]
    );
    let elsewhere = client
        .list_application_sets(&["other".to_owned()], Some(&format!("fleet={name}")), None)
        .await?;
    assert!(elsewhere.is_empty());
    assert_eq!(client.get_application_set(&of).await?.spec, listed[0].spec);
    // The controller notes the applications that were there when it last looked.
    let refresh = "argocd.argoproj.io/application-set-refresh=true";
    argocd
        .cluster
        .kubectl(&[
            "annotate",
            "applicationset",
            &name,
            "--namespace",
            &argocd.namespace,
            refresh,
        ])
        .await?;
    until("no tree", || async {
        let nodes = client
            .application_set_tree(&of)
            .await?
            .nodes
            .unwrap_or_default();
        Ok(nodes
            .iter()
            .filter_map(|node| node.name.as_deref())
            .eq([&*format!("{name}-dev"), &*format!("{name}-prod")]))
    })
    .await?;
    let guest = with_token(argocd, &argocd.guest.token)?;
    refused(
        guest.get_application_set(&of).await,
        ErrorKind::PermissionDenied,
    );
    refused(
        guest.delete_application_set(&of).await,
        ErrorKind::PermissionDenied,
    );

    client.delete_application_set(&of).await?;
    until("it is still there", || async {
        Ok(object(argocd, "applicationset", &name).await.is_err())
    })
    .await?;
    until("its applications are still there", || async {
        Ok(applications().await?.is_empty())
    })
    .await?;
    refused(
        client.delete_application_set(&of).await,
        ErrorKind::NotFound,
    );
    Ok(())
}
