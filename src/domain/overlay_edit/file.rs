//! One reading of a kustomization, and where in it things stand.

use std::cell::OnceCell;
use std::ops::Range;

use serde::Deserialize;
use serde_yaml::Value;
use yamlpath::{Component, Document, Route};

use super::{HINT, IMAGES, entries, line_of, refused};
use crate::error::{Error, Result};

/// A key and its value. A value that is only a colon (`newTag:`) has no bytes.
pub(super) struct Pair {
    pub key: Range<usize>,
    /// Just behind the colon.
    pub colon: usize,
    pub value: Option<Range<usize>>,
}

impl Pair {
    pub fn end(&self) -> usize {
        self.value.as_ref().map_or(self.colon, |value| value.end)
    }
}

/// Where in a text things stand.
struct Places {
    /// Answers where keys and values stand. It has spaces for comments, as yamlpath does not look behind a comment that follows
    /// an anchor.
    places: Document,
    /// Answers what is a comment.
    comments: Document,
}

impl Places {
    fn of(text: &str) -> Result<Self> {
        let unknown = |error| {
            Error::outside("edit the images of the overlay: it is YAML of an unknown form").because(error).hint(HINT)
        };
        let comments = Document::new(text).map_err(unknown)?;
        let places = Document::new(without_comments(text, &comments)).map_err(unknown)?;
        Ok(Self { places, comments })
    }
}

/// One reading of the text.
pub(super) struct File<'a> {
    pub text: &'a str,
    pub value: Value,
    /// Made when first asked: a text that says what it should is not looked into.
    looked_into: OnceCell<Places>,
    /// The list was looked at, and may be edited.
    editable: OnceCell<()>,
}

impl<'a> File<'a> {
    pub fn read(text: &'a str) -> Result<Self> {
        let bytes = text.as_bytes();
        let lone = |at: &usize| bytes[*at] == b'\r' && bytes.get(at + 1) != Some(&b'\n');
        if let Some(at) = (0..bytes.len()).find(lone) {
            return Err(refused(line_of(bytes, at), "a carriage return stands without a line feed"));
        }
        let unread =
            |error| Error::outside("edit the images of the overlay: it is not valid YAML").because(error).hint(HINT);
        let mut documents = serde_yaml::Deserializer::from_str(text).map(Value::deserialize);
        let value = documents.next().transpose().map_err(unread)?.unwrap_or_default();
        if documents.next().is_some() {
            let second = text.match_indices("\n---").last().map_or(0, |(at, _)| at + 1);
            return Err(refused(line_of(bytes, second), "there is a second document (---)"));
        }
        let file = Self { text, value, looked_into: OnceCell::new(), editable: OnceCell::new() };
        let merged = |value: &Value| value.as_mapping().is_some_and(|keys| keys.contains_key("<<"));
        if merged(&file.value) {
            return Err(file.refuse(text.find("<<").unwrap_or(0), "a merge key (<<) may bring images"));
        }
        if let Some(index) = entries(&file.value).iter().position(merged) {
            let at = file.item(index).map_or(0, |item| item.start);
            return Err(file.refuse(at, "an image entry has a merge key (<<)"));
        }
        Ok(file)
    }

    fn look_into(&self) -> Result<&Places> {
        if let Some(places) = self.looked_into.get() {
            return Ok(places);
        }
        let places = Places::of(self.text)?;
        Ok(self.looked_into.get_or_init(|| places))
    }

    /// Answers where keys and values stand.
    pub fn places(&self) -> Result<&Document> {
        Ok(&self.look_into()?.places)
    }

    /// Answers what is a comment.
    pub fn comments(&self) -> Result<&Document> {
        Ok(&self.look_into()?.comments)
    }

    pub fn refuse(&self, at: usize, what: &str) -> Error {
        refused(line_of(self.text.as_bytes(), at), what)
    }

    /// The key `images` and its list, which may be edited.
    pub fn list(&self) -> Result<Pair> {
        let pair = self.located(&Route::from(vec![IMAGES.into()]), IMAGES, || 0)?;
        let end = pair.end();
        let tab = self.text[pair.key.start..end].match_indices('\t').map(|(at, _)| pair.key.start + at);
        let comments = self.comments()?;
        match tab.filter(|at| !comments.offset_inside_comment(*at)).min() {
            Some(at) => Err(self.refuse(at, "there is a tab")),
            None => Ok(pair),
        }
    }

