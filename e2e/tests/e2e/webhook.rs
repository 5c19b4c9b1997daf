//! Webhooks of real senders.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use axum::body::Body;
use axum::http::{Request, StatusCode};
use e2e::{Endpoint, RegistryOptions};
use futures::StreamExt as _;
use gitops_core::SecretString;
use gitops_core::application::{Source, SourceKind};
use gitops_core::source::RevisionEvent;
use gitops_core::webhook::{Provider, WebhookEvents, WebhookReceiver, webhook_events};
use gitops_git::{GitWatcher, Repository, Revision, WatchOptions};
use reqwest::Method;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tower::{ServiceExt as _, service_fn};

use crate::git::{options, password};

const SECRET: &str = "a shared secret of the forge";

/// The path of each request, and what was answered.
type Answers = Arc<Mutex<Vec<(String, StatusCode)>>>;

/// A receiver on loopback; its URL, what it receives, and its server.
async fn serve(provider: Provider) -> Result<(String, WebhookEvents, JoinHandle<()>)> {
    let (url, events, server, _) = serve_and_tell(provider).await?;
    Ok((url, events, server))
}

/// The same, at `/hook` and any path below it, and what it answers.
async fn serve_and_tell(
    provider: Provider,
) -> Result<(String, WebhookEvents, JoinHandle<()>, Answers)> {
    let (sink, events) = webhook_events(64);
    let receiver = WebhookReceiver::new(provider, [SecretString::from(SECRET)])?;
    let service = receiver.service(sink);
    let answers = Answers::default();
    let told = Arc::clone(&answers);
    let service = service_fn(move |request: Request<Body>| {
        let (service, told) = (service.clone(), Arc::clone(&told));
        async move {
            let path = request.uri().path().to_owned();
            let response = service.oneshot(request).await?;
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            told.push((path, response.status()));
            Ok::<_, Infallible>(response)
        }
    });
    let router = axum::Router::new()
        .route_service("/hook", service.clone())
        .route_service("/hook/{*rest}", service);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/hook", listener.local_addr()?);
    let server = tokio::spawn(async move {
        // Ends with the test.
        let _ = axum::serve(listener, router).await;
    });
    Ok((url, events, server, answers))
}

