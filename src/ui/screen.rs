//! The terminal under the live view.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use console::Term;
use indicatif::TermLike;

/// Room for what a terminal echoes: `^C`.
const ECHO: usize = 3;

/// A terminal whose cursor waits within the last live line. indicatif fills each line to its end and leaves the cursor there: what
/// the terminal echoes (`^C`) would begin a line of its own, and the view be drawn again below the line that it should wipe.
#[derive(Debug)]
pub(super) struct Screen {
    term: Term,
    /// How many lines are live.
    live: Arc<AtomicUsize>,
    /// Something was written since a line was wiped: the cursor is at a line's end.
    at_end: AtomicBool,
    parked: AtomicBool,
}

impl Screen {
    pub(super) fn new(term: Term, live: Arc<AtomicUsize>) -> Self {
        Self { term, live, at_end: AtomicBool::new(false), parked: AtomicBool::new(false) }
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        self.term.size().1
    }

    fn height(&self) -> u16 {
        self.term.size().0
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.term.move_cursor_up(n)
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.term.move_cursor_down(n)
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.term.move_cursor_right(n)
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.term.move_cursor_left(n)
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(text)?;
        self.at_end.store(false, Ordering::Relaxed);
        self.term.write_line("")
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        if self.parked.swap(false, Ordering::Relaxed) {
            // To the last column and past it, so that this begins the next line, as it would have without us.
            self.term.move_cursor_right(ECHO)?;
            self.term.write_str(" ")?;
        }
        self.at_end.store(true, Ordering::Relaxed);
        self.term.write_str(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.parked.store(false, Ordering::Relaxed);
        self.at_end.store(false, Ordering::Relaxed);
        self.term.clear_line()
    }

    fn flush(&self) -> io::Result<()> {
        if self.live.load(Ordering::Relaxed) > 0 && self.at_end.load(Ordering::Relaxed) {
            self.parked.store(true, Ordering::Relaxed);
            self.term.move_cursor_left(ECHO)?;
        }
        // A terminal that went away takes the view with it; the run goes on.
        let _ = self.term.flush();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands in the file of a screen that drew this.
    fn drawn(live: usize, draw: impl Fn(&Screen)) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        let term = Term::read_write_pair(file.reopen().unwrap(), file.reopen().unwrap());
        draw(&Screen::new(term, Arc::new(AtomicUsize::new(live))));
        std::fs::read_to_string(file.path()).unwrap()
    }

    #[test]
    fn the_cursor_waits_within_a_live_line() {
        let line = |screen: &Screen| {
            screen.write_str("watch   ").unwrap();
            screen.flush().unwrap();
        };
        assert_eq!(drawn(1, line), "watch   \u{1b}[3D");
        // Without one, what comes next begins a line of its own.
        assert_eq!(drawn(0, line), "watch   ");
    }

    #[test]
    fn what_is_drawn_next_is_where_it_would_have_been() {
        let again = |screen: &Screen| {
            screen.write_str("watch   ").unwrap();
            screen.flush().unwrap();
            screen.clear_line().unwrap();
            screen.flush().unwrap();
            screen.write_str("tag     ").unwrap();
        };
        assert_eq!(drawn(1, again), "watch   \u{1b}[3D\r\u{1b}[2Ktag     ");
        let below = |screen: &Screen| {
            screen.write_str("watch   ").unwrap();
            screen.flush().unwrap();
            screen.write_str("tag     ").unwrap();
        };
        assert_eq!(drawn(1, below), "watch   \u{1b}[3D\u{1b}[3C tag     ");
    }
}
