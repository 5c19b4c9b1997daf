//! How much one substitution may do.

use gitops_core::Error;

use super::{MAX_COMPARED, MAX_OUTPUT, MAX_WRITTEN};

/// What is left for one substitution. All of its expressions draw on it: a limit for each of them is none for a text of many.
pub(super) struct Budget {
    written: usize,
    compared: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(MAX_WRITTEN, MAX_COMPARED)
    }
}

impl Budget {
    pub(super) fn new(written: usize, compared: usize) -> Self {
        Self { written, compared }
    }

    /// Counts bytes that are copied or made, for the result or on the way to it.
    pub(super) fn write(&mut self, bytes: usize) -> Result<(), Limit> {
        let left = self.written.checked_sub(bytes);
        self.written = left.ok_or(Limit::Written)?;
        Ok(())
    }

    /// Counts bytes that are compared.
    pub(super) fn compare(&mut self, bytes: usize) -> Result<(), Limit> {
        let left = self.compared.checked_sub(bytes);
        self.compared = left.ok_or(Limit::Compared)?;
        Ok(())
    }

    /// Writes, unless the text gets too long.
    pub(super) fn append(&mut self, out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Limit> {
        if out.len() + bytes.len() > MAX_OUTPUT {
            return Err(Limit::Output);
        }
        self.write(bytes.len())?;
        out.extend_from_slice(bytes);
        Ok(())
    }
}

/// The limit that was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    Output,
    Written,
    Compared,
}

impl From<Limit> for Error {
    fn from(limit: Limit) -> Self {
        Self::invalid(match limit {
            Limit::Output => format!("substitution gives more than {} MiB", MAX_OUTPUT >> 20),
            Limit::Written => format!(
                "substitution writes more than {} MiB on the way",
                MAX_WRITTEN >> 20
            ),
            Limit::Compared => "the values are too long for their patterns".to_owned(),
        })
    }
}
