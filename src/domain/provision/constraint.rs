//! Terraform's version constraints (`required_version`): <https://developer.hashicorp.com/terraform/language/expressions/version-constraints>.

use std::fmt;
use std::str::FromStr;

use semver::Version;

/// Conditions that a version must all meet: `>= 1.9, < 2.0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    text: String,
    terms: Vec<Term>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    operator: Operator,
    version: Version,
    /// How many of major, minor and patch were written: `~> 1.9` and `~> 1.9.0` differ.
    parts: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Above,
    AtLeast,
    Below,
    AtMost,
    Pessimistic,
}

/// Longest first: `>=` begins with `>`.
const OPERATORS: [(&str, Operator); 7] = [
    (">=", Operator::AtLeast),
    ("<=", Operator::AtMost),
    ("!=", Operator::NotEqual),
    ("~>", Operator::Pessimistic),
    (">", Operator::Above),
    ("<", Operator::Below),
    ("=", Operator::Equal),
];

impl Constraint {
    /// Whether `version` meets every condition.
    #[must_use]
    pub fn allows(&self, version: &Version) -> bool {
        self.terms.iter().all(|term| term.allows(version))
    }
}

impl Term {
    fn allows(&self, version: &Version) -> bool {
        // A version before its release is only meant where it is named.
        if !version.pre.is_empty() && self.version.pre.is_empty() && self.operator != Operator::NotEqual {
            return false;
        }
        match self.operator {
            Operator::Equal => *version == self.version,
            Operator::NotEqual => *version != self.version,
            Operator::Above => *version > self.version,
            Operator::AtLeast => *version >= self.version,
            Operator::Below => *version < self.version,
            Operator::AtMost => *version <= self.version,
            Operator::Pessimistic => *version >= self.version && *version < self.ceiling(),
        }
    }

    /// The last written part may grow, those before it may not.
    fn ceiling(&self) -> Version {
        match self.parts {
            1 => Version::new(u64::MAX, 0, 0),
            2 => Version::new(self.version.major.saturating_add(1), 0, 0),
            _ => Version::new(self.version.major, self.version.minor.saturating_add(1), 0),
        }
    }
}

impl FromStr for Constraint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let terms = text.split(',').map(term).collect::<Option<Vec<Term>>>();
        let terms = terms.ok_or_else(|| format!("{text:?} is not a version constraint"))?;
        Ok(Self { text: text.trim().to_owned(), terms })
    }
}

fn term(text: &str) -> Option<Term> {
    let text = text.trim();
    let (operator, rest) = OPERATORS
        .iter()
        .find_map(|(sign, operator)| Some((*operator, text.strip_prefix(sign)?)))
        .unwrap_or((Operator::Equal, text));
    let rest = rest.trim();
    let numbers = rest.split(['-', '+']).next().unwrap_or_default();
    let parts = numbers.split('.').count();
    let filled = match parts {
        1 => rest.replacen(numbers, &format!("{numbers}.0.0"), 1),
        2 => rest.replacen(numbers, &format!("{numbers}.0"), 1),
        _ => rest.to_owned(),
    };
    Some(Term { operator, version: Version::parse(&filled).ok()?, parts })
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_terraforms() {
        let allows = |text: &str, version: &str| text.parse::<Constraint>().unwrap().allows(&version.parse().unwrap());
        assert!(allows(">= 1.9", "1.11.4") && !allows(">= 1.12", "1.11.4"));
        assert!(allows("~> 1.9", "1.11.4") && !allows("~> 1.9.0", "1.11.4") && !allows("~> 1.9", "2.0.0"));
        assert!(allows(">= 1.5, < 2.0", "1.11.4") && !allows(">= 1.5, < 1.11", "1.11.4"));
        assert!(allows("1.11.4", "1.11.4") && !allows("1.11", "1.11.4") && allows("!= 1.11.3", "1.11.4"));
        assert!(!allows(">= 1.9", "1.12.0-beta1") && allows("1.12.0-beta1", "1.12.0-beta1"));
        for bad in ["", "latest", ">= 1.9 <", ">> 1", "1.2.3.4"] {
            assert!(bad.parse::<Constraint>().is_err(), "{bad:?}");
        }
    }
}
