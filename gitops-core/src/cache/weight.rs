//! How much memory a status takes.

use std::mem::size_of;

use crate::application::{
    ApplicationStatus, Condition, Health, HistoryEntry, OperationStatus, ResourceStatus, Source,
};

/// What the cache and the allocator keep for each entry, measured: hash table, queues, counters.
const ENTRY: usize = 320;

/// What a source has on the heap, about: it is only told in full by a history with sources.
const SOURCE: usize = size_of::<Source>() + 128;

/// About how many bytes of memory `status` takes when it is kept.
pub fn weight(status: &ApplicationStatus) -> u32 {
    let health = |health: &Health| health.message.len();
    let revisions = |revisions: &[String]| -> usize {
        revisions
            .iter()
            .map(|one| size_of::<String>() + one.len())
            .sum()
    };
    let operation = |one: &OperationStatus| {
        one.id.len() + one.message.len() + one.initiated_by.len() + revisions(&one.revisions)
    };
    let condition = |one: &Condition| size_of::<Condition>() + one.kind.len() + one.message.len();
    let resource = |one: &ResourceStatus| {
        size_of::<ResourceStatus>()
            + one.id.group.len()
            + one.id.kind.len()
            + one.id.namespace.len()
            + one.id.name.len()
            + one.version.len()
            + one.health.as_ref().map_or(0, health)
    };
    let entry = |one: &HistoryEntry| {
        size_of::<HistoryEntry>()
            + revisions(&one.revisions)
            + one.sources.len() * SOURCE
            + one.initiated_by.len()
    };
    let bytes = ENTRY
        + size_of::<ApplicationStatus>()
        + health(&status.health)
        + revisions(&status.revisions)
        + status.operation.as_ref().map_or(0, operation)
        + status.conditions.iter().map(condition).sum::<usize>()
        + status.resources.iter().map(resource).sum::<usize>()
        + status.history.iter().map(entry).sum::<usize>();
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
