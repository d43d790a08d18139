//! The part of kustomize that the repository uses: rendering, and the edit of image tags and digests.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::domain::Digest;
use crate::error::{Error, Result};

/// Reads a file of the rendered commit; `None` where it is not there.
pub type Read<'a> = &'a dyn Fn(&str) -> Option<String>;

pub fn render(_read: Read<'_>, overlay: &str) -> Result<Vec<Value>> {
    Err(Error::outside(format!("render {overlay}: not yet")))
}

pub fn set_images(_text: &str, _images: &BTreeMap<String, (String, Digest)>) -> Result<String> {
    Err(Error::outside("edit the overlay: not yet"))
}
