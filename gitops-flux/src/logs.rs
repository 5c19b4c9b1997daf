//! What Flux's controllers write into their logs: `flux logs`.
//!
//! The rules are those of flux 2.7: the controllers are the Deployments with the label `app.kubernetes.io/part-of=flux` of one namespace, of each the pod that most likely
//! runs, container `manager` where there are several; lines that are JSON objects are read, all else is passed over. Other than with the command, a log that cannot be read does not hide the
//! others.

mod read;

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use gitops_core::manifest::ObjectId;
use gitops_core::{Error, Result, ResultExt as _};
use gitops_kube::cluster::KubeCluster;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use self::read::{Source, open, sources};
use crate::kind::FluxKind;
use crate::manager::FluxManager;
use crate::view::line;

/// Which lines of which logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogsOptions {
    /// Where the controllers are; empty (the default) means [`FluxOptions::flux_namespace`](crate::FluxOptions::flux_namespace), and `flux-system` for [`logs`] and [`follow_logs`] themselves.
    pub flux_namespace: String,
    /// Only this controller, by the name of its Deployment.
    pub controller: Option<String>,
    /// Only this level (`error`, `info`, `debug`, `trace`).
    pub level: Option<String>,
    /// Only about objects of this kind.
    pub kind: Option<String>,
    /// Only about objects of this name.
    pub name: Option<String>,
    /// Only about objects in this namespace; lines about no object are left out then.
    pub namespace: Option<String>,
    /// Only the last so many lines of each log, before they are filtered.
    pub tail: Option<u32>,
    /// Only lines since then.
    pub since: Option<Timestamp>,
    /// How much of each log is read, in bytes, from its beginning or from where `tail` and `since` begin (32 MiB). Following has no such end.
    pub bytes: u64,
    /// At most so many lines in one answer, the latest (10,000).
    pub lines: usize,
    /// How long one log may take to be read (one minute). Following has no such end.
    pub timeout: Duration,
}

impl Default for LogsOptions {
    fn default() -> Self {
        Self {
            flux_namespace: String::new(),
            controller: None,
            level: None,
            kind: None,
            name: None,
            namespace: None,
            tail: None,
            since: None,
            bytes: 32 << 20,
            lines: 10_000,
            timeout: Duration::from_secs(60),
        }
    }
}

/// A line of a controller's log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogLine {
    /// The controller, by the name of its Deployment.
    pub controller: String,
    /// When.
    pub at: Option<Timestamp>,
    /// The level (`info`, `error`, `debug`).
    pub level: String,
    /// The message.
    pub message: String,
    /// The error.
    pub error: Option<String>,
    /// The kind of the object that it is about.
    pub kind: Option<String>,
    /// That object's name.
    pub name: Option<String>,
    /// That object's namespace.
    pub namespace: Option<String>,
    /// All else that the line has (`revision`, `reconcileID`, `logger` …).
    pub fields: Map<String, Value>,
}

impl fmt::Display for LogLine {
    /// As `flux logs` prints it, control characters escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(at) = self.at {
            write!(f, "{at} ")?;
        }
        let said = |text: &Option<String>| line(text.as_deref().unwrap_or_default());
        write!(f, "{} {}", line(&self.level), said(&self.kind))?;
        if let Some(name) = &self.name {
            write!(f, "/{}.{}", line(name), said(&self.namespace))?;
        }
        write!(f, " - {}", line(&self.message))?;
        match &self.error {
            Some(error) => write!(f, " {}", line(error)),
            None => Ok(()),
        }
    }
}

/// What was read of the controllers' logs.
#[derive(Debug)]
pub struct Logs {
    /// The lines, in the order of time.
    pub lines: Vec<LogLine>,
    /// The logs that could not be read, or not to their end: those of a pod that has not started, say. They hide no other.
    pub unreadable: Vec<UnreadableLog>,
}

