//! The Go libraries of the ecosystem as judges: `benches/peers` built once into the user's cache directory.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::components::{cache_dir, system_program, workspace_dir};

/// How sigs.k8s.io/yaml reads one text.
#[derive(Clone, Debug, Deserialize)]
pub struct YamlVerdict {
    /// What `yaml.YAMLToJSON` gives (of duplicate keys, the later wins).
    pub json: Option<serde_json::Value>,
    /// Why `yaml.YAMLToJSON` refuses it.
    pub error: Option<String>,
    /// Why `yaml.YAMLToJSONStrict` refuses it; it also refuses duplicate keys.
    pub strict_error: Option<String>,
}

/// How kubectl reads one file of documents.
#[derive(Clone, Debug, Deserialize)]
pub struct MultiVerdict {
    /// The documents before the first error; empty ones and null are left out.
    #[serde(default)]
    pub documents: Vec<serde_json::Value>,
    /// Why reading ended early.
    pub error: Option<String>,
}

/// gitops-engine's assessment of the object in one file.
#[derive(Clone, Debug, Deserialize)]
pub struct HealthVerdict {
    /// The file.
    pub file: PathBuf,
    /// `Healthy`, `Progressing` …; empty where the library has no rule for the kind.
    pub status: String,
    /// Its reason.
    pub message: String,
    /// Why the object could not be assessed.
    pub error: Option<String>,
}

/// The folder of the Go module.
pub fn source() -> PathBuf {
    workspace_dir().join("benches/peers")
}

/// The path of the peers' binary, built when the cache holds none for these sources (`go.mod`, `go.sum`, `*.go`).
///
/// # Errors
/// When Go is missing (the message has the command that installs it) or the build fails (with its output).
pub fn build() -> Result<PathBuf> {
    let source = source();
    let mut files = Vec::new();
    for entry in fs::read_dir(&source).with_context(|| source.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name == "go.mod" || name == "go.sum" || name.ends_with(".go") {
            files.push(path);
        }
    }
    files.sort();
    let mut hash = Sha256::new();
    for file in &files {
        let name = file.file_name().unwrap_or_default();
        hash.update(name.as_encoded_bytes());
        hash.update([0]);
        hash.update(fs::read(file)?);
        hash.update([0]);
    }
    let key: String = hash.finalize()[..8]
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let folder = cache_dir()?.join("peers").join(key);
    let binary = folder.join("peers");
    if binary.exists() {
        return Ok(binary);
    }
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    // Tests that need it at the same time build it once.
    let lock = fs::File::create(folder.join(".lock")).context("cannot make the lock file")?;
    lock.lock().context("cannot lock the cache directory")?;
    if binary.exists() {
        return Ok(binary);
    }
    // Under another name first: a build that is interrupted must leave no half file.
    let unfinished = folder.join("peers.unfinished");
    let output = Command::new(system_program("go")?)
        .args(["build", "-buildvcs=false", "-o"])
        .arg(&unfinished)
        .arg(".")
        .current_dir(&source)
        .env("GOFLAGS", "-mod=readonly")
        .output()
        .context("cannot run go")?;
    if !output.status.success() {
        bail!(
            "go build in {}: {}",
            source.display(),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    fs::rename(&unfinished, &binary)?;
    Ok(binary)
}

/// How sigs.k8s.io/yaml reads each of the texts, in their order.
///
/// # Errors
/// Those of [`build`], or the program's.
pub fn yaml_read<T: AsRef<[u8]>>(texts: &[T]) -> Result<Vec<YamlVerdict>> {
    ask(&["yaml-judge", "read"], &questions(texts))
}

/// How kubectl reads each of the files' texts, in their order.
///
/// # Errors
/// Those of [`build`], or the program's.
pub fn yaml_multi<T: AsRef<[u8]>>(texts: &[T]) -> Result<Vec<MultiVerdict>> {
    ask(&["yaml-judge", "multi"], &questions(texts))
}

/// How gitops-engine assesses the object in each of the files, in their order.
///
/// # Errors
/// Those of [`build`], or the program's.
pub fn health<P: AsRef<Path>>(files: &[P]) -> Result<Vec<HealthVerdict>> {
    let mut lines = String::new();
    for file in files {
        lines.push_str(file.as_ref().to_str().context("a path that is not UTF-8")?);
        lines.push('\n');
    }
    ask(&["health"], &lines)
}

/// Whether gitops-engine's default comparison finds each pair of live and target modified; the names have to be unique.
///
/// # Errors
/// Those of [`build`], or the program's.
pub fn diff(pairs: &[(&str, serde_json::Value, serde_json::Value)]) -> Result<Vec<bool>> {
    let list: Vec<_> = pairs
        .iter()
        .map(|(name, live, target)| serde_json::json!({"name": name, "live": live, "target": target}))
        .collect();
    let name = format!("gitops-rs-pairs-{}.json", std::process::id());
    let file = std::env::temp_dir().join(name);
    fs::write(&file, serde_json::to_vec(&list)?)?;
    let path = file.to_str().context("a path that is not UTF-8")?;
    let answers = ask::<serde_json::Value>(&["diff", path, "1"], "");
    fs::remove_file(&file)?;
    let answer = answers?.pop().context("peers answered nothing")?;
    answer["verdicts"]
        .as_array()
        .context("no verdicts")?
        .iter()
        .map(|verdict| verdict["modified"].as_bool().context("no verdict"))
        .collect()
}

fn questions<T: AsRef<[u8]>>(texts: &[T]) -> String {
    let mut lines = String::new();
    for text in texts {
        let text = base64::engine::general_purpose::STANDARD.encode(text);
        lines.push_str(&format!("{{\"base64\":\"{text}\"}}\n"));
    }
    lines
}

fn ask<T: DeserializeOwned>(args: &[&str], input: &str) -> Result<Vec<T>> {
    let mut child = Command::new(build()?)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    // From a thread: the answers begin before the questions end.
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!(
            "peers {}: {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    writer
        .join()
        .map_err(|_| anyhow::anyhow!("writing to peers panicked"))??;
    serde_json::Deserializer::from_slice(&output.stdout)
        .into_iter()
        .collect::<Result<_, _>>()
        .context("what peers answered")
}
