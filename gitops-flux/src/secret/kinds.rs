//! The Secrets of each purpose.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gitops_core::secret::SecretString;
use gitops_core::{Error, Result, ResultExt as _};
use serde_json::{Value, json};

use super::{Certificates, FluxSecret, SshKey, required, tls};

impl FluxSecret {
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
                let sum = adler2::adler32_slice(key.expose().as_bytes());
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
}
