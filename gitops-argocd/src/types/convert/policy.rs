//! Destinations and policies.

use std::time::Duration;

use gitops_core::application as core;
use gitops_core::{Error, Result};
use jiff::SignedDuration;

use super::{IN_CLUSTER, flag, map, or_empty, text, texts};
use crate::types::application::{
    Destination, DrySource, HydrateTo, ResourceIgnoreDifferences, SourceHydrator, SyncSource,
};
use crate::types::policy::{
    Backoff, ManagedNamespaceMetadata, RetryStrategy, SyncPolicy, SyncPolicyAutomated,
};

pub(super) fn destination_to_core(destination: &Destination) -> core::Destination {
    let cluster = match (&destination.name, &destination.server) {
        (Some(name), _) if !name.is_empty() => core::ClusterRef::Name(name.clone()),
        (_, Some(server)) if !server.is_empty() && server != IN_CLUSTER => {
            core::ClusterRef::Server(server.clone())
        }
        _ => core::ClusterRef::InCluster,
    };
    core::Destination {
        cluster,
        namespace: or_empty(destination.namespace.as_ref()),
    }
}

pub(super) fn destination_from_core(destination: &core::Destination) -> Destination {
    let made = match &destination.cluster {
        core::ClusterRef::InCluster => Destination::server(IN_CLUSTER),
        core::ClusterRef::Server(server) => Destination::server(server),
        core::ClusterRef::Name(name) => Destination::name(name),
    };
    Destination {
        namespace: text(&destination.namespace),
        ..made
    }
}

pub(super) fn policy_to_core(policy: Option<&SyncPolicy>) -> Result<core::SyncPolicy> {
    let Some(policy) = policy else {
        return Ok(core::SyncPolicy::default());
    };
    Ok(core::SyncPolicy {
        automated: policy.automated.as_ref().map(|automated| core::Automated {
            prune: automated.prune.unwrap_or_default(),
            self_heal: automated.self_heal.unwrap_or_default(),
            allow_empty: automated.allow_empty.unwrap_or_default(),
            enabled: automated.enabled,
        }),
        options: or_empty(policy.sync_options.as_ref()),
        retry: policy
            .retry
            .as_ref()
            .map(|retry| {
                Ok::<_, Error>(core::Retry {
                    limit: retry.limit.unwrap_or_default(),
                    backoff: backoff_to_core(retry.backoff.as_ref())?,
                    refresh: retry.refresh.unwrap_or_default(),
                })
            })
            .transpose()?,
        managed_namespace_metadata: policy.managed_namespace_metadata.as_ref().map(|metadata| {
            core::ManagedNamespaceMetadata {
                labels: or_empty(metadata.labels.as_ref()),
                annotations: or_empty(metadata.annotations.as_ref()),
            }
        }),
    })
}

pub(super) fn policy_from_core(policy: &core::SyncPolicy) -> Option<SyncPolicy> {
    if *policy == core::SyncPolicy::default() {
        return None;
    }
    Some(SyncPolicy {
        automated: policy.automated.map(|automated| SyncPolicyAutomated {
            prune: flag(automated.prune),
            self_heal: flag(automated.self_heal),
            allow_empty: flag(automated.allow_empty),
            enabled: automated.enabled,
            ..SyncPolicyAutomated::default()
        }),
        sync_options: texts(&policy.options),
        retry: policy.retry.as_ref().map(|retry| RetryStrategy {
            limit: Some(retry.limit),
            backoff: Some(backoff_from_core(&retry.backoff)),
            refresh: flag(retry.refresh),
            ..RetryStrategy::default()
        }),
        managed_namespace_metadata: policy.managed_namespace_metadata.as_ref().map(|metadata| {
            ManagedNamespaceMetadata {
                labels: map(&metadata.labels),
                annotations: map(&metadata.annotations),
                ..ManagedNamespaceMetadata::default()
            }
        }),
        ..SyncPolicy::default()
    })
}

/// A duration as Argo CD reads it: Go's form, or digits alone for seconds (`parseStringToDuration` of argo-cd 3.2).
pub(super) fn duration(field: &str, text: &str) -> Result<Duration> {
    let parsed = match text.parse::<u64>() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => text
            .parse::<SignedDuration>()
            .ok()
            .and_then(|duration| duration.try_into().ok()),
    };
    parsed.ok_or_else(|| Error::invalid(format!("{field}: {text:?} is no duration such as 5s")))
}

