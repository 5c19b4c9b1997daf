//! Which logs there are, and their lines.

use futures::{AsyncBufRead, AsyncBufReadExt as _, Stream, StreamExt as _};
use gitops_core::manifest::Object;
use gitops_core::{Error, ErrorKind, Result, ResultExt as _};
use gitops_kube::cluster::{KubeCluster, ListParams, from_kube, path_segment};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use serde_json::Value;

use super::{LogLine, LogsOptions, parse_line};
use crate::check::PART_OF;
use crate::view;

/// Lines longer than that are left out.
const LINE: usize = 1 << 20;

/// A log.
pub(super) struct Source {
    pub(super) controller: String,
    namespace: String,
    pod: String,
    container: Option<String>,
}

/// The logs of the controllers, or of the one that is asked for.
pub(super) async fn sources(cluster: &KubeCluster, options: &LogsOptions) -> Result<Vec<Source>> {
    let namespace = match options.flux_namespace.as_str() {
        "" => view::NAMESPACE,
        named => named,
    };
    let in_namespace = |labels: String| ListParams {
        namespace: Some(namespace.to_owned()),
        labels: Some(labels),
        ..ListParams::default()
    };
    let labels = in_namespace(PART_OF.to_owned());
    let found = view::list(cluster, &view::deployments(), labels, 1000)
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
        let pods = view::list(cluster, &view::pods(), in_namespace(labels), 1000)
            .await
            .context(|| format!("list the pods of {name}"))?;
        let Some(pod) = pods.iter().max_by_key(|pod| liveliness(pod)) else {
            continue;
        };
        let containers = view::at(pod, &["spec", "containers"]).and_then(Value::as_array);
        sources.push(Source {
            controller: name.to_owned(),
            namespace: namespace.to_owned(),
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

/// The lines of a log that can be read.
pub(super) async fn open(
    cluster: &KubeCluster,
    options: &LogsOptions,
    source: &Source,
    follow: bool,
) -> Result<impl Stream<Item = Result<LogLine>> + Send + use<>> {
    // kube writes both into the path.
    let (namespace, pod) = (path_segment(&source.namespace)?, path_segment(&source.pod)?);
    let pods: Api<Pod> = Api::namespaced(cluster.client().clone(), namespace);
    let params = LogParams {
        container: source.container.clone(),
        follow,
        limit_bytes: (!follow).then(|| i64::try_from(options.bytes).unwrap_or(i64::MAX)),
        // kube has its own version of the type.
        since_time: options.since.and_then(|at| at.to_string().parse().ok()),
        tail_lines: options.tail.map(i64::from),
        ..LogParams::default()
    };
    let reader = pods.log_stream(pod, &params).await.map_err(from_kube)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn long_lines_are_left_out_and_the_rest_is_kept() {
        let text = format!("a\n{}\n\nb\r\nlast", "x".repeat(LINE + 1));
        let reader = futures::io::BufReader::new(futures::io::Cursor::new(text.into_bytes()));
        let read: Vec<String> = lines(reader).map(Result::unwrap).collect().await;
        assert_eq!(read, ["a", "", "b\r", "last"]);
    }
}
