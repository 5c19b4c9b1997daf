//! The Secrets that Flux's objects refer to: `flux create secret`.
//!
//! Types and keys are those that the command of flux 2.7 writes (`pkg/manifestgen/sourcesecret`, fluxcd/pkg `runtime/secrets`), and that source-controller 1.7 and
//! kustomize-controller 1.7 read.
//!
//! | command | here |
//! | --- | --- |
//! | `create secret git` | [`FluxSecret::git_basic`], [`git_bearer`](FluxSecret::git_bearer), [`git_ssh`](FluxSecret::git_ssh) with an [`SshKey`] |
//! | `create secret githubapp` | [`github_app`](FluxSecret::github_app) |
//! | `create secret helm` | [`helm`](FluxSecret::helm) |
//! | `create secret oci` | [`oci`](FluxSecret::oci) |
//! | `create secret tls` | [`tls`](FluxSecret::tls) |
//! | `create secret proxy` | [`proxy`](FluxSecret::proxy) |
//! | `create secret notation` | [`notation`](FluxSecret::notation) |
//! | (no command) | [`token`](FluxSecret::token) for Receivers and Providers, [`sops`](FluxSecret::sops), [`kubeconfig`](FluxSecret::kubeconfig) |

mod ssh;
mod tls;

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gitops_core::manifest::Object;
use gitops_core::secret::SecretString;
use gitops_core::{Error, Result, ResultExt as _};
use gitops_kube::cluster::{Cluster, ObjectKey, Scope, WriteParams};
use serde_json::{Value, json};

pub use self::ssh::SshKey;
#[cfg(feature = "ssh")]
pub use self::ssh::SshKeyAlgorithm;
pub use self::tls::Certificates;
use crate::manager::FluxManager;
use crate::view;

/// A Secret for Flux, not yet in a cluster. `Debug` tells its keys, and nothing of what is in them.
#[derive(Clone, PartialEq)]
pub struct FluxSecret {
    /// The Secret's name.
    pub name: String,
    /// Its namespace: that of the object that refers to it.
    pub namespace: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    kind: &'static str,
    data: BTreeMap<String, SecretString>,
}

impl fmt::Debug for FluxSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FluxSecret")
            .field("name", &self.name)
            .field("namespace", &self.namespace)
            .field("labels", &self.labels)
            .field("type", &self.kind)
            .field("keys", &self.data.keys().collect::<Vec<_>>())
            .finish()
    }
}

impl FluxSecret {
    fn new(
        namespace: &str,
        name: &str,
        kind: &'static str,
        data: impl IntoIterator<Item = (&'static str, SecretString)>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            labels: BTreeMap::new(),
            kind,
            data: data
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
        }
    }

    /// With a label.
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// With a certificate authority (PEM) that the server's certificate is checked against (`ca.crt`); for Git over HTTPS.
    ///
    /// # Errors
    /// `InvalidInput` when there is no certificate in it.
    pub fn with_ca(mut self, ca: &str) -> Result<Self> {
        tls::check_ca(ca)?;
        self.data.insert("ca.crt".to_owned(), ca.into());
        Ok(self)
    }

    /// Its type (`Opaque`, `kubernetes.io/tls` …).
    pub fn secret_type(&self) -> &str {
        self.kind
    }

    /// The keys of its data.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.data.keys().map(String::as_str)
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&SecretString> {
        self.data.get(key)
    }

    /// Git over HTTP(S) with a user name and a password or token (`username`, `password`).
    ///
    /// # Errors
    /// `InvalidInput` when one is empty.
    pub fn git_basic(
        namespace: &str,
        name: &str,
        username: &str,
        password: impl Into<SecretString>,
    ) -> Result<Self> {
        let password = password.into();
        required(&[("username", username), ("password", password.expose())])?;
        Ok(Self::new(
            namespace,
            name,
            "Opaque",
            [("username", username.into()), ("password", password)],
        ))
    }

    /// Git over HTTP(S) with a bearer token (`bearerToken`).
    ///
    /// # Errors
    /// `InvalidInput` when it is empty.
    pub fn git_bearer(namespace: &str, name: &str, token: impl Into<SecretString>) -> Result<Self> {
        let token = token.into();
        required(&[("bearerToken", token.expose())])?;
        Ok(Self::new(
            namespace,
            name,
            "Opaque",
            [("bearerToken", token)],
        ))
    }

