//! One verb, one file: builds a plan and runs it.

pub mod abort;
pub mod candidate;
pub mod checklist;
pub mod connect;
pub mod credentials;
pub mod debt;
pub mod doctor;
mod drive;
pub mod evidence;
pub mod guards;
pub mod hotfix;
pub mod init;
pub mod invocation;
pub mod kept;
mod known;
mod live;
pub mod lock;
mod looking;
mod lost;
pub mod monitor;
pub mod prepare;
pub mod promote;
pub mod provision;
pub mod rehearse;
pub mod report;
pub mod rollback;
mod rollback_sheet;
pub mod runs;
pub mod shared;
pub mod sheet;
pub mod status;
pub mod tag;
pub mod target;
mod way;

pub use invocation::{Invocation, Manner};
pub use report::Report;
