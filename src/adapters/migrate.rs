//! golang-migrate: which migrations are pending, what they risk, and running them.
//!
//! Which version a database is at is read from its table ([`super::postgres`]), never asked of the program.

mod risk;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::git::Git;
use super::http::redacted;
use super::postgres::MigrationState;
use crate::domain::CommitSha;
use crate::error::{Class, Error, Kind, Result};
use crate::process::Program;

pub use risk::{Risk, RiskLevel, risk};

/// One migration of a directory of golang-migrate files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migration {
    pub version: i64,
    /// `add_sessions` of `0003_add_sessions.up.sql`.
    pub name: String,
    /// Path of the up file in the repository.
    pub path: String,
    /// Whether there is a down file. Running it is still a person's decision.
    pub has_down: bool,
}

/// The migrations in the directory `dir` at a commit, lowest version first; empty when there is no such directory.
pub fn migrations_at(git: &Git, commit: &CommitSha, dir: &str) -> Result<Vec<Migration>> {
    read_names(dir, &git.list_at(commit, dir)?)
}

/// The migrations that the names of files in `dir` stand for. Files of other forms are none of golang-migrate's.
///
/// # Errors
/// Two up files with one version, or a down file without its up file.
pub fn read_names(dir: &str, names: &[String]) -> Result<Vec<Migration>> {
    let mut ups: BTreeMap<i64, Migration> = BTreeMap::new();
    let mut downs = Vec::new();
    for file in names {
        let Some((version, name, up)) = parse_name(file) else { continue };
        if !up {
            downs.push((version, file));
            continue;
        }
        let path = format!("{}/{file}", dir.trim_end_matches('/'));
        let migration = Migration { version, name: name.to_owned(), path, has_down: false };
        if let Some(other) = ups.insert(version, migration) {
            return Err(Error::config(format!(
                "{dir} has two migrations of version {version}: {} and {file}",
                other.path
            )));
        }
    }
    for (version, file) in downs {
        match ups.get_mut(&version) {
            Some(up) => up.has_down = true,
            None => return Err(Error::config(format!("{dir}/{file} has no up migration"))),
        }
    }
    Ok(ups.into_values().collect())
}

/// golang-migrate's own form: `^([0-9]+)_(.*)\.(down|up)\.(.*)$` (source/parse.go).
fn parse_name(file: &str) -> Option<(i64, &str, bool)> {
    let (version, rest) = file.split_once('_')?;
    let digits = !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit());
    let version: i64 = digits.then(|| version.parse().ok())??;
    let up = rest.rfind(".up.").map(|at| (at, true));
    let down = rest.rfind(".down.").map(|at| (at, false));
    let (at, up) = up.into_iter().chain(down).max_by_key(|(at, _)| *at)?;
    Some((version, &rest[..at], up))
}

/// The migrations that `up` would apply. golang-migrate goes on from the applied version; it never goes back for a lower
/// one that was added later.
///
/// # Errors
/// The database is dirty, or at a version that the commit does not have: golang-migrate would refuse, and a person must look.
pub fn pending(all: &[Migration], applied: &MigrationState) -> Result<Vec<Migration>> {
    let Some(version) = applied.version else {
        return if applied.dirty { Err(dirty(0)) } else { Ok(all.to_vec()) };
    };
    if applied.dirty {
        return Err(dirty(version));
    }
    if !all.iter().any(|migration| migration.version == version) {
        return Err(Error::new(
            Kind::GateBlocked,
            format!("the database is at migration {version}, which the commit does not have"),
        )
        .hint("a later migration was applied from elsewhere, or its file was removed: compare with what was applied"));
    }
    Ok(all.iter().filter(|migration| migration.version > version).cloned().collect())
}

