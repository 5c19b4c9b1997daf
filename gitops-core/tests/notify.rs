//! Notifiers: everybody hears of it, whatever happens to the others.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use gitops_core::application::{AppRef, HealthStatus, SyncStatus};
use gitops_core::backend::{EventKind, Severity, SyncEvent};
use gitops_core::notify::*;
use gitops_core::{Error, ErrorKind, Result};

fn event(app: &str) -> SyncEvent {
    SyncEvent::now(AppRef::new(app), "op-1", EventKind::SyncStarted)
}

#[derive(Clone, Copy)]
enum Manner {
    Fine,
    Hangs,
    Panics,
    Fails,
    /// Is away so many times.
    Away(usize),
}

struct Test {
    manner: Manner,
    calls: Arc<AtomicUsize>,
}

#[async_trait]
impl Notifier for Test {
    fn name(&self) -> &str {
        "test"
    }
    async fn notify(&self, _: &SyncEvent) -> Result<()> {
        let calls = self.calls.fetch_add(1, Ordering::SeqCst);
        match self.manner {
            Manner::Fine => Ok(()),
            Manner::Hangs => std::future::pending().await,
            Manner::Panics => panic!("on purpose"),
            Manner::Fails => Err(Error::invalid("not like this")),
            Manner::Away(times) if calls < times => {
                Err(Error::unavailable("away").with_retry_after(Duration::from_secs(3)))
            }
            Manner::Away(_) => Ok(()),
        }
    }
}

