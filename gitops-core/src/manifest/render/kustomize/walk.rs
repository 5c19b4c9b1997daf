//! What a kustomization reaches, looked at before kustomize loads any of it.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::super::KUSTOMIZATIONS;
use super::super::fold::fold;
use super::super::paths::{self, Place, join, join_inside, shown};
use super::super::redact::Masker;
use super::held;
use super::whole_tree::WholeTree;
use crate::error::{Error, Result};
use crate::manifest::{Tree, TreeEntry, yaml};

/// Fields that name files or other kustomizations.
const REFERENCES: [&str; 6] = [
    "resources",
    "bases",
    "components",
    "generators",
    "transformers",
    "validators",
];
/// Those of them whose files configure plugins, which may load files of their own.
const PLUGINS: [&str; 3] = ["generators", "transformers", "validators"];
/// Fields that name files only.
const FILES: [&str; 2] = ["crds", "configurations"];

/// Follows references from kustomization to kustomization.
pub(super) struct Walk<'t> {
    pub(super) tree: &'t Tree,
    /// Whether remote references are followed, by kustomize.
    network: bool,
    helm: bool,
    /// What loading files from the whole tree takes, where that is allowed.
    pub(super) whole_tree: Option<WholeTree>,
    seen: BTreeSet<String>,
    queue: Vec<String>,
    /// Directories besides the kustomizations' own that are needed.
    pub(super) more: BTreeSet<String>,
    /// Patches and generators hold what messages must not.
    held: Vec<Value>,
}

impl<'t> Walk<'t> {
    pub(super) fn new(tree: &'t Tree, network: bool, helm: bool) -> Self {
        Self {
            tree,
            network,
            helm,
            whole_tree: None,
            seen: BTreeSet::new(),
            queue: Vec::new(),
            more: BTreeSet::new(),
            held: Vec::new(),
        }
    }

    /// Begins with the directory of a kustomization, and follows everything from there.
    pub(super) fn start(&mut self, dir: &str) -> Result<()> {
        self.queue.push(dir.to_owned());
        if self.kustomization(dir)?.is_none() {
            return Err(Error::not_found(format!(
                "{} has no kustomization file ({})",
                shown(self.tree, dir),
                KUSTOMIZATIONS.join(", ")
            )));
        }
        Ok(())
    }

    /// Follows what is left.
    pub(super) fn finish(&mut self) -> Result<()> {
        while let Some(dir) = self.queue.pop() {
            if self.seen.insert(dir.clone())
                && let Some((file, kustomization)) = self.kustomization(&dir)?
            {
                self.look(&dir, &file, &kustomization)?;
            }
        }
        Ok(())
    }

    /// The directories, and files outside of them, that kustomize needs.
    pub(super) fn directories(&self) -> BTreeSet<String> {
        self.seen.union(&self.more).cloned().collect()
    }

    /// Whether a file that kustomize may read holds this.
    pub(super) fn mentions(&self, what: &[u8]) -> bool {
        let holds = |bytes: &[u8]| bytes.windows(what.len()).any(|window| window == what);
        self.directories()
            .iter()
            .flat_map(|path| paths::at_and_below(self.tree, path))
            .filter_map(|(_, entry)| entry.bytes())
            .any(|bytes| holds(bytes))
    }

    /// A directory's kustomization, with its file for messages. One that is not an object is left to kustomize's own words.
    fn kustomization(&self, dir: &str) -> Result<Option<(String, Map<String, Value>)>> {
        for name in KUSTOMIZATIONS {
            let path = join(dir, name);
            if let Some(bytes) = paths::file(self.tree, &path)? {
                let file = shown(self.tree, &path);
                return Ok(match fold(&file, yaml::parse_value(&file, bytes)?)? {
                    Value::Object(map) => Some((file, map)),
                    _ => Some((file, Map::new())),
                });
            }
        }
        Ok(None)
    }

