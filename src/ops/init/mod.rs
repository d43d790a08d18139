//! `init`: a first `gospel-release.yaml`, written by looking. What was not found is a question in the file.

mod draft;
mod infrastructure;
mod look;
mod tree;

use std::io::Write;

use serde_json::json;

use crate::adapters::git::Git;
use crate::cli::init::Init as Args;
use crate::config::{Env, FileSource, Sources, load};
use crate::domain::{count, printable};
use crate::error::{Error, Result};
use crate::ui::out::Out;

use self::draft::Draft;
use super::Invocation;

/// The file's name.
const FILE: &str = "gospel-release.yaml";

/// Looks at the checkout and writes the file at its root. An existing one is kept unless it is to be replaced.
pub fn init(invocation: &mut Invocation, args: &Args, out: &mut Out, json: bool) -> Result<u8> {
    let git = Git::open(&invocation.config.repository, &invocation.base)?;
    let root = git.dir().to_owned();
    let path = root.join(FILE);
    if path.exists() && !args.force && !invocation.dry_run {
        return Err(Error::usage(format!("{} is there already", path.display()))
            .hint("to see what would be written: gospel-release init --dry-run")
            .hint("--force replaces it"));
    }
    let draft = look::look(&git, &root, &invocation.config.github.api)?;
    let text = draft.text();
    check(&text, invocation)?;
    if !invocation.dry_run {
        let failed = |error: std::io::Error| Error::config(format!("write {}", path.display())).because(error);
        let mut file = std::fs::File::create(&path).map_err(failed)?;
        file.write_all(text.as_bytes()).map_err(failed)?;
    }
    if json {
        out.json(&json!({
            "file": path, "written": !invocation.dry_run, "found": draft.found(), "questions": draft.questions, "exit": 0,
        }))?;
    } else if invocation.dry_run {
        out.bytes(text.as_bytes())?;
    } else {
        told(&draft, out)?;
    }
    Ok(0)
}

fn told(draft: &Draft, out: &mut Out) -> Result<()> {
    let (found, open) = (count(draft.found().len(), "value"), count(draft.questions.len(), "question"));
    out.line(&format!("wrote {FILE}: {found} found, {open} left"))?;
    for question in &draft.questions {
        out.line(&format!("  ? {}: {}", printable(&question.key), printable(&question.ask)))?;
    }
    out.line("next:  read it, and answer its questions")?;
    out.line("       gospel-release config check           (reads it, contacts nothing)")?;
    out.line("       gospel-release doctor                 (whether all that it names is there)")
}

/// What is written must be read again without a mistake.
fn check(text: &str, invocation: &Invocation) -> Result<()> {
    let env = Env::default();
    let file = FileSource::Inline { name: FILE.to_owned(), text: text.to_owned() };
    load(&Sources { env: &env, cwd: invocation.base.clone(), file, sets: Vec::new() })
        .map(drop)
        .map_err(|error| error.context("what was found here does not make a configuration"))
}
