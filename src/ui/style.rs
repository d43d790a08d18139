//! Colours and width: decided once, from the flag, the environment and the terminal.

use std::io::IsTerminal;

use crate::config::Env;
use crate::domain::wrapped_commands;

/// `--color`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ColorChoice {
    /// On a terminal that wants them
    #[default]
    Auto,
    Always,
    Never,
}

/// How one stream is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    pub color: bool,
    /// Whether the stream is a terminal on which lines can be drawn again.
    pub terminal: bool,
    /// Columns; 100 where there is no terminal.
    pub width: usize,
}

/// Meanings that have a colour. Each also has a word or a sign of its own: meaning is never by colour alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Good,
    Bad,
    Warn,
    Dim,
    Strong,
    Accent,
}

impl Tone {
    /// SGR parameters (ECMA-48).
    const fn sgr(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Bad => "1;31",
            Self::Warn => "33",
            Self::Dim => "2",
            Self::Strong => "1",
            Self::Accent => "36",
        }
    }
}

impl Style {
    /// No colour, no terminal.
    #[must_use]
    pub const fn plain() -> Self {
        Self { color: false, terminal: false, width: 100 }
    }

    /// The style of standard output.
    #[must_use]
    pub fn of_stdout(choice: ColorChoice, env: &Env) -> Self {
        Self::decide(choice, env, std::io::stdout().is_terminal(), || console::Term::stdout().size_checked())
    }

    /// The style of standard error.
    #[must_use]
    pub fn of_stderr(choice: ColorChoice, env: &Env) -> Self {
        Self::decide(choice, env, std::io::stderr().is_terminal(), || console::Term::stderr().size_checked())
    }

    /// The flag wins; then `NO_COLOR` (no-color.org), `CLICOLOR_FORCE`, `CLICOLOR=0` (bixense.com/clicolors), `TERM=dumb`;
    /// then whether it is a terminal.
    fn decide(choice: ColorChoice, env: &Env, is_terminal: bool, size: impl FnOnce() -> Option<(u16, u16)>) -> Self {
        let dumb = env.get("TERM") == Some("dumb");
        let color = match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto if env.os("NO_COLOR").is_some() => false,
            ColorChoice::Auto if env.get("CLICOLOR_FORCE").is_some_and(|force| force != "0") => true,
            ColorChoice::Auto => is_terminal && !dumb && env.get("CLICOLOR") != Some("0"),
        };
        let columns = env.get("COLUMNS").and_then(|columns| columns.parse().ok());
        let measured = || if is_terminal { size().map(|(_, columns)| usize::from(columns)) } else { None };
        let width = measured().or(columns).filter(|width| *width > 0).unwrap_or(100);
        Self { color, terminal: is_terminal && !dumb, width: width.clamp(40, 400) }
    }

    /// A line of text as the lines of this stream: broken at a terminal's width, with `indent` spaces before all but the first.
    #[must_use]
    pub fn lines(&self, text: &str, indent: usize) -> Vec<String> {
        wrapped_commands(text, if self.terminal { self.width } else { usize::MAX }, indent)
    }

    /// `text` in a tone, where there are colours.
    #[must_use]
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        if self.color && !text.is_empty() { format!("\u{1b}[{}m{text}\u{1b}[0m", tone.sgr()) } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn color(choice: ColorChoice, vars: &[(&str, &str)], terminal: bool) -> bool {
        let env: Env = vars.iter().copied().collect();
        Style::decide(choice, &env, terminal, || Some((24, 80))).color
    }

    #[test]
    fn the_flag_wins_then_no_color_then_force_then_the_terminal() {
        use ColorChoice::{Always, Auto, Never};
        assert!(color(Always, &[("NO_COLOR", "1")], false));
        assert!(!color(Never, &[("CLICOLOR_FORCE", "1")], true));
        assert!(!color(Auto, &[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")], true));
        assert!(color(Auto, &[("CLICOLOR_FORCE", "1")], false));
        assert!(color(Auto, &[("NO_COLOR", "")], true));
        assert!(!color(Auto, &[("TERM", "dumb")], true));
        assert!(!color(Auto, &[("CLICOLOR", "0")], true));
        assert!(!color(Auto, &[], false));
    }

    #[test]
    fn width_is_the_terminals_or_said_or_100() {
        let width = |vars: &[(&str, &str)], terminal| {
            let env: Env = vars.iter().copied().collect();
            Style::decide(ColorChoice::Auto, &env, terminal, || Some((24, 80))).width
        };
        assert_eq!(width(&[], true), 80);
        assert_eq!(width(&[("COLUMNS", "132")], false), 132);
        assert_eq!(width(&[("COLUMNS", "wide")], false), 100);
    }
}
