//! `migrate`, as golang-migrate 4 behaves: everything it says goes to standard error; a dirty `version` exits 0.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::Ended;

const USAGE: &str = "Usage: migrate OPTIONS COMMAND [arg...]
       migrate [ -version | -help ]

Options:
  -source          Location of the migrations (driver://url)
  -path            Shorthand for -source=file://path
  -database        Run migrations against this database (driver://url)
  -lock-timeout N  Allow N seconds to acquire database lock (default 15)
  -verbose         Print verbose logging
  -version         Print version
  -help            Print usage

Commands:
  goto V       Migrate to version V
  up [N]       Apply all or N up migrations
  down [N] [-all]    Apply all or N down migrations
  force V      Set version V but don't run migration (ignores dirty state)
  version      Print current migration version
";

/// Runs it with the arguments after `argv[0]`.
pub(super) async fn run(args: &[String]) -> Ended {
    let mut said = String::new();
    let code = match Options::read(args) {
        Ok(options) => match command(&options, &mut said).await {
            Ok(()) => 0,
            Err(Stop::Error(text)) => {
                let _ = writeln!(said, "error: {text}");
                1
            }
            Err(Stop::Usage) => {
                said.push_str(USAGE);
                2
            }
        },
        Err(text) => {
            let _ = write!(said, "{text}\n{USAGE}");
            2
        }
    };
    Ended { code, stdout: String::new(), stderr: said }
}

enum Stop {
    Error(String),
    Usage,
}

fn stop(text: impl Into<String>) -> Stop {
    Stop::Error(text.into())
}

#[derive(Default)]
struct Options {
    source: String,
    database: String,
    version: bool,
    help: bool,
    command: Vec<String>,
}

impl Options {
    /// Go's `flag` package: `-name value`, `-name=value`, one dash or two, until the first word without a dash.
    fn read(args: &[String]) -> Result<Self, String> {
        let mut options = Self::default();
        let mut rest = args.iter();
        while let Some(arg) = rest.next() {
            let Some(flag) = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')) else {
                options.command = std::iter::once(arg.clone()).chain(rest.cloned()).collect();
                break;
            };
            let (name, inline) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, None),
            };
            match name {
                "version" => options.version = true,
                "help" | "h" => options.help = true,
                "verbose" => {}
                "source" | "path" | "database" | "lock-timeout" | "prefetch" => {
                    let value = inline.or_else(|| rest.next().cloned());
                    let value = value.ok_or_else(|| format!("flag needs an argument: -{name}"))?;
                    match name {
                        "source" => options.source = value,
                        "path" => options.source = format!("file://{value}"),
                        "database" => options.database = value,
                        _ => {}
                    }
                }
                _ => return Err(format!("flag provided but not defined: -{name}")),
            }
        }
        Ok(options)
    }
}

async fn command(options: &Options, said: &mut String) -> Result<(), Stop> {
    if options.version {
        said.push_str("4.18.1\n");
        return Ok(());
    }
    if options.help {
        said.push_str(USAGE);
        return Ok(());
    }
    let words: Vec<&str> = options.command.iter().map(String::as_str).collect();
    if words.is_empty() {
        return Err(Stop::Usage);
    }
    let source = Source::open(&options.source)?;
    let database = Database::open(&options.database).await?;
    let number =
        |text: &str, what: &str| text.parse::<i64>().map_err(|_| stop(format!("can't read {what} argument {text}")));
    match words.as_slice() {
        ["version"] => database.say_version(said).await,
        ["up"] => database.up(&source, usize::MAX, said).await,
        ["up", n] => {
            let n = number(n, "limit")?;
            database.up(&source, usize::try_from(n).unwrap_or(0), said).await
        }
        ["goto", version] => database.go_to(&source, number(version, "version")?, said).await,
        ["goto"] => Err(stop("please specify version argument V")),
        ["down", "-all" | "--all"] => database.down(&source, usize::MAX, said).await,
        ["down"] => {
            said.push_str(
                "Are you sure you want to apply all down migrations? [y/N]\nNot applying all down migrations\n",
            );
            Ok(())
        }
        ["down", n] => {
            let n = number(n, "limit")?;
            database.down(&source, usize::try_from(n).unwrap_or(0), said).await
        }
        ["force", version] => database.set(number(version, "version")?, false).await,
        _ => Err(Stop::Usage),
    }
}

