//! What would be refused of generated applications.

use std::collections::HashMap;
use std::fmt;

use super::names::dns_subdomain;
use crate::types::Application;

/// Why an application would not come into being.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefusalReason {
    /// One before it has the same name; the index of that one. The controller leaves this one out.
    DuplicateName(usize),
    /// The API server takes no such name. Placeholders that nothing filled are a frequent cause.
    Name(&'static str),
    /// The controller takes no such destination: a server or a cluster's name, not both.
    Destination,
}

/// An application of [`generate`](super::generate()) that would not come into being.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// Which of the applications.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: RefusalReason,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "application {} ({:?}): ", self.index, self.name)?;
        match &self.reason {
            RefusalReason::DuplicateName(first) => write!(f, "{first} has the same name"),
            RefusalReason::Name(why) => write!(f, "no name for an object: {why}"),
            RefusalReason::Destination => {
                f.write_str("its destination must have either a server or a name")
            }
        }
    }
}

/// What Argo CD's controller and the API server would refuse of generated applications, as far as it shows without asking them: `validateGeneratedApplications` of
/// Argo CD 3.2 (`applicationset/controllers/applicationset_controller.go`), and the names of objects. [`generate`](super::generate()) itself refuses none of
/// it, and neither does the server's generate call.
pub fn refusals(applications: &[Application]) -> Vec<Refusal> {
    let mut names: HashMap<&str, usize> = HashMap::new();
    let mut refusals = Vec::new();
    for (index, application) in applications.iter().enumerate() {
        let name = application.name();
        let mut refuse = |reason| {
            refusals.push(Refusal {
                index,
                name: name.to_owned(),
                reason,
            });
        };
        if let Some(first) = names.get(name) {
            refuse(RefusalReason::DuplicateName(*first));
            continue;
        }
        names.insert(name, index);
        if let Err(why) = dns_subdomain(name) {
            refuse(RefusalReason::Name(why));
        }
        let given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        let destination = &application.spec.destination;
        if given(&destination.server) == given(&destination.name) {
            refuse(RefusalReason::Destination);
        }
    }
    refusals
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Destination;

    #[test]
    fn what_is_refused() {
        let app = |name: &str| Application::new(name).destination(Destination::name("here"));
        let both = Destination {
            server: Some("https://h".to_owned()),
            ..Destination::name("here")
        };
        let refusals = refusals(&[
            app("a"),
            app("b"),
            app("a"),
            app("{{name}}"),
            app("c").destination(both),
            app("d").destination(Destination::default()),
            app(""),
        ]);
        let texts: Vec<_> = refusals.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "application 2 (\"a\"): 0 has the same name",
                "application 3 (\"{{name}}\"): no name for an object: each part must begin and end with a lower-case letter or a digit",
                "application 4 (\"c\"): its destination must have either a server or a name",
                "application 5 (\"d\"): its destination must have either a server or a name",
                "application 6 (\"\"): no name for an object: it is empty",
            ]
        );
    }
}
