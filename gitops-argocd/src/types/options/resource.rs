//! The annotations of one resource.

use std::collections::BTreeMap;
use std::fmt::Display;

use gitops_core::error::{Error, Result};

use super::{CompareOption, HookDeletePolicy, HookType, SyncOption, annotation};

/// What a resource's annotations ask Argo CD for.
///
/// ```
/// use gitops_argocd::types::{HookDeletePolicy, HookType, ResourceAnnotations, annotation};
///
/// let asked = ResourceAnnotations::default()
///     .wave(-1)
///     .hook(HookType::PreSync)
///     .hook_delete_policy(HookDeletePolicy::HookSucceeded);
/// let annotations = asked.to_map();
/// assert_eq!(annotations[annotation::SYNC_WAVE], "-1");
/// assert_eq!(ResourceAnnotations::of(&annotations).unwrap(), asked);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceAnnotations {
    /// The wave; 0 by default.
    pub wave: Option<i64>,
    /// When it runs as a hook; it is none without.
    pub hooks: Vec<HookType>,
    /// When the hook is deleted.
    pub hook_delete_policies: Vec<HookDeletePolicy>,
    /// How it is synced.
    pub sync_options: Vec<SyncOption>,
    /// How it is compared.
    pub compare_options: Vec<CompareOption>,
}

impl ResourceAnnotations {
    /// What a resource's annotations say. As with Argo CD, spaces around commas and repetitions mean nothing.
    ///
    /// # Errors
    /// `InvalidInput` for a wave that is no number. Argo CD says nothing about it and takes 0.
    pub fn of(annotations: &BTreeMap<String, String>) -> Result<Self> {
        let get = |key| annotations.get(key).map(String::as_str);
        let wave = match get(annotation::SYNC_WAVE) {
            None => None,
            Some(text) => Some(text.parse().map_err(|_| {
                let key = annotation::SYNC_WAVE;
                Error::invalid(format!(
                    "annotation {key} is {text:?}, expected a whole number"
                ))
            })?),
        };
        Ok(Self {
            wave,
            hooks: list(get(annotation::HOOK)),
            hook_delete_policies: list(get(annotation::HOOK_DELETE_POLICY)),
            sync_options: list(get(annotation::SYNC_OPTIONS)),
            compare_options: list(get(annotation::COMPARE_OPTIONS)),
        })
    }

    /// Writes them into a resource's annotations: what is empty here is removed there, and other annotations stay.
    pub fn apply_to(&self, annotations: &mut BTreeMap<String, String>) {
        let texts = [
            (
                annotation::SYNC_WAVE,
                self.wave.map(|wave| wave.to_string()),
            ),
            (annotation::HOOK, joined(&self.hooks)),
            (
                annotation::HOOK_DELETE_POLICY,
                joined(&self.hook_delete_policies),
            ),
            (annotation::SYNC_OPTIONS, joined(&self.sync_options)),
            (annotation::COMPARE_OPTIONS, joined(&self.compare_options)),
        ];
        for (key, text) in texts {
            match text {
                Some(text) => annotations.insert(key.to_owned(), text),
                None => annotations.remove(key),
            };
        }
    }

    /// As annotations.
    pub fn to_map(&self) -> BTreeMap<String, String> {
        let mut annotations = BTreeMap::new();
        self.apply_to(&mut annotations);
        annotations
    }

    /// Whether it is a hook and no ordinary resource: a resource that only says `Skip` is neither.
    pub fn is_hook(&self) -> bool {
        !self.hooks.is_empty() && !self.is_skipped()
    }

    /// Whether it is never applied.
    pub fn is_skipped(&self) -> bool {
        let mut known = self
            .hooks
            .iter()
            .filter(|hook| !matches!(hook, HookType::Other(_)));
        known.next() == Some(&HookType::Skip) && known.next().is_none()
    }

    /// Sets the wave.
    #[must_use]
    pub fn wave(mut self, wave: i64) -> Self {
        self.wave = Some(wave);
        self
    }

    /// Adds a hook type.
    #[must_use]
    pub fn hook(mut self, hook: HookType) -> Self {
        add(&mut self.hooks, hook);
        self
    }

    /// Adds a time at which the hook is deleted.
    #[must_use]
    pub fn hook_delete_policy(mut self, policy: HookDeletePolicy) -> Self {
        add(&mut self.hook_delete_policies, policy);
        self
    }

    /// Adds a sync option.
    #[must_use]
    pub fn sync_option(mut self, option: SyncOption) -> Self {
        add(&mut self.sync_options, option);
        self
    }

    /// Adds a compare option.
    #[must_use]
    pub fn compare_option(mut self, option: CompareOption) -> Self {
        add(&mut self.compare_options, option);
        self
    }
}

fn add<T: PartialEq>(items: &mut Vec<T>, item: T) {
    if !items.contains(&item) {
        items.push(item);
    }
}

fn list<T: for<'a> From<&'a str> + PartialEq>(text: Option<&str>) -> Vec<T> {
    let mut items = Vec::new();
    let parts = text.unwrap_or_default().split(',').map(str::trim);
    for part in parts.filter(|part| !part.is_empty()) {
        add(&mut items, T::from(part));
    }
    items
}

fn joined<T: Display>(items: &[T]) -> Option<String> {
    let texts: Vec<String> = items.iter().map(ToString::to_string).collect();
    (!texts.is_empty()).then(|| texts.join(","))
}
