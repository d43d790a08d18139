//! `hotfix`: from what production runs, past the checklist, to production; and back into the line of releases.

pub(super) mod finish;
mod finish_sheet;
pub(super) mod ship;
mod ship_sheet;
mod start;
mod work;

pub use finish::{Options as FinishOptions, finish};
pub(super) use work::fetch_branch;

pub use ship::{Options as ShipOptions, ship};
pub use start::start;
