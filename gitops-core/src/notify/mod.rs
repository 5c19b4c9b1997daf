//! Notification of what happens to applications.
//!
//! [`Notifiers`] gives each event to every [`Notifier`] at once, each with a time limit and tries of its own. What ships:
//!
//! | notifier | tells | feature |
//! | --- | --- | --- |
//! | [`TracingNotifier`] | the log | |
//! | [`BroadcastNotifier`] | listeners in this process | |
//! | `WebhookNotifier` | an HTTP receiver, signed with HMAC-SHA-256 | `http` |
//! | `SlackNotifier` | a channel of Slack, Mattermost or Rocket.Chat, by its incoming webhook | `http` |
//! | `CloudEventsNotifier` | an HTTP receiver of CloudEvents 1.0 | `http` |
//! | `CommitStatusNotifier` | the commit on Gitea, GitHub or GitLab; tested with a real Gitea; for the others the requests are held against the forms that their documentation gives, none was recorded | `http` |
//!
//! | the seed | here |
//! | --- | --- |
//! | `NotificationManager` | [`Notifiers`] |
//! | `AddNotifier` | [`Notifiers::add_notifier`] |
//! | `NotifySync` | [`Notifiers::notify_sync`] |
//! | `Notifier` | [`Notifier`] |

mod broadcast;
mod filter;
#[cfg(feature = "http")]
mod forge;
#[cfg(feature = "http")]
mod http;
mod notifier;
mod notifiers;
mod trace;

pub use self::broadcast::BroadcastNotifier;
pub use self::filter::EventFilter;
#[cfg(feature = "http")]
pub use self::forge::{CommitStatusNotifier, Forge};
#[cfg(feature = "http")]
pub use self::http::{
    CloudEventsNotifier, HttpOptions, SlackNotifier, WebhookNotifier, verify_webhook,
};
pub use self::notifier::Notifier;
pub use self::notifiers::{NotifierOptions, Notifiers, NotifyFailures};
pub use self::trace::TracingNotifier;
