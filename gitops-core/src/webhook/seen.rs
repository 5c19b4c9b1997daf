//! What was received before.

use std::collections::{HashSet, VecDeque};

/// How many messages are remembered.
const REMEMBERED: usize = 10_000;

pub(super) type Digest = [u8; 32];

/// The digests of the last messages.
#[derive(Debug, Default)]
pub(super) struct Seen {
    all: HashSet<Digest>,
    order: VecDeque<Digest>,
}

impl Seen {
    /// Remembers a message; `false` when it was remembered already.
    pub(super) fn is_new(&mut self, digest: Digest) -> bool {
        if !self.all.insert(digest) {
            return false;
        }
        self.order.push_back(digest);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.all.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_remembered_and_no_more() {
        let digest = |n: usize| {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&n.to_le_bytes());
            digest
        };
        let mut seen = Seen::default();
        for n in 0..REMEMBERED * 2 {
            assert!(seen.is_new(digest(n)));
            assert!(!seen.is_new(digest(n)));
        }
        assert_eq!((seen.all.len(), seen.order.len()), (REMEMBERED, REMEMBERED));
        assert!(!seen.is_new(digest(REMEMBERED)));
        assert!(seen.is_new(digest(0)));
    }
}
