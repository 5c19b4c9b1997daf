//! Notifiers against real receivers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt as _;
use gitops_core::application::{AppRef, Application, OperationPhase, Source};
use gitops_core::backend::{
    ApplicationStore, EventKind, Operation, PutMode, Severity, SyncEvent, SyncOptions, SyncOutcome,
    Syncer,
};
use gitops_core::notify::{
    BroadcastNotifier, CloudEventsNotifier, CommitStatusNotifier, EventFilter, Forge, HttpOptions,
    Notifier, NotifierOptions, Notifiers, SlackNotifier, TracingNotifier, WebhookNotifier,
    verify_webhook,
};
use gitops_core::{ErrorKind, SecretString};
use gitops_kube::cluster::{Cluster, KubeCluster};
use gitops_kube::notify::EventNotifier;
use gitops_kube::store::{APPLICATION_LABEL, ConfigMapStore};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;
use tracing::instrument::WithSubscriber as _;
use tracing_subscriber::layer::{Layer, SubscriberExt as _};

use crate::place::{Place, config_map};
use crate::receiver::{Message, Receiver};

#[tokio::test]
async fn commit_statuses_stand_at_the_commit_on_gitea() -> Result<()> {
    let gitea = e2e::gitea().await?;
    let repository = gitea.repository("statuses").await?;
    let commit = gitea.commit(&repository, "start", &[("a", "1")]).await?;
    let name = format!("{}/{}", repository.owner, repository.name);
    let token = gitea.token(&["write:repository"]).await?;
    let options = HttpOptions::default();
    let notifier = |token: &str| {
        let token = SecretString::from(token);
        CommitStatusNotifier::new(Forge::Gitea, &gitea.url, &*name, &token, &options)
    };
    let app = AppRef::namespaced("prod", "shop");
    let rendered = EventKind::Rendered {
        objects: 3,
        revisions: vec![commit.clone()],
    };
    let finished = EventKind::SyncFinished {
        outcome: Box::new(SyncOutcome {
            operation: Operation {
                app: app.clone(),
                id: "1".into(),
                started_at: "2026-01-01T00:00:00Z".parse()?,
            },
            phase: OperationPhase::Succeeded,
            message: String::new(),
            revisions: vec![commit.clone()],
            resources: Vec::new(),
            finished_at: "2026-01-01T00:01:00Z".parse()?,
        }),
    };
    let notify = notifier(&token)?.target_url("https://deploy.example.com/shop");
    let path = format!("/repos/{name}/commits/{commit}/status");
    for (kind, expected) in [(rendered.clone(), "pending"), (finished, "success")] {
        notify
            .notify(&SyncEvent::now(app.clone(), "1", kind))
            .await?;
        let status = gitea.api(Method::GET, &path, None).await?;
        let newest = status["statuses"].get(0).context("no status")?;
        assert_eq!(status["state"], expected, "{status}");
        assert_eq!(newest["context"], "gitops/prod/shop");
        assert_eq!(newest["target_url"], "https://deploy.example.com/shop");
    }
    let refused = notifier("0123456789012345678901234567890123456789")?
        .notify(&SyncEvent::now(app, "1", rendered))
        .await
        .expect_err("a wrong token was taken");
    assert_eq!(refused.kind(), ErrorKind::Unauthenticated, "{refused}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn kubernetes_events_stand_at_the_application() -> Result<()> {
    let cluster = e2e::cluster().await?;
    let namespace = cluster.namespace("events").await?.name().to_owned();
    let kube: Arc<dyn Cluster> = Arc::new(KubeCluster::new(cluster.client().await?));
    let store = ConfigMapStore::new(kube.clone(), &namespace);
    let app = Application::new("shop").source(Source::git("https://git.example.com/o/r"));
    store.put(&app, PutMode::Create).await?;
    let notifier = EventNotifier::new(kube, &namespace, "replica-0")?;
    let told = |severity, message: &str| {
        let message = message.to_owned();
        let mut event = SyncEvent::now(
            app.app_ref(),
            "1",
            EventKind::Retrying {
                attempt: 1,
                message,
            },
        );
        event.severity = severity;
        event
    };
    notifier
        .notify(&SyncEvent::now(app.app_ref(), "1", EventKind::SyncStarted))
        .await?;
    let first = told(Severity::Warning, "a");
    for event in [
        first.clone(),
        first,
        told(Severity::Warning, "a"),
        told(Severity::Warning, "a"),
    ] {
        notifier.notify(&event).await?;
    }
    // Another message is another Event.
    notifier
        .notify(&told(Severity::Error, &"b".repeat(5000)))
        .await?;

    let name = cluster
        .kubectl(&[
            "-n",
            &namespace,
            "get",
            "configmaps",
            "-l",
            APPLICATION_LABEL,
            "-o",
            "name",
        ])
        .await?;
    let name = name.trim().trim_start_matches("configmap/").to_owned();
    let described = cluster
        .kubectl(&["-n", &namespace, "describe", "configmap", &name])
        .await?;
    ensure!(described.contains("SyncStarted"), "{described}");
    let listed = cluster
        .kubectl(&[
            "-n",
            &namespace,
            "get",
            "events.v1.events.k8s.io",
            "-o",
            "json",
        ])
        .await?;
    let listed: serde_json::Value = serde_json::from_str(&listed)?;
    let mut found: Vec<(&str, &str, i64, usize)> = listed["items"]
        .as_array()
        .context("no list")?
        .iter()
        .map(|event| {
            assert_eq!(event["regarding"]["name"], name.as_str());
            assert_eq!(event["reportingInstance"], "replica-0");
            let text = |field: &str| event[field].as_str().unwrap_or_default();
            let count = event["series"]["count"].as_i64().unwrap_or(1);
            (text("reason"), text("type"), count, text("note").len())
        })
        .collect();
    found.sort_unstable();
    let repeated = format!("{}: attempt 1 failed: a", app.app_ref()).len();
    let started = format!("{}: sync started", app.app_ref()).len();
    assert_eq!(
        found,
        [
            ("Retrying", "Warning", 1, 1024),
            ("Retrying", "Warning", 3, repeated),
            ("SyncStarted", "Normal", 1, started),
        ]
    );
    Ok(())
}

const KEY: &str = "the key of the webhook";

/// The Base64 of the HMAC-SHA-256 that Standard Webhooks asks for, reckoned here.
fn signed(key: &str, message: &Message) -> Result<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes())?;
    mac.update(message.header("webhook-id")?.as_bytes());
    mac.update(b".");
    mac.update(message.header("webhook-timestamp")?.as_bytes());
    mac.update(b".");
    mac.update(&message.body);
    Ok(STANDARD.encode(mac.finalize().into_bytes()))
}

