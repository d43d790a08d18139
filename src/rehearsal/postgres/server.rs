//! PostgreSQL's wire protocol in front of the databases of one environment.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream;
use pgwire::api::auth::StartupHandler;
use pgwire::api::auth::noop::NoopStartupHandler;
use pgwire::api::portal::{Format, Portal};
use pgwire::api::query::{ExtendedQueryHandler, SimpleQueryHandler};
use pgwire::api::results::{DataRowEncoder, FieldFormat, FieldInfo, QueryResponse, Response, Tag};
use pgwire::api::stmt::QueryParser;
use pgwire::api::{ClientInfo, METADATA_DATABASE, PgWireServerHandlers, Type};
use pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use tokio::net::TcpListener;

use super::databases::Schema;
use super::sql::{Action, Cell, Kind, LockHow, Operand, Refusal, Reply, Statement, integer, parse};
use crate::rehearsal::World;

/// Serves the databases of `environment`, each under its service's name, until the task is dropped. Any user and
/// password are accepted; there is no TLS.
pub async fn serve(world: Arc<World>, environment: String, listener: TcpListener) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((socket, _)) = accepted else { continue };
                let session = Arc::new(Session::new(world.clone(), environment.clone()));
                connections.spawn(async move {
                    // A client that goes away in the middle is no fault of ours.
                    let _ = pgwire::tokio::process_socket(socket, None, Handlers(session)).await;
                });
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

/// One connection.
struct Session {
    world: Arc<World>,
    environment: String,
    id: u64,
    /// The database as it was when the open transaction began.
    before: Mutex<Option<Schema>>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.world.databases.unlock_all(self.id);
    }
}

impl Session {
    fn new(world: Arc<World>, environment: String) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self { world, environment, id: NEXT.fetch_add(1, Ordering::Relaxed), before: Mutex::new(None) }
    }

    async fn run(&self, database: &str, statement: &Statement, parameters: &[Cell]) -> Result<Reply, Refusal> {
        let databases = &self.world.databases;
        let missing = || ("3D000", format!("database \"{database}\" does not exist"));
        match &statement.action {
            Action::Begin => {
                let schema = databases.get(&self.environment, database).ok_or_else(missing)?;
                *self.before.lock().unwrap_or_else(PoisonError::into_inner) = Some(schema);
                Ok(Reply::Started)
            }
            Action::Commit => {
                self.before.lock().unwrap_or_else(PoisonError::into_inner).take();
                Ok(Reply::Ended("COMMIT"))
            }
            Action::Rollback => {
                self.roll_back(database);
                Ok(Reply::Ended("ROLLBACK"))
            }
            Action::Lock { key, how } => self.lock(database, key, *how, parameters).await,
            _ => databases
                .change(&self.environment, database, |schema| statement.run(database, schema, parameters))
                .ok_or_else(missing)?,
        }
    }

    fn roll_back(&self, database: &str) {
        let before = self.before.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(before) = before {
            self.world.databases.change(&self.environment, database, |schema| *schema = before);
        }
    }

    async fn lock(&self, database: &str, key: &Operand, how: LockHow, given: &[Cell]) -> Result<Reply, Refusal> {
        let cell = match key {
            Operand::Value(cell) => cell.clone(),
            Operand::Parameter(index) => given.get(*index).cloned().unwrap_or(Cell::Null),
        };
        let key = integer(&cell)?;
        let databases = &self.world.databases;
        let answer = match how {
            LockHow::Try => Cell::Bool(databases.try_lock(&self.environment, database, key, self.id)),
            LockHow::Release => Cell::Bool(databases.unlock(&self.environment, database, key, self.id)),
            LockHow::Wait => {
                while !databases.try_lock(&self.environment, database, key, self.id) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Cell::Text(String::new())
            }
        };
        Ok(Reply::Rows(vec![vec![answer]]))
    }
}

struct Handlers(Arc<Session>);

impl PgWireServerHandlers for Handlers {
    fn simple_query_handler(&self) -> Arc<impl SimpleQueryHandler> {
        self.0.clone()
    }

    fn extended_query_handler(&self) -> Arc<impl ExtendedQueryHandler> {
        self.0.clone()
    }

    fn startup_handler(&self) -> Arc<impl StartupHandler> {
        self.0.clone()
    }
}

fn database_of<C: ClientInfo>(client: &C) -> String {
    client.metadata().get(METADATA_DATABASE).cloned().unwrap_or_default()
}

fn error(severity: &str, (code, message): Refusal) -> ErrorInfo {
    ErrorInfo::new(severity.to_owned(), code.to_owned(), message)
}

#[async_trait]
impl NoopStartupHandler for Session {
    async fn post_startup<C>(&self, client: &mut C, _message: PgWireFrontendMessage) -> PgWireResult<()>
    where
        C: ClientInfo + futures::Sink<PgWireBackendMessage> + Unpin + Send,
        C::Error: std::fmt::Debug,
        PgWireError: From<<C as futures::Sink<PgWireBackendMessage>>::Error>,
    {
        let database = database_of(client);
        if self.world.databases.get(&self.environment, &database).is_some() {
            return Ok(());
        }
        let refusal = ("3D000", format!("database \"{database}\" does not exist"));
        Err(PgWireError::UserError(Box::new(error("FATAL", refusal))))
    }
}