    /// Git over SSH (`identity`, `identity.pub`, `known_hosts`, and `password` for a key that is encrypted).
    ///
    /// `known_hosts` are lines as `ssh-keyscan` gives them; whether they are the right ones is the caller's to know: a scan over the network trusts whoever answers.
    ///
    /// # Errors
    /// `InvalidInput` when `known_hosts` has no line.
    pub fn git_ssh(namespace: &str, name: &str, key: &SshKey, known_hosts: &str) -> Result<Self> {
        let line = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
        if !known_hosts.lines().any(line) {
            return Err(Error::invalid("known_hosts has no host's key"));
        }
        let mut secret = Self::new(
            namespace,
            name,
            "Opaque",
            [
                ("identity", key.private().clone()),
                ("known_hosts", known_hosts.into()),
            ],
        );
        if !key.public().is_empty() {
            secret
                .data
                .insert("identity.pub".to_owned(), key.public().into());
        }
        if let Some(password) = key.password() {
            secret.data.insert("password".to_owned(), password.clone());
        }
        Ok(secret)
    }

    /// Git as a GitHub App (`githubAppID`, `githubAppInstallationID`, `githubAppPrivateKey`, and `githubAppBaseURL` for an Enterprise server).
    ///
    /// # Errors
    /// `InvalidInput` when an id or the key is empty.
    pub fn github_app(
        namespace: &str,
        name: &str,
        app: &str,
        installation: &str,
        private_key: impl Into<SecretString>,
        base_url: Option<&str>,
    ) -> Result<Self> {
        let key = private_key.into();
        required(&[
            ("githubAppID", app),
            ("githubAppInstallationID", installation),
            ("githubAppPrivateKey", key.expose()),
        ])?;
        let mut secret = Self::new(
            namespace,
            name,
            "Opaque",
            [
                ("githubAppID", app.into()),
                ("githubAppInstallationID", installation.into()),
                ("githubAppPrivateKey", key),
            ],
        );
        if let Some(url) = base_url.filter(|url| !url.is_empty()) {
            secret
                .data
                .insert("githubAppBaseURL".to_owned(), url.into());
        }
        Ok(secret)
    }

    /// A Helm repository over HTTP(S): a client's certificate counts before user name and password, as in the command; with neither, only the authority, or nothing.
    ///
    /// # Errors
    /// `InvalidInput` for certificates that cannot be used, and a user name without a password or the other way round.
    pub fn helm(
        namespace: &str,
        name: &str,
        login: Option<(&str, SecretString)>,
        certificates: &Certificates,
    ) -> Result<Self> {
        match login {
            _ if certificates.has_pair() => Self::tls(namespace, name, certificates),
            Some((username, password)) => {
                required(&[("username", username), ("password", password.expose())])?;
                let secret = Self::new(
                    namespace,
                    name,
                    "kubernetes.io/basic-auth",
                    [("username", username.into()), ("password", password)],
                );
                match &certificates.ca {
                    Some(ca) => secret.with_ca(ca),
                    None => Ok(secret),
                }
            }
            None if certificates.ca.is_some() => Self::tls(namespace, name, certificates),
            None => Ok(Self::new(namespace, name, "Opaque", [])),
        }
    }

    /// A container registry (`.dockerconfigjson`).
    ///
    /// # Errors
    /// `InvalidInput` when something is empty, or the user name has a `:`.
    pub fn oci(
        namespace: &str,
        name: &str,
        registry: &str,
        username: &str,
        password: impl Into<SecretString>,
    ) -> Result<Self> {
        let password = password.into();
        required(&[
            ("registry", registry),
            ("username", username),
            ("password", password.expose()),
        ])?;
        if username.contains(':') {
            return Err(Error::invalid("a user name of a registry has no ':'"));
        }
        let auth = STANDARD.encode(format!("{username}:{}", password.expose()));
        let config = json!({"auths": {registry: {
            "username": username, "password": password.expose(), "auth": auth,
        }}});
        Ok(Self::new(
            namespace,
            name,
            "kubernetes.io/dockerconfigjson",
            [(".dockerconfigjson", config.to_string().into())],
        ))
    }

