//! The few statements that matter to releases, recognised by their words. Anything else that changes something is
//! accepted and recorded; anything else that reads is refused.

use super::databases::{Row, Schema};

/// One value of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    Null,
    Int(i64),
    Bool(bool),
    Text(String),
}

/// Type of a column or parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Int,
    Bool,
    Text,
}

/// Where a statement's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operand {
    Value(Cell),
    /// `$1` is 0.
    Parameter(usize),
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// As it was written.
    pub text: String,
    pub action: Action,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// `SELECT version, dirty FROM table`.
    Read {
        table: String,
        columns: Vec<Column>,
    },
    Count {
        table: String,
    },
    Insert {
        table: String,
        version: Operand,
        dirty: Operand,
    },
    Update {
        table: String,
        sets: Vec<(Column, Operand)>,
    },
    /// `DELETE FROM` or `TRUNCATE`.
    Clear {
        table: String,
        tag: &'static str,
    },
    /// A table in golang-migrate's form.
    Create {
        table: String,
    },
    /// Whether a table exists: `to_regclass`, `information_schema.tables`.
    Exists {
        table: Operand,
        shown: Shown,
        column: String,
    },
    /// `pg_advisory_lock` and its sisters.
    Lock {
        key: Operand,
        how: LockHow,
    },
    Constants(Vec<(String, Constant)>),
    Begin,
    Commit,
    Rollback,
    /// Accepted and recorded, under this command tag.
    Other(String),
    Refused(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    Version,
    Dirty,
}

