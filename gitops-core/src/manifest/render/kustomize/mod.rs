//! `kustomize build`.

mod edit;
mod held;
mod walk;
mod whole_tree;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use self::walk::Walk;
use super::paths::{self, Place, shown};
use super::process::{Finished, Run, Runner};
use super::program::{self, Network, ProgramOptions};
use super::redact::shorten;
use super::workdir::WorkDir;
use super::{Fingerprint, RenderRequest, Renderer, build_env};
use crate::application::{Kustomize, Render};
use crate::error::{Error, Result};
use crate::manifest::{ManifestSet, yaml};

const INSTALL: &str = "see https://kubectl.docs.kubernetes.io/installation/kustomize/ (`brew install kustomize`, \
     `go install sigs.k8s.io/kustomize/kustomize/v5@latest`)";

/// Renders kustomizations with the program `kustomize`, or with `kubectl kustomize` where there is only that.
///
/// The settings of the source are put into a copy of the kustomization by `kustomize edit`, as Argo CD 3.2 does (`util/kustomize`), which
/// `kubectl` cannot do: with it, settings are an error.
///
/// Before the program runs, every kustomization that it will read is looked at: a base that climbs out of the repository or is not there is
/// an error, and a remote one as well, unless [`Network::Allowed`]. Kustomize's own rules stay in force: files are loaded from below
/// their kustomization only, unless [`whole_tree`](Self::whole_tree) says otherwise, and no plugin, function or container is run. Charts
/// (`helmCharts`) need [`enable_helm`](Self::enable_helm).
#[derive(Clone, Debug, Default)]
pub struct KustomizeRenderer {
    options: ProgramOptions,
    versions: BTreeMap<String, PathBuf>,
    helm: Option<PathBuf>,
    whole_tree: bool,
    runner: Runner,
}

impl KustomizeRenderer {
    /// With options for running the program.
    pub fn new(options: ProgramOptions) -> Self {
        Self {
            options,
            ..Self::default()
        }
    }

    /// Uses `program` for sources that ask for kustomize `version` (`v4.5.7`).
    #[must_use]
    pub fn version(mut self, version: impl Into<String>, program: impl Into<PathBuf>) -> Self {
        self.versions.insert(version.into(), program.into());
        self
    }

    /// Lets kustomizations inflate charts (`--enable-helm`) with this helm.
    #[must_use]
    pub fn enable_helm(mut self, program: impl Into<PathBuf>) -> Self {
        self.helm = Some(program.into());
        self
    }

    /// Lets kustomizations load files from the whole tree, and not only from below their own directory, as Flux does. Kustomize then bounds
    /// nothing (`--load-restrictor LoadRestrictionsNone`), so this is done only for kustomizations that need it, and everything that they
    /// name is held to the tree before kustomize runs. Together with remote bases, or with plugins that a kustomization of its own
    /// configures, it is `Unsupported`: what these load cannot be told beforehand.
    #[must_use]
    pub fn whole_tree(mut self) -> Self {
        self.whole_tree = true;
        self
    }

    /// What kustomize prints, as it prints it: the objects as YAML documents parted by lines of `---`.
    ///
    /// # Errors
    /// Those of [`Renderer::render`], but the text is not read.
    pub async fn print(&self, request: &RenderRequest) -> Result<String> {
        let _slot = self.runner.slot().await;
        let (output, _) = self
            .options
            .in_time("rendering a kustomization", self.output(request))
            .await?;
        String::from_utf8(output).map_err(|_| Error::invalid("what kustomize printed is no UTF-8"))
    }

    fn program(&self, settings: &Kustomize) -> Result<PathBuf> {
        if settings.version.is_empty() {
            return program::locate(&self.options, &["kustomize", "kubectl"], INSTALL);
        }
        match self.versions.get(&settings.version) {
            Some(program) => program::locate_given(program, INSTALL),
            None => Err(Error::unsupported(
                &format!(
                    "kustomize version {:?}, for which no program was named",
                    settings.version
                ),
                "this renderer",
            )),
        }
    }
}

fn is_kubectl(program: &Path) -> bool {
    program
        .file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name.starts_with("kubectl"))
}

fn settings(request: &RenderRequest) -> Kustomize {
    match &request.source.render {
        Render::Kustomize(settings) => (**settings).clone(),
        _ => Kustomize::default(),
    }
}

/// One rendering under way.
struct Build<'a> {
    renderer: &'a KustomizeRenderer,
    request: &'a RenderRequest,
    program: PathBuf,
    work: WorkDir,
    walk: Walk<'a>,
    /// The kustomization's directory in the tree.
    dir: String,
    /// Whether files may be loaded from the whole tree.
    whole_tree: bool,
}

