//! How much one evaluation may make.

use gitops_core::{Error, Result};

/// At most this many sets of parameters: from one generator, nested ones too, and from a set altogether. Argo CD has no limit but its memory.
pub const MAX_PARAMETER_SETS: usize = 10_000;

/// At most this many bytes in one file that a Git generator reads.
pub const MAX_FILE_BYTES: u64 = 4 << 20;

/// At most about this many bytes in all texts that one evaluation reads, makes or copies: files, parameters, generators and applications together. Placeholders
/// multiply what they name, so a small set could ask for more memory than there is.
pub const MAX_BYTES: usize = 256 << 20;

/// What an entry of a list or mapping costs besides its text.
const ENTRY: usize = 16;

/// What is left of [`MAX_BYTES`].
#[derive(Debug)]
pub(super) struct Budget {
    left: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { left: MAX_BYTES }
    }
}

impl Budget {
    /// Takes the bytes of one more text.
    pub(super) fn spend(&mut self, bytes: usize) -> Result<()> {
        let left = bytes
            .checked_add(ENTRY)
            .and_then(|bytes| self.left.checked_sub(bytes));
        self.left = left.ok_or_else(|| {
            Error::invalid(format!(
                "the set makes more than {MAX_BYTES} bytes of parameters and applications"
            ))
        })?;
        Ok(())
    }
}

/// Refuses more than [`MAX_PARAMETER_SETS`].
pub(super) fn check_count(count: usize) -> Result<()> {
    if count > MAX_PARAMETER_SETS {
        return Err(Error::invalid(format!(
            "more than {MAX_PARAMETER_SETS} sets of parameters"
        )));
    }
    Ok(())
}