/// The migration files, by version.
struct Source {
    url: String,
    files: BTreeMap<i64, Migration>,
}

#[derive(Default)]
struct Migration {
    title: String,
    up: Option<PathBuf>,
    down: Option<PathBuf>,
}

impl Source {
    fn open(url: &str) -> Result<Self, Stop> {
        let failed = |why: String| stop(format!("failed to open source, \"{url}\": {why}"));
        let dir = url
            .strip_prefix("file://")
            .ok_or_else(|| failed("source driver: unknown driver (forgotten import?)".into()))?;
        let entries = std::fs::read_dir(dir).map_err(|_| failed(format!("open {dir}: no such file or directory")))?;
        let mut files: BTreeMap<i64, Migration> = BTreeMap::new();
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Some((version, rest)) = name.split_once('_') else { continue };
            let Ok(version) = version.parse() else { continue };
            let migration = files.entry(version).or_default();
            if let Some(title) = rest.strip_suffix(".up.sql") {
                (migration.title, migration.up) = (title.to_owned(), Some(path));
            } else if rest.ends_with(".down.sql") {
                migration.down = Some(path);
            }
        }
        files.retain(|_, migration| migration.up.is_some() || migration.down.is_some());
        if files.is_empty() {
            return Err(failed("first .: file does not exist".into()));
        }
        Ok(Self { url: url.to_owned(), files })
    }

    fn must_have(&self, version: i64) -> Result<(), Stop> {
        if self.files.contains_key(&version) {
            return Ok(());
        }
        Err(stop(format!(
            "no migration found for version {version}: read down for version {version} {}: file does not exist",
            self.url.trim_start_matches("file://")
        )))
    }
}

/// An open database and its table of versions.
struct Database {
    client: Client,
    table: String,
}

impl Database {
    /// Connects, and makes the table where it is missing, under the lock, as the driver does.
    async fn open(url: &str) -> Result<Self, Stop> {
        let mut parsed: url::Url =
            url.parse().map_err(|_| stop("database driver: unknown driver (forgotten import?)"))?;
        if !matches!(parsed.scheme(), "postgres" | "postgresql") {
            return Err(stop(format!("database driver: unknown driver {} (forgotten import?)", parsed.scheme())));
        }
        let mut table = "schema_migrations".to_owned();
        let kept: Vec<(String, String)> = parsed
            .query_pairs()
            .filter_map(|(name, value)| {
                if name == "x-migrations-table" {
                    table = value.to_string();
                }
                (!name.starts_with("x-")).then(|| (name.into_owned(), value.into_owned()))
            })
            .collect();
        parsed.set_query(None);
        if !kept.is_empty() {
            parsed.query_pairs_mut().extend_pairs(kept);
        }
        let (client, connection) = tokio_postgres::connect(parsed.as_str(), NoTls).await.map_err(says)?;
        tokio::spawn(connection);
        let database = Self { client, table };
        database.lock(true).await?;
        let create = format!(
            "CREATE TABLE IF NOT EXISTS \"public\".\"{}\" (version bigint not null primary key, dirty boolean not null)",
            database.table
        );
        database.client.batch_execute(&create).await.map_err(says)?;
        database.lock(false).await?;
        Ok(database)
    }

    /// Takes or gives back the advisory lock.
    async fn lock(&self, take: bool) -> Result<(), Stop> {
        let function = if take { "pg_advisory_lock" } else { "pg_advisory_unlock" };
        self.client.batch_execute(&format!("SELECT {function}(1486364155)")).await.map_err(says)
    }

