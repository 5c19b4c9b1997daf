//! What a plan knows of a live object.

use gitops_core::application::Health;
use gitops_core::manifest::Object;
use gitops_core::manifest::digest::live_digest;
use gitops_core::manifest::order::ObjectOptions;

use crate::engine::applyset::{ApplySet, PART_OF_LABEL};
use crate::engine::owner;
use crate::health::HealthRules;

/// What a plan needs to know of a live object; the object itself is dropped, unless it was asked for.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Live {
    pub(in crate::engine) uid: String,
    pub(in crate::engine) resource_version: String,
    pub(in crate::engine) digest: String,
    pub(in crate::engine) terminating: bool,
    /// Whether our field manager owns the ApplySet's label.
    pub(in crate::engine) ours: bool,
    /// Whether our field manager made it, and did not apply it again since.
    pub(in crate::engine) made: bool,
    /// Whether a controller made it.
    pub(in crate::engine) controlled: bool,
    pub(in crate::engine) options: ObjectOptions,
    pub(in crate::engine) health: Health,
    pub(in crate::engine) object: Option<Object>,
}

impl Live {
    pub(super) fn of(object: Object, set: &ApplySet, health: &HealthRules, keep: bool) -> Self {
        Self {
            health: health.assess(&object),
            uid: object.uid().to_owned(),
            resource_version: object.resource_version().to_owned(),
            digest: live_digest(&object, set.manager()),
            terminating: object.is_terminating(),
            ours: object.label(PART_OF_LABEL) == Some(set.id())
                && owner::owns_label(&object, set.manager(), PART_OF_LABEL),
            made: owner::made(&object, set.manager()),
            controlled: owner::has_controller(&object),
            // What cannot be read on a live object must not make it prunable: doubt protects.
            options: ObjectOptions::of(&object).unwrap_or_else(|_| ObjectOptions::protected()),
            object: keep.then_some(object),
        }
    }
}
