//! Telling how far the engine is.

use gitops_core::backend::EventKind;

/// Takes the engine's events as they happen. It must not block.
pub trait Progress: Send + Sync {
    /// Takes one event.
    fn event(&self, event: EventKind);
}

/// Takes nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: EventKind) {}
}

impl<F: Fn(EventKind) + Send + Sync> Progress for F {
    fn event(&self, event: EventKind) {
        self(event);
    }
}