    /// An entry that may be edited; whether it is in flow style.
    pub fn open(&self, index: usize) -> Result<bool> {
        if self.editable.get().is_none() {
            self.list()?;
            let _ = self.editable.set(());
        }
        let item = self.item(index)?;
        let text = &self.text[item.clone()];
        match text.as_bytes().first() {
            Some(b'*') => return Err(self.refuse(item.start, "the entry is an alias (*)")),
            Some(b'&') => self.unused(item.start, text)?,
            _ => {}
        }
        let inner = self.inner(index, &item)?;
        match self.text.as_bytes()[inner] {
            b'!' => Err(self.refuse(inner, "the entry has a tag (!)")),
            byte => Ok(byte == b'{'),
        }
    }

    /// Where an entry begins, behind its anchor.
    pub fn inner(&self, index: usize, item: &Range<usize>) -> Result<usize> {
        let route = Route::from(vec![IMAGES.into(), index.into()]);
        let inner = self.places()?.query_exact(&route).ok().flatten().map(|inner| inner.location.byte_span.0);
        Ok(inner.filter(|at| item.contains(at)).unwrap_or(item.start))
    }

    /// The bytes of an entry, with its anchor.
    pub fn item(&self, index: usize) -> Result<Range<usize>> {
        let route = Route::from(vec![IMAGES.into(), index.into()]);
        let found = self
            .places()?
            .query_pretty(&route)
            .map_err(|error| self.unknown(0, &format!("entry {}", index + 1), error))?;
        Ok(found.location.byte_span.0..found.location.byte_span.1)
    }

    /// Where the bytes of an entry of a block list end; the place itself of a block mapping takes in comments behind it.
    pub fn entry_end(&self, index: usize) -> Result<usize> {
        let item = self.item(index)?;
        let first = self.text[item.clone()].as_bytes().first().copied();
        let (Some(keys), false) = (entries(&self.value)[index].as_mapping(), matches!(first, Some(b'{' | b'*'))) else {
            return Ok(item.end);
        };
        if self.text[..item.end].ends_with('}') {
            return Ok(item.end);
        }
        let mut end = item.start;
        for key in keys.keys() {
            let key = key.as_str().ok_or_else(|| self.refuse(item.start, "a key is not a string"))?;
            end = end.max(self.pair(index, key)?.end());
        }
        Ok(end)
    }

    /// A key of an entry and its value, which is one line of text or nothing.
    pub fn pair(&self, index: usize, key: &str) -> Result<Pair> {
        let pair = self.located(&route(index, key), key, || self.item(index).map_or(0, |item| item.start))?;
        let Some(at) = pair.value.clone() else { return Ok(pair) };
        let raw = &self.text[at.clone()];
        match raw.as_bytes().first() {
            Some(b'!') => Err(self.refuse(at.start, &format!("the value of {key} has a tag (!)"))),
            Some(b'|' | b'>') => Err(self.refuse(at.start, &format!("the value of {key} is a block scalar (| or >)"))),
            Some(b'[' | b'{') => Err(self.refuse(at.start, &format!("the value of {key} is a list or a mapping"))),
            _ if raw.contains('\n') => {
                Err(self.refuse(at.start, &format!("the value of {key} goes over several lines")))
            }
            _ => Ok(pair),
        }
    }

    /// A key and its value, somewhere behind `from`: where a message points if there is none.
    pub fn located(&self, route: &Route<'_>, key: &str, from: impl FnOnce() -> usize) -> Result<Pair> {
        let found = self.places()?.query_key_only(route).map_err(|error| self.unknown(from(), key, error))?;
        let at = found.location.byte_span.0..found.location.byte_span.1;
        let odd = || self.refuse(at.start, &format!("the key {key} is written in an unknown form"));
        let raw = &self.text[at.clone()];
        let plain = raw.strip_prefix(['\'', '"']).and_then(|raw| raw.strip_suffix(['\'', '"'])).unwrap_or(raw);
        let behind = self.text[at.end..].trim_start_matches(' ');
        if plain != key || !behind.starts_with(':') || self.text[..at.start].trim_end().ends_with('?') {
            return Err(odd());
        }
        let colon = self.text.len() - behind.len() + 1;
        let value = self.places()?.query_exact(route).map_err(|error| self.unknown(at.start, key, error))?;
        let value = value.map(|value| value.location.byte_span.0..value.location.byte_span.1);
        if let Some(value) = &value {
            // An alias is answered with the place of its anchor, which comes earlier.
            if value.start < colon {
                return Err(self.refuse(at.start, &format!("the value of {key} is an alias (*)")));
            }
            let words = self.text[colon..value.start]
                .lines()
                .flat_map(|line| line.split_whitespace().take_while(|word| !word.starts_with('#')));
            for word in words {
                match word.as_bytes()[0] {
                    b'&' => self.unused(at.start, word)?,
                    b'!' => return Err(self.refuse(at.start, &format!("the value of {key} has a tag (!)"))),
                    _ => return Err(odd()),
                }
            }
        }
        Ok(Pair { key: at, colon, value })
    }

