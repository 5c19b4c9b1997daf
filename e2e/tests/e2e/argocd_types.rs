//! Argo CD's own manifests, examples and documentation, read into the types of gitops-argocd and written again.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result};
use gitops_argocd::types::{
    AppProject, Application, ApplicationSet, CompareOption, HookDeletePolicy, HookType, SyncOption,
    annotation, finalizer,
};

use crate::round_trip::{Kind, Suite};

/// The kinds, and how many documents of each there are at least.
const KINDS: &[Kind] = &[
    Kind::new::<Application>("argoproj.io", "Application", 95),
    Kind::new::<AppProject>("argoproj.io", "AppProject", 20),
    Kind::new::<ApplicationSet>("argoproj.io", "ApplicationSet", 120),
];

/// What cannot be read: where it is, and why.
const UNREADABLE: &[(&str, &str)] = &[
    (
        "docs/operator-manual/app-sync-using-impersonation.md:89",
        "a destination is a text",
    ),
    (
        "docs/operator-manual/applicationset/Appset-Any-Namespace.md:164",
        "the generators are no list",
    ),
    (
        "docs/operator-manual/applicationset/Generators-Plugin.md:20",
        "no YAML: quotes within quotes",
    ),
    (
        "docs/operator-manual/applicationset/Generators-Plugin.md:231",
        "`github: ...`",
    ),
    (
        "docs/operator-manual/applicationset.yaml",
        "the source is a list",
    ),
    (
        "docs/operator-manual/cluster-bootstrapping.md:41",
        "a template of Helm",
    ),
    (
        "docs/operator-manual/cluster-bootstrapping.md:113",
        "`spec: ...`",
    ),
    (
        "docs/operator-manual/notifications/services/rocketchat.md:58",
        "an annotation without a value: the text after `#` is a comment",
    ),
    (
        "docs/operator-manual/notifications/services/telegram.md:30",
        "an annotation that is a number",
    ),
    (
        "docs/proposals/decouple-application-sync-user-using-impersonation.md:88",
        "a destination is a text",
    ),
    (
        "docs/proposals/decouple-application-sync-user-using-impersonation.md:609",
        "a key twice",
    ),
    (
        "docs/proposals/project-repos-and-clusters.md:68",
        "no YAML: `****` is no alias",
    ),
    (
        "docs/proposals/sync-timeout.md:63",
        "no YAML: `...` among keys",
    ),
    (
        "docs/user-guide/kustomize.md:149",
        "no YAML: `...` among keys",
    ),
    (
        "docs/user-guide/projects.md:151",
        "no YAML: `...` among keys",
    ),
    ("docs/user-guide/sync-kubectl.md:12", "`spec: ...`"),
    (
        "docs/user-guide/sync-options.md:447",
        "an annotation that is a number",
    ),
    (
        "docs/user-guide/tool_detection.md:9",
        "no YAML: `...` among keys",
    ),
    (
        "test/e2e/testdata/declarative-apps/app.yaml",
        "a template of Go",
    ),
    (
        "test/e2e/testdata/declarative-apps/invalid-helm.yaml",
        "a template of Go",
    ),
];

/// Required fields: they are written, empty, where a document has left them out, as Go writes them.
const REQUIRED: &[&str] = &[
    "destination",
    "generators",
    "metadata",
    "project",
    "repoURL",
    "revision",
    "spec",
    "template",
];

#[test]
fn argo_cds_documents_come_back_as_they_were() -> Result<()> {
    let suite = Suite {
        modules: &[("", "github.com/argoproj/argo-cd/v3")],
        kinds: KINDS,
        unreadable: UNREADABLE,
        required: REQUIRED,
        fill: str::to_owned,
    };
    suite.check()
}

fn source(module: &str, files: &[&str]) -> Result<String> {
    let root = e2e::module_dir(module)?;
    files
        .iter()
        .map(|file| fs::read_to_string(root.join(file)).with_context(|| (*file).to_owned()))
        .collect()
}

