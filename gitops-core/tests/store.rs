//! The stores pass the conformance suite.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod memory {
    use std::sync::Arc;

    use gitops_core::store::MemoryStore;

    async fn make() -> gitops_core::Result<Arc<MemoryStore>> {
        Ok(Arc::new(MemoryStore::new()))
    }

    gitops_core::store_conformance!(make());
}

mod directory {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use async_trait::async_trait;
    use gitops_core::application::{AppRef, Application, ApplicationStatus, Source};
    use gitops_core::backend::{
        ApplicationStore, DeleteOptions, ListOptions, PutMode, PutOutcome, Stored,
    };
    use gitops_core::store::{DirectoryStore, StatusStore};
    use gitops_core::testing::conformance::store::{Damage, Part};
    use gitops_core::{ErrorKind, Result};

    /// A store whose directory goes with it; every call is made by another instance, as another process would.
    struct Temporary(tempfile::TempDir);

    impl Temporary {
        fn open(&self) -> Result<DirectoryStore> {
            DirectoryStore::open(self.0.path().join("apps"))
        }
    }

    #[async_trait]
    impl ApplicationStore for Temporary {
        async fn put(&self, app: &Application, mode: PutMode) -> Result<PutOutcome> {
            self.open()?.put(app, mode).await
        }
        async fn get(&self, app: &AppRef) -> Result<Stored> {
            self.open()?.get(app).await
        }
        async fn list(&self, options: &ListOptions) -> Result<Vec<Stored>> {
            self.open()?.list(options).await
        }
        async fn delete(&self, app: &AppRef, options: &DeleteOptions) -> Result<()> {
            self.open()?.delete(app, options).await
        }
        async fn suspend(&self, app: &AppRef) -> Result<()> {
            self.open()?.suspend(app).await
        }
        async fn resume(&self, app: &AppRef) -> Result<()> {
            self.open()?.resume(app).await
        }
    }

    #[async_trait]
    impl StatusStore for Temporary {
        async fn status(&self, app: &AppRef) -> Result<Option<ApplicationStatus>> {
            self.open()?.status(app).await
        }
        async fn put_status(&self, app: &AppRef, status: &ApplicationStatus) -> Result<()> {
            self.open()?.put_status(app, status).await
        }
    }

    async fn make() -> Result<Arc<Temporary>> {
        Ok(Arc::new(Temporary(tempfile::tempdir().unwrap())))
    }

    #[async_trait]
    impl Damage for Temporary {
        async fn damage(&self, app: &AppRef, part: Part) -> Result<()> {
            let folder = match part {
                Part::Application => "apps/_",
                Part::Status => "apps/_/.status",
            };
            let file = self
                .0
                .path()
                .join(folder)
                .join(format!("{}.yaml", app.name));
            assert!(file.exists());
            std::fs::write(file, "name: [").unwrap();
            Ok(())
        }
    }

    gitops_core::store_conformance!(make(), damage);

    #[tokio::test]
    async fn people_may_edit_files_and_one_bad_file_hides_no_other() {
        let store = make().await.unwrap();
        for name in ["a", "b"] {
            let app = Application::new(name).source(Source::git("https://git.example.com/x.git"));
            store.put(&app, PutMode::Create).await.unwrap();
        }
        let folder = store.0.path().join("apps/_");
        let text = std::fs::read_to_string(folder.join("a.yaml")).unwrap();
        assert!(text.contains("https://git.example.com/x.git"), "{text}");
        std::fs::write(
            folder.join("a.yaml"),
            text.replace("x.git", "y.git # moved"),
        )
        .unwrap();
        assert_eq!(
            store.get(&"a".into()).await.unwrap().app.sources[0].repo_url,
            "https://git.example.com/y.git"
        );
        std::fs::write(folder.join("b.yaml"), "name: [").unwrap();
        std::fs::write(folder.join("c.yaml"), "name: other\n").unwrap();
        std::fs::write(folder.join("not a name.yaml"), "name: not a name\n").unwrap();
        std::fs::write(folder.join(".#a.yaml"), "an editor's").unwrap();
        let error = store.list(&ListOptions::default()).await.unwrap_err();
        for named in [
            "b.yaml:1",
            "c.yaml holds application other",
            "not a name cannot",
        ] {
            assert!(error.to_string().contains(named), "{error}");
        }
        let readable = ListOptions {
            readable_only: true,
            ..ListOptions::default()
        };
        let listed = store.list(&readable).await.unwrap();
        assert_eq!(listed.len(), 1);
        let error = store.get(&"b".into()).await.unwrap_err();
        assert!(error.to_string().contains("b.yaml:1"), "{error}");
        assert!(store.get(&"c".into()).await.is_err());
        let left: Vec<_> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert!(
            !left
                .iter()
                .any(|name| name.to_string_lossy().starts_with(".new-")),
            "{left:?}"
        );
    }

