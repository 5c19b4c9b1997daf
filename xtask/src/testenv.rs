//! `cargo xtask testenv`.

use anyhow::Result;
use clap::Args;
use e2e::components::{COMPONENTS, bin_dir, component, module_dir};
use e2e::go;

/// What to build.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The components; without any, those that the tests need.
    components: Vec<String>,
    /// Every component of the table.
    #[arg(long, conflicts_with = "components")]
    all: bool,
    /// Build nothing; print the folder of this Go module, which the test environment pins.
    #[arg(long, value_name = "MODULE", conflicts_with_all = ["components", "all"])]
    dir: Option<String>,
    /// Build nothing; list the components, those of the default marked with a star.
    #[arg(long, conflicts_with_all = ["components", "all", "dir"])]
    list: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if let Some(module) = &arguments.dir {
        println!("{}", module_dir(module)?.display());
        return Ok(());
    }
    if arguments.list {
        for c in COMPONENTS {
            println!(
                "{} {:<26} {}",
                if c.default { '*' } else { ' ' },
                c.name,
                c.package
            );
        }
        return Ok(());
    }
    let wanted = if arguments.components.is_empty() {
        COMPONENTS
            .iter()
            .filter(|c| c.default || arguments.all)
            .collect()
    } else {
        arguments
            .components
            .iter()
            .map(|name| component(name))
            .collect::<Result<Vec<_>>>()?
    };
    go::build(&wanted, |line| eprintln!("{line}"))?;
    println!("{}", bin_dir()?.display());
    Ok(())
}
