//! `hotfix`: from what production runs, past the checklist, to production; and back into the line of releases.

mod start;

pub use start::start;
