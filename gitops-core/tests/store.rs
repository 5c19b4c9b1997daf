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

    use async_trait::async_trait;
    use gitops_core::Result;
    use gitops_core::application::{AppRef, Application, ApplicationStatus, Source};
    use gitops_core::backend::{
        ApplicationStore, DeleteOptions, ListOptions, PutMode, PutOutcome, Stored,
    };
    use gitops_core::store::{DirectoryStore, StatusStore};

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

    gitops_core::store_conformance!(make());

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
        let listed = store.list(&ListOptions::default()).await.unwrap();
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
}
