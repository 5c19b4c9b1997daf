use serde_json::{Value, json};

use super::*;

#[test]
fn what_is_secret_is_not_shown() {
    let secrets = [
        FluxSecret::git_basic("n", "s", "u", "canary").unwrap(),
        FluxSecret::git_bearer("n", "s", "canary").unwrap(),
        FluxSecret::oci("n", "s", "ghcr.io", "u", "canary").unwrap(),
        FluxSecret::github_app("n", "s", "1", "2", "canary", None).unwrap(),
        FluxSecret::proxy("n", "s", "http://p:1", Some(("u", "canary".into()))).unwrap(),
        FluxSecret::sops("n", "s", &["canary".into()], &["canary".into()]).unwrap(),
        FluxSecret::token("n", "s", "canary").unwrap(),
        FluxSecret::helm(
            "n",
            "s",
            Some(("u", "canary".into())),
            &Certificates::default(),
        )
        .unwrap(),
    ];
    for secret in secrets {
        let shown = format!("{secret:?} {:?}", secret.to_object().unwrap());
        assert!(!shown.contains("canary"), "{shown}");
    }
    let error = FluxSecret::proxy("n", "s", "http://u:canary@p", None).unwrap_err();
    assert!(!format!("{error:#}").contains("canary"));
}

#[test]
fn keys_and_types_are_those_of_the_command() {
    let keys = |secret: &FluxSecret| {
        let keys: Vec<&str> = secret.keys().collect();
        format!("{} {}", secret.secret_type(), keys.join(" "))
    };
    let oci = FluxSecret::oci("n", "s", "ghcr.io", "u", "p").unwrap();
    assert_eq!(
        keys(&oci),
        "kubernetes.io/dockerconfigjson .dockerconfigjson"
    );
    let config: Value =
        serde_json::from_str(oci.get(".dockerconfigjson").unwrap().expose()).unwrap();
    assert_eq!(
        config,
        json!({"auths": {"ghcr.io": {"username": "u", "password": "p", "auth": "dTpw"}}})
    );
    let none = Certificates::default();
    let helm = FluxSecret::helm("n", "s", Some(("u", "p".into())), &none).unwrap();
    assert_eq!(keys(&helm), "kubernetes.io/basic-auth password username");
    let app = FluxSecret::github_app("n", "s", "1", "2", "k", Some("https://g")).unwrap();
    assert_eq!(
        keys(&app),
        "Opaque githubAppBaseURL githubAppID githubAppInstallationID githubAppPrivateKey"
    );
    let sops = FluxSecret::sops("n", "s", &["Wikipedia".into()], &[]).unwrap();
    assert_eq!(keys(&sops), "Opaque 300286872.agekey");
    for refused in [
        FluxSecret::git_basic("n", "s", "", "p"),
        FluxSecret::git_bearer("n", "s", ""),
        FluxSecret::oci("n", "s", "r", "a:b", "p"),
        FluxSecret::tls("n", "s", &none),
        FluxSecret::sops("n", "s", &[], &[]),
        FluxSecret::notation("n", "s", "{}", []),
        FluxSecret::notation("n", "s", "canary", []),
    ] {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), gitops_core::ErrorKind::InvalidInput);
        assert!(!error.to_string().contains("canary"));
    }
}
