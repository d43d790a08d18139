//! Log fingerprints: the same error said a thousand times, with other numbers in it, is one line.

use std::collections::BTreeMap;

/// One kind of error line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// What all its lines have in common: numbers, ids and quoted text are replaced.
    pub fingerprint: String,
    pub count: usize,
    /// The newest line of it, as it was written.
    pub sample: String,
}

/// Words that make a line an error line, in the forms that logs write them.
const ERROR_WORDS: [&str; 6] = ["error", "fatal", "panic", "exception", "critical", "traceback"];

/// Whether a line reports an error: an error word that stands by itself (`error`, `level=ERROR`, `"level":"fatal"`), not
/// one that is part of another (`errors_total`), nor a count of them (`0 errors`).
#[must_use]
pub fn is_error(line: &str) -> bool {
    let lower = line.to_ascii_lowercase();
    words(&lower).any(|word| ERROR_WORDS.contains(&word) || word.ends_with("exception") || word == "panicked")
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// The lines of a log that say why it ended: from the last error line on, at most `most` of them; the last ones where there is no such.
#[must_use]
pub fn telling(lines: &[String], most: usize) -> &[String] {
    let tail = lines.len().saturating_sub(most);
    let from = lines.iter().rposition(|line| is_error(line)).unwrap_or(tail).min(tail);
    &lines[from..(from + most).min(lines.len())]
}

/// A line without what differs from one occurrence to the next: quoted text becomes `<text>`, UUIDs `<uuid>`, hex ids of 7 digits
/// and more `<hex>`, numbers `<n>`. Two lines with the same fingerprint report the same thing.
#[must_use]
pub fn fingerprint(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line.trim();
    while let Some(first) = rest.chars().next() {
        if matches!(first, '"' | '\'' | '`')
            && !out.ends_with(char::is_alphanumeric)
            && let Some(length) = quoted(rest, first)
        {
            // A key in JSON stays: what differs is the value.
            if rest[length..].starts_with(':') {
                out.push_str(&rest[..length]);
            } else {
                out.push_str("<text>");
            }
            rest = &rest[length..];
        } else if first.is_ascii_alphanumeric() {
            let length = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
            if !out.ends_with(|c: char| c.is_alphanumeric() || c == '_')
                && let Some(length) = uuid(rest)
            {
                out.push_str("<uuid>");
                rest = &rest[length..];
                continue;
            }
            normalise_word(&rest[..length], &mut out);
            rest = &rest[length..];
        } else {
            if !(first.is_whitespace() && out.ends_with(' ')) {
                out.push(if first.is_whitespace() { ' ' } else { first });
            }
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

/// Groups the error lines, most frequent first; ties by fingerprint, so that the answer is always the same.
pub fn group<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<Group> {
    let mut groups: BTreeMap<String, (usize, &str)> = BTreeMap::new();
    for line in lines.into_iter().filter(|line| is_error(line)) {
        let group = groups.entry(fingerprint(line)).or_default();
        group.0 += 1;
        group.1 = line;
    }
    let mut groups: Vec<Group> = groups
        .into_iter()
        .map(|(fingerprint, (count, sample))| Group { fingerprint, count, sample: sample.to_owned() })
        .collect();
    // The sort is stable, and the map was in order.
    groups.sort_by_key(|group| std::cmp::Reverse(group.count));
    groups
}

/// Length in bytes of a quoted string at the start of `text`, quotes included; backslash escapes are skipped.
fn quoted(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return Some(at + c.len_utf8()),
            _ => {}
        }
    }
    None
}

/// Length of a UUID (8-4-4-4-12 hex digits) at the start of `text`.
fn uuid(text: &str) -> Option<usize> {
    let head = text.get(..36)?;
    let shaped = head.bytes().enumerate().all(|(at, b)| match at {
        8 | 13 | 18 | 23 => b == b'-',
        _ => b.is_ascii_hexdigit(),
    });
    let ends = !text[36..].starts_with(|c: char| c.is_ascii_alphanumeric());
    (shaped && ends).then_some(36)
}

fn normalise_word(word: &str, out: &mut String) {
    let bare = word.strip_prefix("0x").unwrap_or(word);
    let all = |is: fn(&u8) -> bool| !bare.is_empty() && bare.bytes().all(|b| is(&b));
    let mixed = bare.bytes().any(|b| b.is_ascii_digit()) && !all(u8::is_ascii_digit);
    let prefixed = bare.len() < word.len();
    if all(u8::is_ascii_hexdigit) && (prefixed || mixed && bare.len() >= 7) {
        out.push_str("<hex>");
        return;
    }
    let mut in_number = false;
    for c in word.chars() {
        if c.is_ascii_digit() {
            if !in_number {
                out.push_str("<n>");
            }
            in_number = true;
        } else {
            out.push(c);
            in_number = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_shown_and_not_only_the_end_of_its_stack() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let log =
            lines("listening\npanic: nil dereference\n\ngoroutine 1 [running]:\nmain.main()\n/src/main.go:41\nexit");
        assert_eq!(telling(&log, 3), lines("panic: nil dereference\n\ngoroutine 1 [running]:"));
        // An error at the very end is shown with what led to it.
        let late = lines("a\nb\nerror: no such table");
        assert_eq!(telling(&late, 2), lines("b\nerror: no such table"));
        assert_eq!(telling(&lines("a\nb\nc"), 2), lines("b\nc"));
        assert!(telling(&[], 5).is_empty());
    }

    #[test]
    fn what_differs_is_replaced() {
        let print = |line: &str| fingerprint(line);
        assert_eq!(print("error: timeout after 1532 ms"), "error: timeout after <n> ms");
        assert_eq!(print("user 8f14e45f-ceea-467f-9a0c-1d2e3f405060 not found"), "user <uuid> not found");
        assert_eq!(print("commit a1b2c3d failed at 0xdeadbeef"), "commit <hex> failed at <hex>");
        assert_eq!(print("bad name 'it\\'s' in \"x y\""), "bad name <text> in <text>");
        assert_eq!(print("{\"level\":\"error\",\"ms\":12}"), "{\"level\":<text>,\"ms\":<n>}");
        assert_eq!(print("10.0.3.17:5432 refused"), "<n>.<n>.<n>.<n>:<n> refused");
        // An apostrophe inside a word opens no quotation, and a lonely one swallows nothing.
        assert_eq!(print("can't read 'a"), "can't read 'a");
        assert_eq!(print("décès 2"), "décès <n>");
    }

    #[test]
    fn only_error_words_that_stand_alone_count() {
        for line in
            ["ERROR boom", "level=error msg=x", "java.lang.NullPointerException: x", "thread 'main' panicked at"]
        {
            assert!(is_error(line), "{line}");
        }
        for line in ["http_errors_total 3", "0 errors", "terror", "info: all good"] {
            assert!(!is_error(line), "{line}");
        }
    }

    #[test]
    fn lines_are_grouped_most_frequent_first() {
        let lines = ["error: db 1 gone", "info: fine", "error: full", "error: db 22 gone"];
        let groups = group(lines);
        let seen: Vec<(&str, usize, &str)> =
            groups.iter().map(|g| (g.fingerprint.as_str(), g.count, g.sample.as_str())).collect();
        assert_eq!(seen, [("error: db <n> gone", 2, "error: db 22 gone"), ("error: full", 1, "error: full")]);
    }

    #[test]
    fn hostile_lines_do_not_panic() {
        for line in ["", "\"", "'\\", "\u{1b}[31merror\u{7}", "日本\"語", "0x", "8f14e45f-ceea-467f-9a0c-1d2e3f4050é"]
        {
            let _ = fingerprint(line);
        }
    }
}
