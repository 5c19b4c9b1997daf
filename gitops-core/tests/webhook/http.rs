//! The service, mounted in axum and spoken to over TCP.

use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt, StreamExt, stream};
use gitops_core::SecretString;
use gitops_core::webhook::{Provider, WebhookEvents, WebhookReceiver, webhook_events};
use http::{HeaderValue, Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt;

use crate::payloads::{SECRET, Sent, messages};

fn push(number: usize) -> Sent {
    let repository = json!({"clone_url": "https://h/o/r.git"});
    let body =
        json!({"ref": "refs/heads/main", "after": format!("{number}a"), "repository": repository});
    Sent::new(Provider::Gitea, "push", &body)
}

/// All providers, each on its path.
async fn serve(capacity: usize) -> (String, WebhookEvents) {
    let (sink, events) = webhook_events(capacity);
    let mut router = axum::Router::new();
    for provider in [Provider::Gitea, Provider::GitHub, Provider::GitLab] {
        let receiver = WebhookReceiver::new(provider, [SecretString::from(SECRET)]).unwrap();
        let service = receiver.service(sink.clone());
        router = router.route_service(&format!("/{provider}"), service);
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, events)
}

/// Sends `head` and then `body` until the other side has answered; what it answered, and how many bytes it let through.
async fn send(address: &str, head: String, body: &[&[u8]]) -> (String, usize) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut read, mut write) = stream.split();
    let mut answer = Vec::new();
    let mut sent = 0;
    let writing = async {
        for part in body {
            match write.write_all(part).await {
                Ok(()) => sent += part.len(),
                Err(_) => break,
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = read.read_to_end(&mut answer) => {}
        () = writing => {}
    }
    (String::from_utf8_lossy(&answer).into_owned(), sent)
}

fn head(sent: &Sent, method: &str, more: &str) -> String {
    let mut head = format!(
        "{method} /{} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{more}\r\n",
        sent.provider
    );
    for (name, value) in &sent.headers {
        head += &format!("{name}: {}\r\n", value.to_str().unwrap());
    }
    head + "\r\n"
}

async fn status(address: &str, sent: &Sent) -> String {
    let length = format!("content-length: {}", sent.body.len());
    let (answer, _) = send(address, head(sent, "POST", &length), &[&sent.body]).await;
    answer.lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn messages_become_a_stream() {
    let (address, mut events) = serve(16).await;
    for (sent, expected, _) in messages() {
        if !matches!(
            sent.provider,
            Provider::Gitea | Provider::GitHub | Provider::GitLab
        ) {
            continue;
        }
        assert_eq!(status(&address, &sent).await, "HTTP/1.1 202 Accepted");
        for [reference, ..] in expected {
            let event = events.next().await.unwrap();
            assert_eq!(event.reference.as_deref().unwrap_or_default(), reference);
        }
        assert_eq!(status(&address, &sent).await, "HTTP/1.1 200 OK");
    }
    let ping = Sent::new(Provider::GitHub, "ping", &json!({}));
    assert_eq!(status(&address, &ping).await, "HTTP/1.1 200 OK");
    let wrong = Sent::new(Provider::GitHub, "push", &json!({"ref": 1}));
    assert_eq!(status(&address, &wrong).await, "HTTP/1.1 400 Bad Request");
    let (answer, _) = send(&address, head(&push(1), "GET", "content-length: 0"), &[]).await;
    assert!(
        answer.starts_with("HTTP/1.1 405 Method Not Allowed"),
        "{answer}"
    );
    assert!(answer.to_lowercase().contains("allow: post"), "{answer}");
}

#[tokio::test]
async fn a_forged_message_is_refused_and_its_body_not_read() {
    let (address, _events) = serve(16).await;
    let mut forged = push(1);
    forged.headers.remove("x-gitea-signature");
    let length = "content-length: 1000000";
    // The body never comes, and is not waited for.
    let (answer, _) = send(&address, head(&forged, "POST", length), &[]).await;
    assert!(answer.starts_with("HTTP/1.1 401 Unauthorized"), "{answer}");
    let mut forged = push(1);
    forged.body[2] = b'x';
    assert_eq!(status(&address, &forged).await, "HTTP/1.1 401 Unauthorized");
    assert_eq!(status(&address, &push(1)).await, "HTTP/1.1 202 Accepted");
}

#[tokio::test]
async fn a_body_of_100_mb_stops_at_the_cap() {
    let (address, _events) = serve(16).await;
    let sent = push(1);
    // Announced: refused at once.
    let (answer, _) = send(
        &address,
        head(&sent, "POST", "content-length: 100000000"),
        &[],
    )
    .await;
    assert!(
        answer.starts_with("HTTP/1.1 413 Payload Too Large"),
        "{answer}"
    );
    // Chunked, and nobody knows how long it will be.
    let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat();
    let chunks = vec![chunk.as_slice(); 100_000_000 / 0x10000];
    let begun = std::time::Instant::now();
    let (answer, took) = send(
        &address,
        head(&sent, "POST", "transfer-encoding: chunked"),
        &chunks,
    )
    .await;
    println!("413 after {} bytes and {:?}", took, begun.elapsed());
    // A client that goes on sending may find its connection closed before it has read the answer (RFC 9112, 9.6).
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 413"),
        "{answer}"
    );
    // The cap, and what the kernel's buffers hold.
    assert!(took < 20_000_000, "{took} bytes were taken");
    // One that stops a byte behind the cap, and has left nothing unread, gets it.
    let cap = 3 * 1024 * 1024;
    let over = [
        format!("{:x}\r\n", cap + 1).into_bytes(),
        vec![b' '; cap + 1],
    ]
    .concat();
    let chunked = head(&sent, "POST", "transfer-encoding: chunked");
    let (answer, _) = send(&address, chunked, &[&over]).await;
    assert!(
        answer.starts_with("HTTP/1.1 413 Payload Too Large"),
        "{answer}"
    );
    assert_eq!(status(&address, &push(1)).await, "HTTP/1.1 202 Accepted");
}

fn request(sent: &Sent, body: axum::body::Body) -> Request<axum::body::Body> {
    let mut request = Request::post(sent.path.as_str()).body(body).unwrap();
    *request.headers_mut() = sent.headers.clone();
    request
}

#[tokio::test]
async fn no_more_than_the_cap_is_taken_from_a_body() {
    let sent = push(1);
    let (sink, _events) = webhook_events(1);
    let service = sent.receiver().max_body(1000).service(sink);
    let taken = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = taken.clone();
    let endless = stream::repeat_with(move || {
        counter.fetch_add(100, std::sync::atomic::Ordering::Relaxed);
        Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(&[b' '; 100])))
    });
    let body = axum::body::Body::new(StreamBody::new(endless));
    let answer = service.oneshot(request(&sent, body)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let taken = taken.load(std::sync::atomic::Ordering::Relaxed);
    assert!((1000..=1200).contains(&taken), "{taken}");
}

