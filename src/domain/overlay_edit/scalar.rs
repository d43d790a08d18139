//! How one string is written as a YAML scalar.

use std::ops::RangeInclusive;

/// The quotes of a scalar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Single,
    Double,
}

impl Style {
    /// The style of a scalar (or a key) as it stands in a file.
    pub(super) fn of(raw: &str) -> Self {
        match raw.as_bytes().first() {
            Some(b'\'') => Self::Single,
            Some(b'"') => Self::Double,
            _ => Self::Plain,
        }
    }

    /// `text` in these quotes; in double ones where it is to be plain but would be read as something else. Nothing that is
    /// written plain has a meaning of its own in flow style either.
    pub(super) fn write(self, text: &str) -> String {
        match self {
            Self::Plain if plain(text) => text.to_owned(),
            Self::Single => format!("'{}'", text.replace('\'', "''")),
            Self::Plain | Self::Double => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
        }
    }
}

/// Whether `text` fits on one line in any quotes without escapes: the printable characters of YAML 1.2.2, less its line breaks.
pub(super) fn printable(text: &str) -> bool {
    const UNSEEN: [RangeInclusive<char>; 3] =
        ['\u{2028}'..='\u{2029}', '\u{feff}'..='\u{feff}', '\u{fffe}'..='\u{ffff}'];
    !text.chars().any(|c| c.is_control() || UNSEEN.iter().any(|unseen| unseen.contains(&c)))
}

/// Whether `text` may stand without quotes: image references and versions do, anything unusual does not.
fn plain(text: &str) -> bool {
    let usual = |c: char| c.is_ascii_alphanumeric() || "_.-/:@+".contains(c);
    text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && text.chars().all(usual)
        && !text.ends_with(':')
        && !ambiguous(text)
}

/// Whether `text` without quotes is a number, a date, a truth value or null to some YAML: 1.1 as well as 1.2, because
/// Kustomize's reader knows both (`newTag: on` and `newTag: 1.10` are errors to it, `newTag: null` is no tag at all).
pub(super) fn ambiguous(text: &str) -> bool {
    const WORDS: [&str; 13] = ["", "~", "y", "n", "yes", "no", "on", "off", "true", "false", "null", "<<", "="];
    let digits = text.trim_start_matches(['-', '+']).replace('_', "");
    let based = |prefix: char| {
        digits.strip_prefix('0').is_some_and(|rest| rest.to_ascii_lowercase().starts_with(prefix))
            && digits.chars().skip(2).all(|c| c.is_ascii_hexdigit())
    };
    // 1:30 is ninety, 2025-03-04 a day.
    let grouped = |separator: char| {
        digits.starts_with(|c: char| c.is_ascii_digit())
            && digits.contains(separator)
            && digits.chars().all(|c| c.is_ascii_digit() || c == separator || ".TtZz:+".contains(c))
    };
    let special = [".inf", ".nan"].iter().any(|word| digits.eq_ignore_ascii_case(word));
    // Rust also reads words such as infinity; those are no numbers here.
    let number = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') && digits.parse::<f64>().is_ok();
    WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
        || number
        || special
        || ['x', 'o', 'b'].into_iter().any(based)
        || grouped(':')
        || grouped('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_where_it_reads_as_the_string() {
        for text in [
            "v1.2.0",
            "1.2.0",
            "a/b",
            "127.0.0.1:5000/a",
            "sha256:0a",
            "0ab12cd",
            "release-7",
            "infinity",
            "_a",
            "v1+2",
        ] {
            assert_eq!(Style::Plain.write(text), text);
            assert_eq!(Style::Single.write(text), format!("'{text}'"));
        }
        for text in [
            "",
            "~",
            "1.10",
            "1.",
            ".5",
            "20250304",
            "0017",
            "018",
            "1e3",
            "12e5",
            "1_000",
            "-1",
            "+1",
            "0x1f",
            "0o7",
            "0b11",
            "on",
            "No",
            "y",
            "NULL",
            "true",
            "1:30",
            "2025-03-04",
            ".inf",
            "-.INF",
            ".nan",
            "=",
            "<<",
            "a: b",
            "a #b",
            "#a",
            "a:",
            "-",
            "- a",
            "*a",
            "&a",
            "!a",
            "[a]",
            "a,b",
            "{a}",
            "it's",
            "%a",
            "@a",
            "`a",
            "a b",
            " a",
            "é",
            "?",
        ] {
            assert_eq!(Style::Plain.write(text), format!("\"{text}\""), "{text}");
        }
        assert_eq!(Style::Single.write("it's"), "'it''s'");
        assert_eq!(Style::Double.write("a\"b\\"), "\"a\\\"b\\\\\"");
        assert!(printable("é ~ v1") && !printable("a\nb") && !printable("\u{feff}") && !printable("\u{85}"));
    }
}
