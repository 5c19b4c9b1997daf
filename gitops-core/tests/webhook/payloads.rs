//! What providers send, in the forms that their documentation gives.

use std::panic::catch_unwind;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gitops_core::application::{Application, Source, SourceKind};
use gitops_core::source::RevisionEvent;
use gitops_core::webhook::{Provider, Received, WebhookReceiver};
use gitops_core::{Result, SecretString};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use sha2::Sha256;

pub(crate) const SECRET: &str = "user:correct-horse";
const OLD: &str = "1111111111111111111111111111111111111111";
const NEW: &str = "2222222222222222222222222222222222222222";
const NONE: &str = "0000000000000000000000000000000000000000";
const DIGEST: &str = "sha256:3333333333333333333333333333333333333333333333333333333333333333";

/// A message as it comes.
#[derive(Clone)]
pub(crate) struct Sent {
    pub(crate) provider: Provider,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Sent {
    pub(crate) fn new(provider: Provider, event: &str, body: &Value) -> Self {
        Self::raw(provider, event, body.to_string().into_bytes())
    }

    /// As the provider would sign it.
    pub(crate) fn raw(provider: Provider, event: &str, body: Vec<u8>) -> Self {
        let mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        let mac = hex::encode(mac.chain_update(&body).finalize().into_bytes());
        let prefixed = format!("sha256={mac}");
        let basic = format!("Basic {}", STANDARD.encode(SECRET));
        let bearer = format!("Bearer {SECRET}");
        let headers: &[(&str, &str)] = match provider {
            Provider::Gitea => &[
                ("x-gitea-event", event),
                ("x-gitea-delivery", "d-1"),
                ("x-gitea-signature", &mac),
            ],
            Provider::GitHub => &[
                ("x-github-event", event),
                ("x-github-delivery", "d-1"),
                ("x-hub-signature-256", &prefixed),
            ],
            Provider::GitLab => &[
                ("x-gitlab-event", event),
                ("x-gitlab-event-uuid", "d-1"),
                ("x-gitlab-token", SECRET),
            ],
            Provider::BitbucketCloud => &[
                ("x-event-key", event),
                ("x-request-uuid", "d-1"),
                ("x-hub-signature", &prefixed),
            ],
            Provider::BitbucketServer => &[
                ("x-event-key", event),
                ("x-request-id", "d-1"),
                ("x-hub-signature", &prefixed),
            ],
            Provider::AzureDevOps => &[("authorization", &basic)],
            Provider::Distribution | Provider::Harbor => &[("authorization", &bearer)],
            _ => &[],
        };
        let headers = headers.iter().map(|(name, value)| {
            let name = HeaderName::try_from(*name).unwrap();
            (name, HeaderValue::from_str(value).unwrap())
        });
        let mut headers: HeaderMap = headers.collect();
        let kind = match provider {
            Provider::Distribution => "application/vnd.docker.distribution.events.v2+json",
            _ => "application/json; charset=utf-8",
        };
        headers.insert("content-type", HeaderValue::from_static(kind));
        Self {
            provider,
            path: format!("/webhooks/{SECRET}"),
            headers,
            body,
        }
    }

    pub(crate) fn receiver(&self) -> WebhookReceiver {
        WebhookReceiver::new(self.provider, [SecretString::from(SECRET)]).unwrap()
    }

    pub(crate) fn to(&self, receiver: &WebhookReceiver) -> Result<Received> {
        receiver.receive(&self.path, &self.headers, &self.body)
    }
}

/// One message of each kind that moves something, and what it means: a reference, a revision, a previous one, and a URL that an application may have.
pub(crate) fn messages() -> Vec<(Sent, Vec<[&'static str; 3]>, &'static str)> {
    let gitea = json!({
        "clone_url": "https://git.example.com/o/r.git", "ssh_url": "git@git.example.com:o/r.git",
        "html_url": "https://git.example.com/o/r", "default_branch": "main",
    });
    let gitlab = json!({
        "git_http_url": "https://gitlab.example.com/o/r.git", "git_ssh_url": "git@gitlab.example.com:o/r.git",
        "web_url": "https://gitlab.example.com/o/r", "default_branch": "main",
    });
    let cloud =
        json!({"full_name": "o/r", "links": {"html": {"href": "https://bitbucket.org/o/r"}}});
    let branch = |hash: &str| json!({"type": "branch", "name": "main", "target": {"hash": hash}});
    let tag = |hash: &str| json!({"type": "tag", "name": "v1", "target": {"hash": hash}});
    let update = |name: &str, from: &str, to: &str| json!({"ref": {"id": name, "displayId": "x", "type": "BRANCH"}, "refId": name, "fromHash": from, "toHash": to, "type": "UPDATE"});
    vec![
        (
            Sent::new(
                Provider::Gitea,
                "push",
                &json!({"ref": "refs/heads/main", "before": OLD, "after": NEW, "commits": [], "repository": gitea}),
            ),
            vec![["refs/heads/main", NEW, OLD]],
            "ssh://git@git.example.com:2222/O/R.git",
        ),
        (
            Sent::new(
                Provider::Gitea,
                "create",
                &json!({"ref": "v1", "ref_type": "tag", "sha": NEW, "repository": gitea}),
            ),
            vec![["refs/tags/v1", NEW, ""]],
            "https://git.example.com/o/r",
        ),
        (
            Sent::new(
                Provider::Gitea,
                "delete",
                &json!({"ref": "dev", "ref_type": "branch", "repository": gitea}),
            ),
            vec![["refs/heads/dev", "", ""]],
            "https://git.example.com/o/r",
        ),
        (
            Sent::new(
                Provider::Gitea,
                "package",
                &json!({"action": "created", "package": {
                "type": "container", "name": "app", "version": "1.0.0", "owner": {"login": "o"}, "html_url": "https://git.example.com/o/-/packages/container/app/1.0.0"}}),
            ),
            vec![["1.0.0", "", ""]],
            "oci://git.example.com/o/app",
        ),
        (
            Sent::new(
                Provider::GitHub,
                "push",
                &json!({
                "ref": "refs/heads/main", "before": OLD, "after": NEW, "created": false, "deleted": false, "forced": false,
                "head_commit": {"id": NEW}, "repository": gitea,
                "commits": [{"id": OLD, "added": ["b"], "modified": [], "removed": ["a"]}, {"id": NEW, "added": [], "modified": ["b"], "removed": []}]}),
            ),
            vec![["refs/heads/main", NEW, OLD]],
            "git@git.example.com:o/r",
        ),
        (
            Sent::new(
                Provider::GitHub,
                "push",
                &json!({
                "ref": "refs/tags/v1", "before": NONE, "after": OLD, "created": true, "forced": false, "head_commit": {"id": NEW}, "repository": gitea, "commits": []}),
            ),
            vec![["refs/tags/v1", NEW, ""]],
            "https://git.example.com/o/r",
        ),
        (
            Sent::new(
                Provider::GitHub,
                "registry_package",
                &json!({"action": "published", "registry_package": {
                "package_type": "CONTAINER", "name": "app", "namespace": "o", "package_version": {
                    "version": DIGEST, "package_url": "ghcr.io/o/app:v2", "container_metadata": {"tag": {"name": "v2", "digest": DIGEST}}}}}),
            ),
            vec![["v2", DIGEST, ""]],
            "oci://ghcr.io/o/app",
        ),
        (
            Sent::new(
                Provider::GitHub,
                "package",
                &json!({"action": "published", "package": {
                "package_type": "container", "name": "app", "namespace": "o", "package_version": {"version": DIGEST}}}),
            ),
            vec![["", DIGEST, ""]],
            "oci://ghcr.io/o/app",
        ),
        (
            Sent::new(
                Provider::GitLab,
                "Push Hook",
                &json!({
                "object_kind": "push", "event_name": "push", "ref": "refs/heads/main", "before": OLD, "after": NEW, "checkout_sha": NEW, "project": gitlab}),
            ),
            vec![["refs/heads/main", NEW, OLD]],
            "git@gitlab.example.com:o/r.git",
        ),
        (
            Sent::new(
                Provider::GitLab,
                "Tag Push Hook",
                &json!({
                "object_kind": "tag_push", "ref": "refs/tags/v1", "before": NONE, "after": OLD, "checkout_sha": NEW, "project": gitlab}),
            ),
            vec![["refs/tags/v1", NEW, ""]],
            "https://gitlab.example.com/o/r.git",
        ),
        (
            Sent::new(
                Provider::GitLab,
                "System Hook",
                &json!({
                "event_name": "repository_update", "project": gitlab,
                "changes": [{"ref": "refs/heads/main", "before": OLD, "after": NEW}, {"ref": "refs/heads/dev", "before": OLD, "after": NONE}]}),
            ),
            vec![["refs/heads/main", NEW, OLD], ["refs/heads/dev", "", OLD]],
            "https://gitlab.example.com/o/r",
        ),
        (
            Sent::new(
                Provider::BitbucketCloud,
                "repo:push",
                &json!({"repository": cloud, "push": {"changes": [
                {"new": branch(NEW), "old": branch(OLD), "forced": false}, {"new": null, "old": tag(OLD)}, {"new": tag(NEW), "old": null}]}}),
            ),
            vec![
                ["refs/heads/main", NEW, OLD],
                ["refs/tags/v1", "", OLD],
                ["refs/tags/v1", NEW, ""],
            ],
            "git@bitbucket.org:o/r.git",
        ),
        (
            Sent::new(
                Provider::BitbucketServer,
                "repo:refs_changed",
                &json!({
                "eventKey": "repo:refs_changed", "changes": [update("refs/heads/main", OLD, NEW), update("refs/heads/dev", OLD, NONE)],
                "repository": {"slug": "r", "links": {"clone": [
                    {"name": "ssh", "href": "ssh://git@bb.example.com:7999/o/r.git"}, {"name": "http", "href": "https://bb.example.com/scm/o/r.git"}]}}}),
            ),
            vec![["refs/heads/main", NEW, OLD], ["refs/heads/dev", "", OLD]],
            "https://bb.example.com/scm/o/r",
        ),
        (
            Sent::new(
                Provider::AzureDevOps,
                "",
                &json!({"id": "1", "eventType": "git.push", "resource": {
                "refUpdates": [{"name": "refs/heads/main", "oldObjectId": OLD, "newObjectId": NEW}],
                "repository": {"remoteUrl": "https://org@dev.azure.com/org/project/_git/r", "defaultBranch": "refs/heads/main"}}}),
            ),
            vec![["refs/heads/main", NEW, OLD]],
            "git@ssh.dev.azure.com:v3/org/project/r",
        ),
        (
            Sent::new(
                Provider::Distribution,
                "",
                &json!({"events": [
                {"id": "1", "action": "push", "target": {"mediaType": "application/octet-stream", "digest": DIGEST, "repository": "o/app"}, "request": {"host": "reg.example.com:5000"}},
                {"id": "2", "action": "pull", "target": {"digest": DIGEST, "repository": "o/app", "tag": "v1"}, "request": {"host": "reg.example.com:5000"}},
                {"id": "3", "action": "push", "target": {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": DIGEST, "repository": "o/app", "tag": "v1"},
                    "request": {"host": "reg.example.com:5000"}}]}),
            ),
            vec![["v1", DIGEST, ""]],
            "oci://reg.example.com:5000/o/app",
        ),
        (
            Sent::new(
                Provider::Distribution,
                "",
                &json!({
                "id": "4", "action": "push", "target": {"digest": DIGEST, "repository": "o/app", "tag": "v1"}, "request": {"host": "org.azurecr.io"}}),
            ),
            vec![["v1", DIGEST, ""]],
            "oci://org.azurecr.io/o/app",
        ),
        (
            Sent::new(
                Provider::Harbor,
                "",
                &json!({"type": "PUSH_ARTIFACT", "occur_at": 1, "event_data": {"resources": [
                {"digest": DIGEST, "tag": "v1", "resource_url": "harbor.example.com:8443/o/app:v1"}], "repository": {"name": "app"}}}),
            ),
            vec![["v1", DIGEST, ""]],
            "oci://harbor.example.com:8443/o/app",
        ),
        (
            Sent::new(
                Provider::DockerHub,
                "",
                &json!({"push_data": {"tag": "v1", "pushed_at": 1}, "repository": {"repo_name": "o/app"}}),
            ),
            vec![["v1", "", ""]],
            "oci://registry-1.docker.io/o/app",
        ),
        (
            Sent::new(
                Provider::Quay,
                "",
                &json!({"name": "app", "repository": "o/app", "docker_url": "quay.io/o/app", "updated_tags": ["v1", "latest"]}),
            ),
            vec![["v1", "", ""], ["latest", "", ""]],
            "oci://quay.io/o/app",
        ),
    ]
}

fn events(received: Received) -> Vec<RevisionEvent> {
    match received {
        Received::Events(events) => events,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_provider_tells_what_moved() {
    for (sent, expected, url) in messages() {
        let provider = sent.provider;
        let events = events(sent.to(&sent.receiver()).unwrap());
        let found: Vec<[&str; 3]> = events
            .iter()
            .map(|event| {
                [&event.reference, &event.revision, &event.previous]
                    .map(|text| text.as_deref().unwrap_or_default())
            })
            .collect();
        assert_eq!(found, expected, "{provider}");
        for event in &events {
            assert_eq!(event.teller, provider.as_str());
            let delivery = sent.headers.iter().any(|(_, value)| value == "d-1");
            assert_eq!(event.delivery.as_deref(), delivery.then_some("d-1"));
            let mut source = Source::git(url);
            source.kind = match url.starts_with("oci:") {
                true => SourceKind::Oci,
                false => SourceKind::Git,
            };
            source.target_revision = event.reference.clone();
            let app = Application::new("a").source(source.clone());
            assert!(event.concerns(&app), "{provider} {event:?} {url}");
            source.repo_url = format!("{url}2");
            assert!(!event.concerns(&Application::new("a").source(source)));
        }
    }
}

#[test]
fn the_default_branch_is_told_where_it_is_known() {
    for (sent, ..) in messages() {
        let events = events(sent.to(&sent.receiver()).unwrap());
        for event in events.iter().filter(|event| event.kind == SourceKind::Git) {
            let known = !matches!(
                sent.provider,
                Provider::BitbucketCloud | Provider::BitbucketServer
            );
            let main = event.reference.as_deref() == Some("refs/heads/main");
            assert_eq!(event.default_branch, known.then_some(main), "{event:?}");
        }
    }
}

#[test]
fn changed_paths_are_told_only_when_all_are_known() {
    let push = messages()
        .into_iter()
        .map(|(sent, ..)| sent)
        .find(|sent| sent.provider == Provider::GitHub)
        .unwrap();
    let told = |change: &dyn Fn(&mut Value)| {
        let mut body: Value = serde_json::from_slice(&push.body).unwrap();
        change(&mut body);
        let sent = Sent::new(Provider::GitHub, "push", &body);
        events(sent.to(&sent.receiver()).unwrap())
            .remove(0)
            .changed_paths
    };
    assert_eq!(told(&|_| {}), Some(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(told(&|body| body["forced"] = json!(true)), None);
    assert_eq!(told(&|body| body["created"] = json!(true)), None);
    assert_eq!(
        told(&|body| body["commits"][0]["added"] = json!(null)),
        None
    );
    assert_eq!(told(&|body| body["commits"] = json!([])), None);
    assert_eq!(
        told(&|body| body["commits"][0]["added"] = json!(vec!["x"; 20_000]))
            .map(|paths| paths.len()),
        Some(3)
    );
    let many: Vec<String> = (0..20_000).map(|n| n.to_string()).collect();
    assert_eq!(
        told(&|body| body["commits"][0]["added"] = json!(many)),
        None
    );
}

#[test]
fn what_moves_nothing_is_ignored() {
    for (provider, event, body) in [
        (Provider::Gitea, "issues", json!({"action": "opened"})),
        (
            Provider::Gitea,
            "package",
            json!({"package": {"type": "cargo"}}),
        ),
        (Provider::GitHub, "ping", json!({"zen": "z"})),
        (
            Provider::GitHub,
            "package",
            json!({"package": {"package_type": "npm"}}),
        ),
        (
            Provider::GitLab,
            "Note Hook",
            json!({"object_kind": "note"}),
        ),
        (Provider::BitbucketCloud, "repo:fork", json!({})),
        (
            Provider::BitbucketServer,
            "diagnostics:ping",
            json!({"test": true}),
        ),
        (
            Provider::AzureDevOps,
            "",
            json!({"eventType": "workitem.created"}),
        ),
        (
            Provider::Distribution,
            "",
            json!({"events": [{"action": "pull"}]}),
        ),
        (Provider::Harbor, "", json!({"type": "SCANNING_COMPLETED"})),
    ] {
        let sent = Sent::new(provider, event, &body);
        let received = sent.to(&sent.receiver()).unwrap();
        assert!(matches!(received, Received::Ignored { .. }), "{received:?}");
    }
}

#[test]
fn a_push_of_very_many_references_is_one_event() {
    let body = json!({
        "changes": (0..100_000).map(|n| json!({"refId": format!("refs/heads/{n}"), "toHash": NEW})).collect::<Vec<_>>(),
        "repository": {"links": {"clone": [{"href": "https://h/o/r.git"}]}},
    });
    let sent = Sent::new(Provider::BitbucketServer, "repo:refs_changed", &body);
    let events = events(sent.to(&sent.receiver().max_body(usize::MAX)).unwrap());
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].reference, None);
    assert!(events[0].concerns_source(&Source::git("https://h/o/r")));
}

/// All values that differ from `value` in one place: something is missing, or is of another type.
fn maimed(value: &Value) -> Vec<Value> {
    let others = [
        json!(null),
        json!(0),
        json!(-1.5),
        json!(true),
        json!("é"),
        json!([]),
        json!({}),
        json!([[]]),
    ];
    let mut all: Vec<Value> = others.to_vec();
    match value {
        Value::Object(map) => {
            for (key, child) in map {
                let mut without = map.clone();
                without.remove(key);
                all.push(Value::Object(without));
                for child in maimed(child) {
                    let mut with = map.clone();
                    with.insert(key.clone(), child);
                    all.push(Value::Object(with));
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                for child in maimed(item) {
                    let mut with = items.clone();
                    with[index] = child;
                    all.push(Value::Array(with));
                }
            }
        }
        _ => {}
    }
    all
}

#[test]
fn no_field_is_missed_with_a_panic() {
    let mut tried = 0;
    for (sent, ..) in messages() {
        let body: Value = serde_json::from_slice(&sent.body).unwrap();
        let event = [
            "x-gitea-event",
            "x-github-event",
            "x-gitlab-event",
            "x-event-key",
        ]
        .iter()
        .find_map(|name| sent.headers.get(*name)?.to_str().ok())
        .unwrap_or_default();
        let receiver = sent.receiver();
        for body in maimed(&body) {
            tried += 1;
            let maimed = Sent::new(sent.provider, event, &body);
            let received = catch_unwind(std::panic::AssertUnwindSafe(|| maimed.to(&receiver)));
            match received.unwrap_or_else(|_| panic!("{} panics at {body}", sent.provider)) {
                Ok(Received::Events(events)) => {
                    assert!(events.iter().all(|event| !event.urls.is_empty()), "{body}");
                }
                Ok(_) => {}
                Err(error) => {
                    assert_eq!(error.kind(), gitops_core::ErrorKind::InvalidInput, "{body}");
                }
            }
        }
        // Cut off anywhere.
        for end in 0..sent.body.len() {
            tried += 1;
            let cut = Sent::raw(sent.provider, event, sent.body[..end].to_vec());
            cut.to(&receiver).unwrap_err();
        }
        // Nested as deep as may be.
        let deep = Sent::raw(sent.provider, event, "[".repeat(1_000_000).into_bytes());
        deep.to(&receiver).unwrap_err();
    }
    assert!(tried > 8_000, "{tried}");
}