#[async_trait]
impl SimpleQueryHandler for Session {
    async fn do_query<C>(&self, client: &mut C, query: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        let database = database_of(client);
        let statements = parse(query);
        // PostgreSQL runs several statements of one message in one transaction.
        let implicit = statements.len() > 1 && !statements.iter().any(|found| found.action == Action::Begin);
        let snapshot = implicit.then(|| self.world.databases.get(&self.environment, &database)).flatten();
        let mut responses = Vec::new();
        for statement in &statements {
            match self.run(&database, statement, &[]).await {
                Ok(reply) => responses.push(respond(statement, reply, &Format::UnifiedText)?),
                Err(refusal) => {
                    if let Some(snapshot) = snapshot {
                        self.world.databases.change(&self.environment, &database, |schema| *schema = snapshot);
                    }
                    responses.push(Response::Error(Box::new(error("ERROR", refusal))));
                    break;
                }
            }
        }
        Ok(responses)
    }
}

/// Recognises one statement of the extended protocol.
struct Parser;

#[async_trait]
impl QueryParser for Parser {
    type Statement = Statement;

    async fn parse_sql<C>(&self, _: &C, sql: &str, _: &[Option<Type>]) -> PgWireResult<Option<Statement>>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        let mut statements = parse(sql);
        if statements.len() > 1 {
            let refusal = ("42601", "cannot insert multiple commands into a prepared statement".to_owned());
            return Err(PgWireError::UserError(Box::new(error("ERROR", refusal))));
        }
        Ok(statements.pop())
    }

    fn get_parameter_types(&self, statement: &Statement) -> PgWireResult<Vec<Type>> {
        Ok(statement.parameters().into_iter().map(pg_type).collect())
    }

    fn get_result_schema(&self, statement: &Statement, format: Option<&Format>) -> PgWireResult<Vec<FieldInfo>> {
        Ok(fields(statement, format.unwrap_or(&Format::UnifiedText)))
    }
}

#[async_trait]
impl ExtendedQueryHandler for Session {
    type Statement = Statement;
    type QueryParser = Parser;

    fn query_parser(&self) -> Arc<Parser> {
        Arc::new(Parser)
    }

    async fn do_query<C>(&self, client: &mut C, portal: &Portal<Statement>, _max_rows: usize) -> PgWireResult<Response>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        let statement = &portal.statement.statement;
        let parameters = statement
            .parameters()
            .into_iter()
            .enumerate()
            .map(|(index, kind)| given(portal, index, kind))
            .collect::<PgWireResult<Vec<_>>>()?;
        match self.run(&database_of(client), statement, &parameters).await {
            Ok(reply) => respond(statement, reply, &portal.result_column_format),
            Err(refusal) => Err(PgWireError::UserError(Box::new(error("ERROR", refusal)))),
        }
    }
}

/// A bound parameter, in the type that the client chose or that we told it.
fn given(portal: &Portal<Statement>, index: usize, kind: Kind) -> PgWireResult<Cell> {
    let chosen = portal.statement.parameter_types.get(index).cloned().flatten();
    let pg = chosen.filter(|chosen| *chosen != Type::UNKNOWN).unwrap_or_else(|| pg_type(kind));
    let cell = match pg {
        Type::BOOL => portal.parameter::<bool>(index, &pg)?.map(Cell::Bool),
        Type::INT8 => portal.parameter::<i64>(index, &pg)?.map(Cell::Int),
        Type::INT4 => portal.parameter::<i32>(index, &pg)?.map(|value| Cell::Int(value.into())),
        Type::INT2 => portal.parameter::<i16>(index, &pg)?.map(|value| Cell::Int(value.into())),
        _ => portal.parameter::<String>(index, &Type::TEXT)?.map(Cell::Text),
    };
    Ok(cell.unwrap_or(Cell::Null))
}

fn pg_type(kind: Kind) -> Type {
    match kind {
        Kind::Int => Type::INT8,
        Kind::Bool => Type::BOOL,
        Kind::Text => Type::TEXT,
    }
}

fn fields(statement: &Statement, format: &Format) -> Vec<FieldInfo> {
    let field = |(index, (name, kind)): (usize, (String, Kind))| {
        FieldInfo::new(name, None, None, pg_type(kind), field_format(format, index))
    };
    statement.columns().into_iter().enumerate().map(field).collect()
}

fn field_format(format: &Format, index: usize) -> FieldFormat {
    format.format_for(index)
}

fn respond(statement: &Statement, reply: Reply, format: &Format) -> PgWireResult<Response> {
    let rows = match reply {
        Reply::Started => return Ok(Response::TransactionStart(Tag::new("BEGIN"))),
        Reply::Ended(tag) => return Ok(Response::TransactionEnd(Tag::new(tag))),
        Reply::Done(tag, rows) => {
            let tag = Tag::new(&tag);
            return Ok(Response::Execution(match rows {
                Some(rows) => tag.with_rows(rows),
                None => tag,
            }));
        }
        Reply::Rows(rows) => rows,
    };
    let header = Arc::new(fields(statement, format));
    let mut encoder = DataRowEncoder::new(header.clone());
    let mut encoded = Vec::new();
    for row in rows {
        for cell in row {
            match cell {
                Cell::Null => encoder.encode_field(&None::<String>)?,
                Cell::Int(value) => encoder.encode_field(&value)?,
                Cell::Bool(value) => encoder.encode_field(&value)?,
                Cell::Text(value) => encoder.encode_field(&value)?,
            }
        }
        encoded.push(Ok(encoder.take_row()));
    }
    Ok(Response::Query(QueryResponse::new(header, stream::iter(encoded))))
}
