//! The rehearsed Git hosting: a real bare repository, a Gospelib-shaped monorepo, smart HTTP.

pub mod http;
mod monorepo;
mod overlay;
mod receive;
mod repo;

pub use monorepo::{BOT, author, create, fill, sha_tag};
pub use repo::{Author, CommitInfo, FileChange, RefChange, Repo, TagInfo};
