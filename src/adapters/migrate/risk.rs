//! What a migration risks, judged by squawk's linter and by the kind of each statement.

use serde::{Deserialize, Serialize};
use squawk_linter::{Linter, Rule};
use squawk_syntax::ast::{self, AstNode, Stmt};
use squawk_syntax::{SourceFile, SyntaxKind};

/// How much a migration risks, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RiskLevel {
    /// Adds what old code does not see.
    Additive,
    /// Holds a lock, or rewrites rows, while it runs.
    Locking,
    /// It could not be told.
    Unknown,
    /// The version that still runs may not work on the new schema.
    Incompatible,
    /// Data is gone afterwards; no down migration brings it back.
    Destructive,
}

/// The risk of one migration, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Risk {
    pub level: RiskLevel,
    /// One line per finding, worst first: `line 3: dropping a column …`.
    pub reasons: Vec<String>,
}

/// What squawk's rules mean for a release. Its rules of style are left out.
const RULES: [(RiskLevel, &[Rule]); 4] = [
    (
        RiskLevel::Destructive,
        &[
            Rule::BanDropColumn,
            Rule::BanDropTable,
            Rule::BanDropDatabase,
            Rule::BanDropSchema,
            Rule::BanDropSequence,
            Rule::BanDropExtension,
            Rule::BanDropGeneratedExpression,
            Rule::BanTruncateCascade,
        ],
    ),
    (
        RiskLevel::Incompatible,
        &[
            Rule::RenamingColumn,
            Rule::RenamingTable,
            Rule::RenamingObject,
            Rule::ChangingColumnType,
            Rule::AddingRequiredField,
            Rule::AddingNotNullableField,
            Rule::BanDropDefault,
            Rule::BanDropView,
            Rule::BanDropFunction,
            Rule::BanDropType,
            Rule::BanDropDomain,
            Rule::BanSetSchema,
            Rule::BanAlterIdentity,
            Rule::BanAlterDomainWithAddConstraint,
            Rule::BanAlterGeneratedExpression,
            Rule::BanRevoke,
            // Code that runs may write what a new constraint refuses.
            Rule::BanNewWriteRestriction,
            Rule::BanAlterRowLevelSecurity,
        ],
    ),
    (
        RiskLevel::Unknown,
        &[Rule::BanConcurrentIndexCreationInTransaction, Rule::BanUncommittedTransaction, Rule::TransactionNesting],
    ),
    (
        RiskLevel::Locking,
        &[
            Rule::RequireConcurrentIndexCreation,
            Rule::RequireConcurrentIndexDeletion,
            Rule::RequireConcurrentPartitionDetach,
            Rule::RequireConcurrentReindex,
            Rule::ConstraintMissingNotValid,
            Rule::AddingFieldWithDefault,
            Rule::AddingForeignKeyConstraint,
            Rule::AddingSerialPrimaryKeyField,
            Rule::DisallowedUniqueConstraint,
        ],
    ),
];