/// A body that begins with so many bytes, and does not go on.
fn stuck(bytes: usize) -> axum::body::Body {
    let begun = (bytes > 0).then(|| Ok::<_, std::io::Error>(Frame::data(vec![b' '; bytes].into())));
    axum::body::Body::new(StreamBody::new(
        stream::iter(begun).chain(stream::pending()),
    ))
}

#[tokio::test(start_paused = true)]
async fn slow_senders_are_let_go_and_keep_nobody_out() {
    let (sink, _events) = webhook_events(16);
    let service = push(0).receiver().service(sink);
    let slow: Vec<_> = (0..1000)
        .map(|_| tokio::spawn(service.clone().oneshot(request(&push(0), stuck(100)))))
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let answer = service
        .oneshot(request(&push(1), push(1).body.into()))
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    for slow in slow {
        let answer = slow.await.unwrap().unwrap();
        assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT);
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_is_held_than_sixteen_bodies() {
    let (sink, _events) = webhook_events(16);
    let service = push(0).receiver().max_body(1000).service(sink);
    let large: Vec<_> = (0..16)
        .map(|_| tokio::spawn(service.clone().oneshot(request(&push(0), stuck(1000)))))
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let message = || {
        service
            .clone()
            .oneshot(request(&push(1), push(1).body.into()))
    };
    let answer = message().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        answer.headers()["retry-after"],
        HeaderValue::from_static("10")
    );
    for large in large {
        let answer = large.await.unwrap().unwrap();
        assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT);
    }
    let answer = message().await.unwrap();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
}

#[test]
fn bodies_that_wait_to_be_verified_are_held_too() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(1)
        .enable_time()
        .build()
        .unwrap();
    let (let_go, held) = std::sync::mpsc::channel::<()>();
    runtime.block_on(async {
        // The only thread that could verify anything.
        let busy = tokio::task::spawn_blocking(move || held.recv());
        let (sink, _events) = webhook_events(64);
        let length = push(1).body.len();
        let service = push(0).receiver().max_body(length).service(sink);
        let message = || {
            service
                .clone()
                .oneshot(request(&push(1), push(1).body.into()))
        };
        let waiting: Vec<_> = (0..16).map(|_| tokio::spawn(message())).collect();
        tokio::task::yield_now().await;
        let answer = message().now_or_never().expect("an answer at once");
        assert_eq!(answer.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
        let_go.send(()).unwrap();
        busy.await.unwrap().unwrap();
        for waiting in waiting {
            let answer = waiting.await.unwrap().unwrap();
            assert!(answer.status().is_success());
        }
    });
}

#[tokio::test]
async fn who_was_told_to_come_back_is_no_replay() {
    let (address, mut events) = serve(2).await;
    for number in 0..2 {
        assert_eq!(
            status(&address, &push(number)).await,
            "HTTP/1.1 202 Accepted"
        );
    }
    assert_eq!(
        status(&address, &push(2)).await,
        "HTTP/1.1 503 Service Unavailable"
    );
    events.next().await.unwrap();
    assert_eq!(status(&address, &push(2)).await, "HTTP/1.1 202 Accepted");
    for expected in ["1a", "2a"] {
        let event = events.next().await.unwrap();
        assert_eq!(event.revision.as_deref(), Some(expected));
    }
    // Nobody listens any more.
    drop(events);
    assert_eq!(
        status(&address, &push(3)).await,
        "HTTP/1.1 503 Service Unavailable"
    );
}

#[tokio::test]
async fn a_body_that_breaks_off_is_invalid() {
    let (sink, _events) = webhook_events(1);
    let broken = stream::iter([Err::<Frame<Bytes>, _>(std::io::Error::other("reset"))]);
    let body = axum::body::Body::new(StreamBody::new(broken));
    let service = push(0).receiver().service(sink);
    let answer = service.oneshot(request(&push(0), body)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    let text = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(
        text.starts_with(b"gitea webhook") || text.starts_with(b"the body"),
        "{text:?}"
    );
}