async fn next<S>(stream: &mut S, seconds: u64) -> Result<RevisionEvent>
where
    S: futures::Stream<Item = RevisionEvent> + Unpin,
{
    let item = tokio::time::timeout(Duration::from_secs(seconds), stream.next()).await;
    item.context("no event in time")?
        .context("the stream ended")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_to_gitea_is_known_within_a_second_and_a_lost_webhook_is_made_up_for() -> Result<()>
{
    let gitea = e2e::gitea().await?;
    let config = gitea.repository("hooked").await?;
    let first = gitea.commit(&config, "start", &[("a", "1")]).await?;
    let (url, hooks, server) = serve(Provider::Gitea).await?;
    let hook = json!({
        "type": "gitea", "active": true, "events": ["push", "create", "delete"],
        "config": {"url": url, "content_type": "json", "secret": SECRET},
    });
    let path = format!("/repos/{}/{}/hooks", config.owner, config.name);
    gitea.api(Method::POST, &path, Some(&hook)).await?;

    let opened = options().credentials(password(gitea)?);
    let repository = Repository::open(&config.http_url, opened).await?;
    let interval = Duration::from_secs(30);
    let watcher = GitWatcher::new(WatchOptions {
        interval,
        ..WatchOptions::default()
    });
    let news = watcher.watch(&repository, Revision::Branch("main".into()));
    // When the forge told; how long it takes for that is its own affair.
    let told = Arc::new(Mutex::new(Instant::now()));
    let clock = Arc::clone(&told);
    let hooks = hooks.inspect(move |_| {
        *clock.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    });
    let mut events = watcher.with_webhooks(news, hooks);
    assert_eq!(next(&mut events, 60).await?.revision, Some(first));

    // The webhook comes long before the next look. On a busy machine not every one is acted upon within the second, but most are.
    let mut took = Vec::new();
    for number in 0..5 {
        let text = format!("2{number}");
        let before = Instant::now();
        let pushed = gitea.commit(&config, "change", &[("a", &text)]).await?;
        let begun = Instant::now();
        let event = next(&mut events, 60).await?;
        assert_eq!(event.revision, Some(pushed));
        assert_eq!(event.teller, "watch");
        let told = *told.lock().unwrap_or_else(PoisonError::into_inner);
        println!(
            "a push is known {:?} after it, {:?} after its webhook",
            begun.elapsed(),
            told.elapsed()
        );
        ensure!(told > before, "no webhook came");
        took.push(told.elapsed());
    }
    took.sort();
    ensure!(took[2] < Duration::from_secs(1), "it took {took:?}");

    // The receiver is gone, so this webhook is lost; the watcher finds the push.
    server.abort();
    let pushed = gitea.commit(&config, "change", &[("a", "3")]).await?;
    let begun = Instant::now();
    assert_eq!(next(&mut events, 90).await?.revision, Some(pushed));
    println!(
        "without a webhook it was told {:?} after it",
        begun.elapsed()
    );
    ensure!(begun.elapsed() < interval * 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn gitea_tells_of_branches_tags_and_with_the_right_secret_only() -> Result<()> {
    let gitea = e2e::gitea().await?;
    let config = gitea.repository("told").await?;
    let first = gitea.commit(&config, "start", &[("a", "1")]).await?;
    let (url, mut events, _server, answers) = serve_and_tell(Provider::Gitea).await?;
    let path = format!("/repos/{}/{}", config.owner, config.name);
    for (secret, place) in [("another secret", "/wrong"), (SECRET, "")] {
        let hook = json!({
            "type": "gitea", "active": true, "events": ["push", "create", "delete"],
            "config": {"url": format!("{url}{place}"), "content_type": "json", "secret": secret},
        });
        gitea
            .api(Method::POST, &format!("{path}/hooks"), Some(&hook))
            .await?;
    }
    let second = gitea.commit(&config, "change", &[("a", "2")]).await?;
    let mut event = next(&mut events, 60).await?;
    // Gitea may tell of the first commit only now.
    while event.revision.as_deref() == Some(first.as_str()) {
        event = next(&mut events, 60).await?;
    }
    assert_eq!(event.reference.as_deref(), Some("refs/heads/main"));
    assert_eq!(
        (event.previous, event.revision),
        (Some(first), Some(second.clone()))
    );
    assert_eq!(
        (event.default_branch, event.teller.as_str()),
        (Some(true), "gitea")
    );
    ensure!(event.delivery.is_some(), "no delivery is named");
    for url in [&config.http_url, &config.ssh_url] {
        let told = RevisionEvent {
            urls: event.urls.clone(),
            ..RevisionEvent::default()
        };
        ensure!(
            told.concerns_source(&Source::git(url)),
            "{url} is not among {:?}",
            event.urls
        );
    }

    let tag = json!({"tag_name": "v1", "target": "main", "message": "annotated"});
    gitea
        .api(Method::POST, &format!("{path}/tags"), Some(&tag))
        .await?;
    let event = next(&mut events, 60).await?;
    assert_eq!(
        event.reference.as_deref(),
        Some("refs/tags/v1"),
        "{event:?}"
    );
    gitea
        .api(Method::DELETE, &format!("{path}/tags/v1"), None)
        .await?;
    // A push and a `create` tell of the tag; then it is gone.
    let gone = async {
        loop {
            let event = next(&mut events, 60).await?;
            assert_eq!(
                event.reference.as_deref(),
                Some("refs/tags/v1"),
                "{event:?}"
            );
            if event.revision.is_none() {
                return anyhow::Ok(());
            }
        }
    };
    gone.await?;

    // What was signed with another secret came as well, and was refused.
    let refused = async {
        loop {
            let answers = answers
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            if answers.iter().any(|(path, _)| path == "/hook/wrong") {
                return answers;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let answers = tokio::time::timeout(Duration::from_secs(60), refused).await;
    let answers = answers.context("nothing came with the wrong secret")?;
    println!("{answers:?}");
    for (path, status) in answers {
        let wrong = path == "/hook/wrong";
        let expected = match status {
            StatusCode::UNAUTHORIZED => wrong,
            status => status.is_success() && !wrong,
        };
        ensure!(expected, "{path} was answered {status}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_tells_of_artifacts() -> Result<()> {
    let (url, mut events, _server) = serve(Provider::Distribution).await?;
    let notify = Endpoint {
        url,
        authorization: format!("Bearer {SECRET}"),
    };
    let server = e2e::private_registry(&RegistryOptions {
        notify: Some(notify),
    })
    .await?;
    let host = &server.registry().host;
    let client = reqwest::Client::builder().no_proxy().build()?;
    let uploads = format!("http://{host}/v2/apps/shop/blobs/uploads/");
    let begun = client.post(uploads).send().await?.error_for_status()?;
    let location = begun
        .headers()
        .get("location")
        .context("no location")?
        .to_str()?
        .to_owned();
    let empty = format!("sha256:{}", hex::encode(Sha256::digest("{}")));
    let put = client.put(format!("{location}&digest={empty}")).body("{}");
    put.send().await?.error_for_status()?;
    let blob =
        json!({"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": 2});
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.example", "config": blob, "layers": [blob],
    })
    .to_string();
    let digest = format!("sha256:{}", hex::encode(Sha256::digest(&manifest)));
    let put = client
        .put(format!("http://{host}/v2/apps/shop/manifests/1.2.0"))
        .header("content-type", "application/vnd.oci.image.manifest.v1+json")
        .body(manifest);
    put.send().await?.error_for_status()?;
    let event = next(&mut events, 60).await?;
    assert_eq!(event.kind, SourceKind::Oci);
    assert_eq!(event.reference.as_deref(), Some("1.2.0"));
    assert_eq!(event.revision, Some(digest));
    assert_eq!(event.urls, [format!("oci://{host}/apps/shop")]);
    Ok(())
}