    fn look(&mut self, dir: &str, file: &str, kustomization: &Map<String, Value>) -> Result<()> {
        // Names are shown as people write them, and looked up as they were folded.
        let list = |field: &str| {
            let items = kustomization
                .get(&field.to_ascii_lowercase())
                .and_then(Value::as_array);
            items.into_iter().flatten()
        };
        for field in REFERENCES {
            for entry in list(field).filter_map(Value::as_str) {
                let place = format!("{file}: {field}");
                self.reference(dir, &place, entry)?;
                if PLUGINS.contains(&field) {
                    self.plugin(dir, &place, entry)?;
                }
            }
        }
        for field in FILES {
            for entry in list(field).filter_map(Value::as_str) {
                self.file(dir, &format!("{file}: {field}"), entry)?;
            }
        }
        if let Some(path) = kustomization
            .get("openapi")
            .and_then(|openapi| openapi.get("path"))
            .and_then(Value::as_str)
        {
            self.file(dir, &format!("{file}: openapi"), path)?;
        }
        for field in [
            "patches",
            "patchesJson6902",
            "patchesStrategicMerge",
            "replacements",
        ] {
            for patch in list(field) {
                self.patch(dir, &format!("{file}: {field}"), patch)?;
            }
        }
        for field in ["configMapGenerator", "secretGenerator"] {
            for generator in list(field) {
                self.generator(dir, &format!("{file}: {field}"), generator)?;
            }
        }
        for field in ["helmCharts", "helmChartInflationGenerator"] {
            for chart in list(field) {
                let home = chart
                    .get("charthome")
                    .or_else(|| {
                        kustomization
                            .get("helmglobals")
                            .and_then(|globals| globals.get("charthome"))
                    })
                    .and_then(Value::as_str);
                self.chart(
                    dir,
                    &format!("{file}: {field}"),
                    chart,
                    home.unwrap_or("charts"),
                )?;
            }
        }
        Ok(())
    }

    /// Something that kustomize loads as a file, else as a kustomization: it must be in the tree, or the network allowed.
    pub(super) fn reference(&mut self, dir: &str, place: &str, entry: &str) -> Result<()> {
        // Generators and transformers may stand inline.
        if entry.trim().contains('\n') {
            self.held.push(Value::from(entry));
            return self.inflators(dir, place, entry.as_bytes());
        }
        if !entry.starts_with('/')
            && let Some(path) = join_inside(dir, entry)
        {
            let found = paths::resolve(self.tree, &path)?;
            if found.is_some() {
                // With the links that it leads through.
                self.more.insert(path);
            }
            match found {
                Some(Place::Directory(path)) => {
                    self.queue.push(path);
                    return Ok(());
                }
                // Kustomize itself refuses a file that is not below the kustomization, unless it was told not to.
                Some(Place::File(path)) => {
                    self.note_outside(dir, &path);
                    let bytes = self.tree.get(&path).and_then(TreeEntry::bytes);
                    return match bytes {
                        Some(bytes) if self.helm => self.inflators(dir, place, &bytes.clone()),
                        _ => Ok(()),
                    };
                }
                None => {}
            }
        }
        if is_remote(entry) {
            return self.remote(place, entry);
        }
        if entry.starts_with('/') || join_inside(dir, entry).is_none() {
            return Err(Error::invalid(format!(
                "{place}: {entry:?} leads out of the repository"
            )));
        }
        Err(Error::invalid(format!("{place}: {entry:?} does not exist")))
    }

    /// A file: kustomize fetches URLs, and refuses by itself what is not below the kustomization, unless it was told not to.
    pub(super) fn file(&mut self, dir: &str, place: &str, entry: &str) -> Result<()> {
        if is_url(entry) {
            return self.remote(place, entry);
        }
        self.file_of_tree(dir, place, entry)
    }

    fn remote(&mut self, place: &str, entry: &str) -> Result<()> {
        if self.network {
            // What it holds is not known here.
            self.note_against(|| format!("{place}: {:?}", crate::error::redact_url(entry)));
            return Ok(());
        }
        Err(Error::invalid(format!(
            "{place}: {:?} is remote, and rendering may not use the network",
            crate::error::redact_url(entry)
        )))
    }

    /// A patch: a text, or an object with `patch` or `path`.
    pub(super) fn patch(&mut self, dir: &str, place: &str, patch: &Value) -> Result<()> {
        self.held.push(patch.clone());
        let path = match patch {
            Value::String(text) if !text.contains('\n') => Some(text.as_str()),
            Value::Object(map) => map.get("path").and_then(Value::as_str),
            _ => None,
        };
        if let Some(path) = path {
            self.file(dir, place, path)?;
            self.hold_file(dir, path)?;
        }
        Ok(())
    }

    fn generator(&mut self, dir: &str, place: &str, generator: &Value) -> Result<()> {
        if let Some(literals) = generator.get("literals") {
            self.held.push(literals.clone());
        }
        for field in ["files", "envs", "env"] {
            let entries = match generator.get(field) {
                Some(Value::Array(entries)) => entries.as_slice(),
                Some(entry) => std::slice::from_ref(entry),
                None => &[],
            };
            for entry in entries.iter().filter_map(Value::as_str) {
                let path = match field {
                    "files" => entry.split_once('=').map_or(entry, |(_, path)| path),
                    _ => entry,
                };
                self.file(dir, place, path)?;
                self.hold_file(dir, path)?;
            }
        }
        Ok(())
    }

