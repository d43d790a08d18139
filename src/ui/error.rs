//! How an error is told.

use serde_json::{Value, json};

use super::commands;
use super::style::{Style, Tone};
use crate::domain::printable;
use crate::error::Error;

/// The lines for people: what was attempted, the causes, what was seen, and the next commands. On a terminal they are broken at its
/// width, but never within a command.
#[must_use]
pub fn text(error: &Error, style: Style) -> String {
    let mut out = String::new();
    let mut tell = |tone: Tone, lead: &str, text: &str, indent: usize| {
        let lines = style.lines(&format!("{lead} {}", printable(text)), indent);
        // The lead is the first word, so it is whole on the first line.
        let first = lines.first().map_or("", |line| &line[lead.len()..]);
        let word = lead.trim_start();
        out.push_str(&format!("{}{}{first}\n", &lead[..lead.len() - word.len()], style.paint(tone, word)));
        lines.iter().skip(1).for_each(|line| out.push_str(&format!("{line}\n")));
    };
    tell(Tone::Bad, "error:", error.what(), 7);
    error.causes().iter().for_each(|cause| tell(Tone::Dim, "  because:", cause, 11));
    error.evidence().iter().for_each(|line| tell(Tone::Dim, "   ", line, 6));
    error.hints().iter().for_each(|hint| tell(Tone::Accent, "next:", &commands::told(hint), 6));
    out
}

/// The same for machines.
#[must_use]
pub fn json(error: &Error) -> Value {
    let hints: Vec<_> = error.hints().iter().map(|hint| commands::told(hint)).collect();
    json!({"error": {
        "kind": error.kind(),
        "exit": error.kind().exit_code(),
        "what": error.what(),
        "causes": error.causes(),
        "evidence": error.evidence(),
        "hints": hints,
    }})
}

/// Writes the lines for people to standard error. A closed standard error is nobody's loss.
pub fn print(error: &Error, style: Style) {
    use std::io::Write;
    let _ = std::io::stderr().write_all(text(error, style).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> Error {
        Error::outside("list pods in gospelib-production")
            .because(Error::outside("connection reset\u{1b}[2J"))
            .seen("gateway-5d: Back-off pulling image")
            .hint("gospel-release resume")
    }

    #[test]
    fn people_read_what_why_seen_and_next() {
        insta::assert_snapshot!(text(&failed(), Style::plain()), @r"
        error: list pods in gospelib-production
          because: connection reset\u{1b}[2J
            gateway-5d: Back-off pulling image
        next: gospel-release resume
        ");
    }

    #[test]
    fn a_narrow_terminal_breaks_lines_and_leaves_commands_whole() {
        let error = Error::outside("take the tag v1.2.0 from the repository that is configured here")
            .because(Error::outside("the remote end hung up before it had sent what was asked for"))
            .seen("remote: this repository moved; please use its new location from now on")
            .hint("to look again once it answers: gospel-release resume 20250304-091500-k3v9 --terminate-sync");
        let narrow = Style { terminal: true, width: 40, ..Style::plain() };
        insta::assert_snapshot!(text(&error, narrow), @r"
        error: take the tag v1.2.0 from the
               repository that is configured
               here
          because: the remote end hung up before
                   it had sent what was asked
                   for
            remote: this repository moved;
              please use its new location from
              now on
        next: to look again once it answers:
              gospel-release resume 20250304-091500-k3v9 --terminate-sync
        ");
        // What is piped is a line each.
        assert_eq!(text(&error, Style { width: 40, ..Style::plain() }).lines().count(), 4);
    }

    #[test]
    fn machines_read_the_same() {
        let value = json(&failed());
        assert_eq!(value["error"]["kind"], "outside");
        assert_eq!(value["error"]["exit"], 15);
        assert_eq!(value["error"]["hints"][0], "gospel-release resume");
    }
}
