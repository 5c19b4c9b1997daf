//! Decryption of what SOPS encrypted: what is decrypted when and as what is kustomize-controller 1.7's rule (`internal/decryptor`); how
//! is the caller's business.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gitops_core::manifest::{Tree, TreeEntry, yaml};
use gitops_core::{Error, Result};
use memchr::memmem;
use serde_json::Value;

use super::generate::kustomization_file;
use super::{objects, paths};

/// The largest file that is decrypted, in bytes.
const MAX_FILE: usize = 5 << 20;

/// The form of an encrypted text, and of what it becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SopsFormat {
    /// Anything, in an envelope of JSON.
    Binary,
    /// `KEY=VALUE` lines.
    Dotenv,
    /// INI.
    Ini,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

impl SopsFormat {
    /// What every encrypted text of the form holds.
    fn marker(self) -> &'static [u8] {
        match self {
            Self::Binary | Self::Json => b"\"mac\": \"ENC[",
            Self::Dotenv => b"sops_mac=ENC[",
            Self::Ini => b"[sops]",
            Self::Yaml => b"mac: ENC[",
        }
    }

    /// By the name of a file or a key.
    fn of_name(name: &str) -> Self {
        let ends = |end: &str| name.ends_with(end);
        if ends(".dockerconfigjson") || ends(".json") {
            Self::Json
        } else if ends(".yaml") || ends(".yml") {
            Self::Yaml
        } else if ends(".env") {
            Self::Dotenv
        } else if ends(".ini") {
            Self::Ini
        } else {
            Self::Binary
        }
    }

    fn marks(self, bytes: &[u8]) -> bool {
        contains(bytes, self.marker())
    }
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    memmem::find(bytes, what).is_some()
}

/// Decrypts what SOPS encrypted. This crate has none: keys and the services that keep them are the caller's.
#[async_trait]
pub trait Decryptor: Send + Sync {
    /// Decrypts a text of the form `input` to one of the form `output`.
    ///
    /// # Errors
    /// Whatever kept it from being decrypted. No error may hold what was decrypted.
    async fn decrypt(&self, data: &[u8], input: SopsFormat, output: SopsFormat) -> Result<Vec<u8>>;
}

#[async_trait]
impl<T: Decryptor + ?Sized> Decryptor for Arc<T> {
    async fn decrypt(&self, data: &[u8], input: SopsFormat, output: SopsFormat) -> Result<Vec<u8>> {
        (**self).decrypt(data, input, output).await
    }
}

/// Who decrypts; nobody may have been named.
pub(super) type Who<'a> = Option<&'a dyn Decryptor>;

fn nobody(what: &str) -> Error {
    Error::unsupported(
        &format!("decryption of {what}, for which no decryptor was named"),
        "the builder",
    )
}

async fn decrypt(
    who: Who<'_>,
    what: &str,
    data: &[u8],
    input: SopsFormat,
    output: SopsFormat,
) -> Result<Vec<u8>> {
    let who = who.ok_or_else(|| nobody(what))?;
    who.decrypt(data, input, output)
        .await
        .map_err(|error| error.context(format!("decrypt {what}")))
}

