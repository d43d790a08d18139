//! golang-migrate's own table, read directly: opening its driver takes an advisory lock and may wait for ever.
//!
//! A database URL is a secret: it is in no error and no log.

mod tls;
mod url;

use std::net::SocketAddr;
use std::time::Duration;

use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::error::SqlState;

use self::url::Target;
use super::retry::Retry;
use crate::error::{Class, Error, Result};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For connecting, signing in and one small SELECT.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(15);

/// What `schema_migrations` says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct MigrationState {
    /// `None`: nothing was ever applied.
    pub version: Option<i64>,
    /// The last migration began and did not end.
    pub dirty: bool,
}

/// Reads the migration state from `table` in the database of `url` (`postgres://…`). A missing or empty table means that
/// nothing was ever applied. `via` connects there instead of to the URL's host: the near end of a port-forward.
pub async fn migration_state(url: &str, table: &str, via: Option<SocketAddr>) -> Result<MigrationState> {
    check_table(table)?;
    let target = Target::parse(url, via)?;
    let query = format!("SELECT version, dirty FROM \"{table}\" LIMIT 1");
    Retry { attempts: 3, ..Retry::default() }
        .read(async || {
            let asked = tokio::time::timeout(TOTAL_TIMEOUT, ask(&target, &query)).await;
            asked.unwrap_or_else(|_| {
                let limit = TOTAL_TIMEOUT.as_secs();
                Err(Error::outside(format!("the database did not answer within {limit} s"))
                    .class(Class::Transient { retry_after: None }))
            })
        })
        .await
}

/// The URL with its host and port replaced by the near end of a port-forward, for programs that take only a URL.
#[must_use]
pub fn redirected(url: &str, via: SocketAddr) -> String {
    url::redirect(url, via)
}

async fn ask(target: &Target, query: &str) -> Result<MigrationState> {
    let (client, connection) = target.config.connect(target.tls()?).await.map_err(failed)?;
    let connection = tokio::spawn(connection);
    let answer = client.simple_query(query).await;
    drop(client);
    connection.abort();
    match answer {
        Ok(messages) => read(&messages),
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => Ok(MigrationState::default()),
        Err(error) => Err(failed(error)),
    }
}

fn read(messages: &[SimpleQueryMessage]) -> Result<MigrationState> {
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let Some(row) = row else { return Ok(MigrationState::default()) };
    let version = row.try_get(0).ok().flatten().and_then(|text| text.parse().ok());
    let dirty = match row.try_get(1).ok().flatten() {
        Some("t" | "true") => Some(true),
        Some("f" | "false") => Some(false),
        _ => None,
    };
    match (version, dirty) {
        // golang-migrate writes -1 for "nothing applied, and the first one is under way".
        (Some(version), Some(dirty)) => Ok(MigrationState { version: Some(version).filter(|v| *v >= 0), dirty }),
        _ => Err(Error::outside(
            "the migrations table does not have golang-migrate's columns (version bigint, dirty boolean)",
        )),
    }
}

fn check_table(table: &str) -> Result<()> {
    let safe = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if (1..=63).contains(&table.len()) && table.bytes().all(safe) && !table.as_bytes()[0].is_ascii_digit() {
        Ok(())
    } else {
        Err(Error::config(format!("{table:?} is not the name of a migrations table (letters, digits and '_')")))
    }
}

fn failed(error: tokio_postgres::Error) -> Error {
    let class = match error.code() {
        Some(code) => classify(code),
        None if untrusted(&error) => Class::Terminal,
        None => Class::Transient { retry_after: None },
    };
    let hint = match (class, error.code()) {
        (Class::Denied, _) => Some("check the user, the password and the rights in the database URL's variable"),
        (Class::Terminal, None) => {
            Some("name the server's authorities in the database URL: sslrootcert=/path/to/bundle.pem")
        }
        _ => None,
    };
    let failed = Error::outside("read the migration state from the database").because(error).class(class);
    hint.into_iter().fold(failed, Error::hint)
}

/// Whether the handshake failed for the certificate: trying again will not make it better.
fn untrusted(error: &tokio_postgres::Error) -> bool {
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        let inner = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if inner.is_some_and(|inner| matches!(inner.downcast_ref(), Some(rustls::Error::InvalidCertificate(_)))) {
            return true;
        }
        next = cause.source();
    }
    false
}

fn classify(code: &SqlState) -> Class {
    let text = code.code();
    if *code == SqlState::INSUFFICIENT_PRIVILEGE || text.starts_with("28") {
        Class::Denied
    } else if *code == SqlState::INVALID_CATALOG_NAME {
        Class::NotFound
    } else if text.starts_with("08") || text.starts_with("53") || text.starts_with("57P") {
        // Connections, resources, a server that starts or stops.
        Class::Transient { retry_after: None }
    } else {
        Class::Terminal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_names_are_checked() {
        assert!(check_table("schema_migrations").is_ok());
        for bad in ["", "a\"; DROP TABLE x; --", "public.x", "1a", &"a".repeat(64)] {
            assert!(check_table(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn failures_are_classified() {
        assert_eq!(classify(&SqlState::INVALID_PASSWORD), Class::Denied);
        assert_eq!(classify(&SqlState::TOO_MANY_CONNECTIONS), Class::Transient { retry_after: None });
        assert_eq!(classify(&SqlState::SYNTAX_ERROR), Class::Terminal);
    }

    #[tokio::test]
    async fn nobody_there_is_transient_and_the_url_stays_secret() {
        let url = "postgres://dana:s3cret@127.0.0.1:1/auth?sslmode=disable";
        let error = migration_state(url, "schema_migrations", None).await.unwrap_err();
        assert!(error.is_transient());
        assert!(!format!("{error:?}").contains("s3cret"));
    }
}
