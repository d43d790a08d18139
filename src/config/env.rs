//! The one room that reads the environment. Everything else is handed an [`Env`], or single values out of it.
#![allow(clippy::disallowed_methods, reason = "this is the room that reads the environment")]

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

/// A snapshot of the environment. Its `Debug` form shows names only: values may be secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Env(BTreeMap<OsString, OsString>);

impl Env {
    /// The environment of this process, as it is now.
    #[must_use]
    pub fn of_process() -> Self {
        Self(std::env::vars_os().collect())
    }

    /// The value of a variable; `None` where it is unset, empty or not UTF-8.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.os(name).and_then(OsStr::to_str)
    }

    /// The value of a variable as it is; `None` where it is unset or empty.
    #[must_use]
    pub fn os(&self, name: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(name)).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }

    /// The first of `names` that has a value, and that value.
    #[must_use]
    pub fn first<'a>(&'a self, names: &'a [String]) -> Option<(&'a str, &'a str)> {
        names.iter().find_map(|name| Some((name.as_str(), self.get(name)?)))
    }

    /// The variables whose names begin with `prefix`: the rest of the name, and the value, in order of their names.
    pub fn with_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a OsStr)> {
        self.0.iter().filter_map(move |(name, value)| Some((name.to_str()?.strip_prefix(prefix)?, value.as_os_str())))
    }

    /// The person's home directory.
    #[must_use]
    pub fn home(&self) -> Option<PathBuf> {
        self.os("HOME").map(PathBuf::from)
    }

    /// `$DOCKER_CONFIG`, by default `~/.docker`.
    #[must_use]
    pub fn docker_config(&self) -> Option<PathBuf> {
        self.os("DOCKER_CONFIG").map(PathBuf::from).or_else(|| Some(self.home()?.join(".docker")))
    }

    /// `$XDG_CONFIG_HOME`, by default `~/.config`. A relative value is ignored, as the XDG base directory
    /// specification demands.
    #[must_use]
    pub fn config_home(&self) -> Option<PathBuf> {
        self.xdg("XDG_CONFIG_HOME", ".config")
    }

    /// `$XDG_STATE_HOME`, by default `~/.local/state`.
    #[must_use]
    pub fn state_home(&self) -> Option<PathBuf> {
        self.xdg("XDG_STATE_HOME", ".local/state")
    }

    fn xdg(&self, name: &str, default: &str) -> Option<PathBuf> {
        let set = self.os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        set.or_else(|| self.home().map(|home| home.join(default)))
    }
}

impl<K: Into<OsString>, V: Into<OsString>> FromIterator<(K, V)> for Env {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_value() {
        let env: Env = [("GH_TOKEN", "ghp_secret"), ("EMPTY", "")].into_iter().collect();
        assert_eq!(format!("{env:?}"), r#"{"EMPTY", "GH_TOKEN"}"#);
        assert_eq!(env.get("EMPTY"), None);
        let names = ["EMPTY".to_owned(), "GH_TOKEN".to_owned()];
        assert_eq!(env.first(&names), Some(("GH_TOKEN", "ghp_secret")));
    }

    #[test]
    fn a_relative_xdg_directory_is_ignored() {
        let env: Env = [("HOME", "/home/dana"), ("XDG_STATE_HOME", "state")].into_iter().collect();
        assert_eq!(env.state_home(), Some("/home/dana/.local/state".into()));
    }
}