/// A log that cannot be read.
#[derive(Debug)]
pub struct UnreadableLog {
    /// The controller, by the name of its Deployment.
    pub controller: String,
    /// Why.
    pub error: Error,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    ts: Value,
    #[serde(default)]
    level: String,
    #[serde(default)]
    msg: String,
    #[serde(default)]
    error: Option<String>,
    #[serde(rename = "reconciler kind")]
    reconciler_kind: Option<String>,
    #[serde(rename = "controllerKind")]
    controller_kind: Option<String>,
    name: Option<String>,
    namespace: Option<String>,
    #[serde(flatten)]
    fields: Map<String, Value>,
}

/// Reads a line; none for what is no JSON object.
pub fn parse_line(controller: &str, line: &str) -> Option<LogLine> {
    if !line.starts_with('{') {
        return None;
    }
    let raw: Raw = serde_json::from_str(line).ok()?;
    let said = |text: Option<String>| text.filter(|text| !text.is_empty());
    Some(LogLine {
        controller: controller.to_owned(),
        at: raw.ts.as_str().and_then(|text| text.parse().ok()),
        level: raw.level,
        message: raw.msg,
        error: said(raw.error),
        kind: said(raw.reconciler_kind).or(said(raw.controller_kind)),
        name: said(raw.name),
        namespace: said(raw.namespace),
        fields: raw.fields,
    })
}

fn wanted(options: &LogsOptions, line: &LogLine) -> bool {
    let is = |wanted: &Option<String>, found: Option<&str>| {
        wanted
            .as_deref()
            .is_none_or(|wanted| found.is_some_and(|found| found.eq_ignore_ascii_case(wanted)))
    };
    is(&options.level, Some(&line.level))
        && is(&options.kind, line.kind.as_deref())
        && is(&options.name, line.name.as_deref())
        && is(&options.namespace, line.namespace.as_deref())
}

/// The lines that there are. A log that cannot be read is told beside the others.
///
/// # Errors
/// `NotFound` when there are no pods of controllers; when no log can be read, what the first one met, `Timeout` included.
pub async fn logs(cluster: &KubeCluster, options: &LogsOptions) -> Result<Logs> {
    let sources = sources(cluster, options).await?;
    let count = sources.len();
    let (mut lines, mut unreadable) = (Vec::new(), Vec::new());
    for source in sources {
        let mut kept: VecDeque<LogLine> = VecDeque::new();
        let read = tokio::time::timeout(
            options.timeout,
            read_into(&mut kept, cluster, options, &source),
        );
        let read = read.await.unwrap_or_else(|_| Err(took_too_long()));
        lines.extend(kept);
        if let Err(error) = read {
            unreadable.push(UnreadableLog {
                error: error.context(format!("read the log of {}", source.controller)),
                controller: source.controller,
            });
        }
    }
    if unreadable.len() == count && lines.is_empty() {
        return Err(unreadable.swap_remove(0).error);
    }
    lines.sort_by_key(|line| line.at);
    let surplus = lines.len().saturating_sub(options.lines);
    lines.drain(..surplus);
    Ok(Logs { lines, unreadable })
}

async fn read_into(
    kept: &mut VecDeque<LogLine>,
    cluster: &KubeCluster,
    options: &LogsOptions,
    source: &Source,
) -> Result<()> {
    let mut lines = std::pin::pin!(open(cluster, options, source, false).await?);
    while let Some(line) = lines.next().await {
        let line = line?;
        if wanted(options, &line) {
            if kept.len() >= options.lines {
                kept.pop_front();
            }
            kept.push_back(line);
        }
    }
    Ok(())
}

fn took_too_long() -> Error {
    Error::timeout("it took too long")
}

/// The lines that there are and those that come, each controller's in its order. A log that cannot be opened or breaks off gives an error, and the others go on; the stream ends when all logs
/// have (a pod was replaced: ask again), or when it is dropped. A connection on which nothing comes for the client's read time-out (295 s in `KubeCluster`'s own clients) counts as broken.
///
/// # Errors
/// `NotFound` when there are no pods of controllers; what looking for them meets.
pub async fn follow_logs(
    cluster: &KubeCluster,
    options: LogsOptions,
) -> Result<BoxStream<'static, Result<LogLine>>> {
    let sources = sources(cluster, &options).await?;
    let all: Vec<_> = sources
        .into_iter()
        .map(|source| follow(cluster.clone(), options.clone(), source))
        .collect();
    Ok(futures::stream::select_all(all)
        .filter(move |line| {
            futures::future::ready(line.as_ref().map_or(true, |line| wanted(&options, line)))
        })
        .boxed())
}

