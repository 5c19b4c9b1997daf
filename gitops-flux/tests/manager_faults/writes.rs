//! Writes that the server turns away, loses or refuses.

use gitops_flux::manager::DeleteOptions;

use super::*;

/// The bodies and queries of the requests with this method.
async fn sent(server: &MockServer, verb: &str) -> Vec<(String, Value)> {
    let requests = server.received_requests().await.unwrap();
    let of_verb = requests.iter().filter(|one| one.method.as_str() == verb);
    of_verb
        .map(|one| {
            let body = serde_json::from_slice(&one.body).unwrap_or_default();
            (one.url.query().unwrap_or_default().to_owned(), body)
        })
        .collect()
}

async fn answers(
    verb: &str,
    answers: impl IntoIterator<Item = ResponseTemplate>,
    server: &MockServer,
) {
    Mock::given(method(verb))
        .and(path(ONE))
        .respond_with(InTurn::new(answers))
        .mount(server)
        .await;
}

fn is(version: u64) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(object(version, None, "True", "x"))
}

fn gone() -> ResponseTemplate {
    status(404, "NotFound", "kustomizations \"app\" not found")
}

fn away() -> ResponseTemplate {
    status(503, "ServiceUnavailable", "starting")
}

#[tokio::test]
async fn an_apply_that_is_turned_away_is_made_again() {
    let server = MockServer::start().await;
    answers("GET", [gone()], &server).await;
    let busy = status(429, "TooManyRequests", "slow down").insert_header("Retry-After", "1");
    let made = ResponseTemplate::new(201).set_body_json(object(1, None, "True", "x"));
    answers("PATCH", [busy, away(), made], &server).await;
    let made = manager(&server).create(&Kustomization::new("app")).await;
    assert_eq!(made.unwrap().change, Change::Created);
    assert_eq!(sent(&server, "PATCH").await.len(), 3);
}

#[tokio::test]
async fn an_apply_whose_answer_is_lost_is_still_ours() {
    // It was carried out, and nobody said so.
    let server = MockServer::start().await;
    answers("GET", [gone(), is(1)], &server).await;
    answers("PATCH", [away(), is(1)], &server).await;
    let made = manager(&server).create(&Kustomization::new("app")).await;
    assert_eq!(made.unwrap().change, Change::Created);

    // With a version, nobody could tell whose doing the next one is.
    let server = MockServer::start().await;
    answers("GET", [is(1)], &server).await;
    answers("PATCH", [away()], &server).await;
    let options = ApplyOptions {
        version: Some("1".into()),
        ..ApplyOptions::default()
    };
    let lost = manager(&server)
        .apply(&Kustomization::new("app"), &options)
        .await
        .unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::Unavailable, "{lost}");
    assert_eq!(sent(&server, "PATCH").await.len(), 1);
}

#[tokio::test]
async fn a_conflict_is_forced_only_with_ourselves() {
    for (other, forced) in [("gitops-rs", true), ("kubectl", false)] {
        let server = MockServer::start().await;
        answers("GET", [is(1)], &server).await;
        let conflict = format!(
            "Apply failed with 1 conflict: conflict with {other:?} using kustomize.toolkit.fluxcd.io/v1: .spec.suspend"
        );
        answers(
            "PATCH",
            [status(409, "Conflict", &conflict), is(2)],
            &server,
        )
        .await;
        let applied = manager(&server).create(&Kustomization::new("app")).await;
        let sent = sent(&server, "PATCH").await;
        if !forced {
            assert_eq!(applied.unwrap_err().kind(), ErrorKind::Conflict);
            assert_eq!(sent.len(), 1);
            continue;
        }
        applied.unwrap();
        assert!(!sent[0].0.contains("force"), "{}", sent[0].0);
        assert!(sent[1].0.contains("force=true"), "{}", sent[1].0);
        assert_eq!(sent[1].1["metadata"]["resourceVersion"], "1");
    }
}

#[tokio::test]
async fn a_delete_that_is_turned_away_is_made_again() {
    let server = MockServer::start().await;
    answers("GET", [is(1)], &server).await;
    answers("DELETE", [away(), gone()], &server).await;
    let options = DeleteOptions::default();
    manager(&server).delete(&app(), &options).await.unwrap();
    assert_eq!(sent(&server, "DELETE").await.len(), 2);

    // What is not there at the first try is not there by our doing.
    let server = MockServer::start().await;
    answers("GET", [is(1)], &server).await;
    answers("DELETE", [gone()], &server).await;
    let missing = manager(&server).delete(&app(), &options).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound, "{missing}");
}

#[tokio::test]
async fn who_may_not_watch_still_learns_that_it_is_gone() {
    for (then, end) in [
        (gone(), None),
        (
            status(403, "Forbidden", "alice cannot get"),
            Some("alice cannot get"),
        ),
    ] {
        let server = MockServer::start().await;
        answers("GET", [is(1), is(1), then], &server).await;
        let accepted = ResponseTemplate::new(200).set_body_json(object(1, None, "True", "x"));
        answers("DELETE", [accepted], &server).await;
        Mock::given(any())
            .respond_with(status(403, "Forbidden", "alice cannot list"))
            .mount(&server)
            .await;
        let options = DeleteOptions::default().wait(Duration::from_secs(3));
        let deleted = manager(&server).delete(&app(), &options).await;
        match end {
            None => deleted.unwrap(),
            Some(why) => {
                let error = deleted.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
                assert!(error.to_string().contains(why), "{error}");
            }
        }
    }
}