/// Classifies one up migration.
#[must_use]
pub fn risk(sql: &str) -> Risk {
    // An ignore comment is a note to the linter, not a change of what the statement does.
    let sql = &sql.replace("squawk-ignore", "squawk_ignore").replace("squawk-disable", "squawk_disable");
    let parsed = SourceFile::parse(sql);
    let mut found: Vec<(RiskLevel, usize, String)> = Vec::new();
    for error in parsed.errors() {
        let line = line_of(sql, error.range().start().into());
        found.push((RiskLevel::Unknown, line, format!("it cannot be parsed: {}", error.message())));
    }
    let file = parsed.tree();
    let mut statements = 0;
    for statement in file.stmts() {
        if matches!(statement, Stmt::EmptyStmt(_)) {
            continue;
        }
        statements += 1;
        let start = statement.syntax().text_range().start();
        for (level, why) in judge(&statement).into_iter().chain(within(&statement)) {
            found.push((level, line_of(sql, start.into()), why.to_owned()));
        }
    }
    let mut linter = Linter::from(RULES.iter().flat_map(|(_, rules)| rules.iter().copied()));
    // golang-migrate sends a file as one query: several statements are one implicit transaction.
    linter.settings.assume_in_transaction = statements > 1;
    for violation in linter.lint(&parsed, sql) {
        let level = RULES.iter().find(|(_, rules)| rules.contains(&violation.code)).map(|(level, _)| *level);
        let Some(level) = level else { continue };
        let line = line_of(sql, violation.text_range.start().into());
        found.push((level, line, format!("{}: {}", violation.code, violation.message)));
    }
    if statements == 0 && found.is_empty() {
        found.push((RiskLevel::Unknown, 1, "it has no statement".to_owned()));
    }
    found.sort_by(|a, b| (b.0, a.1, &a.2).cmp(&(a.0, b.1, &b.2)));
    found.dedup();
    let level = found.first().map_or(RiskLevel::Additive, |worst| worst.0);
    Risk { level, reasons: found.into_iter().map(|(_, line, why)| format!("line {line}: {why}")).collect() }
}

/// What the linter has no rule for. `None`: nothing to say about this statement.
fn judge(statement: &Stmt) -> Option<(RiskLevel, &'static str)> {
    use RiskLevel::{Additive, Destructive, Incompatible, Locking, Unknown};
    let (level, why) = match statement {
        Stmt::Delete(_) => (Destructive, "DELETE removes rows"),
        Stmt::Truncate(_) => (Destructive, "TRUNCATE removes all rows"),
        Stmt::DropOwned(_) => (Destructive, "DROP OWNED removes objects and their data"),
        Stmt::DropMaterializedView(_) | Stmt::DropForeignTable(_) => (Incompatible, "code may still read it"),
        Stmt::DropProcedure(_) | Stmt::DropRoutine(_) | Stmt::DropAggregate(_) => {
            (Incompatible, "code may still call it")
        }
        Stmt::Update(_) | Stmt::Merge(_) => (Locking, "rewriting rows locks them until it ends"),
        Stmt::Vacuum(_) | Stmt::Cluster(_) | Stmt::Lock(_) | Stmt::Refresh(_) => (Locking, "it locks the whole table"),
        Stmt::AlterTable(_)
        | Stmt::AlterIndex(_)
        | Stmt::AlterType(_)
        | Stmt::AlterSequence(_)
        | Stmt::Analyze(_)
        | Stmt::Begin(_)
        | Stmt::CommentOn(_)
        | Stmt::Commit(_)
        | Stmt::CreateDomain(_)
        | Stmt::CreateExtension(_)
        | Stmt::CreateFunction(_)
        | Stmt::CreateIndex(_)
        | Stmt::CreateMaterializedView(_)
        | Stmt::CreateProcedure(_)
        | Stmt::CreateSchema(_)
        | Stmt::CreateSequence(_)
        | Stmt::CreateStatistics(_)
        | Stmt::CreateTable(_)
        | Stmt::CreateTableAs(_)
        | Stmt::CreateType(_)
        | Stmt::CreateView(_)
        | Stmt::DropDatabase(_)
        | Stmt::DropDomain(_)
        | Stmt::DropExtension(_)
        | Stmt::DropFunction(_)
        | Stmt::DropIndex(_)
        | Stmt::DropSchema(_)
        | Stmt::DropSequence(_)
        | Stmt::DropTable(_)
        | Stmt::DropType(_)
        | Stmt::DropView(_)
        | Stmt::Grant(_)
        | Stmt::Insert(_)
        | Stmt::Select(_)
        | Stmt::Set(_)
        | Stmt::Values(_) => (Additive, ""),
        _ => (Unknown, "a kind of statement that is not judged: read it"),
    };
    (level != Additive).then_some((level, why))
}

