//! etcd and the API server, with the controller-manager and the scheduler where wanted.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use serde_json::json;

use crate::cluster::{ADMIN, Cluster, USERS, User};
use crate::components::{program, system_program};
use crate::ports::free_port;
use crate::process::{Process, run};
use crate::random_hex;
use crate::session::Session;

const DEADLINE: Duration = Duration::from_secs(180);

/// What a control plane consists of.
#[derive(Debug, Clone, Default)]
pub struct ControlPlaneOptions {
    /// Also start the controller-manager (all controllers) and the scheduler. Without them namespaces are never removed,
    /// nothing is garbage collected, and pods need `automountServiceAccountToken: false` and a service account made by hand.
    pub controllers: bool,
    /// No audit log; for measurements.
    pub no_audit: bool,
    /// Further arguments of the API server.
    pub apiserver_args: Vec<String>,
}

impl ControlPlaneOptions {
    /// With controller-manager and scheduler.
    #[must_use]
    pub fn with_controllers() -> Self {
        ControlPlaneOptions {
            controllers: true,
            ..ControlPlaneOptions::default()
        }
    }
}

/// A running control plane; dropping it stops its servers.
#[derive(Debug)]
pub struct ControlPlane {
    name: String,
    session: Session,
    cluster: Cluster,
    apiserver_args: Vec<String>,
    // Dropped in this order.
    scheduler: Option<Process>,
    controller_manager: Option<Process>,
    apiserver: Option<Process>,
    etcd: Process,
}

impl ControlPlane {
    /// Starts a control plane and waits until it is ready: about four seconds.
    ///
    /// # Errors
    ///
    /// When a component is not built, or does not become ready; the message has the end of its log.
    pub async fn start(session: &Session, options: &ControlPlaneOptions) -> Result<ControlPlane> {
        let (name, dir) = session.data("cluster")?;
        let etcd_url = format!("http://127.0.0.1:{}", free_port()?);
        let peer_url = format!("http://127.0.0.1:{}", free_port()?);
        let etcd = Process::spawn(
            session,
            &format!("{name}.etcd"),
            Command::new(program("etcd")?)
                .arg("--data-dir")
                .arg(dir.join("etcd"))
                .args([
                    "--listen-client-urls",
                    &etcd_url,
                    "--advertise-client-urls",
                    &etcd_url,
                ])
                .args([
                    "--listen-peer-urls",
                    &peer_url,
                    "--initial-advertise-peer-urls",
                    &peer_url,
                ])
                .args(["--initial-cluster", &format!("default={peer_url}")])
                // Nothing in a test's cluster is worth waiting for the disk.
                .args(["--unsafe-no-fsync", "--log-level=warn"]),
        )?;

        let users = make_users()?;
        let port = free_port()?;
        let certificates = dir.join("certificates");
        let key = service_account_key(&dir).await?;
        let tokens = dir.join("tokens.csv");
        let lines: String = users
            .iter()
            .map(|u| {
                format!(
                    "{},{},{},\"{}\"\n",
                    u.token,
                    u.name,
                    u.name,
                    u.groups.join(",")
                )
            })
            .collect();
        std::fs::write(&tokens, lines).context("cannot write the token file")?;
        let audit_log = session.logs().join(format!("{name}.audit.log"));
        let mut args = vec![
            format!("--etcd-servers={etcd_url}"),
            format!("--cert-dir={}", certificates.display()),
            format!("--secure-port={port}"),
            "--bind-address=127.0.0.1".to_owned(),
            "--advertise-address=127.0.0.1".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", key.display()),
            format!("--service-account-signing-key-file={}", key.display()),
            format!("--token-auth-file={}", tokens.display()),
            "--authorization-mode=RBAC".to_owned(),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            "--endpoint-reconciler-type=none".to_owned(),
            "--allow-privileged=true".to_owned(),
        ];
        if !options.no_audit {
            let policy = dir.join("audit-policy.json");
            let rules = json!({
                "apiVersion": "audit.k8s.io/v1",
                "kind": "Policy",
                "omitStages": ["RequestReceived", "ResponseStarted"],
                "rules": [{"level": "Metadata"}],
            });
            std::fs::write(&policy, rules.to_string()).context("cannot write the audit policy")?;
            args.push(format!("--audit-policy-file={}", policy.display()));
            args.push(format!("--audit-log-path={}", audit_log.display()));
            // Megabytes; after 100 it would begin a new file, and who counts events would miss the old ones.
            args.push("--audit-log-maxsize=100000".to_owned());
        }
        args.extend(options.apiserver_args.iter().cloned());

        let mut plane = ControlPlane {
            name,
            session: session.clone(),
            cluster: Cluster {
                server: format!("https://127.0.0.1:{port}"),
                ca: String::new(),
                users,
                dir: dir.clone(),
                audit_log,
                controllers: options.controllers,
            },
            apiserver_args: args,
            scheduler: None,
            controller_manager: None,
            apiserver: None,
            etcd,
        };
        plane.spawn_apiserver()?;
        plane
            .learn_certificate(certificates.join("apiserver.crt"))
            .await?;
        plane.wait_apiserver().await?;
        if options.controllers {
            plane.start_controllers().await?;
        }
        Ok(plane)
    }

    /// How to reach it.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Kills the API server, as a crash would. etcd keeps the data.
    pub fn kill_apiserver(&mut self) {
        self.apiserver = None;
    }