    /// Certificates (`tls.crt`, `tls.key`, `ca.crt`): a client's, an authority, or both.
    ///
    /// # Errors
    /// `InvalidInput` when there are none, when a certificate has no key or a key no certificate, and when they do not belong together.
    pub fn tls(namespace: &str, name: &str, certificates: &Certificates) -> Result<Self> {
        certificates.check()?;
        let mut secret = Self::new(namespace, name, "Opaque", []);
        if let Some((certificate, key)) = &certificates.pair {
            secret.kind = "kubernetes.io/tls";
            let data = &mut secret.data;
            data.insert("tls.crt".to_owned(), certificate.as_str().into());
            data.insert("tls.key".to_owned(), key.clone());
        }
        if let Some(ca) = &certificates.ca {
            secret.data.insert("ca.crt".to_owned(), ca.as_str().into());
        }
        Ok(secret)
    }

    /// A proxy (`address`, `username`, `password`).
    ///
    /// # Errors
    /// `InvalidInput` for an address that is no URL, or that holds a password itself.
    pub fn proxy(
        namespace: &str,
        name: &str,
        address: &str,
        login: Option<(&str, SecretString)>,
    ) -> Result<Self> {
        required(&[("address", address)])?;
        let url = url::Url::parse(address)
            .map_err(|_| Error::invalid("the proxy's address is no URL"))?;
        if url.password().is_some() {
            return Err(Error::invalid(
                "the proxy's address holds a password; give it as one",
            ));
        }
        let mut secret = Self::new(namespace, name, "Opaque", [("address", address.into())]);
        if let Some((username, password)) = login {
            secret.data.insert("username".to_owned(), username.into());
            secret.data.insert("password".to_owned(), password);
        }
        Ok(secret)
    }

    /// What signatures of Notation are checked against: a trust policy (`trustpolicy.json`) and certificates, each under its file's name.
    ///
    /// # Errors
    /// `InvalidInput` when the policy is no JSON object with policies, when there is no certificate, and for file names that end neither in `.crt` nor in `.pem`.
    pub fn notation<'a>(
        namespace: &str,
        name: &str,
        trust_policy: &str,
        certificates: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self> {
        let policy: Value = serde_json::from_str(trust_policy)
            .map_err(|error| Error::invalid("the trust policy is no JSON").with_source(error))?;
        let policies = policy.get("trustPolicies").and_then(Value::as_array);
        if policy.get("version").and_then(Value::as_str).is_none()
            || policies.is_none_or(Vec::is_empty)
        {
            return Err(Error::invalid(
                "the trust policy needs a version and trustPolicies",
            ));
        }
        let mut secret = Self::new(
            namespace,
            name,
            "Opaque",
            [("trustpolicy.json", trust_policy.into())],
        );
        for (file, certificate) in certificates {
            if !(file.ends_with(".crt") || file.ends_with(".pem")) || file.contains('/') {
                return Err(Error::invalid(format!(
                    "{file:?} is no name of a certificate's file: it ends in .crt or .pem"
                )));
            }
            tls::check_ca(certificate).context(|| file.to_owned())?;
            secret.data.insert(file.to_owned(), certificate.into());
        }
        if secret.data.len() < 2 {
            return Err(Error::invalid("there is no certificate"));
        }
        Ok(secret)
    }

    /// A token (`token`), for Receivers and Providers.
    ///
    /// # Errors
    /// `InvalidInput` when it is empty.
    pub fn token(namespace: &str, name: &str, token: impl Into<SecretString>) -> Result<Self> {
        let token = token.into();
        required(&[("token", token.expose())])?;
        Ok(Self::new(namespace, name, "Opaque", [("token", token)]))
    }

    /// A kubeconfig (`value`) for `spec.kubeConfig.secretRef`. Flux's controllers refuse `exec` plugins in it unless they are started so.
    ///
    /// # Errors
    /// `InvalidInput` when it is empty.
    pub fn kubeconfig(
        namespace: &str,
        name: &str,
        kubeconfig: impl Into<SecretString>,
    ) -> Result<Self> {
        let kubeconfig = kubeconfig.into();
        required(&[("kubeconfig", kubeconfig.expose())])?;
        Ok(Self::new(
            namespace,
            name,
            "Opaque",
            [("value", kubeconfig)],
        ))
    }