    fn unknown(&self, at: usize, key: &str, error: yamlpath::QueryError) -> Error {
        self.refuse(at, &format!("{key} is written in an unknown form")).because(error)
    }

    /// That nothing refers to the anchor with which `text` begins.
    fn unused(&self, at: usize, text: &str) -> Result<()> {
        let end = |c: char| c.is_whitespace() || "[]{},".contains(c);
        let name = text[1..].split(end).next().unwrap_or_default();
        let (alias, comments) = (format!("*{name}"), self.comments()?);
        let used = self.text.match_indices(&alias).find(|(at, _)| {
            self.text[at + alias.len()..].chars().next().is_none_or(end) && !comments.offset_inside_comment(*at)
        });
        used.map_or(Ok(()), |(user, _)| {
            let user = line_of(self.text.as_bytes(), user);
            Err(self.refuse(at, &format!("the anchor &{name} is used in line {user}, which would change as well")))
        })
    }

    pub fn line_start(&self, at: usize) -> usize {
        self.text[..at].rfind('\n').map_or(0, |at| at + 1)
    }

    /// Where the line ends, less its line ending. Only a comment may follow.
    pub fn content_end(&self, at: usize) -> Result<usize> {
        let rest = self.text[at..].split('\n').next().unwrap_or_default();
        let rest = rest.strip_suffix('\r').unwrap_or(rest);
        let free = rest.trim_start_matches([' ', '\t']);
        if free.is_empty() || free.starts_with('#') {
            return Ok(at + rest.len());
        }
        Err(self.refuse(at, "something follows on the same line"))
    }

    /// The column of a key or a dash, with spaces and at most the entry's dash before it.
    pub fn column(&self, at: usize) -> Result<usize> {
        let lead = &self.text[self.line_start(at)..at];
        let spaces = lead.trim_start_matches(' ');
        if spaces.strip_prefix('-').unwrap_or(spaces).bytes().all(|byte| byte == b' ') {
            return Ok(lead.len());
        }
        Err(self.refuse(at, "something unknown stands before this on its line"))
    }

    /// The ending of the line, or of the one before where it is the last and has none.
    pub fn line_ending(&self, at: usize) -> &'static str {
        let crlf = |line: &str| if line.ends_with('\r') { "\r\n" } else { "\n" };
        match self.text[at..].split_once('\n') {
            Some((line, _)) => crlf(&self.text[..at + line.len()]),
            None => self.text[..at].rsplit_once('\n').map_or("\n", |(before, _)| crlf(before)),
        }
    }

    pub fn root_flow(&self) -> Result<bool> {
        let places = self.places()?;
        Ok(places.top_feature().is_ok_and(|top| places.extract(&top).starts_with('{')))
    }

    /// The column of the file's own keys.
    pub fn root_column(&self) -> Result<usize> {
        let Some(first) = self.value.as_mapping().and_then(|keys| keys.keys().next()) else { return Ok(0) };
        let key = first.as_str().ok_or_else(|| self.refuse(0, "a key is not a string"))?;
        if self.root_flow()? {
            return Err(self.refuse(0, "the file is one flow mapping without images"));
        }
        self.column(self.located(&Route::from(vec![key.into()]), key, || 0)?.key.start)
    }

    /// The column of dashes: as in the file's other lists, else below the key, as Kustomize writes it.
    pub fn list_column(&self, key: usize) -> Result<usize> {
        let places = self.places()?;
        let lists = self.value.as_mapping().into_iter().flatten();
        let lists = lists.filter(|(_, value)| value.as_sequence().is_some_and(|list| !list.is_empty()));
        let starts = lists.filter_map(|(name, _)| {
            let found = places.query_exact(&Route::from(vec![name.as_str()?.into()])).ok()??;
            let at = found.location.byte_span.0;
            (self.text[at..].starts_with('-')).then(|| self.column(at).ok()).flatten()
        });
        Ok(starts.into_iter().find(|column| *column >= key).unwrap_or(key))
    }
}

/// The same text, byte for byte, with spaces for comments.
fn without_comments(text: &str, comments: &Document) -> String {
    let mut at = 0;
    let lines = text.split_inclusive('\n').map(|line| {
        let start = at;
        at += line.len();
        let content = line.trim_end_matches(['\r', '\n']);
        let mut hashes = content.match_indices('#').map(|(hash, _)| hash);
        let comment = hashes.find(|hash| comments.offset_inside_comment(start + hash)).unwrap_or(content.len());
        [&line[..comment], &" ".repeat(content.len() - comment), &line[content.len()..]].concat()
    });
    lines.collect()
}

/// The way to a key of an entry.
pub(super) fn route(index: usize, key: &str) -> Route<'_> {
    Route::from(vec![Component::from(IMAGES), index.into(), key.into()])
}
