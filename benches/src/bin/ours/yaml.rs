//! YAML.

use std::hint::black_box;
use std::path::Path;

use anyhow::{Context, Result};
use gitops_core::manifest::yaml;
use serde_json::json;

use crate::clock;

pub(crate) fn parse(file: &Path, rounds: usize) -> Result<()> {
    let bytes = std::fs::read(file).with_context(|| file.display().to_string())?;
    let name = file.display().to_string();
    let objects = yaml::parse(&name, &bytes)?.len();
    let ms = clock::rounds(rounds, || {
        black_box(yaml::parse(&name, black_box(&bytes))?);
        Ok(())
    })?;
    println!("{}", json!({"ms": ms, "objects": objects}));
    Ok(())
}
