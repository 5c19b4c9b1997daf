//! `flux create secret`, with the controllers as judges of what is in it.

use anyhow::{Context, Result};
use gitops_core::secret::SecretString;
use gitops_flux::secret::{Certificates, FluxSecret, SshKey, SshKeyAlgorithm};
use reqwest::Method;
use serde_json::{Value, json};

use super::manager;
use crate::flux::support::{config_map, git_repository, ready};

/// What the command would make, read back.
async fn commands(flux: &e2e::Flux, args: &[&str]) -> Result<Value> {
    let said = flux
        .cli(&[args, &["--export", "--namespace=x"]].concat())
        .await?;
    let objects = gitops_core::manifest::yaml::parse("secret.yaml", said.as_bytes())?;
    Ok(objects.first().context("no Secret")?.to_value())
}

/// Type and data, whether they are written plain or in base64.
fn content(value: &Value) -> (String, Vec<(String, String)>) {
    use base64::Engine as _;
    let kind = value["type"].as_str().unwrap_or("Opaque").to_owned();
    let plain = |text: &Value| text.as_str().unwrap_or_default().to_owned();
    let decoded = |text: &Value| {
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(plain(text))
            .unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let mut data: Vec<(String, String)> = Vec::new();
    for (key, text) in value["stringData"].as_object().into_iter().flatten() {
        data.push((key.clone(), plain(text)));
    }
    for (key, text) in value["data"].as_object().into_iter().flatten() {
        data.push((key.clone(), decoded(text)));
    }
    for (key, text) in &mut data {
        // The same JSON, however it is indented.
        if key == ".dockerconfigjson" {
            *text = serde_json::from_str::<Value>(text)
                .unwrap_or_default()
                .to_string();
        }
    }
    data.sort();
    (kind, data)
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_the_commands_secrets() -> Result<()> {
    let flux = e2e::flux().await?;
    let dir = tempfile::tempdir()?;
    e2e::certificates::make(dir.path()).await?;
    let read = |dir: &tempfile::TempDir, name: &str| std::fs::read_to_string(dir.path().join(name));
    let (ca, cert, key) = (
        read(&dir, "ca.pem")?,
        read(&dir, "cert.pem")?,
        read(&dir, "key.pem")?,
    );
    let policy = json!({"version": "1.0", "trustPolicies": [{
        "name": "all", "registryScopes": ["*"], "signatureVerification": {"level": "strict"},
        "trustStores": ["ca:fluxcd.io"], "trustedIdentities": ["*"],
    }]})
    .to_string();
    let file = |name: &str, text: &str| -> Result<String> {
        let path = dir.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let (ca_file, cert_file, key_file) = (
        file("ca.crt", &ca)?,
        file("x.crt", &cert)?,
        file("x.key", &key)?,
    );
    let policy_file = file("policy.json", &policy)?;
    let pair = Certificates::default().pair(&cert, key.as_str());
    let login = || Some(("u", SecretString::from("p")));
    let cases: Vec<(FluxSecret, Vec<String>)> = vec![
        (
            FluxSecret::git_basic("x", "login", "u", "p")?.with_ca(&ca)?,
            vec![
                "git".into(),
                "login".into(),
                "--url=https://h/x".into(),
                "--username=u".into(),
                "--password=p".into(),
                format!("--ca-crt-file={ca_file}"),
            ],
        ),
        (
            FluxSecret::git_bearer("x", "login", "t")?,
            vec![
                "git".into(),
                "login".into(),
                "--url=https://h/x".into(),
                "--bearer-token=t".into(),
            ],
        ),
        (
            FluxSecret::helm("x", "login", login(), &Certificates::default().ca(&ca))?,
            vec![
                "helm".into(),
                "login".into(),
                "--username=u".into(),
                "--password=p".into(),
                format!("--ca-crt-file={ca_file}"),
            ],
        ),
        (
            FluxSecret::helm("x", "login", login(), &pair.clone().ca(&ca))?,
            vec![
                "helm".into(),
                "login".into(),
                "--username=u".into(),
                "--password=p".into(),
                format!("--ca-crt-file={ca_file}"),
                format!("--tls-crt-file={cert_file}"),
                format!("--tls-key-file={key_file}"),
            ],
        ),
        (
            FluxSecret::helm("x", "login", None, &Certificates::default())?,
            vec!["helm".into(), "login".into()],
        ),
        (
            FluxSecret::oci("x", "login", "ghcr.io", "u", "p")?,
            vec![
                "oci".into(),
                "login".into(),
                "--url=ghcr.io".into(),
                "--username=u".into(),
                "--password=p".into(),
            ],
        ),
        (
            FluxSecret::tls("x", "login", &pair)?,
            vec![
                "tls".into(),
                "login".into(),
                format!("--tls-crt-file={cert_file}"),
                format!("--tls-key-file={key_file}"),
            ],
        ),
        (
            FluxSecret::tls("x", "login", &Certificates::default().ca(&ca))?,
            vec![
                "tls".into(),
                "login".into(),
                format!("--ca-crt-file={ca_file}"),
            ],
        ),
        (
            FluxSecret::proxy("x", "login", "http://p:1", login())?,
            vec![
                "proxy".into(),
                "login".into(),
                "--address=http://p:1".into(),
                "--username=u".into(),
                "--password=p".into(),
            ],
        ),
        (
            FluxSecret::github_app("x", "login", "1", "2", key.as_str(), Some("https://g/api"))?,
            vec![
                "githubapp".into(),
                "login".into(),
                "--app-id=1".into(),
                "--app-installation-id=2".into(),
                format!("--app-private-key={key_file}"),
                "--app-base-url=https://g/api".into(),
            ],
        ),
        (
            FluxSecret::notation("x", "login", &policy, [("ca.crt", ca.as_str())])?,
            vec![
                "notation".into(),
                "login".into(),
                format!("--trust-policy-file={policy_file}"),
                format!("--ca-cert-file={ca_file}"),
            ],
        ),
    ];
    for (secret, args) in &cases {
        let mut all = vec!["create", "secret"];
        all.extend(args.iter().map(String::as_str));
        let theirs = commands(flux, &all).await?;
        assert_eq!(
            content(&secret.to_object()?.to_value()),
            content(&theirs),
            "{args:?}"
        );
    }
    // A key that is not the certificate's.
    let other = tempfile::tempdir()?;
    e2e::certificates::make(other.path()).await?;
    let mixed = Certificates::default().pair(&cert, read(&other, "key.pem")?);
    let error = FluxSecret::tls("x", "login", &mixed).unwrap_err();
    assert!(
        error.to_string().contains("do not belong together"),
        "{error}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn source_controller_logs_in_with_them() -> Result<()> {
    let (flux, gitea) = (e2e::flux().await?, e2e::gitea().await?);
    let manager = manager(flux).await?;
    let namespace = flux.cluster.namespace("flux-secrets").await?;
    let (client, name) = (namespace.client(), namespace.name());
    let repository = gitea.repository(name).await?;
    let map = config_map("map", "1");
    gitea
        .commit(&repository, "first", &[("map.yaml", &map)])
        .await?;

    let token = gitea.token(&["read:repository"]).await?;
    let hosts = std::fs::read_to_string(&gitea.known_hosts)?;
    let mut secrets = vec![(
        FluxSecret::git_basic(name, "basic", &gitea.user, token.as_str())?,
        repository.http_url.clone(),
    )];
    for (secret, algorithm) in [
        ("ed25519", SshKeyAlgorithm::Ed25519),
        ("p256", SshKeyAlgorithm::EcdsaP256),
        ("p384", SshKeyAlgorithm::EcdsaP384),
    ] {
        let key = SshKey::generate(algorithm)?;
        let body = json!({"title": secret, "key": key.public().trim(), "read_only": true});
        let path = format!("/repos/{}/{}/keys", repository.owner, repository.name);
        gitea.api(Method::POST, &path, Some(&body)).await?;
        secrets.push((
            FluxSecret::git_ssh(name, secret, &key, &hosts)?,
            repository.ssh_url.clone(),
        ));
    }
    for (secret, url) in secrets {
        assert!(manager.create_secret(&secret).await?);
        assert!(!manager.create_secret(&secret).await?);
        let mut source = git_repository(name, &secret.name, &repository);
        source["spec"]["secretRef"]["name"] = json!(secret.name);
        source["spec"]["url"] = json!(url);
        ready(&client, &source)
            .await
            .with_context(|| secret.name.clone())?;
    }
    Ok(())
}
