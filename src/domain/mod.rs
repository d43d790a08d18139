//! Plain values: what a release is made of. No I/O, no clock, no printing.

mod changes;
mod debt;
mod evidence;
mod image;
mod names;
mod overlay;
mod overlay_edit;
pub mod provision;
mod text;
mod version;
mod world;

pub use changes::{Change, Changes, CommitInfo, split_message};
pub use debt::{Debt, DebtKind, Quarantined};
pub use evidence::{Evidence, Fact as EvidenceFact, Verdict};
pub use image::{Digest, ImageRef};
pub use names::{CommitSha, HotfixName, RunId, ServiceName};
pub use overlay::{OverlayImage, overlay_images};
pub use overlay_edit::with_images;
pub use text::{count, duration, printable, sh_word, sheet, short_digest, wrapped, wrapped_commands};
pub use version::{Bump, TagPattern, Version};
pub use world::{WorldId, WorldKind};
