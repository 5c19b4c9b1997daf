//! `flux events`.

use anyhow::{Result, ensure};
use futures::StreamExt as _;
use gitops_flux::FluxKind;
use gitops_flux::events::{EventsOptions, Severity};
use serde_json::json;

use super::{World, manager};
use crate::flux::support::{PATIENCE, apply, kustomization};

#[tokio::test(flavor = "multi_thread")]
async fn events_of_an_object_and_its_source() -> Result<()> {
    let (flux, gitea) = (e2e::flux().await?, e2e::gitea().await?);
    let world = World::new(flux, gitea, "flux-events", &[]).await?;
    let (manager, name) = (manager(flux).await?, world.name());
    let about = EventsOptions::about(FluxKind::Kustomization, name, "app");
    let started = std::time::Instant::now();
    // The controllers report a moment after they are done.
    let events = loop {
        let events = manager.events(&about).await?;
        let reasons: Vec<&str> = events.iter().map(|event| event.reason.as_str()).collect();
        if reasons.contains(&"ReconciliationSucceeded") && reasons.contains(&"NewArtifact") {
            break events;
        }
        ensure!(started.elapsed() < PATIENCE, "{events:?}");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    };
    assert!(events.windows(2).all(|pair| pair[0].at <= pair[1].at));
    let done = events
        .iter()
        .find(|event| event.reason == "ReconciliationSucceeded");
    let done = super::found(done, "event")?;
    assert_eq!(done.controller, "kustomize-controller");
    assert_eq!(done.revision, Some(world.revision()));
    assert_eq!(done.object, FluxKind::Kustomization.object_id(name, "app"));

    // The command has the same events.
    let namespace = format!("--namespace={name}");
    let said = flux
        .cli(&["events", "--for=Kustomization/app", &namespace])
        .await?;
    let lines = said
        .lines()
        .skip(1)
        // A message of several lines goes on in lines without a time.
        .filter(|line| !line.is_empty() && !line.starts_with(char::is_whitespace))
        .count();
    let events = manager.events(&about).await?;
    assert_eq!(lines, events.len(), "{said}\n{events:#?}");
    for event in &events {
        ensure!(said.contains(&event.reason), "{event} is not in {said}");
    }

    let alone = EventsOptions {
        references: false,
        ..about.clone()
    };
    let alone = manager.events(&alone).await?;
    assert!(
        alone
            .iter()
            .all(|event| event.object.kind == "Kustomization")
    );
    assert!(alone.len() < events.len());
    let warnings = EventsOptions {
        severity: Some(Severity::Warning),
        ..EventsOptions::in_namespace(name)
    };
    assert_eq!(manager.events(&warnings).await?, []);
    let last = EventsOptions { limit: 1, ..about };
    assert_eq!(manager.events(&last).await?.len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_watched() -> Result<()> {
    let (flux, gitea) = (e2e::flux().await?, e2e::gitea().await?);
    let world = World::new(flux, gitea, "flux-watch", &[]).await?;
    let (manager, name) = (manager(flux).await?, world.name());
    let options = EventsOptions {
        severity: Some(Severity::Warning),
        ..EventsOptions::in_namespace(name)
    };
    let mut events = manager.watch_events(options).await?;
    let mut broken = kustomization(name, "broken", "GitRepository", "source");
    broken["spec"]["path"] = json!("./nowhere");
    apply(&world.namespace.client(), &broken).await?;
    let event = tokio::time::timeout(PATIENCE, events.next()).await?;
    let event = super::found(event, "event")??;
    assert_eq!(
        event.object,
        FluxKind::Kustomization.object_id(name, "broken")
    );
    assert_eq!(event.severity, Severity::Warning);
    assert!(event.message.contains("nowhere"), "{event}");
    Ok(())
}
