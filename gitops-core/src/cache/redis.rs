//! Statuses on Redis.
