//! Desired against live.

use std::hint::black_box;
use std::path::Path;

use anyhow::{Context, Result};
use benches::pairs::{Pair, differs, objects};
use serde_json::json;

use crate::clock;

pub(crate) fn diff(file: &Path, rounds: usize) -> Result<()> {
    let text = std::fs::read(file).with_context(|| file.display().to_string())?;
    let pairs: Vec<Pair> = serde_json::from_slice(&text)?;
    // As the peer, it begins with parsed objects.
    let objects = objects(&pairs)?;
    let verdicts: Vec<_> = pairs
        .iter()
        .zip(&objects)
        .map(|(pair, (live, target))| json!({"name": pair.name, "modified": differs(live.as_ref(), target.as_ref())}))
        .collect();
    let ms = clock::rounds(rounds, || {
        for (live, target) in &objects {
            black_box(differs(
                black_box(live.as_ref()),
                black_box(target.as_ref()),
            ));
        }
        Ok(())
    })?;
    println!("{}", json!({"ms": ms, "verdicts": verdicts}));
    Ok(())
}