    fn chart(&mut self, dir: &str, place: &str, chart: &Value, home: &str) -> Result<()> {
        if !self.helm {
            return Err(Error::unsupported(
                &format!("charts ({place}), which were not enabled"),
                "this kustomize renderer",
            ));
        }
        self.held.extend(chart.get("valuesinline").cloned());
        let text = |field| chart.get(field).and_then(Value::as_str).unwrap_or_default();
        let leaves =
            |path: &str| Error::invalid(format!("{place}: {path:?} leads out of the repository"));
        let inside = |path: &str| match path.starts_with('/') {
            true => Err(leaves(path)),
            false => join_inside(dir, path).ok_or_else(|| leaves(path)),
        };
        let home = inside(home)?;
        for path in [text("confighome"), text("name")] {
            inside(path)?;
        }
        let files = chart.get("additionalvaluesfiles").and_then(Value::as_array);
        for path in files
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .chain([text("valuesfile")])
        {
            self.file(dir, place, path)?;
            self.hold_file(dir, path)?;
        }
        let (name, version, repo) = (text("name"), text("version"), text("repo"));
        let at = match version.is_empty() || repo.is_empty() {
            true => join(&home, name),
            false => join(&join(&home, &format!("{name}-{version}")), name),
        };
        match paths::resolve(self.tree, &at)? {
            Some(_) => {
                self.more.insert(home);
                Ok(())
            }
            None if repo.is_empty() => Err(Error::invalid(format!(
                "{place}: chart {name:?} does not exist"
            ))),
            None => self.remote(place, repo),
        }
    }

    /// Looks at generators that inflate charts: what they name is not loaded by kustomize but by helm, which knows no bounds.
    fn inflators(&mut self, dir: &str, place: &str, bytes: &[u8]) -> Result<()> {
        if !bytes
            .windows(13)
            .any(|window| window.eq_ignore_ascii_case(b"HelmChartInfl"))
        {
            return Ok(());
        }
        for document in yaml::parse_values(place, bytes)? {
            let generator = fold(place, document.value)?;
            if generator.get("kind").and_then(Value::as_str) == Some("HelmChartInflationGenerator")
            {
                let home = generator
                    .get("charthome")
                    .and_then(Value::as_str)
                    .unwrap_or("charts")
                    .to_owned();
                self.chart(dir, place, &generator, &home)?;
            }
        }
        Ok(())
    }

    fn hold_file(&mut self, dir: &str, path: &str) -> Result<()> {
        if let Some(path) = join_inside(dir, path)
            && let Ok(Some(bytes)) = paths::file(self.tree, &path)
        {
            let text = String::from_utf8_lossy(bytes);
            self.held.push(Value::from(text.into_owned()));
            self.more.insert(path);
        }
        Ok(())
    }

    /// What messages must not hold: the values of patches and generators, and of Secrets.
    pub(super) fn masker(&self) -> Masker {
        held::masker(self.tree, &self.seen, &self.held)
    }
}

fn is_url(entry: &str) -> bool {
    let entry = entry.trim_start().to_ascii_lowercase();
    entry.starts_with("http://") || entry.starts_with("https://")
}