/// What a query does besides what it is: `WITH gone AS (DELETE …) INSERT …`, or a `MERGE` that deletes.
fn within(statement: &Stmt) -> Option<(RiskLevel, &'static str)> {
    let runs_now = matches!(
        statement,
        Stmt::Select(_) | Stmt::Insert(_) | Stmt::Update(_) | Stmt::Merge(_) | Stmt::Values(_) | Stmt::CreateTableAs(_)
    );
    if !runs_now {
        return None;
    }
    let has = |is: fn(SyntaxKind) -> bool| statement.syntax().descendants().any(|node| is(node.kind()));
    if has(ast::Delete::can_cast) || has(ast::MergeDelete::can_cast) {
        return Some((RiskLevel::Destructive, "DELETE within it removes rows"));
    }
    let rewrites = !matches!(statement, Stmt::Update(_) | Stmt::Merge(_)) && has(ast::Update::can_cast);
    rewrites.then_some((RiskLevel::Locking, "UPDATE within it locks rows until it ends"))
}

fn line_of(sql: &str, offset: usize) -> usize {
    sql.bytes().take(offset).filter(|b| *b == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn migrations_are_classified() {
        for (sql, level) in [
            ("CREATE TABLE sessions (id bigint PRIMARY KEY, at timestamptz);", RiskLevel::Additive),
            ("ALTER TABLE users ADD COLUMN nick text;", RiskLevel::Additive),
            ("CREATE TABLE a (id bigint); CREATE INDEX a_id ON a (id);", RiskLevel::Additive),
            ("CREATE INDEX CONCURRENTLY users_nick ON users (nick);", RiskLevel::Additive),
            ("CREATE INDEX users_nick ON users (nick);", RiskLevel::Locking),
            ("ALTER TABLE a ADD CONSTRAINT fk FOREIGN KEY (b) REFERENCES c (id);", RiskLevel::Incompatible),
            ("UPDATE users SET nick = '';", RiskLevel::Locking),
            ("ALTER TABLE users RENAME COLUMN nick TO name;", RiskLevel::Incompatible),
            ("ALTER TABLE users ALTER COLUMN id TYPE bigint;", RiskLevel::Incompatible),
            ("ALTER TABLE users ADD COLUMN age int NOT NULL;", RiskLevel::Incompatible),
            ("ALTER TABLE users DROP COLUMN nick;", RiskLevel::Destructive),
            ("-- squawk-ignore ban-drop-table\nDROP TABLE users;", RiskLevel::Destructive),
            ("DELETE FROM users;", RiskLevel::Destructive),
            ("TRUNCATE users;", RiskLevel::Destructive),
            (
                "WITH gone AS (DELETE FROM users RETURNING id) INSERT INTO old SELECT id FROM gone;",
                RiskLevel::Destructive,
            ),
            ("MERGE INTO users u USING old o ON u.id = o.id WHEN MATCHED THEN DELETE;", RiskLevel::Destructive),
            ("WITH seen AS (UPDATE users SET nick = '' RETURNING id) SELECT count(*) FROM seen;", RiskLevel::Locking),
            ("INSERT INTO roles (name) VALUES ('reader');", RiskLevel::Additive),
            ("DO $$ BEGIN EXECUTE 'DROP TABLE users'; END $$;", RiskLevel::Unknown),
            ("ALTER TABEL users ADD;", RiskLevel::Unknown),
            ("-- nothing\n", RiskLevel::Unknown),
        ] {
            assert_eq!(risk(sql).level, level, "{sql}: {:?}", risk(sql).reasons);
        }
    }

    #[test]
    fn the_worst_comes_first_with_its_line() {
        let risk = risk("CREATE INDEX i ON users (nick);\n\nALTER TABLE users DROP COLUMN nick;\n");
        assert_eq!(risk.level, RiskLevel::Destructive);
        assert!(risk.reasons[0].starts_with("line 3: ban-drop-column"), "{:?}", risk.reasons);
        assert!(risk.reasons.len() >= 2);
    }

    proptest! {
        #[test]
        fn any_text_is_judged_without_panic(sql in "\\PC{0,60}") {
            let _ = risk(&sql);
        }
    }
}
