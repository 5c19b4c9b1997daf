//! What Flux's controllers write into their logs: `flux logs`.
//!
//! The rules are those of flux 2.7: the controllers are the Deployments with the label `app.kubernetes.io/part-of=flux` of one namespace, of each the pod that most likely
//! runs, container `manager` where there are several; lines that are JSON objects are read, all else is passed over.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{AsyncBufRead, AsyncBufReadExt as _, Stream, StreamExt as _};
use gitops_core::manifest::{Object, ObjectId};
use gitops_core::{Error, ErrorKind, Result, ResultExt as _};
use gitops_kube::cluster::{KubeCluster, ListParams, Scope, from_kube};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::check::PART_OF;
use crate::kind::FluxKind;
use crate::manager::FluxManager;
use crate::view;

/// Lines longer than that are left out.
const LINE: usize = 1 << 20;

/// Which lines of which logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogsOptions {
    /// Where the controllers are (`flux-system`).
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
            flux_namespace: "flux-system".to_owned(),
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
    /// As `flux logs` prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(at) = self.at {
            write!(f, "{at} ")?;
        }
        write!(
            f,
            "{} {}",
            self.level,
            self.kind.as_deref().unwrap_or_default()
        )?;
        if let Some(name) = &self.name {
            write!(
                f,
                "/{name}.{}",
                self.namespace.as_deref().unwrap_or_default()
            )?;
        }
        write!(f, " - {}", self.message)?;
        match &self.error {
            Some(error) => write!(f, " {error}"),
            None => Ok(()),
        }
    }
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

/// The lines that there are, in the order of time.
///
/// # Errors
/// `NotFound` when there are no pods of controllers; what reading a log meets, `Timeout` included.
pub async fn logs(cluster: &KubeCluster, options: &LogsOptions) -> Result<Vec<LogLine>> {
    let mut kept: VecDeque<LogLine> = VecDeque::new();
    let mut last = Vec::new();
    for source in sources(cluster, options).await? {
        let what = || format!("read the log of {}", source.controller);
        let read = async {
            let mut lines = std::pin::pin!(open(cluster, options, &source, false).await?);
            kept.clear();
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
        };
        tokio::time::timeout(options.timeout, read)
            .await
            .unwrap_or_else(|_| Err(Error::timeout("it took too long")))
            .context(what)?;
        last.extend(kept.drain(..));
    }
    last.sort_by_key(|line| line.at);
    let surplus = last.len().saturating_sub(options.lines);
    last.drain(..surplus);
    Ok(last)
}

/// The lines that there are and those that come, each controller's in its order. A log that breaks off gives an error, and the others go on; the stream ends when all logs have (a pod was replaced:
/// ask again), or when it is dropped. A connection on which nothing comes for the client's read time-out (295 s in `KubeCluster`'s own clients) counts as broken.
///
/// # Errors
/// `NotFound` when there are no pods of controllers; what opening a log meets.
pub async fn follow_logs(
    cluster: &KubeCluster,
    options: LogsOptions,
) -> Result<BoxStream<'static, Result<LogLine>>> {
    let mut all = Vec::new();
    for source in sources(cluster, &options).await? {
        let lines = tokio::time::timeout(options.timeout, open(cluster, &options, &source, true))
            .await
            .unwrap_or_else(|_| Err(Error::timeout("it took too long")))
            .context(|| format!("read the log of {}", source.controller))?;
        all.push(lines.boxed());
    }
    Ok(futures::stream::select_all(all)
        .filter(move |line| {
            futures::future::ready(line.as_ref().map_or(true, |line| wanted(&options, line)))
        })
        .boxed())
}

impl FluxManager {
    /// What the controllers logged: [`logs`].
    ///
    /// # Errors
    /// As there.
    pub async fn logs(&self, options: &LogsOptions) -> Result<Vec<LogLine>> {
        logs(self.cluster(), options).await
    }

    /// What the controllers log: [`follow_logs`].
    ///
    /// # Errors
    /// As there.
    pub async fn follow_logs(
        &self,
        options: LogsOptions,
    ) -> Result<BoxStream<'static, Result<LogLine>>> {
        follow_logs(self.cluster(), options).await
    }
}

/// A log.
struct Source {
    controller: String,
    pod: String,
    container: Option<String>,
}

