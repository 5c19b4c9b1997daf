//! News that replicas hand on to each other, in the Leases by which they tell that they live: these are written and read by all in every round anyway.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use gitops_core::source::RevisionEvent;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// How many are told at once; the oldest goes first.
const MOST: usize = 32;

/// How many letters the URLs and names of one may have together.
const LONGEST: usize = 2048;

/// One piece of news, with a number that is higher than those before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Item {
    number: i64,
    event: RevisionEvent,
}

/// What this replica hands on, and what it has heard of the others.
#[derive(Debug, Default)]
pub(super) struct News {
    mine: VecDeque<(Instant, Item)>,
    last: i64,
    heard: HashMap<String, i64>,
}

impl News {
    /// Hands on what is needed to know whom it concerns, and nothing that could be secret.
    pub(super) fn add(&mut self, event: &RevisionEvent) {
        let event = RevisionEvent {
            urls: event.urls.iter().map(|url| without_user(url)).collect(),
            changed_paths: None,
            previous: None,
            delivery: None,
            ..event.clone()
        };
        let names = event.urls.iter().chain(&event.reference);
        let length: usize = names.chain(&event.revision).map(String::len).sum();
        if length > LONGEST || self.mine.iter().any(|(_, item)| item.event == event) {
            return;
        }
        // A replica that is started anew under its old name goes on counting.
        self.last = Timestamp::now().as_microsecond().max(self.last + 1);
        let number = self.last;
        self.mine
            .push_back((Instant::now(), Item { number, event }));
        if self.mine.len() > MOST {
            self.mine.pop_front();
        }
    }

    /// What is to be written now: news stay for `long`, so that all others see them.
    pub(super) fn text(&mut self, long: Duration) -> Option<String> {
        self.mine.retain(|(since, _)| since.elapsed() < long);
        let items: Vec<&Item> = self.mine.iter().map(|(_, item)| item).collect();
        if items.is_empty() {
            return None;
        }
        serde_json::to_string(&items).ok()
    }

    /// What is new of that which `holder` tells.
    pub(super) fn hear(&mut self, holder: &str, text: &str) -> Vec<RevisionEvent> {
        let items: Vec<Item> = serde_json::from_str(text).unwrap_or_default();
        let before = self.heard.get(holder).copied().unwrap_or(i64::MIN);
        let new = items.into_iter().filter(|item| item.number > before);
        let new: Vec<Item> = new.take(MOST).collect();
        if let Some(last) = new.iter().map(|item| item.number).max() {
            self.heard.insert(holder.to_owned(), last);
        }
        new.into_iter().map(|item| item.event).collect()
    }

    /// Forgets of whom nothing is seen any more.
    pub(super) fn keep(&mut self, living: impl Fn(&str) -> bool) {
        self.heard.retain(|holder, _| living(holder));
    }
}

/// A URL without the user, who may be a token.
fn without_user(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(revision: &str) -> RevisionEvent {
        RevisionEvent {
            urls: vec!["https://user:token@git.example.com/org/a@b".into()],
            revision: Some(revision.into()),
            delivery: Some("1".into()),
            ..RevisionEvent::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn news_are_heard_once_and_stay_for_a_while() {
        let long = Duration::from_secs(15);
        let (mut a, mut b) = (News::default(), News::default());
        assert_eq!(a.text(long), None);
        a.add(&event("r1"));
        a.add(&event("r1"));
        let text = a.text(long).unwrap();
        assert!(!text.contains("token"), "{text}");
        let heard = b.hear("a", &text);
        assert_eq!(heard.len(), 1);
        assert_eq!(heard[0].urls, ["https://git.example.com/org/a@b"]);
        assert_eq!(heard[0].revision.as_deref(), Some("r1"));
        assert_eq!(b.hear("a", &text), []);
        tokio::time::advance(Duration::from_secs(10)).await;
        a.add(&event("r2"));
        assert_eq!(b.hear("a", &a.text(long).unwrap()).len(), 1);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(!a.text(long).unwrap().contains("r1"));
        // What cannot be read is no news; what is too much is cut.
        assert_eq!(b.hear("c", "{"), []);
        a.add(&event(&"x".repeat(3000)));
        for n in 0..100 {
            a.add(&event(&format!("s{n}")));
        }
        assert_eq!(b.hear("a", &a.text(long).unwrap()).len(), MOST);
        b.keep(|_| false);
        assert!(b.heard.is_empty());
    }
}
