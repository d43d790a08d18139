//! Words for people.

use std::time::Duration;

use super::Digest;

/// Text from outside, made safe for a terminal: control characters (ESC, CR, BEL, C1, bidi overrides) are shown as
/// escapes. A line break becomes `\n` too: one line in, one line out.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let bidi = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}');
        if c == '\t' {
            out.push(' ');
        } else if c.is_control() || bidi {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// `26 h 10 min`, `4 min 5 s`, `12 s`, `300 ms`: the two largest units, as a tired person reads them.
#[must_use]
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes, rest) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let two = |a: u64, unit_a: &str, b: u64, unit_b: &str| {
        if b == 0 { format!("{a} {unit_a}") } else { format!("{a} {unit_a} {b} {unit_b}") }
    };
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{seconds} s"),
        60..3600 => two(minutes, "min", rest, "s"),
        3600..172_800 => two(seconds / 3600, "h", minutes, "min"),
        _ => two(days, "d", hours, "h"),
    }
}

/// The lines of a sheet as text: at most 79 columns where names allow, for the narrowest terminal; what is broken goes on below its
/// value.
#[must_use]
pub fn sheet(lines: &[String]) -> String {
    let wrapped: Vec<String> = lines.iter().flat_map(|line| wrapped(line, 79, 13)).collect();
    wrapped.join("\n") + "\n"
}

/// Breaks a line at spaces into lines of at most `width` characters; all but the first begin with `indent` spaces. A word that is
/// longer than a line stays whole: names and links are copied.
#[must_use]
pub fn wrapped(text: &str, width: usize, indent: usize) -> Vec<String> {
    laid(text, width, indent, |text| text.split(' ').collect())
}

/// As [`wrapped`], with each command whole too: one that is longer than a line runs over it, and can still be copied.
#[must_use]
pub fn wrapped_commands(text: &str, width: usize, indent: usize) -> Vec<String> {
    laid(text, width, indent, commands_whole)
}

fn laid<'a>(text: &'a str, width: usize, indent: usize, split: impl Fn(&'a str) -> Vec<&'a str>) -> Vec<String> {
    let lead = text.len() - text.trim_start_matches(' ').len();
    let mut lines = vec![text[..lead].to_owned()];
    let mut begun = false;
    for word in split(&text[lead..]) {
        let line = lines.last().map_or(0, |line| line.chars().count());
        // After the title of a value a break would gain nothing.
        if begun && line > indent && line + 1 + word.chars().count() > width {
            lines.push(" ".repeat(indent));
            begun = false;
        }
        if let Some(line) = lines.last_mut() {
            if begun {
                line.push(' ');
            }
            line.push_str(word);
        }
        begun = true;
    }
    lines
}

/// Our own program: wherever its name stands, what follows is a command.
const OURS: &str = "gospel-release";

/// The programs that hints name.
const PROGRAMS: [&str; 13] =
    ["argocd", "aws", "cd", "export", "gh", "git", OURS, "kill", "kubectl", "migrate", "pgrep", "terraform", "tofu"];

/// The words of a text, each command as one of them. A command begins with a program's name, at the beginning or after a
/// colon, `;`, `(` or a backtick; it ends with a comma, `;`, a colon or a backtick outside quotes, or before a bracket.
fn commands_whole(text: &str) -> Vec<&str> {
    let mut units: Vec<&str> = Vec::new();
    // Where the command began, while one lasts.
    let mut command: Option<usize> = None;
    let (mut quoted, mut at, mut may_begin) = (false, 0, true);
    for word in text.split(' ') {
        let end = at + word.len();
        if command.is_some() && !quoted && word.starts_with('(') {
            command = None;
        }
        let name = word.trim_start_matches(['(', '`']);
        if command.is_none() && PROGRAMS.contains(&name) && (may_begin || name.len() < word.len() || name == OURS) {
            (command, quoted) = (Some(at), false);
        } else if command.is_some() {
            // It grows by a word.
            units.pop();
        }
        units.push(&text[command.unwrap_or(at)..end]);
        if command.is_some() {
            quoted ^= word.matches('\'').count() % 2 == 1;
        }
        if command.is_some() && !quoted && word.ends_with([',', ';', ':', '`', ')']) {
            command = None;
        }
        may_begin = word.ends_with([':', ';']);
        at = end + 1;
    }
    units
}

/// A word as `sh` reads it: quoted where it must be.
#[must_use]
pub fn sh_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+,=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// `1 commit`, `3 commits`.
#[must_use]
pub fn count(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

/// [`Digest::short`] of an option: `none` where there is none.
#[must_use]
pub fn short_digest(digest: Option<&Digest>) -> &str {
    digest.map_or("none", Digest::short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_stays_on_one_line() {
        let hint = "next: to end that operation and go on, wherever it stands: gospel-release resume --terminate-sync (a debt)";
        assert_eq!(
            wrapped_commands(hint, 40, 6),
            [
                "next: to end that operation and go on,",
                "      wherever it stands:",
                "      gospel-release resume --terminate-sync",
                "      (a debt)"
            ]
        );
        let quoted = "gospel-release hotfix ship --reason 'what is broken, and how this mends it'";
        assert_eq!(wrapped_commands(quoted, 40, 6), [quoted]);
        // A name in a sentence is no command; what follows one is none any more.
        assert_eq!(
            wrapped_commands("the git push was ended; then: git fetch origin main, and look", 20, 0),
            ["the git push was", "ended; then:", "git fetch origin main,", "and look"]
        );
        assert_eq!(wrapped_commands("world     arn:aws:eks:us-east-1", 20, 10), ["world     arn:aws:eks:us-east-1"]);
        assert_eq!(wrapped_commands("check that `git fetch` works", 12, 0), ["check that", "`git fetch`", "works"]);
    }

    #[test]
    fn a_word_is_quoted_for_sh_where_it_must_be() {
        assert_eq!(sh_word("/tmp/a-b/c.yaml"), "/tmp/a-b/c.yaml");
        assert_eq!(sh_word("postgres://a?b=c&d"), "'postgres://a?b=c&d'");
        assert_eq!((sh_word("it's"), sh_word("")), (r"'it'\''s'".to_owned(), "''".to_owned()));
    }

    #[test]
    fn terminal_escapes_are_defused() {
        assert_eq!(printable("\u{1b}[31mred\u{7}\r\n"), "\\u{1b}[31mred\\u{7}\\r\\n");
        assert_eq!(printable("a\u{202e}b"), "a\\u{202e}b");
        assert_eq!(printable("Grüße 日本"), "Grüße 日本");
    }

    #[test]
    fn long_lines_break_at_spaces_under_their_text() {
        let text = "  risks      cd-production.yml builds the images again: they may not be the soaked bytes";
        let lines = wrapped(text, 60, 13);
        assert!(lines.iter().all(|line| line.chars().count() <= 60), "{lines:?}");
        assert!(
            lines[0].starts_with("  risks      cd-production.yml") && lines[1].starts_with("             may"),
            "{lines:?}"
        );
        assert_eq!(wrapped("short", 80, 4), ["short"]);
        assert_eq!(wrapped(&"x".repeat(100), 80, 4).len(), 1);
    }

    #[test]
    fn durations_read_well() {
        let read = |s| duration(Duration::from_secs(s));
        assert_eq!(read(5), "5 s");
        assert_eq!(read(90), "1 min 30 s");
        assert_eq!(read(3600), "1 h");
        assert_eq!(read(93_600), "26 h");
        assert_eq!(read(200_000), "2 d 7 h");
        assert_eq!(duration(Duration::from_millis(300)), "300 ms");
    }
}