/// How an existing table is answered: a truth, a number, or its name (no row, or NULL, where there is none).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    Truth,
    Number,
    NameOrNull,
    NameOrNothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockHow {
    Wait,
    Try,
    Release,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Constant {
    Value(Cell),
    Database,
}

/// What a statement gave back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Rows(Vec<Vec<Cell>>),
    /// Command tag, with a row count where PostgreSQL gives one.
    Done(String, Option<usize>),
    Started,
    Ended(&'static str),
}

/// SQLSTATE and message.
pub type Refusal = (&'static str, String);

impl Column {
    fn named(name: &str) -> Option<Self> {
        match name {
            "version" => Some(Self::Version),
            "dirty" => Some(Self::Dirty),
            _ => None,
        }
    }

    fn of(self, row: Row) -> Cell {
        match self {
            Self::Version => Cell::Int(row.version),
            Self::Dirty => Cell::Bool(row.dirty),
        }
    }
}

impl Statement {
    /// Names and types of the columns that it answers; empty where it answers no rows.
    pub fn columns(&self) -> Vec<(String, Kind)> {
        match &self.action {
            Action::Read { columns, .. } => columns
                .iter()
                .map(|column| match column {
                    Column::Version => ("version".to_owned(), Kind::Int),
                    Column::Dirty => ("dirty".to_owned(), Kind::Bool),
                })
                .collect(),
            Action::Count { .. } => vec![("count".to_owned(), Kind::Int)],
            Action::Exists { shown, column, .. } => {
                let kind = match shown {
                    Shown::Truth => Kind::Bool,
                    Shown::Number => Kind::Int,
                    Shown::NameOrNull | Shown::NameOrNothing => Kind::Text,
                };
                vec![(column.clone(), kind)]
            }
            Action::Lock { how, .. } => {
                let name = match how {
                    LockHow::Wait => "pg_advisory_lock",
                    LockHow::Try => "pg_try_advisory_lock",
                    LockHow::Release => "pg_advisory_unlock",
                };
                // `pg_advisory_lock` answers `void`, which clients show as an empty text.
                vec![(name.to_owned(), if *how == LockHow::Wait { Kind::Text } else { Kind::Bool })]
            }
            Action::Constants(items) => items.iter().map(|(name, constant)| (name.clone(), constant.kind())).collect(),
            _ => Vec::new(),
        }
    }

    /// Types of `$1`, `$2`, ….
    pub fn parameters(&self) -> Vec<Kind> {
        let mut kinds: Vec<Kind> = Vec::new();
        let mut note = |operand: &Operand, kind: Kind| {
            if let Operand::Parameter(index) = operand {
                kinds.resize(kinds.len().max(index + 1), Kind::Text);
                kinds[*index] = kind;
            }
        };
        let kind_of = |column: Column| if column == Column::Version { Kind::Int } else { Kind::Bool };
        match &self.action {
            Action::Insert { version, dirty, .. } => {
                note(version, Kind::Int);
                note(dirty, Kind::Bool);
            }
            Action::Update { sets, .. } => sets.iter().for_each(|(column, operand)| note(operand, kind_of(*column))),
            Action::Lock { key, .. } => note(key, Kind::Int),
            Action::Exists { table, .. } => note(table, Kind::Text),
            _ => {}
        }
        // Parameters that play no part are texts.
        let highest = words(&self.text).iter().filter_map(|word| parameter(&word.text)).max();
        kinds.resize(kinds.len().max(highest.map_or(0, |index| index + 1)), Kind::Text);
        kinds
    }

    /// Runs it on a database. Locks and transactions belong to the session, which handles them itself.
    pub fn run(&self, database: &str, schema: &mut Schema, parameters: &[Cell]) -> Result<Reply, Refusal> {
        let value = |operand: &Operand| match operand {
            Operand::Value(cell) => cell.clone(),
            Operand::Parameter(index) => parameters.get(*index).cloned().unwrap_or(Cell::Null),
        };
        match &self.action {
            Action::Read { table, columns } => {
                let row = known(schema, table)?;
                let rows = row.iter().map(|row| columns.iter().map(|column| column.of(*row)).collect()).collect();
                Ok(Reply::Rows(rows))
            }
            Action::Count { table } => {
                let count = i64::from(known(schema, table)?.is_some());
                Ok(Reply::Rows(vec![vec![Cell::Int(count)]]))
            }
            Action::Insert { table, version, dirty } => {
                let row = Row { version: integer(&value(version))?, dirty: truth(&value(dirty))? };
                let place = known(schema, table)?;
                if place.is_some_and(|old| old.version == row.version) {
                    let text = format!("duplicate key value violates unique constraint \"{table}_pkey\"");
                    return Err(("23505", text));
                }
                *place = Some(row);
                Ok(Reply::Done("INSERT 0".into(), Some(1)))
            }
            Action::Update { table, sets } => {
                let mut row = *known(schema, table)?;
                if let Some(row) = &mut row {
                    for (column, operand) in sets {
                        match column {
                            Column::Version => row.version = integer(&value(operand))?,
                            Column::Dirty => row.dirty = truth(&value(operand))?,
                        }
                    }
                }
                *known(schema, table)? = row;
                Ok(Reply::Done("UPDATE".into(), Some(usize::from(row.is_some()))))
            }
            Action::Clear { table, tag } => {
                let before = known(schema, table)?.take();
                Ok(Reply::Done((*tag).to_owned(), (*tag == "DELETE").then_some(usize::from(before.is_some()))))
            }
            Action::Create { table } => {
                schema.tables.entry(table.clone()).or_default();
                Ok(Reply::Done("CREATE TABLE".into(), None))
            }
            Action::Exists { table, shown, .. } => {
                let Cell::Text(name) = value(table) else {
                    return Err(("42804", "a table name must be a text".into()));
                };
                let name = name.rsplit('.').next().unwrap_or_default().trim_matches('"').to_owned();
                let exists = schema.tables.contains_key(&name);
                Ok(Reply::Rows(match shown {
                    Shown::Truth => vec![vec![Cell::Bool(exists)]],
                    Shown::Number => vec![vec![Cell::Int(i64::from(exists))]],
                    Shown::NameOrNull => vec![vec![if exists { Cell::Text(name) } else { Cell::Null }]],
                    Shown::NameOrNothing if exists => vec![vec![Cell::Text(name)]],
                    Shown::NameOrNothing => Vec::new(),
                }))
            }
            Action::Constants(items) => {
                let cell = |constant: &Constant| match constant {
                    Constant::Value(cell) => cell.clone(),
                    Constant::Database => Cell::Text(database.to_owned()),
                };
                Ok(Reply::Rows(vec![items.iter().map(|(_, constant)| cell(constant)).collect()]))
            }
            Action::Other(tag) => {
                if tag != "SET" {
                    schema.statements.push(self.text.clone());
                }
                Ok(Reply::Done(tag.clone(), None))
            }
            Action::Refused(why) => Err(("0A000", why.clone())),
            Action::Begin | Action::Commit | Action::Rollback | Action::Lock { .. } => {
                Err(("XX000", "a session's statement reached a database".into()))
            }
        }
    }
}

impl Constant {
    fn kind(&self) -> Kind {
        match self {
            Self::Value(Cell::Int(_)) => Kind::Int,
            Self::Value(Cell::Bool(_)) => Kind::Bool,
            Self::Value(Cell::Text(_) | Cell::Null) | Self::Database => Kind::Text,
        }
    }
}

fn known<'a>(schema: &'a mut Schema, table: &str) -> Result<&'a mut Option<Row>, Refusal> {
    schema.tables.get_mut(table).ok_or_else(|| ("42P01", format!("relation \"{table}\" does not exist")))
}