async fn sources(cluster: &KubeCluster, options: &LogsOptions) -> Result<Vec<Source>> {
    let namespace = &options.flux_namespace;
    let in_namespace = |labels: String| ListParams {
        namespace: Some(namespace.clone()),
        labels: Some(labels),
        ..ListParams::default()
    };
    let deployments = view::native("apps", "Deployment", "deployments", Scope::Namespaced);
    let pods_kind = view::native("", "Pod", "pods", Scope::Namespaced);
    let found = view::list(
        cluster,
        &deployments,
        in_namespace(PART_OF.to_owned()),
        1000,
    )
    .await
    .context(|| "list Flux's Deployments")?;
    let mut sources = Vec::new();
    for deployment in &found {
        let name = deployment.name();
        if options
            .controller
            .as_deref()
            .is_some_and(|wanted| wanted != name)
        {
            continue;
        }
        let Some(labels) = selector(deployment) else {
            continue;
        };
        let pods = view::list(cluster, &pods_kind, in_namespace(labels), 1000)
            .await
            .context(|| format!("list the pods of {name}"))?;
        let Some(pod) = pods.iter().max_by_key(|pod| liveliness(pod)) else {
            continue;
        };
        let containers = view::at(pod, &["spec", "containers"]).and_then(Value::as_array);
        sources.push(Source {
            controller: name.to_owned(),
            pod: pod.name().to_owned(),
            container: containers
                .filter(|containers| containers.len() > 1)
                .map(|_| "manager".to_owned()),
        });
    }
    if sources.is_empty() {
        return Err(Error::not_found(format!(
            "namespace {namespace} has no pods of Flux's controllers"
        )));
    }
    Ok(sources)
}

/// The labels of a Deployment's pods, as a selector.
fn selector(deployment: &Object) -> Option<String> {
    let labels = view::at(deployment, &["spec", "selector", "matchLabels"])?.as_object()?;
    let pairs: Vec<String> = labels
        .iter()
        .filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)))
        .collect();
    (!pairs.is_empty()).then(|| pairs.join(","))
}

/// The pod that says most: one that is ready, then one that runs, then the youngest.
fn liveliness(pod: &Object) -> (bool, bool, String) {
    (
        view::condition(pod, "Ready").is_some_and(|ready| ready.is == Some(true)),
        view::text(pod, &["status", "phase"]) == Some("Running"),
        view::text(pod, &["metadata", "creationTimestamp"])
            .unwrap_or_default()
            .to_owned(),
    )
}

async fn open(
    cluster: &KubeCluster,
    options: &LogsOptions,
    source: &Source,
    follow: bool,
) -> Result<impl Stream<Item = Result<LogLine>> + Send + use<>> {
    let pods: Api<Pod> = Api::namespaced(cluster.client().clone(), &options.flux_namespace);
    let params = LogParams {
        container: source.container.clone(),
        follow,
        limit_bytes: (!follow).then(|| i64::try_from(options.bytes).unwrap_or(i64::MAX)),
        // kube has its own version of the type.
        since_time: options.since.and_then(|at| at.to_string().parse().ok()),
        tail_lines: options.tail.map(i64::from),
        ..LogParams::default()
    };
    let reader = pods
        .log_stream(&source.pod, &params)
        .await
        .map_err(from_kube)?;
    let controller = source.controller.clone();
    Ok(lines(Box::pin(reader)).filter_map(move |line| {
        let line = match line {
            Ok(line) => parse_line(&controller, &line).map(Ok),
            Err(error) => Some(Err(error.context(format!("read the log of {controller}")))),
        };
        futures::future::ready(line)
    }))
}

/// The lines of a reader, those that are too long left out.
fn lines<R: AsyncBufRead + Unpin + Send>(reader: R) -> impl Stream<Item = Result<String>> + Send {
    futures::stream::unfold(Some(reader), |reader| async move {
        let mut reader = reader?;
        let mut line: Vec<u8> = Vec::new();
        let mut long = false;
        loop {
            let (used, end) = match reader.fill_buf().await {
                Ok([]) if line.is_empty() => return None,
                Ok([]) => (0, true),
                Ok(bytes) => {
                    let end = bytes.iter().position(|byte| *byte == b'\n');
                    let part = &bytes[..end.unwrap_or(bytes.len())];
                    if line.len() + part.len() > LINE {
                        long = true;
                        line.clear();
                    }
                    if !long {
                        line.extend_from_slice(part);
                    }
                    (part.len() + usize::from(end.is_some()), end.is_some())
                }
                Err(error) => {
                    let error =
                        Error::new(ErrorKind::Unavailable, "the log broke off").with_source(error);
                    return Some((Err(error), None));
                }
            };
            reader.consume_unpin(used);
            if end {
                if !long {
                    let text = String::from_utf8_lossy(&line).into_owned();
                    return Some((Ok(text), Some(reader)));
                }
                long = false;
                line.clear();
            }
        }
    })
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

    #[tokio::test]
    async fn long_lines_are_left_out_and_the_rest_is_kept() {
        let text = format!("a\n{}\n\nb\r\nlast", "x".repeat(LINE + 1));
        let reader = futures::io::BufReader::new(futures::io::Cursor::new(text.into_bytes()));
        let read: Vec<String> = lines(reader).map(Result::unwrap).collect().await;
        assert_eq!(read, ["a", "", "b\r", "last"]);
    }
}
