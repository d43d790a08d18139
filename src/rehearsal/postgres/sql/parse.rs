//! Recognising statements by their words.

use super::{Action, Cell, Column, Constant, LockHow, Operand, Shown, Statement};

/// One word of SQL: its text in lower case (a quoted identifier or string as it is), and where it ends.
struct Word {
    text: String,
    /// A string literal, not a name.
    literal: bool,
    start: usize,
    end: usize,
}

/// Splits SQL into statements and recognises each.
pub fn parse(sql: &str) -> Vec<Statement> {
    let words = words(sql);
    words
        .split(|word| !word.literal && word.text == ";")
        .filter(|words| !words.is_empty())
        .map(|words| {
            let (start, end) = (words[0].start, words[words.len() - 1].end);
            Statement { text: sql[start..end].to_owned(), action: recognise(words) }
        })
        .collect()
}

fn words(sql: &str) -> Vec<Word> {
    let bytes = sql.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        let rest = &sql[at..];
        let until = |end: Option<usize>, length: usize| end.map_or(bytes.len(), |end| at + end + length);
        let (end, literal) = match bytes[at] {
            b if b.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            b'-' if rest.starts_with("--") => {
                at = until(rest.find('\n'), 1);
                continue;
            }
            b'/' if rest.starts_with("/*") => {
                at = until(rest.find("*/"), 2);
                continue;
            }
            b'\'' => (quoted(bytes, at, b'\''), true),
            b'"' => (quoted(bytes, at, b'"'), false),
            b'$' => match dollar(rest) {
                Some(length) => (at + length, true),
                None => (at + 1 + rest[1..].bytes().take_while(u8::is_ascii_digit).count(), false),
            },
            b if b.is_ascii_alphanumeric() || b == b'_' || b >= 0x80 => {
                let word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_' || *b >= 0x80;
                (at + bytes[at..].iter().take_while(|b| word(b)).count(), false)
            }
            _ => (at + 1, false),
        };
        at = end.max(start + 1);
        let raw = &sql[start..at];
        let text = match bytes[start] {
            b'\'' => raw.trim_matches('\'').replace("''", "'"),
            b'"' => raw.trim_matches('"').to_owned(),
            _ => raw.to_lowercase(),
        };
        found.push(Word { text, literal, start, end: at });
    }
    found
}

/// Where a quoted word ends; a doubled quote is part of it.
fn quoted(bytes: &[u8], start: usize, quote: u8) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        if bytes[at] == quote {
            if bytes.get(at + 1) != Some(&quote) {
                return at + 1;
            }
            at += 1;
        }
        at += 1;
    }
    bytes.len()
}

/// Length of a dollar-quoted string; `None` for `$1`.
fn dollar(rest: &str) -> Option<usize> {
    let tag_end = rest[1..].find('$')? + 2;
    let tag = &rest[..tag_end];
    let name = &tag[1..tag_end - 1];
    if name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(|c| c.is_alphanumeric() || c == '_') {
        return None;
    }
    Some(rest[tag_end..].find(tag).map_or(rest.len(), |end| tag_end + end + tag_end))
}

/// How many parameters the text has: `$2` means two.
pub(super) fn parameters(sql: &str) -> usize {
    words(sql).iter().filter_map(|word| parameter(&word.text)).max().map_or(0, |index| index + 1)
}

fn parameter(word: &str) -> Option<usize> {
    word.strip_prefix('$')?.parse::<usize>().ok()?.checked_sub(1)
}

fn operand(word: &Word) -> Operand {
    match (word.literal, word.text.as_str()) {
        (true, text) => Operand::Value(Cell::Text(text.to_owned())),
        (_, "true") => Operand::Value(Cell::Bool(true)),
        (_, "false") => Operand::Value(Cell::Bool(false)),
        (_, text) => match (parameter(text), text.parse()) {
            (Some(index), _) => Operand::Parameter(index),
            (None, Ok(number)) => Operand::Value(Cell::Int(number)),
            (None, Err(_)) => Operand::Value(Cell::Null),
        },
    }
}

/// A table's name at the start of `words`, without its schema, and what follows it.
fn table<'a>(words: &'a [Word], texts: &'a [&'a str]) -> Option<(String, usize)> {
    let first = words.first()?;
    if texts.get(1) == Some(&".") {
        return Some((words.get(2)?.text.clone(), 3));
    }
    Some((first.text.clone(), 1))
}

fn recognise(words: &[Word]) -> Action {
    let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
    let other = || Action::Other(tag(&texts));
    let name_from =
        |from: usize| table(words.get(from..)?, texts.get(from..)?).map(|(name, length)| (name, from + length));
    match texts.as_slice() {
        ["begin", ..] | ["start", "transaction", ..] => Action::Begin,
        ["commit" | "end", ..] => Action::Commit,
        ["rollback" | "abort"] | ["rollback" | "abort", "transaction" | "work"] => Action::Rollback,
        ["select", ..] => select(words, &texts),
        ["show", name @ ..] => {
            Action::Constants(vec![(name.concat(), Constant::Value(Cell::Text(setting(&name.concat()))))])
        }
        ["create", "table", rest @ ..] => {
            let from = if rest.starts_with(&["if", "not", "exists"]) { 5 } else { 2 };
            match name_from(from) {
                Some((table, _)) if texts.contains(&"version") && texts.contains(&"dirty") => Action::Create { table },
                _ => other(),
            }
        }
        ["truncate", rest @ ..] => match name_from(if rest.first() == Some(&"table") { 2 } else { 1 }) {
            Some((table, _)) => Action::Clear { table, tag: "TRUNCATE TABLE" },
            None => other(),
        },
        ["delete", "from", ..] if !texts.contains(&"where") => match name_from(2) {
            Some((table, _)) => Action::Clear { table, tag: "DELETE" },
            None => other(),
        },
        ["insert", "into", ..] => match name_from(2) {
            Some((table, at)) => insert(table, &words[at..], &texts[at..]).unwrap_or_else(other),
            None => other(),
        },
        ["update", ..] => match name_from(1) {
            Some((table, at)) => update(table, &words[at..], &texts[at..]).unwrap_or_else(other),
            None => other(),
        },
        _ => other(),
    }
}

