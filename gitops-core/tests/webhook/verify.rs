//! Who may send.

use gitops_core::webhook::{Provider, Received, WebhookReceiver};
use gitops_core::{ErrorKind, SecretString};
use http::HeaderValue;
use proptest::prelude::*;
use serde_json::json;

use crate::payloads::{SECRET, Sent, messages};

#[test]
fn a_forged_message_is_refused_before_it_is_read() {
    for (sent, ..) in messages() {
        let provider = sent.provider;
        let refused = |sent: &Sent| {
            let error = sent.to(&sent.receiver()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{provider}");
            let text = format!("{error} {error:?}");
            assert!(!text.contains("horse"), "{text}");
        };
        // Without a proof, and with one that is no proof.
        let mut bare = sent.clone();
        bare.headers.clear();
        bare.path = "/webhooks/".into();
        refused(&bare);
        for name in sent.headers.keys().filter(|name| {
            name.as_str().contains("signature")
                || name.as_str().contains("token")
                || *name == "authorization"
        }) {
            for wrong in ["", "sha256=", "zz", "sha256=00", "Basic", "Bearer ", "é"] {
                let mut forged = sent.clone();
                forged
                    .headers
                    .insert(name, HeaderValue::from_bytes(wrong.as_bytes()).unwrap());
                forged.path = "/webhooks/wrong".into();
                refused(&forged);
            }
        }
        // With another secret, one that begins as ours does, and one that ours begins with.
        for other in ["wrong", &format!("{SECRET}x"), &SECRET[..8]] {
            let receiver = WebhookReceiver::new(provider, [SecretString::from(other)]).unwrap();
            let error = sent.to(&receiver).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{provider}");
        }
    }
}

#[test]
fn a_changed_body_does_not_fit_its_signature() {
    for (sent, ..) in messages() {
        let signed = matches!(
            sent.provider,
            Provider::Gitea
                | Provider::GitHub
                | Provider::BitbucketCloud
                | Provider::BitbucketServer
        );
        let mut changed = sent.clone();
        changed.body.push(b' ');
        let received = changed.to(&sent.receiver());
        assert_eq!(received.is_err(), signed, "{}", sent.provider);
    }
}

#[test]
fn a_replay_is_told_once() {
    for (sent, ..) in messages() {
        let receiver = sent.receiver();
        assert!(matches!(sent.to(&receiver), Ok(Received::Events(_))));
        // Under another name, where that is not signed.
        let mut renamed = sent.clone();
        for name in [
            "x-gitea-delivery",
            "x-github-delivery",
            "x-request-uuid",
            "x-request-id",
        ] {
            if renamed.headers.contains_key(name) {
                renamed
                    .headers
                    .insert(name, HeaderValue::from_static("d-2"));
            }
        }
        for replay in [&sent, &renamed] {
            let again = replay.to(&receiver.clone()).unwrap();
            match sent.provider {
                // Nothing in its messages tells two pushes of a tag apart.
                Provider::Quay => assert!(matches!(again, Received::Events(_))),
                _ => assert_eq!(again, Received::Repeated, "{}", sent.provider),
            }
        }
    }
}

#[test]
fn secrets_are_rotated() {
    for (sent, ..) in messages() {
        for secrets in [["new", SECRET], [SECRET, "new"]] {
            let secrets = secrets.map(SecretString::from);
            let receiver = WebhookReceiver::new(sent.provider, secrets).unwrap();
            assert!(matches!(sent.to(&receiver), Ok(Received::Events(_))));
        }
    }
}

#[test]
fn without_a_secret_nothing_is_received() {
    let none: [SecretString; 0] = [];
    WebhookReceiver::new(Provider::Gitea, none).unwrap_err();
    let empty = ["right", ""].map(SecretString::from);
    WebhookReceiver::new(Provider::Gitea, empty).unwrap_err();
    let receiver = WebhookReceiver::new(Provider::Gitea, [SecretString::from(SECRET)]).unwrap();
    assert!(!format!("{receiver:?}").contains("horse"));
}

#[test]
fn forms_are_read_where_forges_send_them() {
    let json =
        json!({"ref": "refs/heads/main", "repository": {"clone_url": "https://h/o/r+1.git"}});
    let body: String = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("other", "1")
        .append_pair("payload", &json.to_string())
        .finish();
    for provider in [Provider::GitHub, Provider::Gitea, Provider::BitbucketCloud] {
        let mut sent = Sent::raw(provider, "push", body.clone().into_bytes());
        sent.headers.insert(
            "content-type",
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        match sent.to(&sent.receiver()) {
            Ok(Received::Events(events)) => {
                assert_eq!(events[0].urls, ["https://h/o/r+1.git"]);
                assert_ne!(provider, Provider::BitbucketCloud);
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => {
                assert_eq!(provider, Provider::BitbucketCloud, "{error}");
                assert!(error.to_string().contains("application/json"), "{error}");
            }
        }
    }
}

#[test]
fn errors_do_not_quote_the_body() {
    let sent = Sent::raw(
        Provider::GitHub,
        "push",
        br#"{"ref": {"horse": 1}}"#.to_vec(),
    );
    let error = sent.to(&sent.receiver()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(!format!("{error} {error:?}").contains("horse"), "{error:?}");
}

proptest! {
    #[test]
    fn any_bytes_are_answered(body: Vec<u8>, header: Vec<u8>, path: String) {
        for (sent, ..) in messages() {
            let receiver = sent.receiver();
            let mut forged = sent.clone();
            forged.body = body.clone();
            forged.path = path.clone();
            if let Ok(value) = HeaderValue::from_bytes(&header) {
                forged.headers.values_mut().for_each(|old| *old = value.clone());
            }
            let _ = forged.to(&receiver);
            let _ = Sent::raw(sent.provider, "push", body.clone()).to(&receiver);
        }
    }
}