/// What a `tracing` event says: its level, and its fields.
type Line = (tracing::Level, BTreeMap<String, String>);

/// A layer that keeps the events of one target.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<Line>>>);

struct Fields(BTreeMap<String, String>);

impl tracing::field::Visit for Fields {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }
}

impl<S: tracing::Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        if event.metadata().target() != "gitops::notify" {
            return;
        }
        let mut fields = Fields(BTreeMap::new());
        event.record(&mut fields);
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push((*event.metadata().level(), fields.0));
    }
}

/// The events of one sync, up to its end.
async fn events_of_a_sync(place: &Place, app: &AppRef) -> Result<Vec<SyncEvent>> {
    let mut events = place.backend.events();
    place.backend.sync(app, &SyncOptions::default()).await?;
    let mut all = Vec::new();
    let whole = async {
        while let Some(event) = events.next().await {
            let last = matches!(event.kind, EventKind::SyncFinished { .. });
            all.push(event);
            if last {
                return Ok(());
            }
        }
        anyhow::bail!("the events ended")
    };
    tokio::time::timeout(Duration::from_secs(180), whole).await??;
    Ok(all)
}

/// The events of a sync that went well, and of one that failed.
async fn real_events(name: &str) -> Result<Vec<SyncEvent>> {
    let place = Place::new(name).await?;
    place
        .commit(&[("apps/shop/a.yaml", &config_map("shop", "1"))])
        .await?;
    let app = place.put(&place.app("shop")).await?;
    let mut events = events_of_a_sync(&place, &app).await?;
    let bad = "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ports: [{port: 0}]}\n";
    place.commit(&[("apps/shop/b.yaml", bad)]).await?;
    events.extend(events_of_a_sync(&place, &app).await?);
    let severities: Vec<_> = events.iter().map(|event| event.severity).collect();
    ensure!(severities.contains(&Severity::Info) && severities.contains(&Severity::Error));
    Ok(events)
}

