//! The databases: `schema_migrations` of each service in staging and in production, behind PostgreSQL's own protocol.

mod databases;
mod server;
mod sql;

pub use databases::{Databases, Row, Schema};
pub use server::serve;
