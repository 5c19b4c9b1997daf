//! What an application's sync options mean here.

use gitops_core::application::SyncPolicy;
use gitops_core::backend::Propagation;
use gitops_core::{Error, Result};

/// The sync options of an application and of one sync, read and checked. The table is in the documentation of [`direct`](super).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SyncOptionSet {
    pub(super) create_namespace: bool,
    pub(super) prune: Permission,
    pub(super) delete: Permission,
    pub(super) propagation: Option<Propagation>,
    pub(super) replace: bool,
    pub(super) force: bool,
    pub(super) validate: Option<bool>,
    pub(super) respect_ignored: bool,
    pub(super) out_of_sync_only: bool,
    pub(super) fail_on_shared: bool,
}

/// Whether something may be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Permission {
    #[default]
    Yes,
    /// Only when somebody asks for it.
    Confirm,
    Never,
}

impl SyncOptionSet {
    /// Reads options; of several with one name the last counts.
    pub(super) fn of(policy: &SyncPolicy, more: &[String]) -> Result<Self> {
        let mut set = Self::default();
        for option in policy.options.iter().chain(more) {
            set.read(option.trim())?;
        }
        Ok(set)
    }

    fn read(&mut self, option: &str) -> Result<()> {
        let expected = |what: &str| {
            Err(Error::invalid(format!(
                "sync option {option:?}: expected {what}"
            )))
        };
        let Some((name, value)) = option.split_once('=') else {
            return expected("NAME=VALUE");
        };
        let truth = match value {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        };
        let permission = match value {
            "true" => Some(Permission::Yes),
            "confirm" => Some(Permission::Confirm),
            "false" => Some(Permission::Never),
            _ => None,
        };
        match (name, truth, permission) {
            ("CreateNamespace", Some(on), _) => self.create_namespace = on,
            ("Replace", Some(on), _) => self.replace = on,
            ("Force", Some(on), _) => self.force = on,
            ("RespectIgnoreDifferences", Some(on), _) => self.respect_ignored = on,
            ("ApplyOutOfSyncOnly", Some(on), _) => self.out_of_sync_only = on,
            ("FailOnSharedResource", Some(on), _) => self.fail_on_shared = on,
            ("Validate", Some(false), _) => self.validate = Some(false),
            // Argo CD's default asks for no dry-run of stages.
            ("Validate", Some(true), _) => self.validate = None,
            ("Validate", None, _) if value == "server" => self.validate = Some(true),
            ("Validate", None, _) => return expected("true, false or server"),
            ("Prune", _, Some(permission)) => self.prune = permission,
            ("Delete", _, Some(permission)) => self.delete = permission,
            ("Prune" | "Delete", ..) => return expected("true, false or confirm"),
            ("PrunePropagationPolicy", ..) => {
                self.propagation = Some(match value {
                    "foreground" => Propagation::Foreground,
                    "background" => Propagation::Background,
                    "orphan" => Propagation::Orphan,
                    _ => return expected("foreground, background or orphan"),
                });
            }
            // How it is here in any case.
            (
                "PruneLast"
                | "ServerSideApply"
                | "ClientSideApplyMigration"
                | "SkipDryRunOnMissingResource",
                Some(_),
                _,
            ) => {}
            (
                "CreateNamespace"
                | "Replace"
                | "Force"
                | "RespectIgnoreDifferences"
                | "ApplyOutOfSyncOnly"
                | "FailOnSharedResource"
                | "PruneLast"
                | "ServerSideApply"
                | "ClientSideApplyMigration"
                | "SkipDryRunOnMissingResource",
                None,
                _,
            ) => return expected("true or false"),
            // What an option that is not known should protect would be lost without a word.
            _ => {
                return Err(Error::invalid(format!(
                    "sync option {option:?} is not known to the direct backend"
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: &[&str]) -> Result<SyncOptionSet> {
        let policy = SyncPolicy {
            options: options.iter().map(|&option| option.into()).collect(),
            ..SyncPolicy::default()
        };
        SyncOptionSet::of(&policy, &[])
    }

    #[test]
    fn options_are_read_and_the_last_counts() {
        let set = read(&[
            "CreateNamespace=true",
            "Replace=true",
            "Replace=false",
            "Prune=confirm",
            "Delete=false",
            "PrunePropagationPolicy=orphan",
            "Validate=server",
            "PruneLast=true",
            "ServerSideApply=true",
        ])
        .unwrap();
        let wanted = SyncOptionSet {
            create_namespace: true,
            prune: Permission::Confirm,
            delete: Permission::Never,
            propagation: Some(Propagation::Orphan),
            validate: Some(true),
            ..SyncOptionSet::default()
        };
        assert_eq!(set, wanted);
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for bad in [
            "CreateNamespace",
            "CreateNamespace=yes",
            "Prune=never",
            "PrunePropagationPolicy=none",
            "Validate=client",
            "KeepEverything=true",
            "createnamespace=true",
        ] {
            let error = read(&[bad]).unwrap_err();
            assert!(error.to_string().contains(bad), "{error}");
        }
    }
}