    /// Private keys that kustomize-controller decrypts SOPS files with: each under the Adler-32 sum of it, `.agekey` for age and `.asc` for OpenPGP, as fluxcd/pkg names them.
    ///
    /// # Errors
    /// `InvalidInput` when there is none, or an empty one.
    pub fn sops(
        namespace: &str,
        name: &str,
        age: &[SecretString],
        openpgp: &[SecretString],
    ) -> Result<Self> {
        let mut secret = Self::new(namespace, name, "Opaque", []);
        for (keys, extension) in [(age, "agekey"), (openpgp, "asc")] {
            for key in keys {
                required(&[("key", key.expose())])?;
                let sum = adler32(key.expose().as_bytes());
                secret
                    .data
                    .insert(format!("{sum}.{extension}"), key.clone());
            }
        }
        if secret.data.is_empty() {
            return Err(Error::invalid("there is no key"));
        }
        Ok(secret)
    }

    /// The Secret as an object, with all that is secret in it.
    ///
    /// # Errors
    /// `InvalidInput` without a name.
    pub fn to_object(&self) -> Result<Object> {
        required(&[("name", &self.name), ("namespace", &self.namespace)])?;
        let data: BTreeMap<&str, String> = self
            .data
            .iter()
            .map(|(key, value)| (key.as_str(), STANDARD.encode(value.expose())))
            .collect();
        let mut value = json!({
            "apiVersion": "v1", "kind": "Secret", "type": self.kind,
            "metadata": {"name": self.name, "namespace": self.namespace},
            "data": data,
        });
        if !self.labels.is_empty() {
            value["metadata"]["labels"] = json!(self.labels);
        }
        Object::new(value, None)
    }

    /// Makes the Secret in the cluster, or gives the one that is there these keys; keys of somebody else's stay, as with the command. Returns whether it was made.
    ///
    /// # Errors
    /// `InvalidInput` when it is there with another type, which cannot be changed; `NotFound` for a namespace that is not there; `PermissionDenied`. No message holds what is in it.
    pub async fn apply(&self, cluster: &dyn Cluster) -> Result<bool> {
        let what = || format!("apply Secret {}/{}", self.namespace, self.name);
        let object = self.to_object().context(what)?;
        let kind = view::native("", "Secret", "secrets", Scope::Namespaced);
        let key = ObjectKey {
            kind: &kind,
            namespace: &self.namespace,
            name: &self.name,
        };
        let before = cluster.get(key).await.context(what)?;
        if let Some(before) = &before
            && view::text(before, &["type"]).unwrap_or("Opaque") != self.kind
        {
            return Err(Error::invalid(format!(
                "it is there with type {}, not {}; a Secret's type cannot be changed",
                view::text(before, &["type"]).unwrap_or("Opaque"),
                self.kind
            ))
            .context(what()));
        }
        let params = WriteParams {
            field_manager: view::MANAGER.to_owned(),
            force: true,
            ..WriteParams::default()
        };
        cluster.apply(&kind, &object, &params).await.context(what)?;
        Ok(before.is_none())
    }
}

impl FluxManager {
    /// Makes a Secret, or gives the one that is there its keys: [`FluxSecret::apply`]. Returns whether it was made.
    ///
    /// # Errors
    /// As there.
    pub async fn create_secret(&self, secret: &FluxSecret) -> Result<bool> {
        secret.apply(self.cluster()).await
    }
}

fn required(fields: &[(&str, &str)]) -> Result<()> {
    match fields.iter().find(|(_, value)| value.is_empty()) {
        Some((name, _)) => Err(Error::invalid(format!("{name} is required"))),
        None => Ok(()),
    }
}

/// Adler-32 (RFC 1950).
fn adler32(bytes: &[u8]) -> u32 {
    let (mut a, mut b) = (1_u32, 0_u32);
    for byte in bytes {
        a = (a + u32::from(*byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    (b << 16) | a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_the_rfc() {
        assert_eq!(adler32(b"Wikipedia"), 0x11E6_0398);
        assert_eq!(adler32(b""), 1);
    }

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
}
