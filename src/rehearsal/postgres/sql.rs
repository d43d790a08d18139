//! The few statements that matter to releases, recognised by their words. Anything else that changes something is
//! accepted and recorded; anything else that reads is refused.

mod parse;

pub use parse::parse;

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
        kinds.resize(kinds.len().max(parse::parameters(&self.text)), Kind::Text);
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