    /// Version and dirty flag; `None` when nothing was ever migrated.
    async fn current(&self) -> Result<Option<(i64, bool)>, Stop> {
        let sql = format!("SELECT version, dirty FROM \"public\".\"{}\" LIMIT 1", self.table);
        let answer = self.client.simple_query(&sql).await.map_err(says)?;
        let row = answer.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some((row.get(0)?.parse().ok()?, row.get(1)? == "t")),
            _ => None,
        });
        Ok(row)
    }

    async fn set(&self, version: i64, dirty: bool) -> Result<(), Stop> {
        let table = &self.table;
        let mut sql = format!("BEGIN; TRUNCATE \"public\".\"{table}\";");
        // Version -1 stands for "before the first migration".
        if version >= 0 || dirty {
            let _ = write!(sql, " INSERT INTO \"public\".\"{table}\" (version, dirty) VALUES ({version}, {dirty});");
        }
        sql.push_str(" COMMIT");
        self.client.batch_execute(&sql).await.map_err(says)
    }

    async fn say_version(&self, said: &mut String) -> Result<(), Stop> {
        let (version, dirty) = self.current().await?.ok_or_else(|| stop("no migration"))?;
        let _ = writeln!(said, "{version}{}", if dirty { " (dirty)" } else { "" });
        Ok(())
    }

    /// The version from which a migration may start; an unfinished one stops here.
    async fn clean(&self) -> Result<i64, Stop> {
        match self.current().await? {
            Some((version, true)) => Err(stop(format!("Dirty database version {version}. Fix and force version."))),
            Some((version, false)) => Ok(version),
            None => Ok(-1),
        }
    }

    async fn up(&self, source: &Source, limit: usize, said: &mut String) -> Result<(), Stop> {
        self.lock(true).await?;
        let from = self.clean().await?;
        if from >= 0 {
            source.must_have(from)?;
        }
        let steps: Vec<_> = source.files.range(from + 1..).take(limit).collect();
        for (version, migration) in &steps {
            self.apply(**version, **version, 'u', &migration.title, migration.up.as_ref(), said).await?;
        }
        self.finish(steps.is_empty(), said).await
    }

    async fn down(&self, source: &Source, limit: usize, said: &mut String) -> Result<(), Stop> {
        self.lock(true).await?;
        let from = self.clean().await?;
        let steps: Vec<_> = source.files.range(..=from).rev().take(limit).collect();
        for (version, migration) in &steps {
            let before = source.files.range(..**version).next_back().map_or(-1, |(version, _)| *version);
            self.apply(**version, before, 'd', &migration.title, migration.down.as_ref(), said).await?;
        }
        self.finish(steps.is_empty(), said).await
    }

    async fn go_to(&self, source: &Source, to: i64, said: &mut String) -> Result<(), Stop> {
        source.must_have(to)?;
        let from = self.clean().await?;
        if to >= from {
            self.up(source, source.files.range(from + 1..=to).count(), said).await
        } else {
            self.down(source, source.files.range(to + 1..=from).count(), said).await
        }
    }

    /// Runs one file between a dirty mark and a clean one.
    async fn apply(
        &self,
        version: i64,
        then: i64,
        direction: char,
        title: &str,
        file: Option<&PathBuf>,
        said: &mut String,
    ) -> Result<(), Stop> {
        self.set(then, true).await?;
        if let Some(file) = file {
            let sql = std::fs::read_to_string(file).map_err(|error| stop(error.to_string()))?;
            self.client.batch_execute(&sql).await.map_err(|error| {
                let first = sql.lines().next().unwrap_or_default();
                stop(format!("migration failed in line 0: {first} (details: pq: {})", reason(&error)))
            })?;
        }
        self.set(then, false).await?;
        let _ = writeln!(said, "{version}/{direction} {title} (8.412ms)");
        Ok(())
    }

    async fn finish(&self, unchanged: bool, said: &mut String) -> Result<(), Stop> {
        self.lock(false).await?;
        if unchanged {
            said.push_str("no change\n");
        }
        Ok(())
    }
}

fn says(error: tokio_postgres::Error) -> Stop {
    stop(format!("pq: {}", reason(&error)))
}

/// The server's message, or the client's own.
fn reason(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |error| error.message().to_owned())
}