/// In Go's form.
pub(crate) fn duration_text(duration: Duration) -> String {
    if duration.subsec_nanos() == 0 {
        format!("{}s", duration.as_secs())
    } else if duration.subsec_nanos().is_multiple_of(1_000_000) {
        format!("{}ms", duration.as_millis())
    } else {
        format!("{}ns", duration.as_nanos())
    }
}

pub(super) fn backoff_to_core(backoff: Option<&Backoff>) -> Result<core::Backoff> {
    let mut made = core::Backoff::default();
    let Some(backoff) = backoff else {
        return Ok(made);
    };
    if let Some(text) = backoff.duration.as_deref().filter(|text| !text.is_empty()) {
        made.duration = duration("retry.backoff.duration", text)?;
    }
    if let Some(factor) = backoff.factor {
        made.factor = u32::try_from(factor).map_err(|error| {
            Error::invalid(format!("retry.backoff.factor is {factor}")).with_source(error)
        })?;
    }
    if let Some(text) = backoff
        .max_duration
        .as_deref()
        .filter(|text| !text.is_empty())
    {
        made.max_duration = duration("retry.backoff.maxDuration", text)?;
    }
    Ok(made)
}

pub(crate) fn backoff_from_core(backoff: &core::Backoff) -> Backoff {
    Backoff {
        duration: Some(duration_text(backoff.duration)),
        factor: Some(i64::from(backoff.factor)),
        max_duration: Some(duration_text(backoff.max_duration)),
        ..Backoff::default()
    }
}

pub(super) fn ignore_to_core(ignore: &ResourceIgnoreDifferences) -> core::IgnoreDifference {
    core::IgnoreDifference {
        group: or_empty(ignore.group.as_ref()),
        kind: ignore.kind.clone(),
        name: or_empty(ignore.name.as_ref()),
        namespace: or_empty(ignore.namespace.as_ref()),
        json_pointers: or_empty(ignore.json_pointers.as_ref()),
        jq_path_expressions: or_empty(ignore.jq_path_expressions.as_ref()),
        managed_fields_managers: or_empty(ignore.managed_fields_managers.as_ref()),
    }
}

pub(super) fn ignore_from_core(ignore: &core::IgnoreDifference) -> ResourceIgnoreDifferences {
    ResourceIgnoreDifferences {
        group: text(&ignore.group),
        kind: ignore.kind.clone(),
        name: text(&ignore.name),
        namespace: text(&ignore.namespace),
        json_pointers: texts(&ignore.json_pointers),
        jq_path_expressions: texts(&ignore.jq_path_expressions),
        managed_fields_managers: texts(&ignore.managed_fields_managers),
        ..ResourceIgnoreDifferences::default()
    }
}

pub(super) fn hydrate_to_core(hydrator: &SourceHydrator) -> core::Hydrate {
    core::Hydrate {
        dry_source: core::Source::git(&hydrator.dry_source.repo_url)
            .path(&hydrator.dry_source.path)
            .revision(&hydrator.dry_source.target_revision),
        sync_branch: hydrator.sync_source.target_branch.clone(),
        sync_path: hydrator.sync_source.path.clone(),
        hydrate_to_branch: hydrator
            .hydrate_to
            .as_ref()
            .map(|to| to.target_branch.clone()),
    }
}

pub(super) fn hydrate_from_core(hydrate: &core::Hydrate) -> SourceHydrator {
    SourceHydrator {
        dry_source: DrySource {
            repo_url: hydrate.dry_source.repo_url.clone(),
            target_revision: or_empty(hydrate.dry_source.target_revision.as_ref()),
            path: or_empty(hydrate.dry_source.path.as_ref()),
            ..DrySource::default()
        },
        sync_source: SyncSource {
            target_branch: hydrate.sync_branch.clone(),
            path: hydrate.sync_path.clone(),
            ..SyncSource::default()
        },
        hydrate_to: hydrate.hydrate_to_branch.as_ref().map(|branch| HydrateTo {
            target_branch: branch.clone(),
            ..HydrateTo::default()
        }),
        ..SourceHydrator::default()
    }
}
