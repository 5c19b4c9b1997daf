//! The rules about revisions and paths, against what a real repository says of its commits.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::Origin;
use gitops_core::application::{Application, ApplicationStatus, HistoryEntry, Source};
use gitops_core::rule::{
    GENERATE_PATHS, PathsChanged, RevisionChanged, SyncContext, SyncRule, all,
};
use gitops_git::{Change, Repository, RepositoryOptions, Revision};

async fn head(repository: &Repository) -> String {
    repository.fetch().await.unwrap();
    repository
        .resolve(&Revision::parse("main").unwrap())
        .await
        .unwrap()
}

/// The paths that two commits differ in; of a rename both.
async fn changed(repository: &Repository, old: &str, new: &str) -> Vec<String> {
    let changes = repository.changed_paths(Some(old), new, "").await.unwrap();
    let paths = |change: Change| [Some(change.path), change.old_path];
    changes.into_iter().flat_map(paths).flatten().collect()
}

#[tokio::test]
async fn only_commits_that_touch_the_application_are_synced() {
    let origin = Origin::with(&[
        ("deploy/prod/web.yaml", "a: 1\n"),
        ("deploy/base/web.yaml", "b: 1\n"),
        ("docs/readme.md", "hello\n"),
    ]);
    let cache = tempfile::tempdir().unwrap();
    let options = RepositoryOptions::default().cache_dir(cache.path());
    let repository = Repository::open(&origin.url(), options).await.unwrap();
    let app = Application::new("shop").source(
        Source::git(origin.url())
            .path("deploy/prod")
            .revision("main"),
    );
    let mut with_base = app.clone();
    with_base
        .annotations
        .insert(GENERATE_PATHS.into(), ".;../base".into());
    let rule = all([
        Box::new(RevisionChanged::default()) as _,
        Box::new(PathsChanged::default()) as _,
    ]);

    let first = head(&repository).await;
    let status = ApplicationStatus {
        history: vec![HistoryEntry {
            revisions: vec![first.clone()],
            ..HistoryEntry::default()
        }],
        ..ApplicationStatus::default()
    };
    // (what is committed, whether the application is synced, whether one that names its base is)
    type Files<'a> = &'a [(&'a str, &'a str)];
    let steps: [(Files<'_>, bool, bool); 4] = [
        (&[], false, false),
        (&[("docs/readme.md", "changed\n")], false, false),
        (&[("deploy/base/web.yaml", "b: 2\n")], false, true),
        (&[("deploy/prod/more/new.yaml", "c: 1\n")], true, true),
    ];
    for (files, expected, with_base_expected) in steps {
        if !files.is_empty() {
            origin.commit("main", files);
        }
        let revisions = [head(&repository).await];
        let paths = changed(&repository, &first, &revisions[0]).await;
        for (app, expected) in [(&app, expected), (&with_base, with_base_expected)] {
            let mut context = SyncContext::new(app);
            context.status = Some(&status);
            context.revisions = &revisions;
            context.changed_paths = Some(&paths);
            let decision = rule.evaluate(&context).await.unwrap();
            assert_eq!(
                decision.sync, expected,
                "{files:?} {:?}: {}",
                app.annotations, decision.reason
            );
        }
    }
}
