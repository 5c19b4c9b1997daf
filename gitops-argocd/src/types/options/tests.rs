use serde_json::json;

use super::*;

fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn sync_options_of_the_documentation() {
    use SyncOption as O;
    // docs/user-guide/sync-options.md, top to bottom; then gitops-engine's pkg/sync/common/types.go and controller/sync.go.
    let known = [
        ("Prune=false", O::Prune(Removal::Never)),
        ("Prune=confirm", O::Prune(Removal::Confirm)),
        ("Validate=false", O::Validate(false)),
        (
            "SkipDryRunOnMissingResource=true",
            O::SkipDryRunOnMissingResource(true),
        ),
        ("Delete=false", O::Delete(Removal::Never)),
        ("Delete=confirm", O::Delete(Removal::Confirm)),
        ("ApplyOutOfSyncOnly=true", O::ApplyOutOfSyncOnly(true)),
        (
            "PrunePropagationPolicy=foreground",
            O::PrunePropagationPolicy(Propagation::Foreground),
        ),
        ("PruneLast=true", O::PruneLast(true)),
        ("Replace=true", O::Replace(true)),
        ("Force=true", O::Force(true)),
        ("ServerSideApply=true", O::ServerSideApply(true)),
        ("ServerSideApply=false", O::ServerSideApply(false)),
        ("FailOnSharedResource=true", O::FailOnSharedResource(true)),
        (
            "RespectIgnoreDifferences=true",
            O::RespectIgnoreDifferences(true),
        ),
        ("CreateNamespace=true", O::CreateNamespace(true)),
        ("Replace=false", O::Replace(false)),
        ("ApplyOutOfSyncOnly=false", O::ApplyOutOfSyncOnly(false)),
        (
            "ClientSideApplyMigration=true",
            O::ClientSideApplyMigration(true),
        ),
        (
            "ClientSideApplyMigration=false",
            O::ClientSideApplyMigration(false),
        ),
        (
            "PrunePropagationPolicy=background",
            O::PrunePropagationPolicy(Propagation::Background),
        ),
        (
            "PrunePropagationPolicy=orphan",
            O::PrunePropagationPolicy(Propagation::Orphan),
        ),
        ("Prune=true", O::Prune(Removal::Allowed)),
        ("Delete=true", O::Delete(Removal::Allowed)),
    ];
    for (text, option) in known {
        assert_eq!(SyncOption::from(text), option, "{text}");
        assert_eq!(option.to_string(), text);
        assert_eq!(serde_json::to_value(&option).unwrap(), json!(text));
        assert_eq!(
            serde_json::from_value::<SyncOption>(json!(text)).unwrap(),
            option
        );
    }
}

#[test]
fn what_argo_cd_would_not_read_is_kept_as_it_came() {
    let others = [
        "createNamespace=true",
        "CreateNamespace=True",
        "CreateNamespace=yes",
        "CreateNamespace",
        "CreateNamespace=confirm",
        "PrunePropagationPolicy=Foreground",
        "PrunePropagationPolicy",
        "Prune=never",
        " Replace=true",
        "DisableClientSideApplyMigration=true",
        "Newer=1=2",
        "",
    ];
    for text in others {
        let option: SyncOption = text.parse().unwrap();
        assert_eq!(option, SyncOption::Other(text.to_owned()));
        assert_eq!(option.to_string(), text);
    }
    for text in ["ignoreExtraneous", "ServerSideDiff", "ServerSideDiff=1"] {
        assert_eq!(
            CompareOption::from(text),
            CompareOption::Other(text.to_owned())
        );
    }
    assert!(serde_json::from_value::<SyncOption>(json!(true)).is_err());
}

#[test]
fn compare_options_hooks_and_policies() {
    // docs/user-guide/{compare-options,diff-strategies}.md and controller/state.go.
    let options = [
        ("IgnoreExtraneous", CompareOption::IgnoreExtraneous),
        ("ServerSideDiff=true", CompareOption::ServerSideDiff(true)),
        ("ServerSideDiff=false", CompareOption::ServerSideDiff(false)),
        (
            "IncludeMutationWebhook=true",
            CompareOption::IncludeMutationWebhook(true),
        ),
    ];
    for (text, option) in options {
        assert_eq!(CompareOption::from(text), option);
        assert_eq!(option.to_string(), text);
    }
    // docs/user-guide/sync-waves.md.
    let hooks = [
        ("PreSync", HookType::PreSync),
        ("Sync", HookType::Sync),
        ("Skip", HookType::Skip),
        ("PostSync", HookType::PostSync),
        ("SyncFail", HookType::SyncFail),
        ("PostDelete", HookType::PostDelete),
        ("Garbage", HookType::Other("Garbage".to_owned())),
    ];
    for (text, hook) in hooks {
        assert_eq!(HookType::from(text), hook);
        assert_eq!(hook.to_string(), text);
    }
    let policies = [
        ("HookSucceeded", HookDeletePolicy::HookSucceeded),
        ("HookFailed", HookDeletePolicy::HookFailed),
        ("BeforeHookCreation", HookDeletePolicy::BeforeHookCreation),
        ("garbage", HookDeletePolicy::Other("garbage".to_owned())),
    ];
    for (text, policy) in policies {
        assert_eq!(HookDeletePolicy::from(text), policy);
        assert_eq!(policy.to_string(), text);
    }
}