/// Decrypts the files that kustomize reads itself: those of Secret generators and of patches, in the kustomization of `dir` and in all
/// that it names in `resources` and `components`.
pub(super) async fn sources(tree: &mut Tree, dir: &str, who: Who<'_>) -> Result<()> {
    let mut queue = vec![dir.to_owned()];
    let mut seen = BTreeSet::new();
    let mut done = BTreeSet::new();
    while let Some(dir) = queue.pop() {
        if !seen.insert(dir.clone()) {
            continue;
        }
        let Some(file) = kustomization_file(tree, &dir)? else {
            continue;
        };
        let kustomization = yaml::parse_value(&file, tree.file(&file)?.unwrap_or_default())?;
        for (path, format) in encrypted_files(&kustomization) {
            let Some(path) = paths::inside(&dir, &path) else {
                continue;
            };
            let Some(bytes) = tree.file(&path)? else {
                continue;
            };
            if !format.marks(bytes) || !done.insert(path.clone()) {
                continue;
            }
            if bytes.len() > MAX_FILE {
                return Err(Error::invalid(format!(
                    "{path}: {} bytes are more than is decrypted ({MAX_FILE})",
                    bytes.len()
                )));
            }
            let plain = decrypt(who, &path, bytes, format, format).await?;
            tree.insert(path, TreeEntry::File(plain.into()))?;
        }
        for field in ["resources", "components"] {
            for entry in texts(&kustomization[field]) {
                if let Some(path) = paths::inside(&dir, entry)
                    && let Some(dir) = tree.directory(&path)?
                {
                    queue.push(dir);
                }
            }
        }
    }
    Ok(())
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

/// The files of a kustomization that may be encrypted, and in which form.
fn encrypted_files(kustomization: &Value) -> Vec<(String, SopsFormat)> {
    let mut files = Vec::new();
    for generator in kustomization["secretGenerator"]
        .as_array()
        .into_iter()
        .flatten()
    {
        for entry in texts(&generator["files"]) {
            let (key, path) = entry.split_once('=').unwrap_or((entry, entry));
            files.push((path.to_owned(), SopsFormat::of_name(key)));
        }
        let one = generator["env"].as_str();
        for path in texts(&generator["envs"]).chain(one) {
            let format = match SopsFormat::of_name(path) {
                SopsFormat::Binary => SopsFormat::Dotenv,
                format => format,
            };
            files.push((path.to_owned(), format));
        }
    }
    for patch in kustomization["patches"].as_array().into_iter().flatten() {
        if let Some(path) = patch["path"].as_str().filter(|path| !path.contains("://")) {
            files.push((path.to_owned(), SopsFormat::of_name(path)));
        }
    }
    files
}

/// What of an object SOPS encrypted.
pub(super) enum Encrypted {
    /// All of it.
    Whole,
    /// Values of a Secret's `data`.
    Values(Vec<EncryptedValue>),
}

/// One that SOPS encrypted before it was put into a Secret.
pub(super) struct EncryptedValue {
    key: String,
    bytes: Vec<u8>,
    input: SopsFormat,
}

/// What is decrypted of an object: all of it when SOPS encrypted it as a whole, else what is encrypted in a Secret's `data`.
pub(super) fn encrypted(value: &Value) -> Option<Encrypted> {
    let whole = value["sops"]["mac"]
        .as_str()
        .is_some_and(|mac| !mac.is_empty());
    if whole {
        return Some(Encrypted::Whole);
    }
    if value["kind"] != "Secret" {
        return None;
    }
    let mut values = Vec::new();
    for (key, value) in value["data"].as_object()? {
        let Some(bytes) = value.as_str().and_then(|text| STANDARD.decode(text).ok()) else {
            continue;
        };
        // JSON and its envelope look alike.
        let json = match SopsFormat::of_name(key) {
            SopsFormat::Binary => SopsFormat::Binary,
            _ => SopsFormat::Json,
        };
        let forms = [SopsFormat::Yaml, SopsFormat::Dotenv, SopsFormat::Ini, json];
        if let Some(input) = forms.into_iter().find(|form| form.marks(&bytes)) {
            let key = key.clone();
            values.push(EncryptedValue { key, bytes, input });
        }
    }
    (!values.is_empty()).then_some(Encrypted::Values(values))
}

/// Decrypts what is encrypted of an object.
pub(super) async fn object(value: &mut Value, encrypted: Encrypted, who: Who<'_>) -> Result<()> {
    let what = objects::named(value);
    match encrypted {
        Encrypted::Whole => {
            let json = serde_json::to_vec(value)
                .map_err(|error| Error::internal("cannot write an object").with_source(error))?;
            let plain = decrypt(who, &what, &json, SopsFormat::Json, SopsFormat::Json).await?;
            // The parser's words may quote what was decrypted.
            *value = serde_json::from_slice(&plain)
                .map_err(|_| Error::invalid(format!("{what} is no JSON once it is decrypted")))?;
        }
        Encrypted::Values(values) => {
            for EncryptedValue { key, bytes, input } in values {
                let output = SopsFormat::of_name(&key);
                let what = format!("{what}, key {key:?}");
                let plain = decrypt(who, &what, &bytes, input, output).await?;
                value["data"][key] = STANDARD.encode(plain).into();
            }
        }
    }
    Ok(())
}

/// Whether it is a Secret that SOPS encrypted, which the controller does not apply.
pub(super) fn is_encrypted_secret(value: &serde_json::Map<String, Value>) -> bool {
    let is = |field: &str, wanted: &str| value.get(field).and_then(Value::as_str) == Some(wanted);
    is("kind", "Secret") && is("apiVersion", "v1") && value.contains_key("sops")
}

/// The file that holds an encrypted object of that name, for messages. It searches the whole source.
pub(super) fn file_of<'t>(tree: &'t Tree, name: &str) -> Option<&'t str> {
    let encrypted = |bytes: &[u8]| {
        contains(bytes, b"ENC[") && contains(bytes, b"sops") && contains(bytes, name.as_bytes())
    };
    tree.iter()
        .find(|(_, entry)| entry.bytes().is_some_and(|bytes| encrypted(bytes)))
        .map(|(path, _)| path)
}

#[cfg(test)]
mod tests;