    /// Starts a killed API server again, on the same port with the same certificate, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// When it does not become ready.
    pub async fn start_apiserver(&mut self) -> Result<()> {
        if self.apiserver.is_none() {
            self.spawn_apiserver()?;
        }
        self.wait_apiserver().await
    }

    /// Kills the API server and starts it again: about three seconds.
    ///
    /// # Errors
    ///
    /// When it does not become ready.
    pub async fn restart_apiserver(&mut self) -> Result<()> {
        self.kill_apiserver();
        self.start_apiserver().await
    }

    /// Stops the API server in its tracks: connections stay open and nothing answers, until [`ControlPlane::resume_apiserver`].
    pub fn suspend_apiserver(&self) {
        if let Some(server) = &self.apiserver {
            server.signal(Signal::STOP);
        }
    }

    /// Lets a suspended API server go on.
    pub fn resume_apiserver(&self) {
        if let Some(server) = &self.apiserver {
            server.signal(Signal::CONT);
        }
    }

    /// The process ids of the API server (if it runs) and of etcd, for measurements.
    #[must_use]
    pub fn pids(&self) -> (Option<u32>, u32) {
        (self.apiserver.as_ref().map(Process::pid), self.etcd.pid())
    }

    /// The file that signs the tokens of service accounts.
    fn key(&self) -> PathBuf {
        self.cluster.dir.join("service-accounts.key")
    }

    fn spawn_apiserver(&mut self) -> Result<()> {
        let name = format!("{}.kube-apiserver", self.name);
        let mut command = Command::new(program("kube-apiserver")?);
        command.args(&self.apiserver_args);
        self.apiserver = Some(Process::spawn(&self.session, &name, &mut command)?);
        Ok(())
    }

    /// The API server makes its own certificate authority when it is first started.
    async fn learn_certificate(&mut self, path: PathBuf) -> Result<()> {
        let server = self
            .apiserver
            .as_mut()
            .context("the API server was not started")?;
        let read = || {
            std::fs::read_to_string(&path)
                .ok()
                .filter(|pem| pem.trim_end().ends_with("-----END CERTIFICATE-----"))
        };
        server.ready(DEADLINE, async || read().is_some()).await?;
        self.cluster.ca = read().context("the API server's certificate is gone")?;
        self.cluster.write_kubeconfigs()
    }

    async fn wait_apiserver(&mut self) -> Result<()> {
        let cluster = &self.cluster;
        let server = self
            .apiserver
            .as_mut()
            .context("the API server was not started")?;
        server
            .ready(DEADLINE, async || cluster.is_ready().await)
            .await
    }

    async fn start_controllers(&mut self) -> Result<()> {
        let kubeconfig = self.cluster.kubeconfig();
        let ca = self.cluster.dir.join("ca.crt");
        std::fs::write(&ca, &self.cluster.ca).context("cannot write the certificate")?;
        let mut process = Process::spawn(
            &self.session,
            &format!("{}.kube-controller-manager", self.name),
            Command::new(program("kube-controller-manager")?)
                .arg("--kubeconfig")
                .arg(&kubeconfig)
                .arg("--root-ca-file")
                .arg(&ca)
                .arg("--service-account-private-key-file")
                .arg(self.key())
                .arg(format!(
                    "--cert-dir={}",
                    self.cluster.dir.join("controller-manager").display()
                ))
                .args(["--leader-elect=false", "--bind-address=127.0.0.1"])
                .arg(format!("--secure-port={}", free_port()?)),
        )?;
        self.scheduler = Some(Process::spawn(
            &self.session,
            &format!("{}.kube-scheduler", self.name),
            Command::new(program("kube-scheduler")?)
                .arg("--kubeconfig")
                .arg(&kubeconfig)
                .arg(format!(
                    "--cert-dir={}",
                    self.cluster.dir.join("scheduler").display()
                ))
                .args(["--leader-elect=false", "--bind-address=127.0.0.1"])
                .arg(format!("--secure-port={}", free_port()?)),
        )?);
        // The first thing that its controllers do for everybody: a namespace gets its service account.
        let cluster = &self.cluster;
        let probe = async || {
            let get = [
                "get",
                "serviceaccount",
                "default",
                "--namespace=default",
                "--request-timeout=2s",
            ];
            cluster.kubectl(&get).await.is_ok()
        };
        process.ready(DEADLINE, probe).await?;
        self.controller_manager = Some(process);
        Ok(())
    }
}

fn make_users() -> Result<Vec<User>> {
    let mut users = vec![User {
        name: ADMIN.to_owned(),
        groups: vec!["system:masters".to_owned()],
        token: random_hex(16)?,
    }];
    for name in USERS {
        users.push(User {
            name: name.to_owned(),
            groups: vec!["e2e:users".to_owned()],
            token: random_hex(16)?,
        });
    }
    Ok(users)
}

async fn service_account_key(dir: &std::path::Path) -> Result<PathBuf> {
    let key = dir.join("service-accounts.key");
    let mut command = tokio::process::Command::new(system_program("ssh-keygen")?);
    command
        .args([
            "-q", "-t", "ecdsa", "-b", "256", "-m", "PEM", "-N", "", "-f",
        ])
        .arg(&key);
    run(&mut command).await?;
    Ok(key)
}