#[test]
fn hooks_as_gitops_engine_sees_them() {
    // pkg/sync/hook/hook_test.go: the annotation, whether it is a hook, whether it is skipped, how many types.
    let cases = [
        (None, false, false, 0),
        (Some("PreSync"), true, false, 1),
        (Some("Skip"), false, true, 1),
        (Some("Garbage"), true, false, 0),
        (Some("PreSync,PostSync"), true, false, 2),
        (Some("Sync,Sync"), true, false, 1),
        (Some("Skip,PreSync,PostSync"), true, false, 3),
        (Some("Sync,Garbage"), true, false, 1),
    ];
    for (text, hook, skipped, types) in cases {
        let annotations = text
            .map(|text| map(&[(annotation::HOOK, text)]))
            .unwrap_or_default();
        let read = ResourceAnnotations::of(&annotations).unwrap();
        let known = read
            .hooks
            .iter()
            .filter(|hook| !matches!(hook, HookType::Other(_)));
        assert_eq!(
            (read.is_hook(), read.is_skipped(), known.count()),
            (hook, skipped, types),
            "{text:?}"
        );
    }
}

#[test]
fn annotations_there_and_back() {
    // The examples of docs/user-guide/{sync-options,sync-waves,diff-strategies}.md.
    let cases = [
        (
            map(&[(annotation::SYNC_OPTIONS, "Force=true,Replace=true")]),
            ResourceAnnotations::default()
                .sync_option(SyncOption::Force(true))
                .sync_option(SyncOption::Replace(true)),
        ),
        (
            map(&[
                (annotation::HOOK, "PreSync"),
                (annotation::HOOK_DELETE_POLICY, "HookSucceeded"),
                (annotation::SYNC_WAVE, "-1"),
            ]),
            ResourceAnnotations::default()
                .wave(-1)
                .hook(HookType::PreSync)
                .hook_delete_policy(HookDeletePolicy::HookSucceeded),
        ),
        (
            map(&[(
                annotation::COMPARE_OPTIONS,
                "ServerSideDiff=true,IncludeMutationWebhook=true",
            )]),
            ResourceAnnotations::default()
                .compare_option(CompareOption::ServerSideDiff(true))
                .compare_option(CompareOption::IncludeMutationWebhook(true)),
        ),
        (BTreeMap::new(), ResourceAnnotations::default()),
    ];
    for (annotations, asked) in cases {
        assert_eq!(ResourceAnnotations::of(&annotations).unwrap(), asked);
        assert_eq!(asked.to_map(), annotations);
    }
    // GetAnnotationCSVs trims, and drops empty parts and repetitions.
    let untidy = map(&[(
        annotation::SYNC_OPTIONS,
        " Prune=false ,, Newer=1,Prune=false",
    )]);
    let read = ResourceAnnotations::of(&untidy).unwrap();
    assert_eq!(
        read.to_map()[annotation::SYNC_OPTIONS],
        "Prune=false,Newer=1"
    );
    // strconv.Atoi.
    for (text, wave) in [
        ("5", Some(5)),
        ("+5", Some(5)),
        ("05", Some(5)),
        (" 5", None),
        ("", None),
        ("1.0", None),
    ] {
        let read = ResourceAnnotations::of(&map(&[(annotation::SYNC_WAVE, text)]));
        assert_eq!(read.ok().and_then(|read| read.wave), wave, "{text:?}");
    }
    let mut annotations = map(&[("mine", "stays"), (annotation::HOOK, "Sync")]);
    ResourceAnnotations::default()
        .wave(2)
        .apply_to(&mut annotations);
    assert_eq!(
        annotations,
        map(&[("mine", "stays"), (annotation::SYNC_WAVE, "2")])
    );
}

#[test]
fn approvals() {
    let at = |text: &str| -> Timestamp { text.parse().unwrap() };
    // IsDeletionConfirmed of pkg/apis/application/v1alpha1/types.go: the annotation, since when, whether it is confirmed.
    let cases = [
        ("2025-01-01T12:00:00Z", "2025-01-01T12:00:00Z", true),
        ("2025-01-01T12:00:01Z", "2025-01-01T12:00:00Z", true),
        ("2025-01-01T11:59:59Z", "2025-01-01T12:00:00Z", false),
        ("2025-01-01T14:00:00+02:00", "2025-01-01T12:00:00Z", true),
        ("2025-01-01T12:00:00.5Z", "2025-01-01T12:00:00Z", true),
        ("2025-01-01 12:00:00Z", "2025-01-01T12:00:00Z", false),
        ("2025-01-01T12:00Z", "2025-01-01T12:00:00Z", false),
        ("2025-13-01T12:00:00Z", "2025-01-01T12:00:00Z", false),
        ("true", "2025-01-01T12:00:00Z", false),
        ("", "2025-01-01T12:00:00Z", false),
    ];
    for (text, since, confirmed) in cases {
        let approval = DeletionApproval::of(&map(&[(annotation::DELETION_APPROVED, text)]));
        assert_eq!(
            approval.is_some_and(|approval| approval.confirms(at(since))),
            confirmed,
            "{text}"
        );
    }
    let approval = DeletionApproval(at("2025-01-01T12:00:00.7Z"));
    assert_eq!(approval.to_string(), "2025-01-01T12:00:00Z");
    assert_eq!(DeletionApproval::of(&BTreeMap::new()), None);
    assert!(
        DeletionApproval::now()
            .to_string()
            .parse::<DeletionApproval>()
            .is_ok()
    );
}
