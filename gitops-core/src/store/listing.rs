//! Gathering a list that is whole, or says what it lacks.

use crate::application::AppRef;
use crate::backend::{ListOptions, Stored};
use crate::error::{Error, ErrorKind, Result};

/// So many unreadable records are named in an error.
const NAMED: usize = 10;

/// What [`ApplicationStore::list`](crate::backend::ApplicationStore::list) answers, gathered record by record: for stores that read records one after the other.
#[derive(Debug)]
pub struct Listing {
    options: ListOptions,
    found: Vec<Stored>,
    unreadable: Vec<Error>,
}

impl Listing {
    /// An empty list.
    pub fn new(options: &ListOptions) -> Self {
        Self {
            options: options.clone(),
            found: Vec::new(),
            unreadable: Vec::new(),
        }
    }

    /// Takes what reading a record gave, if the list is to have it. `app` is the record's name as far as that is known without reading it.
    ///
    /// # Errors
    /// Those of `record` that do not tell of the record itself: all but `Integrity`.
    pub fn add(&mut self, app: Option<&AppRef>, record: Result<Stored>) -> Result<()> {
        match record {
            Ok(stored) if self.options.selector.matches(&stored.app) => self.found.push(stored),
            Ok(_) => {}
            Err(error) if error.kind() != ErrorKind::Integrity => return Err(error),
            Err(_) if app.is_some_and(|app| !self.may_match(app)) => {}
            Err(error) if self.options.readable_only => {
                tracing::warn!(%error, "an application cannot be read and is left out");
            }
            Err(error) => self.unreadable.push(error),
        }
        Ok(())
    }

    /// Whether the selector may mean `app`: its project and labels cannot be known.
    fn may_match(&self, app: &AppRef) -> bool {
        let selector = &self.options.selector;
        let named = selector.app.as_ref().is_none_or(|wanted| {
            wanted.name == app.name
                && (wanted.namespace.is_empty() || wanted.namespace == app.namespace)
        });
        let namespace = selector.namespace.as_ref();
        named && namespace.is_none_or(|namespace| *namespace == app.namespace)
    }

    /// The list, ordered by namespace and name.
    ///
    /// # Errors
    /// `Integrity`, naming what could not be read.
    pub fn finish(mut self) -> Result<Vec<Stored>> {
        if self.unreadable.is_empty() {
            self.found.sort_by_key(|stored| stored.app.app_ref());
            return Ok(self.found);
        }
        let count = self.unreadable.len();
        let mut named: Vec<_> = self
            .unreadable
            .iter()
            .take(NAMED)
            .map(Error::to_string)
            .collect();
        if count > NAMED {
            named.push(format!("and {} more", count - NAMED));
        }
        Err(Error::integrity(format!(
            "of the applications {count} cannot be read: {}",
            named.join("; ")
        ))
        .with_source(self.unreadable.swap_remove(0)))
    }
}
