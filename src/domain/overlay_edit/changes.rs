//! Which bytes an edit replaces.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_yaml::Value;

use super::file::{File, Pair, route};
use super::scalar::{self, Style};
use super::{FIELDS, IMAGES, entries, fields, name_of, refused};
use crate::domain::OverlayImage;
use crate::error::Result;

/// Bytes to be replaced.
pub(super) struct Splice {
    pub at: Range<usize>,
    pub text: String,
}

impl File<'_> {
    /// What is not as wanted in each entry, as far as it is seen at once, last in the text first; or one entry that is missing,
    /// where all before it is right. All of them are places in this text, and none touches another.
    pub fn next_changes(&self, wanted: &BTreeMap<String, OverlayImage>) -> Result<Vec<Splice>> {
        let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, entry) in entries(&self.value).iter().enumerate() {
            by_name.entry(name_of(entry).unwrap_or_default()).or_default().push(index);
        }
        let mut splices = Vec::new();
        for (image, want) in wanted {
            match by_name.get(image.as_str()).map(Vec::as_slice) {
                // Its place is behind what the images before it have become.
                None | Some([]) if !splices.is_empty() => break,
                None | Some([]) => return Ok(vec![self.append(&fields(image, want))?]),
                Some([index]) => splices.extend(self.change(*index, &fields(image, want))?),
                Some([_, second, ..]) => {
                    return Err(self.refuse(self.item(*second)?.start, &format!("{image} has a second entry")));
                }
            }
        }
        splices.sort_by_key(|splice| std::cmp::Reverse(splice.at.start));
        let mut free_to = usize::MAX;
        // One that touches another waits until the text was read again.
        splices.retain(|splice| {
            let apart = splice.at.end < free_to;
            if apart {
                free_to = splice.at.start;
            }
            apart
        });
        Ok(splices)
    }

    /// The values of an entry that are not as wanted; where all are, the first field that is missing or too many. Removals come
    /// last: until then, what is new has a line to follow.
    fn change(&self, index: usize, fields: &[(&str, Option<&str>)]) -> Result<Vec<Splice>> {
        let entry = &entries(&self.value)[index];
        let mut values = Vec::new();
        for &(key, text) in fields {
            match (text, entry.get(key)) {
                (Some(text), None) if values.is_empty() => return Ok(vec![self.insert(index, key, text)?]),
                (Some(_), None) => break,
                (Some(text), Some(had)) => {
                    if had.as_str() != Some(text) {
                        if values.is_empty() {
                            self.open(index)?;
                        }
                        values.push(self.set(index, key, text)?);
                    } else if key != "name" && scalar::ambiguous(text) {
                        let pair = self.pair(index, key)?;
                        if pair.value.is_some_and(|at| Style::of(&self.text[at]) == Style::Plain) {
                            self.open(index)?;
                            values.push(self.set(index, key, text)?);
                        }
                    }
                }
                (None, _) => {}
            }
        }
        if !values.is_empty() {
            return Ok(values);
        }
        let surplus = |&(key, text): &(&str, Option<&str>)| {
            text.is_none() && key != "newName" && entry.get(key).is_some_and(|had| !had.is_null())
        };
        fields.iter().copied().find(surplus).map(|(key, _)| self.remove(index, key)).into_iter().collect()
    }

    /// Another value for a key that is there, in an entry that is open to changes.
    fn set(&self, index: usize, key: &str, text: &str) -> Result<Splice> {
        let pair = self.pair(index, key)?;
        let quoted = Style::of(&self.text[pair.key]);
        let splice = match pair.value {
            None => Splice { at: pair.colon..pair.colon, text: format!(" {}", quoted.write(text)) },
            Some(at) if entries(&self.value)[index][key].is_null() => Splice { text: quoted.write(text), at },
            Some(at) => Splice { text: Style::of(&self.text[at.clone()]).write(text), at },
        };
        Ok(splice)
    }

    /// A key that is not there, behind the one that it follows in order.
    fn insert(&self, index: usize, key: &str, text: &str) -> Result<Splice> {
        let flow = self.open(index)?;
        let there = |key: &&&str| entries(&self.value)[index].get(**key).is_some_and(|value| !value.is_null());
        let before = FIELDS.iter().take_while(|field| **field != key).filter(there).last().unwrap_or(&FIELDS[0]);
        let pair = self.pair(index, before)?;
        let written = written(Style::of(&self.text[pair.key.clone()]), key, text);
        if flow {
            return Ok(Splice { at: pair.end()..pair.end(), text: format!(", {written}") });
        }
        let column = self.column(pair.key.start)?;
        let at = self.content_end(pair.end())?;
        Ok(Splice { at: at..at, text: [self.line_ending(at), &" ".repeat(column), &written].concat() })
    }

    /// A key goes, with its line, or with its comma.
    fn remove(&self, index: usize, key: &str) -> Result<Splice> {
        let flow = self.open(index)?;
        let pair = self.pair(index, key)?;
        let (before, after) = (&self.text[..pair.key.start], &self.text[pair.end()..]);
        let at = if flow {
            let place = before.trim_end();
            let comma = place.len().saturating_sub(1);
            let following = after.trim_start().strip_prefix(',').map(str::trim_start);
            match (place.as_bytes().last(), following) {
                (Some(b','), _) if !self.comments()?.offset_inside_comment(comma) => {
                    let spaces = self.text[..comma].trim_end_matches(' ');
                    let start = if spaces.ends_with('\n') { comma } else { spaces.len() };
                    start..pair.end()
                }
                (Some(b'{'), Some(rest)) => pair.key.start..self.text.len() - rest.len(),
                _ => {
                    return Err(
                        self.refuse(pair.key.start, &format!("the comment before {key} would belong to nothing"))
                    );
                }
            }
        } else {
            let content = self.content_end(pair.end())?;
            let start = self.line_start(pair.key.start);
            let next = content + self.text[content..].find('\n').map_or(0, |at| at + 1);
            if !before[start..].bytes().all(|byte| byte == b' ') {
                // The first key of the entry: the next thing takes its place behind the dash.
                self.column(pair.key.start)?;
                pair.key.start..self.text.len() - self.text[content..].trim_start().len()
            } else if next == content {
                let before = &self.text[..start];
                before.strip_suffix("\r\n").or_else(|| before.strip_suffix('\n')).map_or(start, str::len)..content
            } else {
                start..next
            }
        };
        Ok(Splice { at, text: String::new() })
    }

    /// An entry for an image that has none.
    fn append(&self, fields: &[(&str, Option<&str>)]) -> Result<Splice> {
        let Some(images) = self.value.get(IMAGES) else { return self.append_list(fields) };
        let list = self.list()?;
        let count = entries(&self.value).len();
        let Some(last) = count.checked_sub(1) else { return self.fill_list(&list, fields, images) };
        let list = list.value.unwrap_or_default();
        let item = self.item(last)?;
        let places = self.places()?;
        let key = places.query_key_only(&route(last, FIELDS[0])).ok();
        let quotes = key.map_or(Style::Plain, |key| Style::of(places.extract(&key)));
        let start = self.line_start(item.start);
        if self.text.as_bytes()[list.start] == b'[' {
            let lead = &self.text[start..item.start];
            let gap = match last.checked_sub(1) {
                Some(previous) => self.text[self.item(previous)?.end..item.start].to_owned(),
                None if lead.bytes().all(|byte| byte == b' ') => format!(",{}{lead}", self.line_ending(item.start)),
                None => ", ".to_owned(),
            };
            let gap = if gap.trim() == "," { gap } else { ", ".to_owned() };
            return Ok(Splice { at: item.end..item.end, text: format!("{gap}{}", flow_entry(quotes, fields)) });
        }
        let flow = self.text.as_bytes()[self.inner(last, &item)?] == b'{';
        let column = self.column(list.start)?;
        let at = self.content_end(self.entry_end(last)?)?;
        let ending = self.line_ending(at);
        // The new entry's keys stand below those of the last one.
        let place = if flow { item.start } else { self.pair(last, FIELDS[0])?.key.start };
        let gap = self.column(place)?.saturating_sub(column + 1).max(1);
        let entry = if flow {
            [&" ".repeat(column), "-", &" ".repeat(gap), &flow_entry(quotes, fields)].concat()
        } else {
            block_entry(quotes, fields, column, gap, ending)
        };
        Ok(Splice { at: at..at, text: format!("{ending}{entry}") })
    }

    /// The key `images` and its first entry, behind everything else.
    fn append_list(&self, fields: &[(&str, Option<&str>)]) -> Result<Splice> {
        let end = self.text.len();
        let column = self.root_column()?;
        if let Some(at) = self.text.lines().position(|line| line.starts_with("...")) {
            return Err(refused(at + 1, "the document ends here (...), and the images would come behind"));
        }
        let ending = self.line_ending(end);
        let (open, close) = if self.text.is_empty() || self.text.ends_with('\n') { ("", ending) } else { (ending, "") };
        let entry = block_entry(Style::Plain, fields, self.list_column(column)?, 1, ending);
        Ok(Splice { at: end..end, text: [open, &" ".repeat(column), IMAGES, ":", ending, &entry, close].concat() })
    }

    /// The first entry, for a list that is empty or null.
    fn fill_list(&self, list: &Pair, fields: &[(&str, Option<&str>)], images: &Value) -> Result<Splice> {
        let quotes = Style::of(&self.text[list.key.clone()]);
        if self.root_flow()? {
            let entry = format!("[{}]", flow_entry(quotes, fields));
            let at = list.value.clone().unwrap_or(list.colon..list.colon);
            return Ok(Splice { text: if at.is_empty() { format!(" {entry}") } else { entry }, at });
        }
        let at = list.value.clone().unwrap_or(list.colon..list.colon);
        if self.text[at.clone()].contains('\n') || !(images.is_null() || images.is_sequence()) {
            return Err(self.refuse(at.start, "the empty list of images goes over several lines"));
        }
        let end = self.content_end(at.end)?;
        let ending = self.line_ending(end);
        let column = self.list_column(self.column(list.key.start)?)?;
        let entry = block_entry(Style::Plain, fields, column, 1, ending);
        let begin = self.text[..at.start].trim_end_matches(' ').len();
        let behind = &self.text[at.end..end];
        Ok(Splice { at: begin..end, text: format!("{behind}{ending}{entry}") })
    }
}

/// `key: value`. Where the keys are quoted the value is too, as in JSON.
fn written(quotes: Style, key: &str, text: &str) -> String {
    format!("{}: {}", quotes.write(key), quotes.write(text))
}

fn flow_entry(quotes: Style, fields: &[(&str, Option<&str>)]) -> String {
    let pairs = fields.iter().filter_map(|(key, text)| Some(written(quotes, key, (*text)?)));
    format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
}

fn block_entry(quotes: Style, fields: &[(&str, Option<&str>)], column: usize, gap: usize, ending: &str) -> String {
    let pairs = fields.iter().filter_map(|(key, text)| Some(written(quotes, key, (*text)?)));
    let between = [ending, &" ".repeat(column + 1 + gap)].concat();
    [&" ".repeat(column), "-", &" ".repeat(gap), &pairs.collect::<Vec<_>>().join(&between)].concat()
}
