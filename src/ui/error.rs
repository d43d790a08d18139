//! How an error is told.

use serde_json::{Value, json};

use super::style::{Style, Tone};
use crate::domain::printable;
use crate::error::Error;

/// The lines for people: what was attempted, the causes, what was seen, and the next commands.
#[must_use]
pub fn text(error: &Error, style: Style) -> String {
    let mut out = format!("{} {}\n", style.paint(Tone::Bad, "error:"), printable(error.what()));
    for cause in error.causes() {
        out.push_str(&format!("  {} {}\n", style.paint(Tone::Dim, "because:"), printable(&cause)));
    }
    for line in error.evidence() {
        out.push_str(&format!("    {}\n", printable(line)));
    }
    for hint in error.hints() {
        out.push_str(&format!("{} {}\n", style.paint(Tone::Accent, "next:"), printable(hint)));
    }
    out
}

/// The same for machines.
#[must_use]
pub fn json(error: &Error) -> Value {
    json!({"error": {
        "kind": error.kind(),
        "exit": error.kind().exit_code(),
        "what": error.what(),
        "causes": error.causes(),
        "evidence": error.evidence(),
        "hints": error.hints(),
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
    fn machines_read_the_same() {
        let value = json(&failed());
        assert_eq!(value["error"]["kind"], "outside");
        assert_eq!(value["error"]["exit"], 15);
        assert_eq!(value["error"]["hints"][0], "gospel-release resume");
    }
}
