//! Records as `tracing` events.

use async_trait::async_trait;

use super::log::AuditSink;
use super::record::AuditRecord;
use crate::error::Result;

/// Makes each record a `tracing` event of the target `gitops::audit`, level `INFO`; the whole record is its field `record`, as JSON.
#[derive(Clone, Copy, Debug, Default)]
pub struct TracingSink;

#[async_trait]
impl AuditSink for TracingSink {
    fn name(&self) -> &str {
        "tracing"
    }

    async fn append(&self, record: &AuditRecord) -> Result<()> {
        let json = serde_json::to_string(record).map_err(|error| {
            crate::Error::internal("an audit record cannot be written").with_source(error)
        })?;
        tracing::info!(
            target: "gitops::audit",
            actor = %record.actor.name,
            action = ?record.action,
            app = %record.app,
            outcome = ?record.outcome,
            record = %json,
        );
        Ok(())
    }
}
