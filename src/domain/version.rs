//! Release versions and their tags.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// A release version: `1.2.0`, written `v1.2.0`. Pre-releases and build metadata are not releases and are refused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(semver::Version);

/// Which part of a version a set of commits asks to raise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bump {
    Patch,
    Minor,
    Major,
}

impl Version {
    #[must_use]
    pub const fn new(major: u64, minor: u64, patch: u64) -> Self {
        Self(semver::Version::new(major, minor, patch))
    }

    /// The next version after a bump. Before 1.0 a breaking change raises the minor part (semver.org, item 4).
    #[must_use]
    pub fn next(&self, bump: Bump) -> Self {
        let semver::Version { major, minor, patch, .. } = self.0;
        match bump {
            Bump::Major if major > 0 => Self::new(major + 1, 0, 0),
            Bump::Major | Bump::Minor => Self::new(major, minor + 1, 0),
            Bump::Patch => Self::new(major, minor, patch + 1),
        }
    }
}

impl FromStr for Version {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bare = text.strip_prefix('v').unwrap_or(text);
        let wrong =
            |why: &str| Err(Error::usage(format!("{text:?} is not a release version: {why} (for example v1.2.0)")));
        match semver::Version::parse(bare) {
            Err(error) => wrong(&error.to_string()),
            Ok(v) if !v.pre.is_empty() => wrong("it is a pre-release"),
            Ok(v) if !v.build.is_empty() => wrong("it has build metadata"),
            Ok(v) => Ok(Self(v)),
        }
    }
}

impl TryFrom<String> for Version {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("v{}", self.0))
    }
}

/// How versions become tags: `release/v*` makes `v1.2.0` into `release/v1.2.0`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TagPattern(String);

impl TagPattern {
    /// What stands before the version: `release/`.
    fn prefix(&self) -> &str {
        self.0.strip_suffix("v*").unwrap_or_default()
    }

    /// The tag's short name: `release/v1.2.0`.
    #[must_use]
    pub fn tag(&self, version: &Version) -> String {
        format!("{}{version}", self.prefix())
    }

    /// The tag's ref: `refs/tags/release/v1.2.0`.
    #[must_use]
    pub fn full_ref(&self, version: &Version) -> String {
        format!("refs/tags/{}", self.tag(version))
    }

    /// The version that a tag (short name or full ref) stands for; `None` for other tags.
    #[must_use]
    pub fn version(&self, tag: &str) -> Option<Version> {
        let tag = tag.strip_prefix("refs/tags/").unwrap_or(tag);
        let rest = tag.strip_prefix(self.prefix())?;
        rest.starts_with('v').then(|| rest.parse().ok()).flatten()
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TagPattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let prefix = text.strip_suffix("v*").ok_or_else(|| {
            Error::config(format!("tag pattern {text:?} must end with \"v*\" (for example release/v*)"))
        })?;
        let part = |p: &str| !p.is_empty() && !p.starts_with(['-', '.']) && !p.ends_with(".lock") && !p.contains("..");
        let safe = |b: u8| b.is_ascii_alphanumeric() || b"-_./".contains(&b);
        let well_formed =
            prefix.bytes().all(safe) && (prefix.is_empty() || prefix.trim_end_matches('/').split('/').all(part));
        if well_formed {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::config(format!("tag pattern {text:?} does not make valid Git ref names")))
        }
    }
}

impl TryFrom<String> for TagPattern {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<TagPattern> for String {
    fn from(pattern: TagPattern) -> Self {
        pattern.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_release_versions_are_versions() {
        for bad in ["1.2", "v1.2.0-", "v1.2.0-rc.1", "1.2.0+5", "", "v", "-1.2.0", "v1.2.0 ", "01.2.3"] {
            assert!(bad.parse::<Version>().is_err(), "{bad:?}");
        }
        assert_eq!("1.2.0".parse::<Version>().unwrap().to_string(), "v1.2.0");
    }

    #[test]
    fn a_pattern_makes_and_reads_tags() {
        let pattern: TagPattern = "release/v*".parse().unwrap();
        let version: Version = "v1.10.0".parse().unwrap();
        assert_eq!(pattern.tag(&version), "release/v1.10.0");
        assert_eq!(pattern.version("refs/tags/release/v1.10.0"), Some(version));
        assert_eq!(pattern.version("release/1.10.0"), None);
        assert_eq!(pattern.version("v1.10.0"), None);
        for bad in ["release", "-x/v*", "a..b/v*", "re lease/v*", "~v*"] {
            assert!(bad.parse::<TagPattern>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn bumps_follow_semver() {
        let v = Version::new(1, 4, 2);
        assert_eq!(v.next(Bump::Patch), Version::new(1, 4, 3));
        assert_eq!(v.next(Bump::Minor), Version::new(1, 5, 0));
        assert_eq!(v.next(Bump::Major), Version::new(2, 0, 0));
        assert_eq!(Version::new(0, 4, 2).next(Bump::Major), Version::new(0, 5, 0));
    }
}
