//! Helm charts, and a repository of them over HTTP.

use std::net::Ipv4Addr;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use base64::Engine as _;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::AbortHandle;

use crate::components::program;
use crate::process::run;
use crate::random_hex;
use crate::registry::Registry;
use crate::session::Session;

/// A chart, as the files that it consists of.
#[derive(Debug, Clone)]
pub struct Chart {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `values.yaml`.
    pub values: String,
    /// Its other files, by their path in the chart, for example `templates/map.yaml`.
    pub files: Vec<(String, String)>,
}

impl Chart {
    /// A chart without templates and values.
    #[must_use]
    pub fn new(name: &str, version: &str) -> Chart {
        Chart {
            name: name.to_owned(),
            version: version.to_owned(),
            values: String::new(),
            files: Vec::new(),
        }
    }

    /// With the default values.
    #[must_use]
    pub fn values(mut self, yaml: &str) -> Chart {
        yaml.clone_into(&mut self.values);
        self
    }

    /// With one file more.
    #[must_use]
    pub fn file(mut self, path: &str, content: &str) -> Chart {
        self.files.push((path.to_owned(), content.to_owned()));
        self
    }

    /// All files with their paths in the chart, `Chart.yaml` and `values.yaml` among them.
    #[must_use]
    pub fn all_files(&self) -> Vec<(String, String)> {
        let chart = json!({
            "apiVersion": "v2",
            "name": self.name,
            "version": self.version,
            "type": "application",
        });
        let mut all = vec![
            ("Chart.yaml".to_owned(), chart.to_string()),
            ("values.yaml".to_owned(), self.values.clone()),
        ];
        all.extend(self.files.iter().cloned());
        all
    }

    /// Runs `helm package`; the archive lies in `dir` and its path is returned.
    ///
    /// # Errors
    ///
    /// When a file cannot be written, or Helm finds fault with the chart.
    pub async fn package(&self, dir: &Path) -> Result<PathBuf> {
        let source = dir.join(format!(".{}-{}", self.name, random_hex(4)?));
        for (path, content) in &self.all_files() {
            let file = source.join(path);
            let folder = file.parent().unwrap_or(&source);
            std::fs::create_dir_all(folder)
                .and_then(|()| std::fs::write(&file, content))
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
        let mut command = helm(dir)?;
        command.arg("package").arg(&source).arg("--destination");
        run(command.arg(dir)).await?;
        std::fs::remove_dir_all(&source).context("cannot remove the chart's files")?;
        Ok(dir.join(format!("{}-{}.tgz", self.name, self.version)))
    }
}

/// Runs `helm push` of a chart to `oci://HOST/FOLDER`, and returns that URL, which is that of a HelmRepository of type `oci`.
///
/// # Errors
///
/// When Helm or the registry refuses.
pub async fn push_chart(registry: &Registry, folder: &str, chart: &Chart) -> Result<String> {
    let (_, dir) = Session::from_env()?.data("chart")?;
    let archive = chart.package(&dir).await?;
    let url = format!("oci://{}/{folder}", registry.host);
    let mut command = helm(&dir)?;
    command.arg("push").arg(archive).arg(&url);
    run(command.arg("--plain-http")).await?;
    Ok(url)
}

/// A Helm repository over HTTP. It is served by the test's own process, and ends with this value.
#[derive(Debug)]
pub struct ChartRepository {
    /// Its URL.
    pub url: String,
    /// The folder that is served: `index.yaml` and the charts.
    pub dir: PathBuf,
    server: AbortHandle,
}

impl ChartRepository {
    /// Starts an empty repository; with `login` it wants this name and password.
    ///
    /// # Errors
    ///
    /// When the process was not started by `cargo xtask e2e`, or cannot listen.
    pub async fn start(login: Option<(&str, &str)>) -> Result<ChartRepository> {
        let (_, dir) = Session::from_env()?.data("charts")?;
        let authorization = login.map(|(user, password)| {
            let engine = base64::engine::general_purpose::STANDARD;
            format!("Basic {}", engine.encode(format!("{user}:{password}")))
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("cannot listen on loopback")?;
        let port = listener.local_addr().context("no local address")?.port();
        let served: Arc<(PathBuf, Option<String>)> = Arc::new((dir.clone(), authorization));
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let served = Arc::clone(&served);
                // Errors here mean that the asking program is gone.
                tokio::spawn(async move { answer(stream, &served.0, served.1.as_deref()).await });
            }
        });
        let repository = ChartRepository {
            url: format!("http://127.0.0.1:{port}"),
            dir,
            server: server.abort_handle(),
        };
        repository.index().await?;
        Ok(repository)
    }

    /// Adds a chart, and writes the index again.
    ///
    /// # Errors
    ///
    /// When Helm finds fault with the chart.
    pub async fn add(&self, chart: &Chart) -> Result<()> {
        chart.package(&self.dir).await?;
        self.index().await
    }

    async fn index(&self) -> Result<()> {
        let mut command = helm(&self.dir)?;
        command.args(["repo", "index", "."]);
        run(&mut command).await.map(drop)
    }
}

impl Drop for ChartRepository {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Helm, away from the configuration of whoever runs the tests.
fn helm(dir: &Path) -> Result<Command> {
    let home = dir.with_extension("helm");
    let mut command = Command::new(program("helm")?);
    command
        .current_dir(dir)
        .env("HOME", &home)
        .env("HELM_CACHE_HOME", home.join("cache"))
        .env("HELM_CONFIG_HOME", home.join("config"))
        .env("HELM_DATA_HOME", home.join("data"));
    Ok(command)
}

/// Answers one request and closes the connection.
async fn answer(stream: TcpStream, dir: &Path, authorization: Option<&str>) -> Result<()> {
    let mut stream = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        let read = stream.read_line(&mut line).await?;
        if read == 0 || line.trim_end().is_empty() {
            break;
        }
        head.push(line.trim_end().to_owned());
    }
    let given = head.iter().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("authorization")
            .then(|| value.trim())
    });
    let path = head.first().and_then(|line| line.split(' ').nth(1));
    let path = Path::new(path.unwrap_or_default().trim_start_matches('/'));
    let plain = path
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    let (status, body) = if authorization.is_some() && given != authorization {
        ("401 Unauthorized", Vec::new())
    } else if let (true, Ok(body)) = (plain, tokio::fs::read(dir.join(path)).await) {
        ("200 OK", body)
    } else {
        ("404 Not Found", Vec::new())
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&body).await?;
    stream.shutdown().await?;
    Ok(())
}