impl Build<'_> {
    async fn run(&self, what: &str, args: Vec<OsString>) -> Result<Vec<u8>> {
        let run = Run {
            program: &self.program,
            args,
            cwd: &self.work.tree().join(&self.dir),
            home: &self.work.home(),
            env: build_env::variables(self.request),
            what,
        };
        let Finished {
            success,
            stdout,
            stderr,
        } = self
            .renderer
            .runner
            .run(&self.renderer.options, run)
            .await?;
        if success {
            return Ok(stdout);
        }
        let message = self.work.clean(stderr.trim());
        let message: Vec<&str> = message
            .lines()
            .filter(|line| !line.starts_with("# Warning: "))
            .collect();
        let message = message.join("\n");
        let message = message.trim_start();
        let message = ["Error: ", "error: "]
            .iter()
            .find_map(|prefix| message.strip_prefix(prefix))
            .unwrap_or(message);
        Err(Error::invalid(format!(
            "{what} of {} failed: {}",
            shown(&self.request.tree, &self.dir),
            shorten(&self.walk.masker().mask(message))
        )))
    }

    async fn build(&self, settings: &Kustomize) -> Result<Vec<u8>> {
        let kubectl = is_kubectl(&self.program);
        let mut args: Vec<OsString> = vec![if kubectl { "kustomize" } else { "build" }.into()];
        if let Some(helm) = &self.renderer.helm {
            args.extend(["--enable-helm".into(), "--helm-command".into(), helm.into()]);
            let capabilities = &self.request.capabilities;
            let version = Some(&settings.kube_version)
                .filter(|version| !version.is_empty())
                .unwrap_or(&capabilities.kube_version);
            let apis = Some(&settings.api_versions)
                .filter(|versions| !versions.is_empty())
                .unwrap_or(&capabilities.api_versions);
            if !version.is_empty() && !kubectl {
                args.extend(["--helm-kube-version".into(), version.into()]);
            }
            for api in apis.iter().filter(|_| !kubectl) {
                args.extend(["--helm-api-versions".into(), api.into()]);
            }
        }
        if self.whole_tree {
            args.extend(["--load-restrictor".into(), "LoadRestrictionsNone".into()]);
        }
        args.extend(["--".into(), ".".into()]);
        let what = if kubectl {
            "kubectl kustomize"
        } else {
            "kustomize build"
        };
        self.run(what, args).await
    }
}

/// What is known before anything runs.
struct Plan<'a> {
    settings: Kustomize,
    program: PathBuf,
    walk: Walk<'a>,
    dir: String,
    components: Vec<String>,
    whole_tree: bool,
}

impl KustomizeRenderer {
    fn plan<'a>(&self, request: &'a RenderRequest) -> Result<Plan<'a>> {
        let settings = settings(request);
        let program = self.program(&settings)?;
        let tree = &request.tree;
        let Some(Place::Directory(dir)) = paths::resolve(tree, &request.path)? else {
            return Err(Error::not_found(format!(
                "directory {} does not exist at revision {}",
                shown(tree, &request.path),
                tree.revision
            )));
        };
        let mut walk = Walk::new(tree, self.options.network(), self.helm.is_some())
            .whole_tree(self.whole_tree);
        walk.start(&dir)?;
        let components = edit::components(&settings, tree, &dir, &mut walk)?;
        edit::patches(&settings, &dir, &mut walk)?;
        walk.finish()?;
        let whole_tree = walk.needs_whole_tree()?;
        Ok(Plan {
            settings,
            program,
            walk,
            dir,
            components,
            whole_tree,
        })
    }

    /// What kustomize prints, and the kustomization's directory in the tree.
    async fn output(&self, request: &RenderRequest) -> Result<(Vec<u8>, String)> {
        let Plan {
            settings,
            program,
            walk,
            dir,
            components,
            whole_tree,
        } = self.plan(request)?;
        let work = WorkDir::new(&request.tree, &walk.directories()).await?;
        let build = Build {
            renderer: self,
            request,
            program,
            work,
            walk,
            dir,
            whole_tree,
        };
        build.edit(&settings, &components).await?;
        Ok((build.build(&settings).await?, build.dir))
    }

    async fn run(&self, request: &RenderRequest) -> Result<ManifestSet> {
        let (output, dir) = self.output(request).await?;
        let file = format!("{} (kustomize)", shown(&request.tree, &dir));
        program::off_thread(move || ManifestSet::from_objects(yaml::parse(&file, &output)?)).await
    }
}

#[async_trait]
impl Renderer for KustomizeRenderer {
    async fn render(&self, request: &RenderRequest) -> Result<ManifestSet> {
        let _slot = self.runner.slot().await;
        self.options
            .in_time("rendering a kustomization", self.run(request))
            .await
    }

    fn fingerprint(&self, request: &RenderRequest) -> Option<Fingerprint> {
        if self.options.network != Network::Denied {
            return None;
        }
        let plan = self.plan(request).ok()?;
        let mut print = Fingerprint::new("kustomize", request)?
            .text(&program::identity(&plan.program)?)
            .text(&program::env_digest(&self.options));
        if let Some(helm) = &self.helm {
            print = print.text("helm").text(&program::identity(helm)?);
        }
        if self.whole_tree {
            print = print.text("whole tree");
        }
        // With variables put in for their names.
        for (what, args) in edit::commands(request, &plan.settings, &plan.components).ok()? {
            print = args
                .iter()
                .fold(print.text(what), |print, arg| print.text(arg));
        }
        // Kustomize's generators read variables.
        if plan.walk.mentions(b"ARGOCD_APP_") {
            print = print.build_environment(request);
        }
        Some(print.paths(&request.tree, plan.walk.directories()))
    }
}
