//! Accounts and sessions.

use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine as _;
use e2e::ArgoCd;
use gitops_argocd::rest::{ArgoCd as Client, Config};
use gitops_core::error::ErrorKind;
use serde_json::Value;

use super::super::support::{rest, unique};
use super::{object, refused, told, until, with_token};

/// An account of the test's own: a changed password ends the tokens that were there before.
async fn account(argocd: &ArgoCd, client: &Client) -> Result<(String, String)> {
    let name = unique("person");
    let patch =
        serde_json::json!({"data": {format!("accounts.{name}"): "apiKey, login"}}).to_string();
    argocd
        .cluster
        .kubectl(&[
            "patch",
            "configmap",
            "argocd-cm",
            "--namespace",
            &argocd.namespace,
            "--type=merge",
            "--patch",
            &patch,
        ])
        .await?;
    until("the account is not there", || async {
        Ok(client.get_account(&name).await.is_ok())
    })
    .await?;
    let password = unique("password");
    client
        .update_password(
            &name,
            &argocd.robot.password.clone().into(),
            &password.clone().into(),
        )
        .await?;
    Ok((name, password))
}

fn logged_in(argocd: &ArgoCd, name: &str, password: &str) -> Result<Client> {
    e2e::init();
    Ok(Client::new(
        Config::new(&*argocd.url).login(name, password),
    )?)
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_have_tokens_and_passwords() -> Result<()> {
    let argocd = e2e::argocd().await?;
    let client = rest(argocd)?;
    let (name, password) = account(argocd, &client).await?;
    let listed = client.list_accounts().await?;
    for wanted in ["admin", "robot", "guest", &name] {
        assert!(
            listed
                .iter()
                .any(|account| account.name == wanted && account.enabled),
            "{wanted}: {listed:?}"
        );
    }
    let guest = with_token(argocd, &argocd.guest.token)?;
    for (caller, may) in [(&client, true), (&guest, false)] {
        assert_eq!(
            caller.can_i("applications", "sync", "default/any").await?,
            may
        );
        assert_eq!(caller.can_i("projects", "delete", "default").await?, may);
    }
    refused(
        client.can_i("applications", "dance", "default/any").await,
        ErrorKind::InvalidInput,
    );
    refused(
        guest.get_account("robot").await,
        ErrorKind::PermissionDenied,
    );

    let token = client
        .create_account_token(&name, Some("ci"), Some(Duration::from_secs(3600)))
        .await?;
    assert!(!format!("{token:?}").contains(token.expose()));
    let caller = with_token(argocd, token.expose())?;
    until("the token is not taken", || async {
        Ok(caller.user_info().await.is_ok_and(|info| info.logged_in))
    })
    .await?;
    assert_eq!(caller.user_info().await?.username, name);
    refused(
        client.create_account_token(&name, Some("ci"), None).await,
        ErrorKind::AlreadyExists,
    );
    let told = told(argocd, &["account", "get", "--account", &name]).await?;
    assert_eq!(told["tokens"][0]["id"], "ci", "{told}");
    let known = client.get_account(&name).await?.tokens.unwrap_or_default();
    assert_eq!(known[0].expires_at - known[0].issued_at, 3600);
    client.delete_account_token(&name, "ci").await?;
    until("the token is still taken", || async {
        Ok(matches!(caller.list_projects().await, Err(error) if error.kind() == ErrorKind::Unauthenticated))
    })
    .await?;
    let stored = object(argocd, "secret", "argocd-secret").await?;
    let tokens = stored["data"][format!("accounts.{name}.tokens")]
        .as_str()
        .unwrap_or_default();
    let tokens = base64::engine::general_purpose::STANDARD.decode(tokens)?;
    assert!(!String::from_utf8_lossy(&tokens).contains("ci"));

    // The account changes its own password.
    let person = logged_in(argocd, &name, &password)?;
    until("the password is not taken", || async {
        Ok(person.user_info().await.is_ok_and(|info| info.logged_in))
    })
    .await?;
    let fresh = unique("password");
    refused(
        person
            .update_password(&name, &"wrong-wrong".into(), &fresh.clone().into())
            .await,
        ErrorKind::InvalidInput,
    );
    person
        .update_password(&name, &password.clone().into(), &fresh.clone().into())
        .await?;
    let with_fresh = logged_in(argocd, &name, &fresh)?;
    until("the new password is not taken", || async {
        Ok(with_fresh
            .user_info()
            .await
            .is_ok_and(|info| info.username == name))
    })
    .await?;
    refused(
        logged_in(argocd, &name, &password)?.list_projects().await,
        ErrorKind::Unauthenticated,
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_when_it_is_logged_out() -> Result<()> {
    let argocd = e2e::argocd().await?;
    let client = rest(argocd)?;
    let nobody = Client::new(Config::new(&*argocd.url))?;
    assert!(!nobody.user_info().await?.logged_in);
    refused(nobody.list_projects().await, ErrorKind::Unauthenticated);
    refused(nobody.log_out().await, ErrorKind::Unauthenticated);

    let (name, password) = account(argocd, &client).await?;
    let first = logged_in(argocd, &name, &password)?;
    until("the password is not taken", || async {
        Ok(first.user_info().await.is_ok_and(|info| info.logged_in))
    })
    .await?;
    // What the login gives, by other means, so that the same session can be looked at from two sides.
    let login = serde_json::json!({"username": name, "password": password});
    let answer: Value = reqwest::Client::builder()
        .no_proxy()
        .build()?
        .post(format!("{}/api/v1/session", argocd.url))
        .json(&login)
        .send()
        .await?
        .json()
        .await?;
    let token = answer["token"].as_str().context("no token")?;
    let (one, two) = (with_token(argocd, token)?, with_token(argocd, token)?);
    assert_eq!(one.user_info().await?.username, name);
    let info: Value = serde_json::from_str(
        &argocd
            .run_cli_with(token, &["account", "get-user-info", "-o", "json"])
            .await?,
    )?;
    assert_eq!(info["username"], *name);
    one.log_out().await?;
    refused(two.list_projects().await, ErrorKind::Unauthenticated);
    refused(one.list_projects().await, ErrorKind::Unauthenticated);
    if let Ok(text) = argocd
        .run_cli_with(token, &["account", "get-user-info", "-o", "json"])
        .await
    {
        assert_ne!(
            serde_json::from_str::<Value>(&text)?["loggedIn"],
            true,
            "{text}"
        );
    }
    assert!(argocd.run_cli_with(token, &["proj", "list"]).await.is_err());

    // With a password another session begins by itself.
    let person = logged_in(argocd, &name, &password)?;
    for _ in 0..2 {
        assert_eq!(person.user_info().await?.username, name);
        person.log_out().await?;
    }
    Ok(())
}
