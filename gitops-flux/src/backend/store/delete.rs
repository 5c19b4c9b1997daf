//! Deleting the workload of an application.

use gitops_core::application::OperationPhase;
use gitops_core::backend::DeleteOptions;
use gitops_core::{Error, ErrorKind, Result};
use jiff::Timestamp;
use serde_json::json;

use crate::backend::FluxBackend;
use crate::backend::access::{Loaded, version_of};
use crate::backend::record::{Ended, OPERATION, Step};
use crate::manager::{DeleteOptions as Deletion, FluxRef};
use crate::types::DeletionPolicy;

/// What a workload that is to be deleted depends on: nothing has that name.
const FINALIZER_GUARD: &str = "gitops.rs-is-being-deleted";

impl FluxBackend {
    /// Says in the workload what is to become of what it deployed, ends the operation that runs, and deletes it as it is then: nobody writes anything else in between.
    pub(super) async fn delete_workload(
        &self,
        loaded: &Loaded,
        options: &DeleteOptions,
    ) -> Result<()> {
        let named = loaded.workload_ref();
        let mut patch = match options.cascade {
            // A suspended workload leaves what it deployed.
            false => json!({"spec": {"suspend": true}}),
            true => {
                // It is resumed so that it deletes, and waits for what never comes so that it applies nothing before.
                let mut patch =
                    json!({"spec": {"suspend": null, "dependsOn": [{"name": FINALIZER_GUARD}]}});
                if !loaded.workload().is_helm() {
                    patch["spec"]["deletionPolicy"] = json!(DeletionPolicy::Delete);
                }
                patch
            }
        };
        // A record that cannot be read is nobody's operation.
        let record = loaded.record().ok().flatten();
        if let Some(mut record) = record.filter(|record| !record.has_ended()) {
            record.end(Ended {
                phase: OperationPhase::Failed,
                message: "the application was deleted".to_owned(),
                revisions: Vec::new(),
                resources: Vec::new(),
                finished_at: Timestamp::now(),
            });
            record.step = Step::Ended;
            let text = serde_json::to_string(&record)
                .map_err(|error| Error::internal("a record is no JSON").with_source(error))?;
            patch["metadata"]["annotations"] = json!({OPERATION: text});
        }
        let guarded = self.patch_at(&named, loaded.version(), patch).await?;
        let deletion = Deletion {
            uid: loaded.workload().metadata().uid.clone(),
            resource_version: Some(version_of(&guarded).to_owned()),
            ..Deletion::default()
        };
        match self.manager.delete(&named, &deletion).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Deletes what may be gone already.
    pub(super) async fn forget(&self, object: &FluxRef) -> Result<()> {
        match self.manager.delete(object, &Deletion::default()).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}
