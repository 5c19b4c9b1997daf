//! From core's options to an operation of Argo CD.

use gitops_core::backend::{SyncOptions, SyncResource};
use gitops_core::manifest::ObjectId;
use gitops_core::{Error, Result};
use jiff::{SignedDuration, Timestamp};

use crate::operation::{DEADLINE, ID, INITIATOR};
use crate::types::{
    Application, Info, Operation, OperationInitiator, SyncOperation, SyncOperationResource,
    SyncStrategy, SyncStrategyHook, backoff_from_core,
};

fn note(name: &str, value: impl Into<String>) -> Info {
    Info {
        name: name.to_owned(),
        value: value.into(),
        ..Info::default()
    }
}

/// The notes that an operation carries.
pub(super) fn notes(options: &SyncOptions, id: &str, started_at: Timestamp) -> Vec<Info> {
    let mut notes = vec![note(ID, id)];
    if let Some(timeout) = options.timeout
        && let Ok(timeout) = SignedDuration::try_from(timeout)
        && let Ok(deadline) = started_at.checked_add(timeout)
    {
        notes.push(note(DEADLINE, deadline.to_string()));
    }
    if !options.initiator.name.is_empty() {
        notes.push(note(INITIATOR, &*options.initiator.name));
    }
    notes.extend(
        options
            .info
            .iter()
            .map(|(name, value)| note(name, value.as_str())),
    );
    notes
}

/// The operation that `options` ask for.
pub(super) fn sync(
    app: &Application,
    options: &SyncOptions,
    id: &str,
    started_at: Timestamp,
) -> Result<Operation> {
    let policy = app.spec.sync_policy.as_ref();
    let sources = app.spec.all_sources().len();
    let is_list = app
        .spec
        .sources
        .as_ref()
        .is_some_and(|sources| !sources.is_empty());
    if !options.revisions.is_empty() && options.revisions.len() != sources {
        return Err(Error::invalid(format!(
            "{} revisions for {sources} sources",
            options.revisions.len()
        )));
    }
    let (revision, revisions) = match options.revisions.as_slice() {
        [] => (None, None),
        [revision] if !is_list => (Some(revision.clone()), None),
        revisions => (None, Some(revisions.to_vec())),
    };
    // As the API server does when a request names none (argo-cd 3.2, server/application Sync), with those of the request on top.
    let mut sync_options = policy
        .and_then(|policy| policy.sync_options.clone())
        .unwrap_or_default();
    for option in &options.options {
        let name = option
            .split_once('=')
            .map_or(option.as_str(), |(name, _)| name);
        sync_options
            .retain(|have| have.split_once('=').map_or(have.as_str(), |(name, _)| name) != name);
        sync_options.push(option.clone());
    }
    let prune = options.prune.unwrap_or_else(|| {
        policy
            .and_then(|policy| policy.automated.as_ref())
            .and_then(|automated| automated.prune)
            .unwrap_or_default()
    });
    let mut retry = policy.and_then(|policy| policy.retry.clone());
    if options.retry_limit.is_some() || options.retry_backoff.is_some() {
        let mut asked = retry.unwrap_or_default();
        if let Some(limit) = options.retry_limit {
            asked.limit = Some(limit);
        }
        if let Some(backoff) = &options.retry_backoff {
            asked.backoff = Some(backoff_from_core(backoff));
        }
        retry = Some(asked);
    }
    Ok(Operation {
        sync: Some(SyncOperation {
            revision,
            revisions,
            prune: Some(prune),
            dry_run: options.dry_run.then_some(true),
            sync_strategy: Some(SyncStrategy {
                hook: Some(SyncStrategyHook {
                    force: options.force.then_some(true),
                    ..SyncStrategyHook::default()
                }),
                ..SyncStrategy::default()
            }),
            resources: resources(app, &options.resources)?,
            sync_options: (!sync_options.is_empty()).then_some(sync_options),
            ..SyncOperation::default()
        }),
        initiated_by: Some(OperationInitiator {
            username: (!options.initiator.name.is_empty()).then(|| options.initiator.name.clone()),
            automated: options.initiator.automated.then_some(true),
            ..OperationInitiator::default()
        }),
        info: Some(notes(options, id, started_at)),
        retry,
        ..Operation::default()
    })
}

