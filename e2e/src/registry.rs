//! An OCI registry.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::components::{component, program};
use crate::go;
use crate::ports::{free_port, open};
use crate::process::Process;
use crate::session::Session;

/// How to reach a running registry.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Registry {
    /// `127.0.0.1:PORT`, as in the name of an image; it speaks plain HTTP.
    pub host: String,
}

/// What a registry is to do.
#[derive(Debug, Clone, Default)]
pub struct RegistryOptions {
    /// Whom it tells of pushes.
    pub notify: Option<Endpoint>,
}

/// A receiver of notifications.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Where they are posted to.
    pub url: String,
    /// The value of their `Authorization` header.
    pub authorization: String,
}

/// A running registry; dropping it stops it.
#[derive(Debug)]
pub struct RegistryServer {
    registry: Registry,
    _process: Process,
}

impl RegistryServer {
    /// Starts an empty registry; it is built first when the cache directory does not hold it yet.
    ///
    /// # Errors
    ///
    /// When it cannot be built or does not become ready.
    pub async fn start(session: &Session, options: &RegistryOptions) -> Result<RegistryServer> {
        let wanted = component("registry")?;
        tokio::task::spawn_blocking(move || go::build(&[wanted], |line| eprintln!("{line}")))
            .await
            .context("the build was interrupted")??;
        let (name, dir) = session.data("registry")?;
        let port = free_port()?;
        let host = format!("127.0.0.1:{port}");
        let config = dir.join("config.json");
        let mut settings = json!({
            "version": "0.1",
            "log": {"level": "info"},
            "storage": {"filesystem": {"rootdirectory": dir.join("storage")}, "delete": {"enabled": true}},
            "http": {"addr": host},
        });
        if let Some(endpoint) = &options.notify {
            settings["notifications"] = json!({"endpoints": [{
                "name": "hook",
                "url": endpoint.url,
                "headers": {"Authorization": [endpoint.authorization]},
                "timeout": "5s",
                "threshold": 3,
                "backoff": "1s",
            }]});
        }
        std::fs::write(&config, settings.to_string())
            .context("cannot write the registry's configuration")?;
        let mut command = Command::new(program("registry")?);
        command
            .env("OTEL_TRACES_EXPORTER", "none")
            .arg("serve")
            .arg(&config);
        let mut process = Process::spawn(session, &name, &mut command)?;
        process
            .ready(Duration::from_secs(60), async || open(port).await)
            .await?;
        Ok(RegistryServer {
            registry: Registry { host },
            _process: process,
        })
    }

    /// How to reach it.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }
}
