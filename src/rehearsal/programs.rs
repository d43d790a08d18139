//! Stand-ins for programs that a machine may lack: our own binary, under another name.

mod migrate;

use std::ffi::OsString;
use std::path::Path;

use crate::error::{Error, Result};

/// How a stand-in ended; whoever runs it prints, and exits with the code.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ended {
    pub code: u8,
    pub stdout: String,
    pub stderr: String,
}

/// Programs that have a stand-in.
pub const NAMES: [&str; 1] = ["migrate"];

/// Behaves as the program `name` (what stands last in `argv[0]`) does with these arguments; `None` when it is not one
/// of [`NAMES`]. Call it outside a Tokio runtime.
#[must_use]
pub fn main_as(name: &str, args: &[OsString]) -> Option<Ended> {
    if name != "migrate" {
        return None;
    }
    let args: Vec<String> = args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Some(match runtime {
        Ok(runtime) => runtime.block_on(migrate::run(&args)),
        Err(error) => Ended { code: 1, stderr: format!("error: {error}\n"), ..Ended::default() },
    })
}

/// Puts a symbolic link to `program` into `dir` for each stand-in.
pub fn install(dir: &Path, program: &Path) -> Result<()> {
    let failed = |error| Error::outside(format!("set up stand-ins in {}", dir.display())).because(error);
    std::fs::create_dir_all(dir).map_err(failed)?;
    for name in NAMES {
        std::os::unix::fs::symlink(program, dir.join(name)).map_err(failed)?;
    }
    Ok(())
}