fn dirty(version: i64) -> Error {
    Error::new(Kind::GateBlocked, format!("the database is dirty at migration {version}: it began and did not end"))
        .class(Class::NeedsHuman)
        .hint(format!("see what migration {version} did and did not do, complete or undo it by hand,"))
        .hint("then tell golang-migrate which version holds: migrate … force VERSION")
}

/// Writes the migrations of `dir` at a commit into a directory of its own, so that what runs is the candidate's, whatever
/// the work tree holds. It is removed when dropped.
pub fn export(git: &Git, commit: &CommitSha, dir: &str) -> Result<tempfile::TempDir> {
    let failed =
        |error: std::io::Error| Error::internal("write the migrations to a temporary directory").because(error);
    let out = tempfile::Builder::new().prefix("gospel-release-migrations-").tempdir().map_err(failed)?;
    for name in git.list_at(commit, dir)?.into_iter().filter(|name| parse_name(name).is_some()) {
        let path = format!("{}/{name}", dir.trim_end_matches('/'));
        let content = git.file_at(commit, &path)?.unwrap_or_default();
        std::fs::write(out.path().join(name), content).map_err(failed)?;
    }
    Ok(out)
}

/// Runs `program -source file://… -database URL up` and gives back what it said. The URL stands in the program's arguments,
/// because golang-migrate reads it from nowhere else; it is in no line that comes back.
///
/// # Errors
/// A dirty database needs a person; so does a program that was ended by `timeout`, which may have left it dirty.
pub async fn up(program: &str, source: &Path, url: &str, table: &str, timeout: Duration) -> Result<Vec<String>> {
    let source = ::url::Url::from_directory_path(source)
        .map_err(|()| Error::internal(format!("{} is not an absolute path", source.display())))?;
    let source = source.as_str().trim_end_matches('/');
    let database = with_table(url, table);
    // Apart: a migration that Ctrl-C breaks off leaves the database dirty.
    let run = Program::new(program).args(["-source", source, "-database", &database, "up"]).apart().timeout(timeout);
    let finished = match run.output().await {
        Ok(finished) => finished,
        Err(error) if error.is_transient() => {
            let limit = crate::domain::duration(timeout);
            return Err(Error::new(
                Kind::TimedOut,
                format!("{program} up did not finish within {limit}, and was ended"),
            )
            .class(Class::NeedsHuman)
            .hint("look at the migrations table: the last migration may be complete and still marked dirty"));
        }
        Err(error) => return Err(error),
    };
    let text = finished.error_text();
    let lines: Vec<String> =
        text.lines().filter(|line| !line.trim().is_empty()).map(|line| hide(line, &database)).collect();
    if finished.success() {
        return Ok(lines);
    }
    let ended = finished.code.map_or("was ended by a signal".to_owned(), |code| format!("ended with {code}"));
    let said = text.to_ascii_lowercase();
    let class = if said.contains("dirty database") {
        Class::NeedsHuman
    } else if ["acquire database lock", "connection refused", "connection reset", "i/o timeout", "no such host"]
        .iter()
        .any(|words| said.contains(words))
    {
        Class::Transient { retry_after: None }
    } else {
        Class::Terminal
    };
    let error = Error::outside(format!("{program} up {ended}")).class(class);
    let from = lines.len().saturating_sub(8);
    Err(lines[from..].iter().fold(error, Error::seen))
}

/// The URL with `x-migrations-table`, where the table is not golang-migrate's default.
fn with_table(url: &str, table: &str) -> String {
    if table == "schema_migrations" || url.contains("x-migrations-table=") {
        return url.to_owned();
    }
    let joint = if url.contains('?') { '&' } else { '?' };
    format!("{url}{joint}x-migrations-table={table}")
}