#[tokio::test(flavor = "multi_thread")]
async fn receivers_over_http_hear_of_real_syncs_and_can_check_who_tells() -> Result<()> {
    let events = real_events("told").await?;
    let receiver = Receiver::http().await?;
    let plain = HttpOptions::default();
    let with_token = HttpOptions {
        headers: vec![("authorization".into(), SecretString::from("Bearer t0ken"))],
        ..HttpOptions::default()
    };
    let broadcast = BroadcastNotifier::new(1000);
    let mut listener = broadcast.subscribe();
    let slack = SecretString::from(receiver.url("/services/T0/B0/secret"));
    let mut notifiers = Notifiers::new(NotifierOptions {
        pause: Duration::from_millis(10),
        ..NotifierOptions::default()
    });
    notifiers
        .add_notifier(WebhookNotifier::new(
            &receiver.url("/webhook"),
            KEY,
            &with_token,
        )?)
        .add_filtered(
            SlackNotifier::new(&slack, &plain)?,
            EventFilter::all().kinds(["syncFinished"]),
        )
        .add_notifier(CloudEventsNotifier::new(
            &receiver.url("/cloudevents"),
            "/gitops/e2e",
            &plain,
        )?)
        .add_notifier(broadcast);
    for event in &events {
        notifiers.notify_sync(event).await?;
    }

    // Signed webhooks: each event once, in order, with the same content.
    let webhooks = receiver.at_path("/webhook");
    assert_eq!(webhooks.len(), events.len());
    let key = SecretString::from(KEY);
    for (message, event) in webhooks.iter().zip(&events) {
        assert_eq!(message.method, Method::POST);
        assert_eq!(message.header("content-type")?, "application/json");
        assert_eq!(message.header("authorization")?, "Bearer t0ken");
        assert_eq!(serde_json::from_slice::<SyncEvent>(&message.body)?, *event);
        let (id, time) = (
            message.header("webhook-id")?,
            message.header("webhook-timestamp")?,
        );
        let signature = message.header("webhook-signature")?;
        assert_eq!(signature, format!("v1,{}", signed(KEY, message)?));
        assert_ne!(signature, format!("v1,{}", signed("another key", message)?));
        let sent: i64 = time.parse()?;
        ensure!(Timestamp::now().as_second().abs_diff(sent) < 60, "{time}");
        verify_webhook(&key, id, time, signature, &message.body, Timestamp::now())?;
        let changed = [&message.body[..], b" "].concat();
        let refused = verify_webhook(&key, id, time, signature, &changed, Timestamp::now());
        ensure!(refused.is_err(), "a changed body was taken");
    }
    println!(
        "{} events, signed; the last: {}",
        webhooks.len(),
        String::from_utf8_lossy(&webhooks[webhooks.len() - 1].body)
    );

    // Slack: the two ends, one in green and one in red.
    let told = receiver.at_path("/services/T0/B0/secret");
    let told: Vec<Value> = told.iter().map(Message::json).collect::<Result<_>>()?;
    let colors: Vec<_> = told.iter().map(|v| &v["attachments"][0]["color"]).collect();
    assert_eq!(colors, ["good", "danger"], "{told:?}");
    for (value, phase) in told.iter().zip(["Succeeded", "Failed"]) {
        let text = value["text"].as_str().context("no text")?;
        println!("{text}");
        ensure!(
            text.contains("*shop*") && text.contains(&format!("sync {phase}")),
            "{text}"
        );
    }

    // CloudEvents: what version 1.0 demands, and the event as data.
    let mut ids = std::collections::BTreeSet::new();
    let cloud = receiver.at_path("/cloudevents");
    assert_eq!(cloud.len(), events.len());
    for (message, event) in cloud.iter().zip(&events) {
        assert_eq!(
            message.header("content-type")?,
            "application/cloudevents+json"
        );
        let value = message.json()?;
        assert_eq!(value["specversion"], "1.0");
        assert_eq!(value["source"], "/gitops/e2e");
        assert_eq!(value["subject"], "shop");
        let kind = format!("dev.gitops-rs.sync.{}", event.kind.name());
        assert_eq!(value["type"], kind.as_str());
        let at: Timestamp = value["time"].as_str().context("no time")?.parse()?;
        assert_eq!(at, event.at);
        assert_eq!(value["data"], json!(event));
        ids.insert(value["id"].as_str().context("no id")?.to_owned());
    }
    assert_eq!(ids.len(), events.len(), "two events have one id");

    // The broadcast channel.
    for event in &events {
        assert_eq!(listener.try_recv()?, *event);
    }
    ensure!(listener.try_recv().is_err(), "an event was told twice");

    // Away for a moment: told again, as the same.
    receiver.be_away(1);
    let event = SyncEvent::now(AppRef::new("shop"), "again", EventKind::SyncStarted);
    let notifier = WebhookNotifier::new(&receiver.url("/again"), KEY, &plain)?;
    let mut again = Notifiers::new(NotifierOptions {
        pause: Duration::from_millis(10),
        ..NotifierOptions::default()
    });
    again.add_notifier(notifier);
    again.notify_sync(&event).await?;
    let tries = receiver.at_path("/again");
    assert_eq!(tries.len(), 2);
    assert_eq!(
        tries[0].header("webhook-id")?,
        tries[1].header("webhook-id")?
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_with_a_private_authority_is_reached_over_https_only_by_who_trusts_it()
-> Result<()> {
    let dir = tempfile::tempdir()?;
    e2e::certificates::make(dir.path()).await?;
    let receiver = Receiver::https(dir.path()).await?;
    let trusting = HttpOptions {
        ca_pem: Some(tokio::fs::read_to_string(dir.path().join("ca.pem")).await?),
        ..HttpOptions::default()
    };
    let event = SyncEvent::now(AppRef::new("shop"), "1", EventKind::SyncStarted);
    let make = |options: &HttpOptions| -> Result<[Box<dyn Notifier>; 3]> {
        let slack = SecretString::from(receiver.url("/slack"));
        Ok([
            Box::new(WebhookNotifier::new(
                &receiver.url("/webhook"),
                KEY,
                options,
            )?),
            Box::new(SlackNotifier::new(&slack, options)?),
            Box::new(CloudEventsNotifier::new(
                &receiver.url("/cloudevents"),
                "e2e",
                options,
            )?),
        ])
    };
    for notifier in make(&HttpOptions::default())? {
        let refused = notifier.notify(&event).await.err();
        let refused = refused.with_context(|| format!("{} trusts anybody", notifier.name()))?;
        assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused:?}");
        let mut why = format!("{refused}");
        let mut source = std::error::Error::source(&refused);
        while let Some(error) = source {
            why.push_str(&format!(": {error}"));
            source = error.source();
        }
        println!("{}: {why}", notifier.name());
        ensure!(why.contains("certificate"), "{why}");
    }
    for notifier in make(&trusting)? {
        notifier.notify(&event).await?;
    }
    for path in ["/webhook", "/slack", "/cloudevents"] {
        assert_eq!(receiver.at_path(path).len(), 1, "{path}");
    }
    let [message] = &receiver.at_path("/webhook")[..] else {
        anyhow::bail!("no webhook");
    };
    assert_eq!(
        message.header("webhook-signature")?,
        format!("v1,{}", signed(KEY, message)?)
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_holds_a_line_for_every_event_of_a_real_sync() -> Result<()> {
    let events = real_events("logged").await?;
    let lines = Lines::default();
    let subscriber = tracing_subscriber::registry().with(lines.clone());
    let tells = async {
        for event in &events {
            TracingNotifier.notify(event).await?;
        }
        anyhow::Ok(())
    };
    tells.with_subscriber(subscriber).await?;
    let lines = lines.0.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(lines.len(), events.len());
    for ((level, fields), event) in lines.iter().zip(&events) {
        let expected = match event.severity {
            Severity::Info => tracing::Level::INFO,
            Severity::Warning => tracing::Level::WARN,
            Severity::Error => tracing::Level::ERROR,
        };
        assert_eq!(*level, expected, "{event:?}");
        assert_eq!(fields["app"], "shop");
        assert_eq!(fields["operation"], event.operation);
        assert_eq!(fields["kind"], event.kind.name());
        assert_eq!(fields["message"], event.kind.text());
    }
    println!("{:?}", lines.last());
    Ok(())
}
