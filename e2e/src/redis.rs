//! Redis, from the machine's package.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use rustix::process::Signal;
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
    session: Session,
    name: String,
    dir: PathBuf,
    process: Option<Process>,
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
        let mut server = RedisServer {
            redis: Redis {
                url: format!("redis://127.0.0.1:{port}"),
                port,
            },
            session: session.clone(),
            name,
            dir,
            process: None,
        };
        server.restart().await?;
        Ok(server)
    }

    /// How to reach it.
    #[must_use]
    pub fn redis(&self) -> &Redis {
        &self.redis
    }

    /// Kills it, as a crash would; what it had is gone.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again, on the same port and empty.
    ///
    /// # Errors
    ///
    /// When it does not become ready.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill();
        let port = self.redis.port;
        let mut command = Command::new(system_program("redis-server")?);
        command
            .current_dir(&self.dir)
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
        command.args(["--save", "", "--appendonly", "no"]);
        let process = Process::spawn(&self.session, &self.name, &mut command)?;
        self.process
            .insert(process)
            .ready(Duration::from_secs(60), async || open(port).await)
            .await
    }

    /// Stops it in its tracks: connections stay open, and nothing is answered.
    pub fn suspend(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        if let Some(process) = &self.process {
            process.signal(signal);
        }
    }
}