    #[tokio::test]
    async fn the_file_of_another_application_is_not_replaced() {
        let store = make().await.unwrap();
        store
            .put(&Application::new("a"), PutMode::Create)
            .await
            .unwrap();
        let folder = store.0.path().join("apps/_");
        std::fs::copy(folder.join("a.yaml"), folder.join("b.yaml")).unwrap();
        let before = std::fs::read(folder.join("b.yaml")).unwrap();
        let error = store
            .put(&Application::new("b"), PutMode::Upsert)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Integrity, "{error}");
        assert!(store.suspend(&"b".into()).await.is_err());
        let forget = DeleteOptions {
            cascade: false,
            ..DeleteOptions::default()
        };
        let error = store.delete(&"b".into(), &forget).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Integrity, "{error}");
        assert_eq!(std::fs::read(folder.join("b.yaml")).unwrap(), before);
    }

    #[tokio::test]
    async fn a_lock_that_is_not_given_back_is_waited_for_only_so_long() {
        let dir = tempfile::tempdir().unwrap();
        let wait = Duration::from_millis(200);
        let store = DirectoryStore::open(dir.path()).unwrap().lock_timeout(wait);
        let lock = std::fs::File::create(dir.path().join(".lock")).unwrap();
        lock.lock().unwrap();
        let started = Instant::now();
        let app = Application::new("a");
        let error = store.put(&app, PutMode::Create).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        assert!(error.to_string().contains(".lock"), "{error}");
        assert!(started.elapsed() >= wait && started.elapsed() < 50 * wait);
        // Readers wait for nobody.
        assert!(
            store
                .list(&ListOptions::default())
                .await
                .unwrap()
                .is_empty()
        );
        // Who gave up does not write later.
        let patient = store.clone().lock_timeout(Duration::from_secs(60));
        let given_up = tokio::time::timeout(wait, patient.put(&app, PutMode::Create)).await;
        assert!(given_up.is_err());
        drop(lock);
        tokio::time::sleep(wait).await;
        assert!(
            store
                .list(&ListOptions::default())
                .await
                .unwrap()
                .is_empty()
        );
        store.put(&app, PutMode::Create).await.unwrap();
    }

    /// The directory that a child process of these tests is to write to.
    const CHILD: &str = "GITOPS_TEST_STORE";
    const SHARED: &str = "shared";

    /// This test program again, for this test alone and with `dir` to write to.
    fn child(test: &str, dir: &std::path::Path) -> std::process::Child {
        std::process::Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture"])
            .env(CHILD, dir)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap()
    }

    async fn add_label(store: &DirectoryStore, label: String) {
        loop {
            let stored = store.get(&SHARED.into()).await.unwrap();
            let mut app = stored.app;
            app.labels.insert(label.clone(), "1".into());
            match store.put(&app, PutMode::Update(stored.version)).await {
                Ok(_) => return,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error}"),
            }
        }
    }

    #[tokio::test]
    async fn no_update_of_several_processes_is_lost() {
        if let Some(dir) = std::env::var_os(CHILD) {
            let store = DirectoryStore::open(dir).unwrap();
            for number in 0..10 {
                add_label(&store, format!("p{}-{number}", std::process::id())).await;
            }
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let store = DirectoryStore::open(dir.path()).unwrap();
        let app = Application::new(SHARED);
        store.put(&app, PutMode::Create).await.unwrap();
        let test = "directory::no_update_of_several_processes_is_lost";
        let children: Vec<_> = (0..4).map(|_| child(test, dir.path())).collect();
        for mut child in children {
            assert!(child.wait().unwrap().success());
        }
        let labels = store.get(&SHARED.into()).await.unwrap().app.labels;
        assert_eq!(labels.len(), 40);
    }

    #[tokio::test]
    async fn a_writer_killed_at_any_time_leaves_a_whole_file_and_no_lock() {
        let big = |number: u32| {
            let mut app = Application::new(SHARED);
            app.annotations
                .insert("big".into(), number.to_string().repeat(50_000));
            app
        };
        if let Some(dir) = std::env::var_os(CHILD) {
            let store = DirectoryStore::open(dir).unwrap();
            for number in 0.. {
                store.put(&big(number % 10), PutMode::Upsert).await.unwrap();
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let store = DirectoryStore::open(dir.path()).unwrap();
        store.put(&big(0), PutMode::Create).await.unwrap();
        let first = store.get(&SHARED.into()).await.unwrap().version;
        let test = "directory::a_writer_killed_at_any_time_leaves_a_whole_file_and_no_lock";
        let mut others = 0;
        for round in 0..15 {
            let mut writer = child(test, dir.path());
            let (begun, life) = (Instant::now(), Duration::from_millis(60 + 7 * round));
            // The first one is let live until it has written.
            let patience = Duration::from_secs(60);
            while begun.elapsed() < life || (others == 0 && begun.elapsed() < patience) {
                let stored = store.get(&SHARED.into()).await.unwrap();
                let text = &stored.app.annotations["big"];
                let first = &text[..1];
                assert!(text.len() == 50_000 && text.chars().all(|c| first.starts_with(c)));
                others +=
                    u32::from(stored.version != store.get(&SHARED.into()).await.unwrap().version);
            }
            writer.kill().unwrap();
            writer.wait().unwrap();
            // The lock went with its holder: this does not hang.
            tokio::time::timeout(
                std::time::Duration::from_secs(20),
                store.put(&big(0), PutMode::Upsert),
            )
            .await
            .unwrap()
            .unwrap();
            assert_eq!(store.get(&SHARED.into()).await.unwrap().version, first);
        }
        assert!(others > 0, "the children wrote nothing");
    }
}