/// Whether kustomize would take the entry for a repository or a URL (kustomize 5, `api/internal/git/repospec.go`).
fn is_remote(entry: &str) -> bool {
    let lower = entry.to_ascii_lowercase();
    lower.contains("://")
        || lower.contains("?ref=")
        || lower.contains("?version=")
        || lower.contains(".git/")
        || lower.ends_with(".git")
        || ["git::", "git@", "gh:", "github.com", "bitbucket.org", "gitlab.com"].iter().any(|start| lower.starts_with(start))
        // `user@host:path`
        || lower.split_once(':').is_some_and(|(before, _)| before.contains('@') && !before.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::new("abc", "", "");
        for (path, text) in files {
            tree.insert(*path, TreeEntry::File(text.as_bytes().into()))
                .unwrap();
        }
        tree
    }

    fn walk(tree: &Tree) -> Result<Vec<String>> {
        let mut walk = Walk::new(tree, false, false);
        walk.start("overlay")?;
        walk.finish()?;
        Ok(walk.directories().iter().cloned().collect())
    }

    #[test]
    fn bases_and_components_are_found() {
        let tree = tree(&[
            (
                "overlay/kustomization.yaml",
                "resources: [../base, x.yaml]\ncomponents: [../parts/a]\ntransformers: [\"a: 1\\nb: 2\"]",
            ),
            ("overlay/x.yaml", ""),
            ("base/Kustomization", "bases: [../deep]"),
            // A circle is kustomize's to report.
            ("deep/kustomization.yml", "resources: [../overlay]"),
            ("parts/a/kustomization.yaml", "kind: Component"),
            ("other/kustomization.yaml", "resources: [https://evil]"),
        ]);
        assert_eq!(
            walk(&tree).unwrap(),
            ["base", "deep", "overlay", "overlay/x.yaml", "parts/a"]
        );
    }

    #[test]
    fn what_leads_elsewhere_is_refused() {
        for (text, says) in [
            ("resources: [../../etc]", "leads out of the repository"),
            (
                "resources: [../../../../../../etc/passwd]",
                "leads out of the repository",
            ),
            ("bases: [/etc]", "leads out of the repository"),
            ("Resources: [../../etc]", "leads out of the repository"),
            (
                "re\u{17f}ources: [../../etc]",
                "leads out of the repository",
            ),
            ("resources: []\nRESOURCES: [../../etc]", "twice"),
            ("Patches: [{Path: https://h/x}]", "is remote"),
            ("components: [/etc]", "leads out of the repository"),
            (
                "resources: [https://u:canary@h/x.yaml?token=canary]",
                "is remote",
            ),
            ("resources: [github.com/org/repo]", "is remote"),
            ("resources: ['git@github.com:org/repo']", "is remote"),
            ("resources: ['ssh://git@h/org/repo']", "is remote"),
            ("resources: ['git::file:///x']", "is remote"),
            ("resources: ['x/y?ref=main']", "is remote"),
            ("generators: ['file:///etc/x']", "is remote"),
            ("crds: [HTTP://h/x]", "is remote"),
            ("openapi: {path: https://h/x}", "is remote"),
            ("patches: [{path: https://h/x}]", "is remote"),
            ("patchesStrategicMerge: [https://h/x]", "is remote"),
            ("replacements: [{path: https://h/x}]", "is remote"),
            (
                "configMapGenerator: [{name: a, files: [k=https://h/x]}]",
                "is remote",
            ),
            (
                "secretGenerator: [{name: a, envs: [https://h/x]}]",
                "is remote",
            ),
            ("resources: [gone.yaml]", "does not exist"),
            ("helmCharts: [{name: x}]", "not enabled"),
            ("resources: [x: 1", "overlay/kustomization.yaml:1"),
        ] {
            let error = walk(&tree(&[("overlay/kustomization.yaml", text)]))
                .unwrap_err()
                .to_string();
            assert!(
                error.contains(says) && error.contains("overlay/kustomization.yaml"),
                "{text}: {error}"
            );
            assert!(!error.contains("canary"), "{error}");
        }
        let error = walk(&tree(&[("overlay/x.yaml", "")]))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("overlay has no kustomization file"),
            "{error}"
        );
    }

    #[test]
    fn charts_stay_inside() {
        let look = |text: &str| {
            let tree = tree(&[
                ("overlay/kustomization.yaml", text),
                ("overlay/charts/web/Chart.yaml", ""),
            ]);
            let mut walk = Walk::new(&tree, false, true);
            walk.start("overlay")?;
            walk.finish()
        };
        look("helmCharts: [{name: web}]").unwrap();
        for (text, says) in [
            (
                "helmCharts: [{name: web, repo: 'https://h', version: '1'}]",
                "is remote",
            ),
            ("helmCharts: [{name: gone}]", "does not exist"),
            (
                "helmGlobals: {chartHome: /etc}\nhelmCharts: [{name: web}]",
                "leads out",
            ),
            ("helmCharts: [{name: ../../../x}]", "leads out"),
            ("helmCharts: [{name: web, configHome: /root}]", "leads out"),
            ("helmcharts: [{name: web, ChartHome: /etc}]", "leads out"),
            (
                "generators: [\"kind: HelmChartInflationGenerator\\nname: web\\nchartHome: /etc\"]",
                "leads out",
            ),
        ] {
            let error = look(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn values_are_kept_out_of_messages() {
        let tree = tree(&[
            (
                "overlay/kustomization.yaml",
                "resources: [s.yaml]\nsecretGenerator: [{name: a, literals: [password=canary1, canary2], envs: [e.env]}]\n\
                 patches: [{patch: 'data: {x: canary4}', target: {kind: Deployment}}]",
            ),
            ("overlay/e.env", "KEY=canary3\n"),
            ("overlay/s.yaml", "kind: Secret\nstringData: {a: canary5}"),
        ]);
        let mut walk = Walk::new(&tree, false, false);
        walk.start("overlay").unwrap();
        walk.finish().unwrap();
        let masked = walk
            .masker()
            .mask("canary1 canary2 canary3 canary4 canary5 Deployment");
        assert_eq!(masked, "***** ***** ***** ***** ***** Deployment");
    }
}