/// One log, opened when it is asked for.
fn follow(
    cluster: KubeCluster,
    options: LogsOptions,
    source: Source,
) -> BoxStream<'static, Result<LogLine>> {
    let lines = async move {
        tokio::time::timeout(options.timeout, open(&cluster, &options, &source, true))
            .await
            .unwrap_or_else(|_| Err(took_too_long()))
            .context(|| format!("read the log of {}", source.controller))
    };
    futures::stream::once(lines).try_flatten().boxed()
}

impl FluxManager {
    /// What the controllers logged: [`logs`].
    ///
    /// # Errors
    /// As there.
    pub async fn logs(&self, options: &LogsOptions) -> Result<Logs> {
        logs(self.cluster(), &self.logs_of(options)).await
    }

    /// What the controllers log: [`follow_logs`].
    ///
    /// # Errors
    /// As there.
    pub async fn follow_logs(
        &self,
        options: LogsOptions,
    ) -> Result<BoxStream<'static, Result<LogLine>>> {
        follow_logs(self.cluster(), self.logs_of(&options)).await
    }

    fn logs_of(&self, options: &LogsOptions) -> LogsOptions {
        LogsOptions {
            flux_namespace: self.controllers_in(&options.flux_namespace),
            ..options.clone()
        }
    }
}

/// The objects that lines are about, each once, in the order of their first lines.
pub fn objects(lines: &[LogLine]) -> Vec<ObjectId> {
    let mut ids: Vec<ObjectId> = Vec::new();
    for line in lines {
        let (Some(kind), Some(name)) = (&line.kind, &line.name) else {
            continue;
        };
        let Ok(kind) = kind.parse::<FluxKind>() else {
            continue;
        };
        let id = kind.object_id(line.namespace.as_deref().unwrap_or_default(), name);
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_controllers_write_them() {
        let text = r#"{"level":"error","ts":"2025-11-01T10:00:00.123Z","msg":"Reconciler error","controller":"kustomization","controllerGroup":"kustomize.toolkit.fluxcd.io","controllerKind":"Kustomization","Kustomization":{"name":"apps","namespace":"shop"},"namespace":"shop","name":"apps","reconcileID":"1","error":"no"}"#;
        let line = parse_line("kustomize-controller", text).unwrap();
        assert_eq!(
            line.to_string(),
            "2025-11-01T10:00:00.123Z error Kustomization/apps.shop - Reconciler error no"
        );
        assert_eq!(line.fields["reconcileID"], "1");
        let odd = r#"{"level":"info","msg":"a\u001b[2Jb\nc","name":"x\r\u0007","error":"\u202e"}"#;
        assert_eq!(
            parse_line("c", odd).unwrap().to_string(),
            "info /x\\u{7}. - a\\u{1b}[2Jb c \\u{202e}"
        );
        for odd in ["", "I1101 started", "{", "[]", "{\"level\":1}"] {
            assert_eq!(parse_line("c", odd), None, "{odd}");
        }
        let wants = |change: fn(&mut LogsOptions)| {
            let mut options = LogsOptions::default();
            change(&mut options);
            wanted(&options, &line)
        };
        assert!(wants(|_| {}));
        assert!(wants(|o| o.kind = Some("kustomization".into())));
        assert!(wants(|o| o.level = Some("error".into())));
        assert!(!wants(|o| o.level = Some("info".into())));
        assert!(!wants(|o| o.name = Some("other".into())));
        assert!(!wants(|o| o.namespace = Some("other".into())));
        assert_eq!(objects(&[line.clone(), line]).len(), 1);
    }
}
