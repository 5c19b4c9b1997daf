//! `helm template`.

mod chart;
mod output;
mod values;

use std::ffi::OsString;
use std::path::PathBuf;

use async_trait::async_trait;

use self::chart::Chart;
use self::values::Inputs;
use super::paths::shown;
use super::process::{Finished, Run, Runner};
use super::program::{self, Network, ProgramOptions};
use super::workdir::WorkDir;
use super::{Fingerprint, RenderRequest, Renderer, build_env};
use crate::application::{Helm, Render};
use crate::error::{Error, Result};
use crate::manifest::{ManifestSet, Tree};

const INSTALL: &str = "see https://helm.sh/docs/intro/install/ (`brew install helm`, `go install helm.sh/helm/v3/cmd/helm@latest`)";

/// Renders charts with the program `helm`, as Argo CD 3.2 does (`util/helm`, `reposerver/repository`).
///
/// The chart's `crds/` come with it unless the source says otherwise, and hooks are objects like others, with their annotations. Value files
/// may lie outside of the chart, anywhere in the repository, and in other sources (`$ref/path`); a path with `/` at its front begins at the
/// repository's root. Values and parameters reach helm through private files, not through its command line, wherever helm's syntax
/// allows that; they are taken out of its error messages.
///
/// Dependencies that are missing from `charts/` are put there in the private copy (`helm dependency build`): those on other charts of the
/// repository (`file://`) always, others when [`Network::Allowed`].
#[derive(Clone, Debug, Default)]
pub struct HelmRenderer {
    options: ProgramOptions,
    runner: Runner,
}

impl HelmRenderer {
    /// With options for running the program.
    pub fn new(options: ProgramOptions) -> Self {
        Self {
            options,
            runner: Runner::default(),
        }
    }

    fn program(&self) -> Result<PathBuf> {
        program::locate(&self.options, &["helm"], INSTALL)
    }
}

fn settings(request: &RenderRequest) -> Helm {
    match &request.source.render {
        Render::Helm(settings) => (**settings).clone(),
        _ => Helm::default(),
    }
}

/// One rendering under way.
struct Template<'a> {
    renderer: &'a HelmRenderer,
    request: &'a RenderRequest,
    program: PathBuf,
    work: WorkDir,
    chart: Chart<'a>,
    inputs: Inputs,
}

impl Template<'_> {
    async fn run(&self, what: &str, args: Vec<OsString>) -> Result<Finished> {
        let home = self.work.home();
        let mut env = build_env::variables(self.request);
        for (name, part) in [
            ("HELM_CACHE_HOME", "cache"),
            ("HELM_CONFIG_HOME", "config"),
            ("HELM_DATA_HOME", "data"),
            ("HELM_PLUGINS", "plugins"),
        ] {
            env.insert(name.to_owned(), home.join(part).display().to_string());
        }
        let run = Run {
            program: &self.program,
            args,
            cwd: &self.work.tree().join(&self.chart.dir),
            home: &home,
            env,
            what,
        };
        self.renderer.runner.run(&self.renderer.options, run).await
    }

    fn failed(&self, what: &str, stderr: &str) -> Error {
        let message = self.inputs.named(&self.work.clean(stderr.trim()));
        let mut masker = self.inputs.masker();
        self.chart.hold_defaults(&mut masker);
        masker.keep_what_is_in(&self.chart.public());
        output::failure(what, &self.chart.names(), &message, &masker)
    }

    fn args(&self, settings: &Helm) -> Vec<OsString> {
        let request = self.request;
        let given = |own: &str, other: &str| {
            if own.is_empty() {
                other.to_owned()
            } else {
                own.to_owned()
            }
        };
        let mut args: Vec<OsString> = vec!["template".into()];
        let mut option = |name: &str, value: OsString| args.extend([name.into(), value]);
        let namespace = given(&settings.namespace, &request.namespace);
        if !namespace.is_empty() {
            option("--namespace", namespace.into());
        }
        let version = given(&settings.kube_version, &request.capabilities.kube_version);
        if !version.is_empty() {
            option("--kube-version", version.into());
        }
        for (name, value) in &self.inputs.options {
            option(name, value.clone());
        }
        let apis = match settings.api_versions.as_slice() {
            [] => &request.capabilities.api_versions,
            _ => &settings.api_versions,
        };
        for api in apis {
            option("--api-versions", api.into());
        }
        for (on, flag) in [
            (!settings.skip_crds, "--include-crds"),
            (settings.skip_schema_validation, "--skip-schema-validation"),
            (settings.skip_tests, "--skip-tests"),
        ] {
            if on {
                args.push(flag.into());
            }
        }
        let name = given(&settings.release_name, &request.app_name);
        args.extend(["--".into(), name.into(), ".".into()]);
        args
    }

    async fn template(&self, settings: &Helm) -> Result<Vec<u8>> {
        let args = self.args(settings);
        let mut finished = self.run("helm template", args.clone()).await?;
        if !finished.success && output::misses_dependencies(&finished.stderr) {
            self.chart
                .check_dependencies(self.renderer.options.network())?;
            let mut build: Vec<OsString> = vec!["dependency".into(), "build".into()];
            if !self.renderer.options.network() {
                build.push("--skip-refresh".into());
            }
            build.extend(["--".into(), ".".into()]);
            let built = self.run("helm dependency build", build).await?;
            if !built.success {
                return Err(self.failed("helm dependency build", &built.stderr));
            }
            finished = self.run("helm template", args).await?;
        }
        match finished.success {
            true => Ok(finished.stdout),
            false => Err(self.failed("helm template", &finished.stderr)),
        }
    }
}

impl HelmRenderer {
    async fn run(&self, request: &RenderRequest) -> Result<ManifestSet> {
        let settings = settings(request);
        if settings.version.trim_start_matches('v').starts_with('2') {
            return Err(Error::unsupported("charts for helm 2", "this renderer"));
        }
        let program = self.program()?;
        let network = self.options.network();
        let chart = Chart::open(&request.tree, &request.path)?;
        chart.check_schemas(network)?;
        let mut work = WorkDir::new(&request.tree, &chart.directories()?).await?;
        let inputs = Inputs::collect(request, &settings, &chart.dir, network, &mut work)?;
        let template = Template {
            renderer: self,
            request,
            program,
            work,
            chart,
            inputs,
        };
        let output = template.template(&settings).await?;
        let names = template.chart.names();
        program::off_thread(move || ManifestSet::from_objects(output::parse(&names, &output)?))
            .await
            .map_err(|error| {
                // What is wrong with an object may be a value.
                let message = template.inputs.masker().mask(&error.to_string());
                Error::new(error.kind(), message)
            })
    }
}

#[async_trait]
impl Renderer for HelmRenderer {
    async fn render(&self, request: &RenderRequest) -> Result<ManifestSet> {
        let _slot = self.runner.slot().await;
        self.options
            .in_time("rendering a chart", self.run(request))
            .await
    }

    fn fingerprint(&self, request: &RenderRequest) -> Option<Fingerprint> {
        if self.options.network != Network::Denied {
            return None;
        }
        let chart = Chart::open(&request.tree, &request.path).ok()?;
        let print = Fingerprint::new("helm", request)?
            .text(&program::identity(&self.program().ok()?)?)
            .text(&program::env_digest(&self.options))
            .paths(&request.tree, chart.directories().ok()?);
        values::fingerprint(print, request, &settings(request), &chart.dir)
    }
}

/// Where the chart is, for messages.
fn place(tree: &Tree, dir: &str) -> String {
    shown(tree, dir)
}
