//! What is wrong with a configuration: all of it, told at once.

use std::fmt;

use super::Origin;
use crate::error::Error;

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub origin: Origin,
    /// The key's whole path; empty where it is about the file itself.
    pub key: String,
    pub message: String,
}

impl Problem {
    pub fn new(origin: &Origin, key: impl Into<String>, message: impl Into<String>) -> Self {
        let mut message = message.into();
        // A value that is repeated in it may be a megabyte long.
        if let Some((end, _)) = message.char_indices().nth(LONGEST) {
            message.truncate(end);
            message.push('…');
        }
        Self { origin: origin.clone(), key: key.into(), message }
    }

    /// Files before the environment before flags; in a file by line.
    fn rank(&self) -> (u8, String, usize, usize) {
        match &self.origin {
            Origin::Default => (0, String::new(), 0, 0),
            Origin::File { path, line, column } => (1, path.display().to_string(), *line, *column),
            Origin::Environment(name) => (2, name.clone(), 0, 0),
            Origin::Flag(key) => (3, key.clone(), 0, 0),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// Characters of one message.
const LONGEST: usize = 300;

/// Beyond this many, a layer is not read further: it is no configuration.
pub(super) const MOST: usize = 50;

/// One error for all problems (exit 3). There must be at least one.
pub(super) fn refuse(mut problems: Vec<Problem>) -> Error {
    problems.sort_by_key(Problem::rank);
    problems.dedup();
    let error = match problems.as_slice() {
        [only] => Error::config(only.to_string()),
        all => all.iter().take(MOST).fold(
            Error::config(format!("the configuration has {}, and is refused whole", counted(all.len()))),
            |error, problem| error.seen(problem.to_string()),
        ),
    };
    error.hint("docs/configuration.md names every key; `gospel-release config schema` is for editors")
}

fn counted(mistakes: usize) -> String {
    if mistakes > MOST { format!("more than {MOST} mistakes") } else { format!("{mistakes} mistakes") }
}
