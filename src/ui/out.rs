//! The one place that writes results to standard output.

use std::io::{self, Write};

use serde::Serialize;

use super::commands;
use super::style::Style;
use crate::error::{Error, Result};

/// Columns of a label: `debts     `.
const LABEL: usize = 10;

/// Standard output for results. A reader that has gone away (`| head`) is not an error: the rest is dropped.
pub struct Out {
    style: Style,
    sink: Box<dyn Write + Send>,
    gone: bool,
    form: Form,
}

/// What machines were given so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Nothing,
    /// One document: there is no second one.
    Document,
    /// A document a line.
    Lines,
}

impl Out {
    /// Standard output of this process.
    #[must_use]
    pub fn stdout(style: Style) -> Self {
        Self::new(style, Box::new(io::stdout()))
    }

    /// Any other sink.
    #[must_use]
    pub fn new(style: Style, sink: Box<dyn Write + Send>) -> Self {
        Self { style, sink, gone: false, form: Form::Nothing }
    }

    #[must_use]
    pub fn style(&self) -> Style {
        self.style
    }

    /// Whether the reader has gone away.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// One line for people; its commands can be copied as they stand.
    pub fn line(&mut self, text: &str) -> Result<()> {
        self.bytes(commands::told(text).as_bytes())?;
        self.bytes(b"\n")
    }

    /// A line with a label in its first ten columns, broken at a terminal's width below what it says.
    pub fn labelled(&mut self, text: &str) -> Result<()> {
        self.style.lines(text, LABEL).iter().try_for_each(|line| self.line(line))
    }

    /// The JSON document of a command, indented, and a line break.
    pub fn json(&mut self, value: &impl Serialize) -> Result<()> {
        self.form = Form::Document;
        self.document(serde_json::to_string_pretty(value))
    }

    /// A JSON document on one line, flushed: for machines that read line by line.
    pub fn json_line(&mut self, value: &impl Serialize) -> Result<()> {
        self.form = Form::Lines;
        self.document(serde_json::to_string(value))?;
        self.flush()
    }

    /// The failure that ended a command: its document, or the last line of those that it printed. A command that has printed its one
    /// document has told it there.
    pub fn json_error(&mut self, value: &impl Serialize) -> Result<()> {
        match self.form {
            Form::Nothing => self.json(value),
            Form::Lines => self.json_line(value),
            Form::Document => Ok(()),
        }
    }

    fn document(&mut self, text: serde_json::Result<String>) -> Result<()> {
        let text = text.map_err(|error| Error::internal("write the result as JSON").because(error))?;
        self.bytes(text.as_bytes())?;
        self.bytes(b"\n")
    }

    /// Bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        if self.gone {
            return Ok(());
        }
        let written = self.sink.write_all(bytes);
        self.settle(written)
    }

    /// Everything written so far is on its way.
    pub fn flush(&mut self) -> Result<()> {
        if self.gone {
            return Ok(());
        }
        let flushed = self.sink.flush();
        self.settle(flushed)
    }

    fn settle(&mut self, result: io::Result<()>) -> Result<()> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.gone = true;
                Ok(())
            }
            Err(error) => Err(Error::outside("write the result to standard output").because(error)),
            Ok(()) => Ok(()),
        }
    }
}

/// Where a stand-in program prints while it runs.
#[must_use]
pub fn streams() -> (io::Stdout, io::Stderr) {
    (io::stdout(), io::stderr())
}

/// What a stand-in program printed, and its exit code.
#[must_use]
pub fn stand_in(stdout: &str, stderr: &str, code: u8) -> std::process::ExitCode {
    // A program whose output nobody reads still has its exit code.
    let _ = io::stdout().write_all(stdout.as_bytes());
    let _ = io::stderr().write_all(stderr.as_bytes());
    std::process::ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_is_not_an_error() {
        let mut out = Out::new(Style::plain(), Box::new(Closed));
        out.line("one").unwrap();
        out.json(&serde_json::json!({"two": 2})).unwrap();
        assert!(out.is_gone());
    }
}
