//! Lines that come past the events: what a signal says.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indicatif::{MultiProgress, ProgressDrawTarget};

use super::style::Style;
use super::{commands, stderr_line};

/// Says a line at any time; above the live view, where one stands. Clones are the same.
#[derive(Clone)]
pub struct Voice {
    style: Style,
    view: Arc<Mutex<Option<MultiProgress>>>,
}

impl Voice {
    #[must_use]
    pub fn new(style: Style) -> Self {
        Self { style, view: Arc::default() }
    }

    /// A line, now.
    pub fn say(&self, text: &str) {
        let told = commands::told(text);
        let lines: Vec<String> = told.lines().flat_map(|line| self.style.lines(line, 2)).collect();
        let say = || lines.iter().for_each(|line| stderr_line(line));
        match &*self.view() {
            Some(view) => view.suspend(say),
            None => say(),
        }
    }

    /// The last line of this process: the live view is wiped and stays away.
    pub fn say_last(&self, text: &str) {
        if let Some(view) = self.view().take() {
            let _ = view.clear();
            view.set_draw_target(ProgressDrawTarget::hidden());
        }
        self.say(text);
    }

    /// From now on lines stand above this view; above none while a person is asked, who has the terminal alone.
    pub(super) fn above(&self, view: Option<MultiProgress>) {
        *self.view() = view;
    }

    fn view(&self) -> MutexGuard<'_, Option<MultiProgress>> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
