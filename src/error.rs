//! One error for the whole house: what was attempted, why it failed, what to do next, and the exit code.

use std::fmt;
use std::time::Duration;

/// The house's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of ending an error is. Each kind is one exit code; the codes are an interface (README, "Exit codes").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A defect of ours.
    Internal,
    /// The command line is wrong, or a confirmation could not be had.
    Usage,
    /// The configuration file, a journal or another local file is wrong.
    Config,
    /// A gate says no, or cannot tell.
    GateBlocked,
    /// A person must do something first; the run can be resumed.
    Waiting,
    /// A deadline passed; the run can be resumed.
    TimedOut,
    /// Another run holds the lock.
    Locked,
    /// Account, cluster or repository is not the configured one.
    WrongWorld,
    /// An outside system or program failed.
    Outside,
    /// What was released is worse than what it replaced.
    Regression,
    /// Debt of an earlier break-glass is overdue.
    Debt,
    /// The world differs from what is declared.
    Drift,
    /// Stopped by Ctrl-C, SIGTERM or SIGHUP.
    Interrupted,
}

impl Kind {
    /// The process exit code of this kind.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Internal => 1,
            Self::Usage => 2,
            Self::Config => 3,
            Self::GateBlocked => 10,
            Self::Waiting => 11,
            Self::TimedOut => 12,
            Self::Locked => 13,
            Self::WrongWorld => 14,
            Self::Outside => 15,
            Self::Regression => 16,
            Self::Debt => 17,
            Self::Drift => 18,
            Self::Interrupted => 130,
        }
    }

    /// One or two words for the person: `blocked`, `timed out`, …
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Internal => "internal error",
            Self::Usage => "usage",
            Self::Config => "configuration",
            Self::GateBlocked => "blocked",
            Self::Waiting => "waiting for a person",
            Self::TimedOut => "timed out",
            Self::Locked => "locked",
            Self::WrongWorld => "wrong world",
            Self::Outside => "failed",
            Self::Regression => "regression",
            Self::Debt => "debt open",
            Self::Drift => "drift",
            Self::Interrupted => "interrupted",
        }
    }
}

/// How a failure of an outside system may be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Class {
    /// Trying again later may help: 429, 5xx, a reset, a time-out.
    Transient { retry_after: Option<Duration> },
    /// The object is not there (404, `ImageNotFoundException`, …).
    NotFound,
    /// Somebody else changed it first (409, 412, a non-fast-forward).
    Conflict,
    /// We may not (401, 403).
    Denied,
    /// The outside answered, and the answer is no.
    #[default]
    Terminal,
    /// Only a person can go on from here; the run stays resumable.
    NeedsHuman,
}

/// An error a person can act on.
///
/// `what` says what was attempted and on which object; `cause` is the chain below it; `evidence` is what was
/// seen (a pod event, the last log lines); `hints` are next commands, most useful first.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    class: Class,
    what: String,
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
    evidence: Vec<String>,
    hints: Vec<String>,
}

impl Error {
    /// An error of `kind` that says `what` was attempted, on which object, and how it failed.
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            class: Class::Terminal,
            what: what.into(),
            cause: None,
            evidence: Vec::new(),
            hints: Vec::new(),
        }))
    }

    /// A defect of ours ([`Kind::Internal`]).
    pub fn internal(what: impl Into<String>) -> Self {
        Self::new(Kind::Internal, what)
    }

    /// A wrong command line ([`Kind::Usage`]).
    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(Kind::Usage, what)
    }

    /// A wrong file ([`Kind::Config`]).
    pub fn config(what: impl Into<String>) -> Self {
        Self::new(Kind::Config, what)
    }

    /// An outside failure ([`Kind::Outside`]).
    pub fn outside(what: impl Into<String>) -> Self {
        Self::new(Kind::Outside, what)
    }

    /// Puts `source` below this error.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.cause = Some(source.into());
        self
    }

    /// Sets how it may be answered.
    #[must_use]
    pub fn class(mut self, class: Class) -> Self {
        self.0.class = class;
        self
    }

    /// Adds a next command or a fix, for people.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hints.push(hint.into());
        self
    }

    /// Adds one line of what was seen.
    #[must_use]
    pub fn seen(mut self, line: impl Into<String>) -> Self {
        self.0.evidence.push(line.into());
        self
    }

    /// Says what was attempted around this error; kind, class, evidence and hints are kept.
    #[must_use]
    pub fn context(self, what: impl Into<String>) -> Self {
        let outer = Self::new(self.0.kind, what).class(self.0.class);
        self.told_by(outer)
    }

    /// `outer`, with this as its cause and with what this saw and advises.
    #[must_use]
    pub fn told_by(self, mut outer: Self) -> Self {
        outer.0.evidence.extend(self.0.evidence.iter().cloned());
        outer.0.hints.extend(self.0.hints.iter().cloned());
        outer.because(self)
    }

    /// The same error as another kind of ending.
    #[must_use]
    pub fn with_kind(mut self, kind: Kind) -> Self {
        self.0.kind = kind;
        self
    }

    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// How it may be answered (not the exit code: that is [`Error::kind`]).
    #[must_use]
    pub fn classified(&self) -> Class {
        self.0.class
    }

    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self.0.class, Class::Transient { .. })
    }

    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.0.class == Class::NotFound
    }

    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.0.class == Class::Conflict
    }

    #[must_use]
    pub fn what(&self) -> &str {
        &self.0.what
    }

    #[must_use]
    pub fn hints(&self) -> &[String] {
        &self.0.hints
    }

    #[must_use]
    pub fn evidence(&self) -> &[String] {
        &self.0.evidence
    }

    /// Each cause below this error, outermost first, without repeating a text its parent already ends with.
    #[must_use]
    pub fn causes(&self) -> Vec<String> {
        let mut causes: Vec<String> = Vec::new();
        let mut last = self.0.what.clone();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            let text = cause.to_string();
            if !text.is_empty() && !last.ends_with(&text) {
                causes.push(text.clone());
                last = text;
            }
            next = cause.source();
        }
        causes
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.what)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.0.what)?;
        for cause in self.causes() {
            write!(f, "\n  because {cause}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.cause.as_deref().map(|cause| cause as &(dyn std::error::Error + 'static))
    }
}

/// The texts of an error and all below it in one line, without repetition.
#[must_use]
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !more.is_empty() && !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    text
}

/// `result.attempting(|| "list pods in …")`: says what was attempted when an error passes by.
pub trait Attempting<T> {
    fn attempting(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Attempting<T> for Result<T> {
    fn attempting(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| error.context(what()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_keeps_kind_class_and_hints() {
        let error = Error::outside("connection reset")
            .class(Class::Transient { retry_after: None })
            .hint("gospel-release resume")
            .context("list pods in gospelib-production");
        assert_eq!(error.kind().exit_code(), 15);
        assert!(error.is_transient());
        assert_eq!(error.hints(), ["gospel-release resume"]);
        assert_eq!(error.causes(), ["connection reset"]);
    }

    #[test]
    fn a_chain_tells_each_cause_once() {
        let error = Error::outside("read the table: reset").because(Error::outside("reset").because("closed by peer"));
        assert_eq!(chain(&error), "read the table: reset: closed by peer");
    }
}
