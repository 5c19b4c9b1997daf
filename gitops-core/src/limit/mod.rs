//! How much runs at once.