fn add(notifiers: &mut Notifiers, manner: Manner) -> Arc<AtomicUsize> {
    let calls = Arc::new(AtomicUsize::new(0));
    notifiers.add_notifier(Test {
        manner,
        calls: calls.clone(),
    });
    calls
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_hangs_or_panics_keeps_it_from_no_other() {
    let mut notifiers = Notifiers::new(NotifierOptions {
        retries: 0,
        ..NotifierOptions::default()
    });
    for manner in [Manner::Hangs, Manner::Panics, Manner::Fails] {
        add(&mut notifiers, manner);
    }
    let fine = add(&mut notifiers, Manner::Fine);
    let failures = notifiers.notify_sync(&event("a")).await.unwrap_err();
    assert_eq!(fine.load(Ordering::SeqCst), 1);
    let kinds: Vec<_> = failures.iter().map(|(_, error)| error.kind()).collect();
    assert_eq!(
        kinds,
        [
            ErrorKind::Timeout,
            ErrorKind::Internal,
            ErrorKind::InvalidInput
        ]
    );
    let error = failures.into_error();
    assert!(error.to_string().contains("not like this"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_is_away_is_tried_again_as_it_asks() {
    let mut notifiers = Notifiers::default();
    let away = add(&mut notifiers, Manner::Away(2));
    let start = tokio::time::Instant::now();
    notifiers.notify_sync(&event("a")).await.unwrap();
    assert_eq!(away.load(Ordering::SeqCst), 3);
    assert_eq!(start.elapsed().as_secs(), 6);
    // What will not work is not tried again.
    let mut notifiers = Notifiers::default();
    let fails = add(&mut notifiers, Manner::Fails);
    notifiers.notify_sync(&event("a")).await.unwrap_err();
    assert_eq!(fails.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn strict_stops_at_the_first_failure() {
    let mut notifiers = Notifiers::new(NotifierOptions {
        strict: true,
        ..NotifierOptions::default()
    });
    let first = add(&mut notifiers, Manner::Fine);
    add(&mut notifiers, Manner::Fails);
    let last = add(&mut notifiers, Manner::Fine);
    let failures = notifiers.notify_sync(&event("a")).await.unwrap_err();
    assert_eq!(failures.iter().count(), 1);
    assert_eq!(
        (first.load(Ordering::SeqCst), last.load(Ordering::SeqCst)),
        (1, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn what_was_told_is_not_told_again_for_a_while() {
    let mut notifiers = Notifiers::new(NotifierOptions {
        deduplicate: Some(Duration::from_secs(60)),
        ..NotifierOptions::default()
    });
    let calls = add(&mut notifiers, Manner::Fine);
    for app in ["a", "a", "b"] {
        notifiers.notify_sync(&event(app)).await.unwrap();
    }
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    tokio::time::advance(Duration::from_secs(61)).await;
    notifiers.notify_sync(&event("a")).await.unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 3);

    let mut notifiers = Notifiers::new(NotifierOptions {
        deduplicate: Some(Duration::from_secs(60)),
        retries: 0,
        ..NotifierOptions::default()
    });
    let calls = add(&mut notifiers, Manner::Away(1));
    notifiers.notify_sync(&event("a")).await.unwrap_err();
    notifiers.notify_sync(&event("a")).await.unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 2, "what failed is told again");
}

#[test]
fn filters_choose_by_kind_application_and_severity() {
    let changed = SyncEvent::now(
        AppRef::namespaced("prod", "shop"),
        "",
        EventKind::StatusChanged {
            sync: SyncStatus::Synced,
            health: HealthStatus::Healthy,
        },
    );
    let retrying = SyncEvent::now(
        AppRef::new("shop"),
        "op",
        EventKind::Retrying {
            attempt: 1,
            message: "away".into(),
        },
    );
    let applications = |glob| EventFilter::all().applications([glob]).unwrap();
    for (filter, of_changed, of_retrying) in [
        (EventFilter::all(), true, true),
        (EventFilter::all().kinds(["retrying"]), false, true),
        (EventFilter::all().severity(Severity::Warning), false, true),
        (EventFilter::all().severity(Severity::Error), false, false),
        (applications("prod/*"), true, false),
        (applications("shop"), false, true),
        (applications("*"), false, true),
        (applications("prod/shop-*"), false, false),
    ] {
        assert_eq!(filter.wants(&changed), of_changed, "{filter:?}");
        assert_eq!(filter.wants(&retrying), of_retrying, "{filter:?}");
    }
    assert!(EventFilter::all().applications(["["]).is_err());
}

#[test]
fn names_of_kinds_are_those_of_their_json() {
    let json = serde_json::to_value(event("a").kind).unwrap();
    assert_eq!(json["type"], event("a").kind.name());
}

#[tokio::test]
async fn listeners_in_the_process_hear_of_it() {
    let broadcast = BroadcastNotifier::new(2);
    broadcast.notify(&event("nobody")).await.unwrap();
    let mut listener = broadcast.subscribe();
    for app in ["a", "b", "c"] {
        broadcast.notify(&event(app)).await.unwrap();
    }
    // Too slow by one.
    assert!(listener.recv().await.is_err());
    assert_eq!(listener.recv().await.unwrap().app.name, "b");
}

mod http {
    use super::*;
    use gitops_core::SecretString;
    use gitops_core::application::OperationPhase;
    use gitops_core::backend::{Operation, SyncOutcome};
    use jiff::Timestamp;
    use std::sync::Mutex;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[derive(Clone, Debug, Default)]
    struct Request {
        line: String,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    }

    impl Request {
        fn header(&self, name: &str) -> &str {
            self.headers
                .iter()
                .find(|(found, _)| found == name)
                .map(|(_, value)| value.as_str())
                .unwrap_or_default()
        }
        fn json(&self) -> serde_json::Value {
            serde_json::from_slice(&self.body).unwrap()
        }
    }

    /// A receiver that answers with these statuses, the last one for ever.
    async fn receiver(answers: &'static [&'static str]) -> (String, Arc<Mutex<Vec<Request>>>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook/s3cret", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<Request>>> = Arc::default();
        let record = seen.clone();
        tokio::spawn(async move {
            for number in 0.. {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut bytes = Vec::new();
                let mut request = Request::default();
                loop {
                    let mut part = [0; 4096];
                    let read = stream.read(&mut part).await.unwrap();
                    bytes.extend_from_slice(&part[..read]);
                    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n")
                    else {
                        continue;
                    };
                    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
                    request.line = head.lines().next().unwrap_or_default().to_owned();
                    request.headers = head
                        .lines()
                        .skip(1)
                        .filter_map(|line| line.split_once(": "))
                        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
                        .collect();
                    let length: usize = request.header("content-length").parse().unwrap_or(0);
                    if bytes.len() >= end + 4 + length {
                        request.body = bytes[end + 4..].to_vec();
                        break;
                    }
                }
                record.lock().unwrap().push(request);
                let answer = answers[answers.len().min(number + 1) - 1];
                let answer =
                    format!("HTTP/1.1 {answer}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        (url, seen)
    }

    #[tokio::test]
    async fn webhooks_are_signed() {
        let (url, seen) = receiver(&["204 No Content"]).await;
        let key = SecretString::from("hunter2");
        let options = HttpOptions {
            headers: vec![("authorization".into(), "Bearer t0ken".into())],
            ..HttpOptions::default()
        };
        let webhook = WebhookNotifier::new(&url, key.clone(), &options).unwrap();
        let debug = format!("{webhook:?} {options:?}");
        for secret in ["hunter2", "t0ken", "s3cret"] {
            assert!(!debug.contains(secret), "{debug}");
        }
        let told = event("shop");
        webhook.notify(&told).await.unwrap();
        webhook.notify(&told).await.unwrap();
        let seen = seen.lock().unwrap();
        let request = &seen[0];
        assert_eq!(request.header("authorization"), "Bearer t0ken");
        assert_eq!(request.header("content-type"), "application/json");
        let read: SyncEvent = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(read, told);
        assert_eq!(
            request.header("webhook-id"),
            seen[1].header("webhook-id"),
            "the same event twice"
        );
        let now = Timestamp::now();
        let check = |key: &str, body: &[u8], now| {
            verify_webhook(
                &key.into(),
                request.header("webhook-id"),
                request.header("webhook-timestamp"),
                request.header("webhook-signature"),
                body,
                now,
            )
        };
        check("hunter2", &request.body, now).unwrap();
        let late = now + Duration::from_secs(301);
        for (key, body, now) in [
            ("hunter3", &request.body[..], now),
            ("hunter2", b"{}", now),
            ("hunter2", &request.body[..], late),
        ] {
            let error = check(key, body, now).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        }
    }

    #[tokio::test]
    async fn answers_have_their_kinds_and_are_honoured() {
        for (answer, kind, retryable) in [
            ("400 Bad Request", ErrorKind::Failed, false),
            ("401 Unauthorized", ErrorKind::Unauthenticated, false),
            (
                "429 Too Many Requests\r\nRetry-After: 7",
                ErrorKind::RateLimited,
                true,
            ),
            ("503 Service Unavailable", ErrorKind::Unavailable, true),
            (
                "302 Found\r\nLocation: http://127.0.0.1:1/",
                ErrorKind::Failed,
                false,
            ),
        ] {
            let (url, _) = receiver(Box::leak(Box::new([answer]))).await;
            let hook = CloudEventsNotifier::new(&url, "/x", &HttpOptions::default()).unwrap();
            let error = hook.notify(&event("a")).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{answer}");
            assert_eq!(error.is_retryable(), retryable, "{answer}");
            assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
            let after = answer.contains("Retry").then_some(Duration::from_secs(7));
            assert_eq!(error.retry_after(), after);
        }
        let (url, seen) = receiver(&["503 Service Unavailable", "200 OK"]).await;
        let mut notifiers = Notifiers::new(NotifierOptions {
            pause: Duration::from_millis(1),
            ..NotifierOptions::default()
        });
        notifiers.add_notifier(SlackNotifier::new(&url.into(), &HttpOptions::default()).unwrap());
        notifiers.notify_sync(&event("<!channel>")).await.unwrap();
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), 2);
        let text = seen[1].json()["text"].as_str().unwrap().to_owned();
        assert!(text.contains("*&lt;!channel&gt;*: sync started"), "{text}");
    }

    #[tokio::test]
    async fn cloud_events_are_whole() {
        let (url, seen) = receiver(&["202 Accepted"]).await;
        let hook =
            CloudEventsNotifier::new(&url, "/prod/deployer", &HttpOptions::default()).unwrap();
        let told = event("shop");
        hook.notify(&told).await.unwrap();
        let seen = seen.lock().unwrap();
        assert_eq!(
            seen[0].header("content-type"),
            "application/cloudevents+json"
        );
        let json = seen[0].json();
        assert_eq!(json["specversion"], "1.0");
        assert_eq!(json["source"], "/prod/deployer");
        assert_eq!(json["type"], "dev.gitops-rs.sync.syncStarted");
        assert_eq!(json["subject"], "shop");
        assert_eq!(json["data"], serde_json::to_value(&told).unwrap());
        assert!(!json["id"].as_str().unwrap().is_empty());
    }

    /// As the forges' documentation of 2026 has them.
    #[tokio::test]
    async fn commit_statuses_have_each_forges_form() {
        let sha = "0123456789abcdef0123456789abcdef01234567";
        let operation = Operation {
            app: AppRef::namespaced("prod", "shop"),
            id: "op".into(),
            started_at: Timestamp::UNIX_EPOCH,
        };
        let outcome = SyncOutcome {
            operation: operation.clone(),
            phase: OperationPhase::Failed,
            message: "x".repeat(300),
            revisions: vec![sha.into()],
            resources: Vec::new(),
            finished_at: Timestamp::UNIX_EPOCH,
        };
        let of = |kind| SyncEvent::now(operation.app.clone(), "op", kind);
        let finished = of(EventKind::SyncFinished {
            outcome: Box::new(outcome),
        });
        let rendered = |revision: &str| {
            of(EventKind::Rendered {
                objects: 1,
                revisions: vec![revision.into()],
            })
        };
        for (forge, repository, line, auth, states) in [
            (
                Forge::Gitea,
                "team/shop",
                "POST /hook/s3cret/api/v1/repos/team/shop/statuses/",
                ("authorization", "token t0ken"),
                ["pending", "failure"],
            ),
            (
                Forge::GitHub,
                "team/shop",
                "POST /hook/s3cret/repos/team/shop/statuses/",
                ("authorization", "Bearer t0ken"),
                ["pending", "failure"],
            ),
            (
                Forge::GitLab,
                "group/team/shop",
                "POST /hook/s3cret/api/v4/projects/group%2Fteam%2Fshop/statuses/",
                ("private-token", "t0ken"),
                ["running", "failed"],
            ),
        ] {
            let (url, seen) = receiver(&["201 Created"]).await;
            let status = CommitStatusNotifier::new(
                forge,
                &url,
                repository,
                &"t0ken".into(),
                &HttpOptions::default(),
            )
            .unwrap()
            .target_url("https://deploy.example.com");
            assert!(!format!("{status:?}").contains("t0ken"));
            status.notify(&rendered(sha)).await.unwrap();
            status.notify(&rendered("1.2.3")).await.unwrap();
            status.notify(&event("shop")).await.unwrap();
            status.notify(&finished).await.unwrap();
            let seen = seen.lock().unwrap();
            assert_eq!(seen.len(), 2, "only what has a commit and a state");
            for (request, state) in seen.iter().zip(states) {
                assert_eq!(request.line, format!("{line}{sha} HTTP/1.1"));
                assert_eq!(request.header(auth.0), auth.1);
                let json = request.json();
                assert_eq!(json["state"], state);
                let name = if forge == Forge::GitLab {
                    "name"
                } else {
                    "context"
                };
                assert_eq!(json[name], "gitops/prod/shop");
                assert_eq!(json["target_url"], "https://deploy.example.com");
                assert!(json["description"].as_str().unwrap().len() <= 140);
            }
        }
        for bad in ["shop", "a/b/c", "../x", "a/"] {
            let made = CommitStatusNotifier::new(
                Forge::GitHub,
                "https://x",
                bad,
                &"t".into(),
                &HttpOptions::default(),
            );
            assert!(made.is_err(), "{bad}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_and_not_shown() {
        let options = HttpOptions::default();
        for bad in ["", "ftp://x/s3cret", "hook/s3cret", "http://x:y/s3cret"] {
            let webhook = WebhookNotifier::new(bad, "k", &options).unwrap_err();
            let events = CloudEventsNotifier::new(bad, "/x", &options).unwrap_err();
            let slack = SlackNotifier::new(&bad.into(), &options).unwrap_err();
            for error in [webhook, events, slack] {
                assert!(
                    !format!("{error:?} {error:#}").contains("s3cret"),
                    "{error:?}"
                );
            }
        }
        assert!(WebhookNotifier::new("http://x/", "", &options).is_err());
    }
}
