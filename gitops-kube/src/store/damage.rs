//! Damaged records, for the conformance suite of stores.

use async_trait::async_trait;
use gitops_core::application::AppRef;
use gitops_core::store::not_found;
use gitops_core::testing::conformance::store::{Damage, Part};
use gitops_core::{Error, Result};
use serde_json::json;

use super::{APPLICATION, ConfigMapStore, MANAGER, PACKED_STATUS, STATUS, config_map_of};
use crate::cluster::{ApiKind, ObjectKey, Patch, WriteParams};

#[async_trait]
impl Damage for ConfigMapStore {
    async fn damage(&self, app: &AppRef, part: Part) -> Result<()> {
        let record = self.read(app).await?.ok_or_else(|| not_found(app))?;
        let packed = record.text("binaryData", PACKED_STATUS).is_some();
        let patch = match part {
            Part::Application => json!({"data": {APPLICATION: "{\"name\": ["}}),
            // Base64, as the API server insists, but no gzip.
            Part::Status if packed => json!({"binaryData": {PACKED_STATUS: "AAAA"}}),
            Part::Status => json!({"data": {STATUS: "{"}}),
        };
        let kind = ApiKind::config_map();
        let key = ObjectKey {
            kind: &kind,
            namespace: &self.namespace,
            name: &config_map_of(app),
        };
        let params = WriteParams {
            field_manager: MANAGER.into(),
            ..WriteParams::default()
        };
        let after = self
            .cluster
            .patch(key, &Patch::Merge(patch), &params)
            .await?;
        if after.value() == record.0.value() {
            return Err(Error::failed("nothing was damaged"));
        }
        Ok(())
    }
}
