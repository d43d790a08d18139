//! Names that end up in paths, refs and object names: checked once, here.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;

macro_rules! checked_name {
    ($(#[$doc:meta])* $name:ident, $check:expr, $form:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                let check: fn(&str) -> bool = $check;
                if check(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(Error::usage(format!("{text:?} is not {}", $form)))
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<Self, Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

/// A DNS label (RFC 1123): what Kubernetes demands of most object names.
fn dns_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.len() <= 63 && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

checked_name!(
    /// A service: `gateway`. A DNS label, so it is safe in paths, selectors and image names.
    ServiceName,
    dns_label,
    "a service name (lower-case letters, digits and '-', at most 63, no '-' at either end)"
);

checked_name!(
    /// A full commit SHA-1.
    CommitSha,
    |text| text.len() == 40 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)),
    "a full commit SHA (40 lower-case hex digits)"
);

checked_name!(
    /// One execution of a plan. A DNS label: it names a ConfigMap and Jobs.
    RunId,
    dns_label,
    "a run id"
);

checked_name!(
    /// What a hotfix is called: the branch `hotfix/<name>`. A DNS label, so it is safe in refs, messages and keys.
    HotfixName,
    dns_label,
    "a hotfix name (lower-case letters, digits and '-', at most 63, no '-' at either end)"
);

impl HotfixName {
    /// Before the name in the branch.
    pub const BRANCH: &str = "hotfix/";

    /// Its branch: `hotfix/login`.
    #[must_use]
    pub fn branch(&self) -> String {
        format!("{}{self}", Self::BRANCH)
    }

    /// The hotfix of a branch; `None` for other branches.
    #[must_use]
    pub fn of_branch(branch: &str) -> Option<Self> {
        branch.strip_prefix(Self::BRANCH)?.parse().ok()
    }
}

impl CommitSha {
    /// Before the commit in the tag of a hotfix's image.
    pub const HOTFIX_TAG: &str = "hotfix-";

    /// The tag of the images that a hotfix builds from this commit: `hotfix-` and 12 digits.
    #[must_use]
    pub fn hotfix_tag(&self) -> String {
        format!("{}{}", Self::HOTFIX_TAG, &self.0[..12])
    }

    /// The first 7 digits, for people.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[..7]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_climb_or_look_like_options_are_refused() {
        for bad in ["../etc", "-rf", "a/b", "", "Gateway", "gate way", "gate\u{1b}[31m", &"a".repeat(64)] {
            assert!(bad.parse::<ServiceName>().is_err(), "{bad:?}");
        }
        assert!("gateway".parse::<ServiceName>().is_ok());
        assert!("HEAD".parse::<CommitSha>().is_err());
    }
}
