use gitops_core::ErrorKind;
use gitops_flux::FluxKind;
use gitops_flux::receiver::{Hook, Proof, hook_of, hook_path};
use serde_json::json;
use wiremock::matchers::{body_string, header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::{cluster, flux, namespace, put};

fn client() -> reqwest::Client {
    gitops_kube::cluster::install_crypto_provider();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

#[tokio::test]
async fn hooks_are_called_with_their_proof() {
    let server = MockServer::start().await;
    let hook = || Hook::new(&server.uri(), "flux-system", "main", "token").unwrap();
    let at = hook_path(&"token".into(), "main", "flux-system");
    // `printf '{"x":1}' | openssl dgst -sha256 -hmac token` and `-sha512`.
    for (proof, name, value) in [
        (Proof::HmacSha256, "x-signature", format!("sha256={SHA256}")),
        (Proof::HmacSha512, "x-signature", format!("sha512={SHA512}")),
        (
            Proof::GitHub,
            "x-hub-signature-256",
            format!("sha256={SHA256}"),
        ),
        (Proof::GitLab, "x-gitlab-token", "token".to_owned()),
    ] {
        let mock = Mock::given(method("POST"))
            .and(path(&at))
            .and(header(name, value.as_str()))
            .and(header("content-type", "application/json"))
            .and(body_string(r#"{"x":1}"#))
            .respond_with(ResponseTemplate::new(200))
            .expect(1);
        let _guard = server.register_as_scoped(mock).await;
        hook()
            .proof(proof)
            .body(r#"{"x":1}"#)
            .trigger(&client())
            .await
            .unwrap();
    }
    let mock = Mock::given(method("POST"))
        .and(path(&at))
        .and(header("x-github-event", "push"))
        .respond_with(ResponseTemplate::new(200))
        .expect(1);
    let _guard = server.register_as_scoped(mock).await;
    hook()
        .proof(Proof::GitHub)
        .event("push")
        .trigger(&client())
        .await
        .unwrap();
}

const SHA256: &str = "08e38f829ff80e8fef037a34d3e84fd7332a52dccf29a3619049a3158aa54416";
const SHA512: &str = "8b7775a87d65f728d869d6a76965a1b8b1336d6c78d88a1e06861733b6d730ec52d247eaec93b6612ee8492dd0fd6c632455c22e3e55278e96b9fbc535a6f4e2";

#[tokio::test]
async fn refusals_say_why_and_tell_no_secret() {
    let server = MockServer::start().await;
    let at = hook_path(&"canary".into(), "main", "flux-system");
    for (code, kind) in [
        (400, ErrorKind::InvalidInput),
        (401, ErrorKind::Unauthenticated),
        (404, ErrorKind::NotFound),
        (429, ErrorKind::RateLimited),
        (500, ErrorKind::Unavailable),
        (302, ErrorKind::Failed),
    ] {
        let answer =
            ResponseTemplate::new(code).set_body_string(format!("no canary at {at}\nmore"));
        let _guard = server
            .register_as_scoped(Mock::given(method("POST")).respond_with(answer))
            .await;
        let hook = Hook::new(&server.uri(), "flux-system", "main", "canary").unwrap();
        let error = hook.trigger(&client()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error:#}");
        let text = format!("{error:#} {error:?}");
        assert!(
            text.contains("flux-system/main") && text.contains("no ***"),
            "{text}"
        );
        assert!(!text.contains("canary") && !text.contains(&at), "{text}");
    }
    let hook = Hook::new("http://127.0.0.1:9", "n", "r", "canary").unwrap();
    let error = hook.trigger(&client()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let path = hook_path(&"canary".into(), "r", "n");
    assert!(!format!("{error:#} {error:?}").contains(&path));
    let hook = Hook::new("http://127.0.0.1:9", "n", "r", "").unwrap();
    let error = hook.trigger(&client()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn the_controller_says_where_a_hook_is() {
    let cluster = cluster(&[FluxKind::Receiver]).await;
    namespace(&cluster, "f").await;
    put(
        &cluster,
        flux(FluxKind::Receiver, "f", "new", json!({}), json!({})),
    )
    .await;
    put(
        &cluster,
        flux(
            FluxKind::Receiver,
            "f",
            "r",
            json!({}),
            json!({"webhookPath": "/hook/1"}),
        ),
    )
    .await;
    assert_eq!(hook_of(&cluster, "f", "r").await.unwrap(), "/hook/1");
    let error = hook_of(&cluster, "f", "new").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let error = hook_of(&cluster, "f", "gone").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}
