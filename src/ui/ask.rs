//! Asking a person, or answering where that is allowed.

use std::io::IsTerminal;

use crate::domain::printable;
use crate::engine::{Answer, Question};
use crate::error::{Error, Result};

use super::stderr_line;

/// Who may answer the confirmation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asking {
    /// `--yes`.
    pub yes: bool,
    /// The embedded rehearsal confirms for the person, unless `--interactive`.
    pub rehearsal: bool,
}

impl Asking {
    /// Shows the sheet and gets an answer. Without a terminal and without `--yes` it fails with exit 2.
    pub fn ask(self, question: &Question) -> Result<Answer> {
        for line in question.sheet.lines() {
            stderr_line(line);
        }
        let answer = self.answer(question)?;
        if answer == Answer::Rehearsal {
            typed_for_you(&question.phrase);
        }
        Ok(answer)
    }

    /// Shows the sheet and asks for each phrase. `--yes` is no answer here.
    pub fn ask_for_each(self, sheet: &str, phrases: &[String]) -> Result<Answer> {
        sheet.lines().for_each(stderr_line);
        let answer = self.answer_each(phrases)?;
        if answer == Answer::Rehearsal {
            phrases.iter().for_each(|phrase| typed_for_you(phrase));
        }
        Ok(answer)
    }

    /// Asks for each phrase without showing the sheet.
    pub fn answer_each(self, phrases: &[String]) -> Result<Answer> {
        if self.rehearsal {
            return Ok(Answer::Rehearsal);
        }
        if nobody_there() {
            return Err(Error::usage("nobody can be asked here: standard input is not a terminal"));
        }
        for phrase in phrases {
            if typed(phrase)? == Answer::Refused {
                return Ok(Answer::Refused);
            }
        }
        Ok(Answer::Typed)
    }

    /// Whether a question would get an answer.
    pub fn can_ask(self) -> Result<()> {
        if self.yes || self.rehearsal || !nobody_there() {
            return Ok(());
        }
        Err(Error::usage("nobody can be asked here: standard input is not a terminal")
            .hint("run it in a terminal, or add --yes if this release is decided"))
    }

    /// Gets an answer without showing the sheet.
    pub fn answer(self, question: &Question) -> Result<Answer> {
        if self.yes {
            return Ok(Answer::Flag);
        }
        if self.rehearsal {
            return Ok(Answer::Rehearsal);
        }
        self.can_ask()?;
        typed(&question.phrase)
    }
}

fn nobody_there() -> bool {
    !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal()
}

fn typed_for_you(phrase: &str) {
    stderr_line(&format!("rehearsal: typed {} for you (--interactive to do it yourself)", printable(phrase)));
}

fn typed(phrase: &str) -> Result<Answer> {
    let prompt = format!("Type {} to go on, anything else to stop:", printable(phrase));
    match inquire::Text::new(&prompt).prompt() {
        Ok(text) if text.trim() == phrase => Ok(Answer::Typed),
        Ok(text) => {
            stderr_line(&format!("{:?} is not {}", printable(&text), printable(phrase)));
            Ok(Answer::Refused)
        }
        Err(inquire::InquireError::OperationCanceled) => Ok(Answer::Refused),
        Err(inquire::InquireError::OperationInterrupted) => {
            Err(Error::new(crate::Kind::Interrupted, "stopped at the question; nothing was changed"))
        }
        Err(error) => Err(Error::usage("ask on this terminal").because(error)),
    }
}