pub(super) fn integer(cell: &Cell) -> Result<i64, Refusal> {
    match cell {
        Cell::Int(value) => Ok(*value),
        Cell::Text(text) => {
            text.trim().parse().map_err(|_| ("22P02", format!("invalid input syntax for type bigint: \"{text}\"")))
        }
        _ => Err(("23502", "null value in column \"version\" violates not-null constraint".into())),
    }
}

fn truth(cell: &Cell) -> Result<bool, Refusal> {
    match cell {
        Cell::Bool(value) => Ok(*value),
        Cell::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
            "t" | "true" | "1" | "on" | "yes" => Ok(true),
            "f" | "false" | "0" | "off" | "no" => Ok(false),
            _ => Err(("22P02", format!("invalid input syntax for type boolean: \"{text}\""))),
        },
        _ => Err(("23502", "null value in column \"dirty\" violates not-null constraint".into())),
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn one(sql: &str) -> Action {
        parse(sql).remove(0).action
    }

    #[test]
    fn what_golang_migrate_sends_is_understood() {
        let table = "schema_migrations".to_owned();
        for sql in [
            r#"SELECT version, dirty FROM "public"."schema_migrations" LIMIT 1"#,
            "select version,dirty from schema_migrations;",
            "SELECT * FROM public.schema_migrations -- all of it",
        ] {
            let columns = vec![Column::Version, Column::Dirty];
            assert_eq!(one(sql), Action::Read { table: table.clone(), columns }, "{sql}");
        }
        let sql = r#"INSERT INTO "schema_migrations" (version, dirty) VALUES ($1, $2)"#;
        assert_eq!(parse(sql)[0].parameters(), [Kind::Int, Kind::Bool]);
        assert_eq!(one(r#"TRUNCATE "public"."schema_migrations""#), Action::Clear { table, tag: "TRUNCATE TABLE" });
        let create =
            r#"CREATE TABLE IF NOT EXISTS "public"."x" (version bigint not null primary key, dirty boolean not null)"#;
        assert_eq!(one(create), Action::Create { table: "x".into() });
        assert!(matches!(one("SELECT pg_advisory_lock($1)"), Action::Lock { how: LockHow::Wait, .. }));
        assert!(matches!(one("SELECT CURRENT_DATABASE(), CURRENT_SCHEMA()"), Action::Constants(_)));
    }

    #[test]
    fn a_migration_is_recorded_statement_by_statement() {
        let sql = "BEGIN;\nALTER TABLE verses ADD COLUMN note text DEFAULT 'a;b';\nCREATE UNIQUE INDEX i ON verses (note);\n\
                   CREATE FUNCTION f() RETURNS int AS $body$ select 1; $body$ LANGUAGE sql; COMMIT;";
        let statements = parse(sql);
        let tags: Vec<_> = statements.iter().map(|statement| statement.action.clone()).collect();
        let other = |tag: &str| Action::Other(tag.to_owned());
        assert_eq!(
            tags,
            [Action::Begin, other("ALTER TABLE"), other("CREATE INDEX"), other("CREATE FUNCTION"), Action::Commit]
        );
        assert!(statements[1].text.ends_with("'a;b'"));
    }

    #[test]
    fn a_table_that_is_not_there_is_said_so() {
        let mut schema = Schema::default();
        let read = &parse("SELECT version, dirty FROM schema_migrations")[0];
        assert_eq!(read.run("auth", &mut schema, &[]).unwrap_err().0, "42P01");
        let exists = &parse("SELECT to_regclass('public.schema_migrations') IS NOT NULL")[0];
        assert_eq!(exists.run("auth", &mut schema, &[]), Ok(Reply::Rows(vec![vec![Cell::Bool(false)]])));
    }
}
