//! Stand-ins for programs that a machine may lack, or must not be asked in a rehearsal: our own binary, under another
//! name.

mod buildah;
mod builder;
mod docker;
mod migrate;
mod push;
pub mod terraform;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

pub use self::builder::Settings;
use super::scenario::BuilderFault;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::process;

/// How a stand-in ended; whoever runs it prints, and exits with the code.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ended {
    pub code: u8,
    pub stdout: String,
    pub stderr: String,
}

/// Programs that have a stand-in.
pub const NAMES: [&str; 5] = ["migrate", "docker", "buildah", "podman", "terraform"];

/// Where [`install`] leaves what the builders need to know, beside their directory.
const SETTINGS: &str = "builder.json";

/// What a world without a builder still has: its PATH names our directory only.
const NEEDED: [&str; 24] = [
    "git",
    "git-receive-pack",
    "git-upload-pack",
    "sh",
    "bash",
    "env",
    "cat",
    "sed",
    "grep",
    "uname",
    "sleep",
    "true",
    "false",
    "ls",
    "rm",
    "mkdir",
    "ssh",
    "gpg",
    "kubectl",
    "kustomize",
    "terraform",
    "tofu",
    "curl",
    "psql",
];

/// What a stand-in has of the process that it runs in.
pub struct Surroundings<'a> {
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// World time.
    pub clock: Clock,
    /// For what is printed while it runs.
    pub out: &'a mut dyn Write,
    pub err: &'a mut dyn Write,
}

/// Behaves as the program `argv0` (its file name is what counts) does with these arguments; `None` when it is not one
/// of [`NAMES`]. Call it outside a Tokio runtime.
#[must_use]
pub fn main_as(argv0: &str, args: &[OsString], around: Surroundings<'_>) -> Option<Ended> {
    let name = Path::new(argv0).file_name()?.to_str()?;
    let name = NAMES.into_iter().find(|known| *known == name)?;
    let args: Vec<String> = args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Some(match runtime {
        Ok(runtime) => runtime.block_on(run(name, argv0, &args, around)),
        Err(error) => Ended { code: 1, stderr: format!("error: {error}\n"), ..Ended::default() },
    })
}

async fn run(name: &str, argv0: &str, args: &[String], around: Surroundings<'_>) -> Ended {
    if name == "migrate" {
        return migrate::run(args).await;
    }
    if name == "terraform" {
        return infrastructure(home(name, argv0).unwrap_or_default(), args, around).await;
    }
    let mut engine = home(name, argv0).and_then(|home| builder::Engine::open(&home));
    let docker = (around.env)("DOCKER_CONFIG").or_else(|| Some(format!("{}/.docker", (around.env)("HOME")?)));
    if let Some(dir) = docker {
        engine = engine.map(|engine| engine.configured(PathBuf::from(dir)));
    }
    match engine {
        Some(engine) if name == "docker" => docker::run(&engine, args, &mut std::io::stdin()).await,
        Some(engine) => buildah::run(&engine, name, args, &mut std::io::stdin()).await,
        None => {
            let stderr = format!("{name}: this stand-in belongs to a rehearsal that is no longer there\n");
            Ended { code: 1, stderr, ..Ended::default() }
        }
    }
}

async fn infrastructure(home: PathBuf, args: &[String], around: Surroundings<'_>) -> Ended {
    let Surroundings { env, clock, out, err } = around;
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let who = format!("{}@{host}", env("USER").unwrap_or_else(|| "somebody".to_owned()));
    let dir = PathBuf::from(".");
    let code = terraform::run(terraform::Surroundings { home, dir, env, clock, who, out, err }, args).await;
    Ended { code, ..Ended::default() }
}

/// The directory with the settings: above the one in which the stand-in was found.
fn home(name: &str, argv0: &str) -> Option<PathBuf> {
    let program = if argv0.contains('/') { PathBuf::from(argv0) } else { process::find(name)? };
    Some(program.parent()?.parent()?.to_owned())
}

/// Puts a symbolic link to `program` into `dir` for each stand-in but `without`, and the builders' settings beside it.
pub fn install(dir: &Path, program: &Path, settings: &Settings, without: &[&str]) -> Result<()> {
    use std::os::unix::fs::symlink;
    let failed = |error| Error::outside(format!("set up stand-ins in {}", dir.display())).because(error);
    std::fs::create_dir_all(dir).map_err(failed)?;
    let absent = settings.fault == BuilderFault::Absent;
    let builders: &[&str] = if absent { &["buildah", "podman"] } else { &[] };
    for name in NAMES.iter().filter(|name| !builders.contains(name) && !without.contains(name)) {
        symlink(program, dir.join(name)).map_err(failed)?;
    }
    if absent {
        let missing = NEEDED.iter().filter(|name| !dir.join(name).exists());
        for (name, found) in missing.filter_map(|name| Some((name, process::find(name)?))) {
            symlink(found, dir.join(name)).map_err(failed)?;
        }
    }
    let home = dir.parent().unwrap_or(dir);
    let text = serde_json::to_string(settings).map_err(|error| Error::internal("write settings").because(error))?;
    std::fs::write(home.join(SETTINGS), text).map_err(failed)
}
