//! Values and parameters, handed to helm through private files.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use serde_json::Value;

use super::super::paths::{self, join_inside, shown};
use super::super::redact::Masker;
use super::super::workdir::WorkDir;
use super::super::{Fingerprint, RenderRequest, build_env};
use crate::application::{Helm, HelmParameter};
use crate::error::{Error, Result};
use crate::manifest::{Tree, yaml};

/// What helm gets, and what no message may hold.
#[derive(Default)]
pub(super) struct Inputs {
    /// Options with their values, in helm's order.
    pub(super) options: Vec<(&'static str, OsString)>,
    /// Private files by name, with what they are called for people.
    names: BTreeMap<String, String>,
    /// Values in the form in which they were given.
    held: Vec<String>,
    values: Vec<Value>,
}

impl Inputs {
    /// Collects the values in the order in which later ones win (argo-cd 3.2, `util/helm/cmd.go`): value files, values, parameters,
    /// parameters that are strings, parameters from files.
    pub(super) fn collect(
        request: &RenderRequest,
        settings: &Helm,
        dir: &str,
        network: bool,
        work: &mut WorkDir,
    ) -> Result<Self> {
        let mut inputs = Self::default();
        let env = build_env::variables(request);
        let finder = Finder {
            request,
            dir,
            env: &env,
            network,
        };
        for name in &settings.value_files {
            match finder.find("value file", name)? {
                Found::Bytes(bytes) => {
                    inputs.values.extend(
                        yaml::parse_values(name, bytes)
                            .unwrap_or_default()
                            .into_iter()
                            .map(|document| document.value),
                    );
                    inputs.file("--values", work, bytes, name)?;
                }
                Found::Url(url) => inputs.options.push(("--values", url.into())),
                Found::Missing if settings.ignore_missing_value_files => {}
                Found::Missing => {
                    return Err(Error::not_found(format!(
                        "value file {name:?} does not exist at revision {}",
                        request.tree.revision
                    )));
                }
            }
        }
        inputs.own_values(settings, work)?;
        inputs.parameters(settings, &env, work)?;
        for parameter in &settings.file_parameters {
            match finder.find("file parameter", &parameter.path)? {
                Found::Bytes(bytes) => {
                    inputs
                        .held
                        .push(String::from_utf8_lossy(bytes).into_owned());
                    inputs.set_file(work, &parameter.name, bytes)?;
                }
                Found::Url(url) => inputs
                    .options
                    .push(("--set-file", format!("{}={url}", parameter.name).into())),
                Found::Missing => {
                    return Err(Error::not_found(format!(
                        "file parameter {:?}: {:?} does not exist at revision {}",
                        parameter.name, parameter.path, request.tree.revision
                    )));
                }
            }
        }
        Ok(inputs)
    }

    /// The source's own values; an object wins over a text.
    fn own_values(&mut self, settings: &Helm, work: &mut WorkDir) -> Result<()> {
        let (text, name) = match &settings.values_object {
            Some(object) => {
                let value = Value::Object(object.clone());
                let text = value.to_string();
                self.values.push(value);
                (text, "the application's valuesObject")
            }
            None if settings.values.is_empty() => return Ok(()),
            None => {
                let documents =
                    yaml::parse_values("values", settings.values.as_bytes()).unwrap_or_default();
                if documents.is_empty() {
                    // It is no YAML: helm says so, and all of it may be secret.
                    self.held.push(settings.values.clone());
                }
                self.values
                    .extend(documents.into_iter().map(|document| document.value));
                (settings.values.clone(), "the application's values")
            }
        };
        self.file("--values", work, text.as_bytes(), name)
    }

    /// `--set` and `--set-string`. A value that helm takes as it stands goes into a file (`--set-file`), out of sight of those who may list
    /// the machine's processes; one that its syntax turns into a number, a list and the like stays on the command line.
    fn parameters(
        &mut self,
        settings: &Helm,
        env: &BTreeMap<String, String>,
        work: &mut WorkDir,
    ) -> Result<()> {
        // By name, as in Argo CD: of two with one name the last counts.
        let (mut set, mut strings) = (BTreeMap::new(), BTreeMap::new());
        for HelmParameter {
            name,
            value,
            force_string,
        } in &settings.parameters
        {
            let value = build_env::substitute(value, env);
            self.held.push(value.clone());
            if *force_string {
                &mut strings
            } else {
                &mut set
            }
            .insert(name.as_str(), value);
        }
        // Files win over everything, and strings over other parameters; moving only some of the former could turn that round.
        let movable = strings.values().all(|value| is_literal(value, true));
        for (flag, parameters, is_string) in
            [("--set", set, false), ("--set-string", strings, true)]
        {
            let mut files = Vec::new();
            for (name, value) in parameters {
                match movable && is_literal(&value, is_string) {
                    true => files.push((name, value)),
                    false => self
                        .options
                        .push((flag, format!("{name}={}", escape_commas(&value)).into())),
                }
            }
            for (name, value) in files {
                self.set_file(work, name, value.as_bytes())?;
            }
        }
        Ok(())
    }

    fn set_file(&mut self, work: &mut WorkDir, name: &str, bytes: &[u8]) -> Result<()> {
        let path = work.add(bytes)?;
        self.names
            .insert(short(&path), format!("parameter {name:?}"));
        let mut option = OsString::from(format!("{name}="));
        option.push(path);
        self.options.push(("--set-file", option));
        Ok(())
    }

    fn file(
        &mut self,
        option: &'static str,
        work: &mut WorkDir,
        bytes: &[u8],
        name: &str,
    ) -> Result<()> {
        let path = work.add(bytes)?;
        self.names.insert(short(&path), name.to_owned());
        self.options.push((option, path.into()));
        Ok(())
    }

