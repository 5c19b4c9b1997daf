//! What a Secret's type asks of its content (kubernetes 1.34, `ValidateSecret` in `pkg/apis/core/validation`). No content is quoted.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::state::text;

/// Adds what is wrong with the Secret.
pub(super) fn validate(secret: &Value, problems: &mut Vec<String>) {
    let has = |key: &str| {
        secret["data"]
            .get(key)
            .is_some_and(|value| !value.is_null())
    };
    let required = |key: &str| format!("data[{key}]: Required value");
    match text(secret, "/type") {
        "kubernetes.io/service-account-token" => {
            let name = "kubernetes.io/service-account.name";
            if secret["metadata"]["annotations"][name]
                .as_str()
                .unwrap_or_default()
                .is_empty()
            {
                problems.push(format!("metadata.annotations[{name}]: Required value"));
            }
        }
        "kubernetes.io/dockercfg" => docker(secret, ".dockercfg", problems),
        "kubernetes.io/dockerconfigjson" => docker(secret, ".dockerconfigjson", problems),
        "kubernetes.io/basic-auth" if !has("username") && !has("password") => {
            problems.extend(["username", "password"].map(required));
        }
        "kubernetes.io/ssh-auth" => {
            let key = "ssh-privatekey";
            if secret["data"][key].as_str().unwrap_or_default().is_empty() {
                problems.push(required(key));
            }
        }
        "kubernetes.io/tls" => {
            let missing = ["tls.crt", "tls.key"].into_iter().filter(|key| !has(key));
            problems.extend(missing.map(required));
        }
        _ => {}
    }
}

fn docker(secret: &Value, key: &str, problems: &mut Vec<String>) {
    let Some(content) = secret["data"][key].as_str() else {
        problems.push(format!("data[{key}]: Required value"));
        return;
    };
    // Go reads `null` as a map without entries.
    let read = |bytes: Vec<u8>| serde_json::from_slice::<Option<Map<String, Value>>>(&bytes).ok();
    if STANDARD.decode(content).ok().and_then(read).is_none() {
        problems.push(format!(
            "data[{key}]: Invalid value: \"<secret contents redacted>\": it is not a JSON object"
        ));
    }
}