/// A line of output without the database's password, in either of its spellings.
fn hide(line: &str, url: &str) -> String {
    let mut line = line.replace(url, "…");
    let authority = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = &authority[..authority.find(['/', '?']).unwrap_or(authority.len())];
    let user = authority.rfind('@').map_or("", |at| &authority[..at]);
    if let Some((_, password)) = user.split_once(':').filter(|(_, password)| !password.is_empty()) {
        let pair = format!("v={}", password.replace('+', "%2B"));
        let plain = ::url::form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned());
        for secret in [Some(password.to_owned()), plain].into_iter().flatten() {
            line = line.replace(&secret, "…");
        }
    }
    redacted(&line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(files: &[&str]) -> Vec<String> {
        files.iter().map(|file| (*file).to_owned()).collect()
    }

    fn three() -> Vec<Migration> {
        let files = names(&[
            "0001_init.up.sql",
            "0001_init.down.sql",
            "0010_more.up.sql",
            "0002_users.v2.up.sql",
            "README.md",
            "x_y.up.sql",
        ]);
        read_names("services/auth/migrations", &files).unwrap()
    }

    #[test]
    fn names_are_read_as_golang_migrate_reads_them() {
        let all = three();
        let seen: Vec<(i64, &str, bool)> = all.iter().map(|m| (m.version, m.name.as_str(), m.has_down)).collect();
        assert_eq!(seen, [(1, "init", true), (2, "users.v2", false), (10, "more", false)]);
        assert_eq!(all[0].path, "services/auth/migrations/0001_init.up.sql");
        assert!(read_names("d", &names(&["1_a.up.sql", "001_b.up.sql"])).is_err());
        assert!(read_names("d", &names(&["1_a.down.sql"])).is_err());
    }

    #[test]
    fn pending_goes_on_from_the_applied_version() {
        let at = |version, dirty| MigrationState { version, dirty };
        let versions = |state| pending(&three(), &state).unwrap().iter().map(|m| m.version).collect::<Vec<_>>();
        assert_eq!(versions(at(None, false)), [1, 2, 10]);
        assert_eq!(versions(at(Some(2), false)), [10]);
        assert!(versions(at(Some(10), false)).is_empty());
        assert_eq!(pending(&three(), &at(Some(2), true)).unwrap_err().classified(), Class::NeedsHuman);
        assert_eq!(pending(&three(), &at(Some(7), false)).unwrap_err().kind(), Kind::GateBlocked);
    }

    #[test]
    fn passwords_are_hidden_in_both_spellings() {
        let url = "postgres://dana:p%40ss@db/auth";
        assert_eq!(hide("error: dial postgres://dana:p%40ss@db/auth", url), "error: dial …");
        assert_eq!(hide("pq: p@ss was wrong, not p%40ss", url), "pq: … was wrong, not …");
        assert_eq!(with_table(url, "auth_m"), format!("{url}?x-migrations-table=auth_m"));
        assert_eq!(with_table(url, "schema_migrations"), url);
    }

    #[tokio::test]
    async fn the_program_is_run_and_its_words_come_back_without_the_url() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("migrate");
        let script = "#!/bin/sh\necho \"3/u add ($2 $4 $5)\" >&2\ncase $4 in *dirty*) echo 'error: Dirty database version 3.' >&2; exit 1;; *slow*) exec sleep 5;; esac\n";
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let run = async |url: &str, timeout| {
            up(program.to_str().unwrap(), dir.path(), url, "schema_migrations", Duration::from_millis(timeout)).await
        };
        let lines = run("postgres://dana:s3cret@db/auth", 10_000).await.unwrap();
        assert!(lines[0].starts_with("3/u add (file:///") && lines[0].ends_with(" … up)"), "{lines:?}");
        let error = run("postgres://dana:s3cret@db/dirty", 10_000).await.unwrap_err();
        assert_eq!(error.classified(), Class::NeedsHuman);
        assert!(!error.evidence().join(" ").contains("s3cret"));
        let error = run("postgres://dana:s3cret@db/slow", 300).await.unwrap_err();
        assert_eq!((error.kind(), error.classified()), (Kind::TimedOut, Class::NeedsHuman));
    }
}