    /// A message with our private files called by their names.
    pub(super) fn named(&self, message: &str) -> String {
        let mut named = message.to_owned();
        // From the last: `./files/1` begins `./files/10`.
        for (path, name) in self.names.iter().rev() {
            named = named.replace(path, name);
        }
        named
    }

    /// What no message may hold.
    pub(super) fn masker(&self) -> Masker {
        let mut masker = Masker::default();
        self.held.iter().for_each(|text| masker.add(text));
        self.values.iter().for_each(|value| masker.add_value(value));
        masker
    }
}

/// Adds what settings name: the files, and the parameters with variables put in for their names.
pub(super) fn fingerprint(
    mut print: Fingerprint,
    request: &RenderRequest,
    settings: &Helm,
    dir: &str,
) -> Option<Fingerprint> {
    let env = build_env::variables(request);
    let finder = Finder {
        request,
        dir,
        env: &env,
        network: false,
    };
    let files = settings
        .file_parameters
        .iter()
        .map(|parameter| &parameter.path);
    for name in settings.value_files.iter().chain(files) {
        print = match finder.find("file", name).ok()? {
            Found::Bytes(bytes) => print.text("file").bytes(bytes),
            Found::Missing => print.text("missing"),
            Found::Url(_) => return None,
        };
    }
    let values = settings
        .parameters
        .iter()
        .map(|parameter| build_env::substitute(&parameter.value, &env));
    Some(values.fold(print, |print, value| print.text(&value)))
}

/// A private file, as [`WorkDir::clean`] leaves it.
fn short(path: &Path) -> String {
    format!(
        "./files/{}",
        path.file_name().unwrap_or_default().to_string_lossy()
    )
}

/// Whether helm takes the value as this very text (helm 3.19, `pkg/strvals`).
fn is_literal(value: &str, is_string: bool) -> bool {
    let syntax = value.is_empty() || value.contains('\\') || value.starts_with('{');
    let typed = ["true", "false", "null"]
        .iter()
        .any(|word| value.eq_ignore_ascii_case(word))
        || value.parse::<i64>().is_ok();
    !syntax && (is_string || !typed)
}

/// Commas are part of a value, not the end of it, except in a list (`{a,b}`); those that are escaped stay so.
fn escape_commas(value: &str) -> String {
    if value.starts_with('{') && value.ends_with('}') {
        return value.to_owned();
    }
    let mut escaped = String::with_capacity(value.len());
    let mut previous = '\0';
    for c in value.chars() {
        if c == ',' && previous != '\\' {
            escaped.push('\\');
        }
        escaped.push(c);
        previous = c;
    }
    escaped
}

enum Found<'t> {
    Bytes(&'t [u8]),
    Url(String),
    Missing,
}

/// Finds the files that settings name.
struct Finder<'a> {
    request: &'a RenderRequest,
    dir: &'a str,
    env: &'a BTreeMap<String, String>,
    network: bool,
}

impl<'a> Finder<'a> {
    fn find(&self, what: &str, name: &str) -> Result<Found<'a>> {
        if let Some((reference, path)) =
            name.strip_prefix('$').and_then(|name| name.split_once('/'))
            && let Some(tree) = self.request.refs.get(reference)
        {
            return self.read(what, name, tree, "", &build_env::substitute(path, self.env));
        }
        let path = build_env::substitute(name, self.env);
        if let Some((scheme, _)) = path.split_once("://") {
            return match (self.network, scheme) {
                (true, "https" | "http") => Ok(Found::Url(path)),
                (true, _) => Err(Error::invalid(format!(
                    "{what} {name:?}: the scheme {scheme:?} is not supported"
                ))),
                (false, _) => Err(Error::invalid(format!(
                    "{what} {:?} is remote, and rendering may not use the network",
                    crate::error::redact_url(name)
                ))),
            };
        }
        // An unknown `$ref` was expanded to nothing, which would make the rest a path from the root.
        if name.starts_with('$') && path.starts_with('/') {
            return Err(Error::invalid(format!(
                "{what} {name:?}: no source of the application has this ref"
            )));
        }
        let base = if path.starts_with('/') { "" } else { self.dir };
        self.read(what, name, &self.request.tree, base, &path)
    }

    fn read(
        &self,
        what: &str,
        name: &str,
        tree: &'a Tree,
        base: &str,
        path: &str,
    ) -> Result<Found<'a>> {
        let inside = join_inside(base, path).ok_or_else(|| {
            Error::invalid(format!("{what} {name:?} leads out of the repository"))
        })?;
        match paths::file(tree, &inside)? {
            Some(bytes) => Ok(Found::Bytes(bytes)),
            None if tree.below(&inside).next().is_some() => Err(Error::invalid(format!(
                "{what} {name:?}: {} is a directory",
                shown(tree, &inside)
            ))),
            None => Ok(Found::Missing),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_are_escaped_as_argo_cd_does() {
        for (value, escaped) in [
            ("a,b", "a\\,b"),
            ("a\\,b,c", "a\\,b\\,c"),
            ("{a,b}", "{a,b}"),
            ("{a,b", "{a\\,b"),
        ] {
            assert_eq!(escape_commas(value), escaped);
        }
    }

    #[test]
    fn only_literals_go_into_files() {
        for (value, plain, string) in [
            ("hunter2", true, true),
            ("a,b", true, true),
            ("a=b c", true, true),
            ("12", false, true),
            ("+5", false, true),
            ("TRUE", false, true),
            ("null", false, true),
            ("007", false, true),
            ("1.5", true, true),
            ("{a}", false, false),
            ("a\\b", false, false),
            ("", false, false),
        ] {
            assert_eq!(
                (is_literal(value, false), is_literal(value, true)),
                (plain, string),
                "{value}"
            );
        }
    }
}