fn insert(table: String, words: &[Word], texts: &[&str]) -> Option<Action> {
    let rest = match texts {
        ["(", "version", ",", "dirty", ")", "values", "(", ..] => 7,
        ["values", "(", ..] => 2,
        _ => return None,
    };
    let [version, _, dirty, ..] = words.get(rest..)? else { return None };
    Some(Action::Insert { table, version: operand(version), dirty: operand(dirty) })
}

fn update(table: String, words: &[Word], texts: &[&str]) -> Option<Action> {
    let mut sets = Vec::new();
    let mut at = (texts.first() == Some(&"set")).then_some(1)?;
    while let [column, "=", _, ..] = texts.get(at..)? {
        sets.push((Column::named(column)?, operand(&words[at + 2])));
        at += if texts.get(at + 3) == Some(&",") { 4 } else { 3 };
    }
    (!sets.is_empty()).then_some(Action::Update { table, sets })
}

fn select(words: &[Word], texts: &[&str]) -> Action {
    if let Some(at) = texts.iter().position(|text| *text == "information_schema") {
        let named = texts[at..].windows(2).position(|pair| pair == ["table_name", "="]).map(|found| at + found + 2);
        let Some(word) = named.and_then(|named| words.get(named)) else { return refused() };
        let (shown, column) = match texts[1] {
            "exists" => (Shown::Truth, "exists"),
            "count" => (Shown::Number, "count"),
            _ => (Shown::NameOrNothing, "table_name"),
        };
        return Action::Exists { table: operand(word), shown, column: column.to_owned() };
    }
    if let ["select", "to_regclass", "(", _, ")", rest @ ..] = texts {
        let (shown, column) =
            if rest.contains(&"is") { (Shown::Truth, "?column?") } else { (Shown::NameOrNull, "to_regclass") };
        return Action::Exists { table: operand(&words[3]), shown, column: column.to_owned() };
    }
    if let ["select", function, "(", _, ..] = texts {
        let how = match *function {
            "pg_advisory_lock" => Some(LockHow::Wait),
            "pg_try_advisory_lock" => Some(LockHow::Try),
            "pg_advisory_unlock" => Some(LockHow::Release),
            _ => None,
        };
        if let Some(how) = how {
            return Action::Lock { key: operand(&words[3]), how };
        }
    }
    match texts.iter().position(|text| *text == "from") {
        Some(from) => read(&words[from + 1..], &texts[1..from], &texts[from + 1..]).unwrap_or_else(refused),
        None => constants(&words[1..], &texts[1..]).map_or_else(refused, Action::Constants),
    }
}

fn read(after: &[Word], items: &[&str], after_texts: &[&str]) -> Option<Action> {
    let (table, _) = table(after, after_texts)?;
    if let ["count", "(", _, ")"] = items {
        return Some(Action::Count { table });
    }
    if items == ["*"] {
        return Some(Action::Read { table, columns: vec![Column::Version, Column::Dirty] });
    }
    // `version::text` and aliases are not among what release tools send.
    let columns = items.split(|item| *item == ",").map(|item| match item {
        [name] => Column::named(name),
        _ => None,
    });
    Some(Action::Read { table, columns: columns.collect::<Option<_>>()? })
}

fn constants(words: &[Word], texts: &[&str]) -> Option<Vec<(String, Constant)>> {
    let mut items = Vec::new();
    let mut at = 0;
    while at < texts.len() {
        let (name, constant, length) = match &texts[at..] {
            ["current_database", "(", ")", ..] => ("current_database", Constant::Database, 3),
            ["current_schema", "(", ")", ..] => ("current_schema", Constant::Value(Cell::Text("public".into())), 3),
            ["version", "(", ")", ..] => {
                ("version", Constant::Value(Cell::Text("PostgreSQL 16.6 (rehearsal)".into())), 3)
            }
            [_, ..] => match operand(&words[at]) {
                Operand::Value(Cell::Null) | Operand::Parameter(_) => return None,
                Operand::Value(cell) => ("?column?", Constant::Value(cell), 1),
            },
            [] => return None,
        };
        items.push((name.to_owned(), constant));
        at += length;
        match texts.get(at) {
            None => break,
            Some(&",") => at += 1,
            Some(_) => return None,
        }
    }
    (!items.is_empty()).then_some(items)
}

fn setting(name: &str) -> String {
    match name {
        "server_version" => "16.6",
        "transaction_read_only" => "off",
        "standard_conforming_strings" => "on",
        "client_encoding" | "server_encoding" => "UTF8",
        "search_path" => "\"$user\", public",
        _ => "",
    }
    .to_owned()
}

fn refused() -> Action {
    Action::Refused("the rehearsal's databases answer queries of schema_migrations, and few others".to_owned())
}

/// The command tag that PostgreSQL answers: `ALTER TABLE`, `CREATE INDEX`.
fn tag(texts: &[&str]) -> String {
    let skip = ["or", "replace", "unique", "temp", "temporary", "concurrently"];
    let words = if matches!(texts.first(), Some(&("create" | "alter" | "drop" | "comment"))) { 2 } else { 1 };
    let kept = texts.iter().filter(|text| !skip.contains(text)).take(words);
    kept.map(|text| text.to_uppercase()).collect::<Vec<_>>().join(" ")
}