#[test]
fn annotations_and_finalizers_are_argo_cds() -> Result<()> {
    let known = source(
        "github.com/argoproj/argo-cd/v3",
        &[
            "common/common.go",
            "pkg/apis/application/v1alpha1/application_annotations.go",
            "pkg/apis/application/v1alpha1/application_defaults.go",
            "ui/src/app/shared/models.ts",
        ],
    )? + &source(
        "github.com/argoproj/gitops-engine",
        &["pkg/sync/common/types.go", "pkg/sync/hook/hook.go"],
    )?;
    let keys = [
        annotation::SYNC_WAVE,
        annotation::HOOK,
        annotation::HOOK_DELETE_POLICY,
        annotation::SYNC_OPTIONS,
        annotation::COMPARE_OPTIONS,
        annotation::IGNORE_HEALTHCHECK,
        annotation::TRACKING_ID,
        annotation::INSTALLATION_ID,
        annotation::LINK_PREFIX,
        annotation::REFRESH,
        annotation::HYDRATE,
        annotation::MANIFEST_GENERATE_PATHS,
        annotation::DELETION_APPROVED,
        annotation::SKIP_RECONCILE,
        annotation::CLIENT_SIDE_APPLY_MIGRATION_MANAGER,
        annotation::DEFAULT_VIEW,
        annotation::DEFAULT_POD_SORT,
        annotation::APPLICATION_SET_REFRESH,
        finalizer::RESOURCES,
        finalizer::RESOURCES_FOREGROUND,
        finalizer::RESOURCES_BACKGROUND,
        finalizer::POST_DELETE,
        finalizer::HOOK,
    ];
    for key in keys {
        let quoted = [format!("\"{key}\""), format!("'{key}'")];
        assert!(
            quoted.iter().any(|quoted| known.contains(quoted)),
            "{key} is in none of Argo CD's sources"
        );
    }
    // Those that the sources have in no single constant.
    let documented = source(
        "github.com/argoproj/argo-cd/v3",
        &["docs/user-guide/annotations-and-labels.md"],
    )?;
    assert!(documented.contains(&format!("| {} |", annotation::IGNORE_RESOURCE_UPDATES)));
    assert_eq!(
        finalizer::POST_DELETE_CLEANUP,
        format!("{}/cleanup", finalizer::POST_DELETE)
    );
    let controller = source(
        "github.com/argoproj/argo-cd/v3",
        &["controller/appcontroller.go"],
    )?;
    assert!(controller.contains("SetPostDeleteFinalizer(\"cleanup\")"));
    Ok(())
}

#[test]
fn every_option_of_argo_cd_is_known() -> Result<()> {
    let options = source(
        "github.com/argoproj/gitops-engine",
        &["pkg/sync/common/types.go"],
    )? + &source("github.com/argoproj/argo-cd/v3", &["controller/sync.go"])?;
    let quoted = |text: &str| -> Vec<String> {
        let parts = text
            .lines()
            .flat_map(|line| line.split('"').skip(1).step_by(2));
        parts.map(str::to_owned).collect()
    };
    let is_option = |text: &String| {
        let word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphabetic());
        text.starts_with(|first: char| first.is_ascii_uppercase())
            && text
                .split_once('=')
                .is_some_and(|(name, value)| word(name) && word(value))
    };
    let mut sync: BTreeSet<String> = quoted(&options).into_iter().filter(is_option).collect();
    let mut compare: BTreeSet<String> = quoted(&source(
        "github.com/argoproj/argo-cd/v3",
        &["controller/state.go"],
    )?)
    .into_iter()
    .filter(|text| is_option(text) || text == "IgnoreExtraneous")
    .filter(|text| text != "ServerSideApply=true")
    .collect();
    let documentation = source(
        "github.com/argoproj/argo-cd/v3",
        &[
            "docs/user-guide/sync-options.md",
            "docs/user-guide/compare-options.md",
            "docs/user-guide/diff-strategies.md",
        ],
    )?;
    for line in documentation.lines().map(str::trim) {
        let list = |text: &str| {
            text.split(',')
                .map(|part| part.trim().to_owned())
                .collect::<Vec<_>>()
        };
        if let Some(text) = line.strip_prefix("argocd.argoproj.io/sync-options:") {
            sync.extend(list(text));
        } else if let Some(text) = line.strip_prefix("argocd.argoproj.io/compare-options:") {
            compare.extend(list(text));
        } else if let Some(text) = line.strip_prefix("- ").map(str::to_owned)
            && is_option(&text)
        {
            sync.insert(text);
        }
    }
    println!("{} sync options: {sync:?}", sync.len());
    println!("{} compare options: {compare:?}", compare.len());
    assert!(sync.len() >= 23 && compare.len() >= 4);
    let unknown: Vec<&String> = sync
        .iter()
        .filter(|text| matches!(SyncOption::from(text.as_str()), SyncOption::Other(_)))
        .collect();
    // Documented, and read by nothing in 3.2.
    assert_eq!(unknown, ["DisableClientSideApplyMigration=true"]);
    for text in &compare {
        let option = CompareOption::from(text.as_str());
        assert!(!matches!(option, CompareOption::Other(_)), "{text}");
    }

    // `HookTypePreSync HookType = "PreSync"`.
    let constants = |kind: &str| -> Vec<&str> {
        let declared = options
            .lines()
            .map(str::trim)
            .filter(|line| line.starts_with(kind));
        let constants = declared.filter_map(|line| line.split_once(&format!(" {kind} = \"")));
        constants
            .map(|(_, value)| value.trim_end_matches('"'))
            .collect()
    };
    let hooks = constants("HookType");
    assert_eq!(hooks.len(), 5, "{hooks:?}");
    for text in hooks {
        assert!(
            !matches!(HookType::from(text), HookType::Other(_)),
            "{text}"
        );
    }
    let policies = constants("HookDeletePolicy");
    assert_eq!(policies.len(), 3, "{policies:?}");
    for text in policies {
        let policy = HookDeletePolicy::from(text);
        assert!(!matches!(policy, HookDeletePolicy::Other(_)), "{text}");
    }
    Ok(())
}
