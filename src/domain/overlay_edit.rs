//! Changing the image entries of a Kustomize overlay, and not a byte besides.
//!
//! `yamlpath` says where a key or a value stands; the bytes between are spliced here. Changes that do not touch
//! each other are made together, from the end, and the text is read again: no place is ever taken from a text that has moved. What could be read in two ways is refused.

mod changes;
mod file;
mod scalar;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde_yaml::Value;

use self::file::File;
use super::OverlayImage;
use super::overlay::{images_of, overlay_images};
use crate::error::{Error, Result};

const IMAGES: &str = "images";
/// The keys of an entry, in the order in which they are written.
const FIELDS: [&str; 4] = ["name", "newName", "newTag", "digest"];
const HINT: &str =
    "write the image entries out in plain YAML (no anchors, merges or block scalars), or change them by hand";

/// The same `kustomization.yaml` with the entries of the `wanted` images saying what they shall.
///
/// `wanted` goes by the name that the base uses. Of each entry, `newTag` and `digest` are set or removed; `newName` is set, or
/// left where none is wanted. An image without an entry gets one at the end of the list. Every other byte stays: comments,
/// quotes, anchors, line endings, a byte order mark, a missing newline at the end. What is right already is not touched; a tag
/// that Kustomize would not read as a string (`newTag: 1.10`) is not right.
///
/// Fails, with the line, where an entry to be changed cannot be edited safely: an alias, an anchor that is used elsewhere, a
/// merge key, a tag, a tab, a value over several lines, a second entry for the same image, several documents, or no YAML at
/// all. The result is read again and compared before it is returned.
pub fn with_images(yaml: &[u8], wanted: &BTreeMap<String, OverlayImage>) -> Result<Vec<u8>> {
    let text = std::str::from_utf8(yaml)
        .map_err(|error| refused(line_of(yaml, error.valid_up_to()), "this is not UTF-8").because(error))?;
    for (image, want) in wanted {
        if let Some(text) =
            fields(image, want).into_iter().filter_map(|(_, text)| text).find(|text| !scalar::printable(text))
        {
            return Err(Error::outside(format!(
                "edit the images of the overlay: {text:?} for {image:?} is not one line of text"
            ))
            .hint("an image's name and tag have no control characters"));
        }
    }
    let (mark, body) = text.strip_prefix('\u{feff}').map_or(("", text), |body| ("\u{feff}", body));
    let mut body = body.to_owned();
    let mut file = File::read(&body)?;
    let before = file.value.clone();
    let images = overlay_images(yaml).map_err(|error| error.hint(HINT))?;
    for _ in 0..=wanted.len() * FIELDS.len() {
        let splices = file.next_changes(wanted)?;
        if splices.is_empty() {
            let result = format!("{mark}{body}").into_bytes();
            agree(&before, &file.value, wanted)?;
            if images_of(&file.value).map_err(|error| disagree().because(error))? != expected(images, wanted) {
                return Err(disagree());
            }
            return Ok(result);
        }
        for splice in splices {
            body.replace_range(splice.at, &splice.text);
        }
        file = File::read(&body)?;
    }
    Err(disagree())
}

/// What the images shall be afterwards.
fn expected(
    mut images: BTreeMap<String, OverlayImage>,
    wanted: &BTreeMap<String, OverlayImage>,
) -> BTreeMap<String, OverlayImage> {
    for (image, want) in wanted {
        let name = want.name.clone().or_else(|| images.remove(image).and_then(|had| had.name));
        images.insert(image.clone(), OverlayImage { name, ..want.clone() });
    }
    images
}

/// Whether the two files differ in the wanted entries and fields alone.
fn agree(before: &Value, after: &Value, wanted: &BTreeMap<String, OverlayImage>) -> Result<()> {
    let rest = |value: &Value| {
        let mut rest = value.as_mapping().cloned().unwrap_or_default();
        rest.remove(IMAGES);
        rest
    };
    // An entry as far as it is not ours to change.
    let others = |entry: &Value| {
        let mut entry = entry.clone();
        let want = name_of(&entry).and_then(|name| wanted.get(name)).cloned();
        if let (Some(want), Some(fields)) = (want, entry.as_mapping_mut()) {
            fields.remove("newTag");
            fields.remove("digest");
            if want.name.is_some() {
                fields.remove("newName");
            }
        }
        entry
    };
    let (old, new) = (entries(before), entries(after));
    let same = rest(before) == rest(after)
        && new.len() >= old.len()
        && old.iter().map(others).eq(new[..old.len()].iter().map(others))
        && new[old.len()..].iter().all(|entry| name_of(entry).is_some_and(|name| wanted.contains_key(name)));
    if same { Ok(()) } else { Err(disagree()) }
}

fn disagree() -> Error {
    Error::outside("edit the images of the overlay: the changed file would not say what it should, so it is left alone")
        .hint(HINT)
}

fn refused(line: usize, what: &str) -> Error {
    Error::outside(format!("edit the images of the overlay: line {line}: {what}")).hint(HINT)
}

fn line_of(text: &[u8], at: usize) -> usize {
    text[..at].split(|byte| *byte == b'\n').count()
}

fn entries(value: &Value) -> &[Value] {
    value.get(IMAGES).and_then(Value::as_sequence).map_or(&[], Vec::as_slice)
}

fn name_of(entry: &Value) -> Option<&str> {
    entry.get("name").and_then(Value::as_str)
}

/// What an entry shall hold, in order.
fn fields<'a>(image: &'a str, want: &'a OverlayImage) -> [(&'static str, Option<&'a str>); 4] {
    let [name, new_name, tag, digest] = FIELDS;
    [
        (name, Some(image)),
        (new_name, want.name.as_deref()),
        (tag, want.tag.as_deref()),
        (digest, want.digest.as_ref().map(super::Digest::as_str)),
    ]
}
