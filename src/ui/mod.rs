//! What people and machines see: results on standard output, everything else on standard error.

pub mod ask;
pub mod commands;
pub mod error;
pub mod jsonl;
pub mod lines;
pub mod out;
mod screen;
pub mod style;
pub mod tty;
pub mod voice;
pub mod words;

use std::io::Write;

use style::Style;

/// Writes a line to standard error; one that cannot be written is lost, since there is nowhere else to say so.
pub fn stderr_line(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// The renderer for this terminal: a live tree, or plain lines.
#[must_use]
pub fn renderer(style: Style, asking: ask::Asking, voice: &voice::Voice) -> Box<dyn crate::engine::Listener> {
    if style.terminal {
        Box::new(tty::Tty::new(style, asking, voice.clone()))
    } else {
        Box::new(lines::Lines::new(style, asking))
    }
}
