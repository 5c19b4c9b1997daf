//! Redis, from the machine's package.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::components::system_program;
use crate::ports::{free_port, open};
use crate::process::Process;
use crate::session::Session;

/// How to reach a running Redis.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Redis {
    /// `redis://127.0.0.1:PORT`.
    pub url: String,
    /// The port on 127.0.0.1.
    pub port: u16,
}

/// A running Redis; dropping it stops it.
#[derive(Debug)]
pub struct RedisServer {
    redis: Redis,
    _process: Process,
}

impl RedisServer {
    /// Starts a Redis that keeps nothing on disk.
    ///
    /// # Errors
    ///
    /// When `redis-server` is not installed or does not become ready.
    pub async fn start(session: &Session) -> Result<RedisServer> {
        let (name, dir) = session.data("redis")?;
        let port = free_port()?;
        let mut command = Command::new(system_program("redis-server")?);
        command
            .current_dir(&dir)
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
        command.args(["--save", "", "--appendonly", "no"]);
        let mut process = Process::spawn(session, &name, &mut command)?;
        process
            .ready(Duration::from_secs(20), async || open(port).await)
            .await?;
        let url = format!("redis://127.0.0.1:{port}");
        Ok(RedisServer {
            redis: Redis { url, port },
            _process: process,
        })
    }

    /// How to reach it.
    #[must_use]
    pub fn redis(&self) -> &Redis {
        &self.redis
    }
}
