//! What was asked, of whom, when, and what came back.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The data behind a verdict or a finished step. It never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Evidence {
    /// One line for people: "6 of 6 services healthy", "soaked 26 h, 24 h needed".
    pub summary: String,
    /// Whom we asked: "GitHub checks of a1b2c3d", "Prometheus at …".
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// World time of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// What came back, one fact a line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<Fact>,
    /// Where a person looks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// The step is over, and what it is for is not: somebody must still do it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub left_open: bool,
}

/// One thing that came back: which object, what about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// The object: a service, a check, an image.
    pub of: String,
    /// What was seen.
    pub seen: String,
    /// Whether it is as it should be; `None` where that is not a question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ok: Option<bool>,
}

impl Evidence {
    /// Evidence with its one line.
    pub fn new(summary: impl Into<String>) -> Self {
        Self { summary: summary.into(), ..Self::default() }
    }

    #[must_use]
    pub fn from(mut self, source: impl Into<String>) -> Self {
        self.source = source.into();
        self
    }

    #[must_use]
    pub fn at(mut self, at: Timestamp) -> Self {
        self.at = Some(at);
        self
    }

    #[must_use]
    pub fn link(mut self, link: impl Into<String>) -> Self {
        self.link = Some(link.into());
        self
    }

    #[must_use]
    pub fn left_open(mut self) -> Self {
        self.left_open = true;
        self
    }

    #[must_use]
    pub fn fact(mut self, of: impl Into<String>, seen: impl Into<String>, ok: impl Into<Option<bool>>) -> Self {
        self.facts.push(Fact { of: of.into(), seen: seen.into(), ok: ok.into() });
        self
    }

    /// The facts that are not as they should be.
    pub fn wrong(&self) -> impl Iterator<Item = &Fact> {
        self.facts.iter().filter(|fact| fact.ok == Some(false))
    }
}

/// What a gate says. Only `Pass` and `Waived` let a release through: *unknown blocks*.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Verdict {
    /// It holds.
    Pass,
    /// It does not hold.
    Fail,
    /// It could not be told: no data, zero checks, no answer.
    Unknown,
    /// A person decided to go on without it.
    Waived { who: String, why: String, until: Option<Timestamp> },
}

impl Verdict {
    /// Whether a release may go on.
    #[must_use]
    pub const fn lets_through(&self) -> bool {
        matches!(self, Self::Pass | Self::Waived { .. })
    }

    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Unknown => "unknown",
            Self::Waived { .. } => "waived",
        }
    }
}
