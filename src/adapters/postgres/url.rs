//! A database URL in the forms that lib/pq (golang-migrate's driver) takes, made fit for tokio-postgres.

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio_postgres::Config;
use tokio_postgres::config::SslMode;

use super::CONNECT_TIMEOUT;
use super::tls::{Connect, Trust};
use crate::error::{Error, Result};

/// Where and how to connect. Holds the password: no Debug.
pub(super) struct Target {
    pub config: Config,
    trust: Trust,
}

/// Parameters of the URL that tokio-postgres knows too. Others are lib/pq's or golang-migrate's own (`x-…`), and are of no
/// consequence for one SELECT; `search_path` is passed on, because the table is found by it.
const KNOWN: [&str; 10] = [
    "user",
    "password",
    "dbname",
    "host",
    "port",
    "hostaddr",
    "application_name",
    "options",
    "channel_binding",
    "target_session_attrs",
];

impl Target {
    pub(super) fn parse(url: &str, via: Option<SocketAddr>) -> Result<Self> {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        if !base.starts_with("postgres://") && !base.starts_with("postgresql://") {
            return Err(Error::config("the database URL does not begin with postgres://"));
        }
        let (mut mode, mut root, mut kept, mut search_path) = (None, None, Vec::new(), None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "sslmode" => mode = Some(value.to_owned()),
                "sslrootcert" => root = Some(PathBuf::from(decoded(value))),
                "search_path" => search_path = Some(decoded(value)),
                name if KNOWN.contains(&name) => kept.push(pair),
                _ => {}
            }
        }
        let plain = if kept.is_empty() { base.to_owned() } else { format!("{base}?{}", kept.join("&")) };
        // The parser's own error could quote what it could not read.
        let mut config: Config = plain.parse().map_err(|_| Error::config("the database URL cannot be read"))?;
        let (ssl, trust) = security(mode.as_deref(), root)?;
        config.ssl_mode(ssl).connect_timeout(CONNECT_TIMEOUT);
        if let Some(path) = search_path {
            let options = format!("{} -c search_path={}", config.get_options().unwrap_or_default(), escaped(&path));
            config.options(options.trim());
        }
        if config.get_application_name().is_none() {
            config.application_name("gospel-release");
        }
        if let Some(via) = via {
            config.hostaddr(via.ip()).port(via.port());
            config = only(&config, via);
        }
        Ok(Self { config, trust })
    }

    pub(super) fn tls(&self) -> Result<Connect> {
        Connect::new(&self.trust)
    }
}

/// The same sign-in at one address; the host's name stays, for the certificate.
fn only(config: &Config, via: SocketAddr) -> Config {
    let mut one = Config::new();
    if let Some(tokio_postgres::config::Host::Tcp(host)) = config.get_hosts().first() {
        one.host(host);
    }
    one.hostaddr(via.ip()).port(via.port()).ssl_mode(config.get_ssl_mode()).connect_timeout(CONNECT_TIMEOUT);
    one.channel_binding(config.get_channel_binding());
    if let Some(user) = config.get_user() {
        one.user(user);
    }
    if let Some(password) = config.get_password() {
        one.password(password);
    }
    if let Some(name) = config.get_dbname() {
        one.dbname(name);
    }
    if let Some(options) = config.get_options() {
        one.options(options);
    }
    if let Some(name) = config.get_application_name() {
        one.application_name(name);
    }
    one
}

/// libpq's modes (PostgreSQL manual, "SSL Mode Descriptions"). `require` encrypts and verifies nothing, unless a root
/// certificate is named; `verify-ca` is held to be `verify-full`.
fn security(mode: Option<&str>, root: Option<PathBuf>) -> Result<(SslMode, Trust)> {
    Ok(match (mode, root) {
        (Some("disable"), _) => (SslMode::Disable, Trust::Anyone),
        (None | Some("prefer" | "allow"), _) => (SslMode::Prefer, Trust::Anyone),
        (Some("require"), None) => (SslMode::Require, Trust::Anyone),
        (Some("verify-ca" | "verify-full"), None) => (SslMode::Require, Trust::System),
        (Some("require" | "verify-ca" | "verify-full"), Some(file)) => (SslMode::Require, Trust::File(file)),
        (Some(other), _) => {
            return Err(Error::config(format!("sslmode={other:?} of the database URL is not known"))
                .hint("use disable, prefer, require, verify-ca or verify-full"));
        }
    })
}

fn decoded(value: &str) -> String {
    let pair = format!("v={}", value.replace('+', "%2B"));
    ::url::form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}

/// Spaces and backslashes in a value of `options` are escaped with a backslash.
fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace(' ', r"\ ")
}

pub(super) fn redirect(url: &str, via: SocketAddr) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let user = authority.rfind('@').map_or("", |at| &authority[..=at]);
    format!("{scheme}://{user}{via}{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_golang_migrate_are_read() {
        let url = "postgres://dana:p%40ss@db.example.com:5433/auth?sslmode=verify-full&x-migrations-table=m&search_path=a%20b";
        let target = Target::parse(url, None).unwrap();
        assert_eq!(target.config.get_ssl_mode(), SslMode::Require);
        assert!(matches!(target.trust, Trust::System));
        assert_eq!(target.config.get_password(), Some(b"p@ss".as_slice()));
        assert_eq!(target.config.get_options(), Some(r"-c search_path=a\ b"));
        let via = Target::parse(url, Some("127.0.0.1:6000".parse().unwrap())).unwrap();
        assert_eq!((via.config.get_ports(), via.config.get_hostaddrs().len()), ([6000].as_slice(), 1));
        assert_eq!(via.config.get_dbname(), Some("auth"));
        for bad in ["mysql://x/y", "postgres://h/db?sslmode=perhaps", "postgres://h:port/db"] {
            assert!(Target::parse(bad, None).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_url_is_redirected_with_its_user_and_options() {
        let via = "127.0.0.1:6000".parse().unwrap();
        let there = redirect("postgres://u:p@db.internal:5432/auth?sslmode=disable", via);
        assert_eq!(there, "postgres://u:p@127.0.0.1:6000/auth?sslmode=disable");
        assert_eq!(redirect("postgres://db", via), "postgres://127.0.0.1:6000");
    }
}
