//! Events in the log.

use async_trait::async_trait;

use super::Notifier;
use crate::backend::{Severity, SyncEvent};
use crate::error::Result;

/// Makes each event a `tracing` event of the target `gitops::notify`; its level follows from the severity.
#[derive(Clone, Copy, Debug, Default)]
pub struct TracingNotifier;

#[async_trait]
impl Notifier for TracingNotifier {
    fn name(&self) -> &str {
        "tracing"
    }

    async fn notify(&self, event: &SyncEvent) -> Result<()> {
        let (app, operation, kind) = (&event.app, &event.operation, event.kind.name());
        let text = event.kind.text();
        match event.severity {
            Severity::Info => {
                tracing::info!(target: "gitops::notify", %app, %operation, kind, "{text}");
            }
            Severity::Warning => {
                tracing::warn!(target: "gitops::notify", %app, %operation, kind, "{text}");
            }
            Severity::Error => {
                tracing::error!(target: "gitops::notify", %app, %operation, kind, "{text}");
            }
        }
        Ok(())
    }
}