/// Argo CD takes resources by their full names: patterns are held against those that the application has.
fn resources(
    app: &Application,
    wanted: &[SyncResource],
) -> Result<Option<Vec<SyncOperationResource>>> {
    if wanted.is_empty() {
        return Ok(None);
    }
    let have: Vec<ObjectId> = app
        .status
        .iter()
        .flat_map(|status| status.resources.iter().flatten())
        .map(|resource| {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            ObjectId::new(
                text(&resource.group),
                text(&resource.kind),
                text(&resource.namespace),
                text(&resource.name),
            )
        })
        .collect();
    let mut named: Vec<SyncOperationResource> = Vec::new();
    for wanted in wanted {
        let before = named.len();
        let is_pattern = [&wanted.group, &wanted.kind, &wanted.namespace, &wanted.name]
            .iter()
            .any(|field| *field == "*")
            || wanted.kind.is_empty()
            || wanted.name.is_empty();
        if is_pattern {
            named.extend(have.iter().filter(|id| wanted.matches(id)).map(operand));
        } else {
            // What Git is to bring is not among the resources yet.
            named.push(operand(&ObjectId::new(
                &*wanted.group,
                &*wanted.kind,
                &*wanted.namespace,
                &*wanted.name,
            )));
        }
        if named.len() == before {
            // None of them must not become all of them.
            return Err(Error::not_found(format!(
                "application {} has no resource {}/{}/{}/{}",
                app.name(),
                wanted.group,
                wanted.kind,
                wanted.namespace,
                wanted.name
            )));
        }
    }
    Ok(Some(named))
}

fn operand(id: &ObjectId) -> SyncOperationResource {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    SyncOperationResource {
        group: text(&id.group),
        kind: id.kind.clone(),
        name: id.name.clone(),
        namespace: text(&id.namespace),
        ..SyncOperationResource::default()
    }
}

#[cfg(test)]
mod tests {
    use gitops_core::ErrorKind;

    use super::*;

    fn app() -> Application {
        let mut app = Application::new("a")
            .source(crate::types::Source::git("https://example.com/r"))
            .automated(true, false)
            .sync_option("CreateNamespace=true")
            .sync_option("PruneLast=true");
        app.status = serde_json::from_str(
            r#"{"resources":[{"group":"apps","kind":"Deployment","namespace":"n","name":"web"},{"kind":"Service","namespace":"n","name":"web"}]}"#,
        )
        .unwrap();
        app
    }

    fn made(options: &SyncOptions) -> Result<Operation> {
        sync(&app(), options, "id", Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn what_is_not_said_is_the_applications() {
        let operation = made(&SyncOptions::default()).unwrap();
        let sync = operation.sync.unwrap();
        assert_eq!(sync.prune, Some(true));
        assert_eq!(
            sync.sync_options.unwrap(),
            ["CreateNamespace=true", "PruneLast=true"]
        );
        assert_eq!(
            (sync.revision, sync.revisions, sync.resources),
            (None, None, None)
        );
        assert_eq!(operation.info.unwrap()[0].value, "id");
    }

    #[test]
    fn options_come_on_top() {
        let options = SyncOptions {
            prune: Some(false),
            options: vec!["PruneLast=false".into(), "Replace=true".into()],
            revisions: vec!["v1".into()],
            timeout: Some(std::time::Duration::from_secs(60)),
            retry_limit: Some(2),
            ..SyncOptions::default()
        };
        let operation = made(&options).unwrap();
        let sync = operation.sync.unwrap();
        assert_eq!(sync.prune, Some(false));
        assert_eq!(sync.revision.as_deref(), Some("v1"));
        assert_eq!(
            sync.sync_options.unwrap(),
            ["CreateNamespace=true", "PruneLast=false", "Replace=true"]
        );
        assert_eq!(operation.retry.unwrap().limit, Some(2));
        let notes = operation.info.unwrap();
        assert_eq!(notes[1].name, DEADLINE);
        assert_eq!(notes[1].value, "1970-01-01T00:01:00Z");
    }

    #[test]
    fn patterns_become_names_and_nothing_is_not_everything() {
        let pattern = |kind: &str, name: &str| SyncOptions {
            resources: vec![SyncResource {
                group: "*".into(),
                kind: kind.into(),
                namespace: String::new(),
                name: name.into(),
            }],
            ..SyncOptions::default()
        };
        let names = |options| {
            made(&options).map(|made| {
                made.sync
                    .unwrap()
                    .resources
                    .unwrap()
                    .into_iter()
                    .map(|r| r.kind)
                    .collect::<Vec<_>>()
            })
        };
        assert_eq!(
            names(pattern("*", "web")).unwrap(),
            ["Deployment", "Service"]
        );
        assert_eq!(names(pattern("Service", "*")).unwrap(), ["Service"]);
        let error = names(pattern("Ingress", "*")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn revisions_are_one_per_source() {
        let options = SyncOptions {
            revisions: vec!["a".into(), "b".into()],
            ..SyncOptions::default()
        };
        assert_eq!(made(&options).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
