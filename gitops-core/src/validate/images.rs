//! Images that manifests name.

use std::str::FromStr;

use async_trait::async_trait;
use oci_spec::distribution::Reference;
use serde_json::Value;

use super::allow::Pattern;
use super::{Context, Finding, Validator, objects};
use crate::application::Application;
use crate::error::Result;
use crate::manifest::Object;

/// An image that an object names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// As it is written.
    pub text: String,
    /// The field, as a JSON pointer.
    pub pointer: String,
}

/// Lists of containers: of pods, and of Tekton's tasks.
const LISTS: [&str; 5] = [
    "containers",
    "initContainers",
    "ephemeralContainers",
    "steps",
    "sidecars",
];

/// All images that an object names: in every pod template, however deep it lies (Deployments, CronJobs, custom resources that hold templates), in containers, init containers,
/// ephemeral containers, volumes of the type image, and Tekton's steps and sidecars.
pub fn images(object: &Object) -> Vec<Image> {
    let mut found = Vec::new();
    for (key, value) in object.value() {
        // What a ConfigMap or Secret holds are texts; metadata holds no pods.
        if key != "metadata" && key != "status" {
            list(key, value, &format!("/{}", super::escape(key)), &mut found);
        }
    }
    found
}

fn list(key: &str, value: &Value, pointer: &str, found: &mut Vec<Image>) {
    match value {
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                let pointer = format!("{pointer}/{at}");
                let text = match key {
                    "volumes" => item
                        .pointer("/image/reference")
                        .map(|text| (text, "/image/reference")),
                    key if LISTS.contains(&key) => item.get("image").map(|text| (text, "/image")),
                    _ => None,
                };
                if let Some((Value::String(text), field)) = text {
                    found.push(Image {
                        text: text.clone(),
                        pointer: format!("{pointer}{field}"),
                    });
                }
                list("", item, &pointer, found);
            }
        }
        Value::Object(map) => {
            for (key, value) in map {
                list(
                    key,
                    value,
                    &format!("{pointer}/{}", super::escape(key)),
                    found,
                );
            }
        }
        _ => {}
    }
}

/// Finds images from registries that are not on the list (`image-denied`), images whose tag is `latest` or missing, or, on demand, that have no digest (`image-not-pinned`), and what is no
/// reference of an image (`invalid-image`). Where it looks: [`images`].
///
/// References are read as container runtimes do (OCI distribution specification; `nginx` is `docker.io/library/nginx:latest`). A digest pins an image, whatever its tag.
#[derive(Clone, Debug, Default)]
pub struct AllowedImages {
    registries: Option<Vec<(Pattern, bool)>>,
    latest: bool,
    digests: bool,
}

impl AllowedImages {
    /// Images of any registry, but none with the tag `latest` or without a tag.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only images that match one of these globs: without `/` a registry's host (`ghcr.io`, `*.example.com`), else host and repository (`docker.io/library/*`; `*` stops at `/`, `**` does
    /// not).
    ///
    /// # Errors
    /// `InvalidInput` for a glob that cannot be read.
    pub fn registries<'a>(mut self, globs: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let globs = globs
            .into_iter()
            .map(|glob| Ok((Pattern::new(glob, true)?, glob.contains('/'))));
        self.registries = Some(globs.collect::<Result<_>>()?);
        Ok(self)
    }

    /// Lets the tag `latest`, and no tag, pass.
    #[must_use]
    pub fn allow_latest(mut self, allow: bool) -> Self {
        self.latest = allow;
        self
    }

    /// Demands a digest of every image.
    #[must_use]
    pub fn only_digests(mut self, only: bool) -> Self {
        self.digests = only;
        self
    }

    fn check(&self, image: &str) -> Vec<(&'static str, String)> {
        let Ok(reference) = Reference::from_str(image) else {
            return vec![(
                "invalid-image",
                format!("{image:?} is no reference of an image"),
            )];
        };
        let mut wrong = Vec::new();
        if let Some(registries) = &self.registries {
            let host = reference.registry();
            let whole = format!("{host}/{}", reference.repository());
            let allowed = registries
                .iter()
                .any(|(glob, path)| glob.covers(if *path { &whole } else { host }));
            if !allowed {
                wrong.push((
                    "image-denied",
                    format!("{whole} is none of the images that are allowed"),
                ));
            }
        }
        if reference.digest().is_none() {
            if self.digests {
                wrong.push(("image-not-pinned", format!("{image} has no digest")));
            } else if !self.latest && reference.tag().is_none_or(|tag| tag == "latest") {
                wrong.push(("image-not-pinned", format!("{image} is whatever is latest")));
            }
        }
        wrong
    }
}

#[async_trait]
impl Validator for AllowedImages {
    fn name(&self) -> &str {
        "allowed-images"
    }

    async fn validate(&self, _: &Application, context: &Context<'_>) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        for object in objects(context) {
            for image in images(object) {
                for (code, message) in self.check(&image.text) {
                    findings.push(
                        Finding::error(code, message)
                            .about(object)
                            .at(&*image.pointer),
                    );
                }
            }
        }
        Ok(findings)
    }
}
