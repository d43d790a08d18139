//! YAML 1.2 (core schema) into a located tree. What a configuration does not need is refused, with its place:
//! anchors, aliases, tags, several documents, duplicate keys, control characters, deep nesting.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};

use super::Origin;
use super::problem::Problem;
use super::tree::{Entry, Node, Path, Value};

/// Deeper than any valid configuration.
const DEPTH: usize = 32;

/// To what a text belongs.
#[derive(Debug, Clone)]
pub(super) enum Place {
    File(Arc<PathBuf>),
    /// One value of the environment or of a flag: positions inside it help nobody.
    Single(Origin),
}

impl Place {
    pub fn origin(&self, marker: Marker) -> Origin {
        match self {
            // saphyr counts lines from 1 and columns from 0; an empty input has line 0.
            Self::File(path) => {
                Origin::File { path: path.clone(), line: marker.line().max(1), column: marker.col() + 1 }
            }
            Self::Single(origin) => origin.clone(),
        }
    }
}

/// Reads one document. `None` where there is nothing but comments and blanks.
pub(super) fn parse(text: &str, place: &Place) -> Result<Option<Node>, Vec<Problem>> {
    // A byte order mark is allowed at the start of a stream, and means nothing in UTF-8.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Some(problem) = control_character(text, place) {
        return Err(vec![problem]);
    }
    let mut builder = Builder { place, open: Vec::new(), root: None, documents: 0, problems: Vec::new() };
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let handled = match event {
            Ok((event, span)) => builder.event(event, span.start),
            Err(error) => Err(Problem::new(&place.origin(*error.marker()), "", not_yaml(error.info()))),
        };
        // Syntax ends the reading; what was found before it is told as well.
        if let Err(problem) = handled {
            builder.problems.push(problem);
            break;
        }
    }
    if builder.problems.is_empty() { Ok(builder.root) } else { Err(builder.problems) }
}

fn not_yaml(info: &str) -> String {
    match info {
        _ if info.contains("unknown anchor") => NO_ALIAS.into(),
        _ if info.contains("recursion limit") => too_deep(),
        _ => format!("this is not valid YAML: {info}"),
    }
}

fn too_deep() -> String {
    format!("this is nested more than {DEPTH} levels deep")
}

const NO_ALIAS: &str = "anchors and aliases (& and *) are not taken here: write the value out";

/// The first character that YAML does not allow (production c-printable of YAML 1.2.2), if there is one.
fn control_character(text: &str, place: &Place) -> Option<Problem> {
    let (mut line, mut column) = (1, 0);
    for (index, c) in text.chars().enumerate() {
        if c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}') {
            let origin = place.origin(Marker::new(index, line, column));
            return Some(Problem::new(
                &origin,
                "",
                format!("a control character ({}) is not YAML", c.escape_default()),
            ));
        }
        if c == '\n' {
            (line, column) = (line + 1, 0);
        } else {
            column += 1;
        }
    }
    None
}

struct Builder<'a> {
    place: &'a Place,
    open: Vec<Open>,
    root: Option<Node>,
    documents: usize,
    problems: Vec<Problem>,
}

/// A collection that is being read.
struct Open {
    origin: Origin,
    kind: Kind,
}

enum Kind {
    List(Vec<Node>),
    /// What was read, and the key that waits for its value.
    Map(Keys, Option<(String, Origin)>),
}

/// The entries of a mapping, and where each key stands among them.
#[derive(Default)]
struct Keys {
    entries: Vec<Entry>,
    places: HashMap<String, usize>,
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, start: Marker) -> Result<(), Problem> {
        let origin = self.place.origin(start);
        let refuse = |message: &str| Err(Problem::new(&origin, "", message));
        let (anchor, tag) = match &event {
            Event::Scalar(_, _, anchor, tag) | Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag) => {
                (*anchor, tag.is_some())
            }
            Event::Alias(_) => return refuse(NO_ALIAS),
            _ => (0, false),
        };
        if anchor != 0 {
            return refuse(NO_ALIAS);
        }
        if tag {
            return refuse("tags (!) are not taken here");
        }
        match event {
            Event::DocumentStart(_) if self.documents > 0 => refuse("there is a second document (---); one is read"),
            Event::DocumentStart(_) => {
                self.documents += 1;
                Ok(())
            }
            Event::Scalar(text, style, ..) => self.scalar(&text, style == ScalarStyle::Plain, origin),
            Event::SequenceStart(..) => self.begin(origin, Kind::List(Vec::new())),
            Event::MappingStart(..) => self.begin(origin, Kind::Map(Keys::default(), None)),
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            _ => Ok(()),
        }
    }

    fn begin(&mut self, origin: Origin, kind: Kind) -> Result<(), Problem> {
        if self.open.len() >= DEPTH {
            return Err(Problem::new(&origin, "", too_deep()));
        }
        if let Some(Open { kind: Kind::Map(_, None), .. }) = self.open.last() {
            return Err(Problem::new(&origin, "", "a key must be a word, not a list or a section"));
        }
        self.open.push(Open { origin, kind });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Problem> {
        let Some(Open { origin, kind }) = self.open.pop() else { return Ok(()) };
        let value = match kind {
            Kind::List(items) => Value::List(items),
            Kind::Map(keys, _) => Value::Map(keys.entries),
        };
        self.put(Node::new(value, origin))
    }

    fn scalar(&mut self, text: &str, plain: bool, origin: Origin) -> Result<(), Problem> {
        if let Some(Open { kind: Kind::Map(_, waiting @ None), .. }) = self.open.last_mut() {
            *waiting = Some((text.to_owned(), origin));
            return Ok(());
        }
        let value = if plain { plain_scalar(text) } else { Value::Text(text.to_owned()) };
        self.put(Node { value, origin, raw: plain.then(|| text.to_owned()) })
    }

    fn put(&mut self, node: Node) -> Result<(), Problem> {
        let around = self.path();
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open { kind: Kind::List(items), .. }) => items.push(node),
            Some(Open { kind: Kind::Map(keys, waiting), .. }) => {
                // `begin` and `scalar` see to it that a key waits.
                let Some((key, origin)) = waiting.take() else { return Ok(()) };
                if let Some(first) = keys.places.get(&key).and_then(|place| keys.entries.get(*place)) {
                    let message = format!("this key stands here twice; first at {}", first.origin);
                    let problem = Problem::new(&origin, around.to_string(), message);
                    if self.problems.len() >= super::problem::MOST {
                        return Err(problem);
                    }
                    self.problems.push(problem);
                } else {
                    keys.places.insert(key.clone(), keys.entries.len());
                    keys.entries.push(Entry { key, origin, node });
                }
            }
        }
        Ok(())
    }

    /// The path of the value that is being put.
    fn path(&self) -> Path {
        self.open.iter().fold(Path::default(), |path, open| match &open.kind {
            Kind::List(items) => path.index(items.len()),
            Kind::Map(_, Some((key, _))) => path.key(key),
            Kind::Map(_, None) => path,
        })
    }
}

/// The core schema of YAML 1.2.2, section 10.3.2. Numbers that JSON cannot hold (`.inf`, `.nan`) stay text.
pub(super) fn plain_scalar(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    number(text).map_or_else(|| Value::Text(text.to_owned()), Value::Number)
}

fn number(text: &str) -> Option<serde_json::Number> {
    let radix = |digits: &str, radix| {
        let plain = digits.bytes().all(|b| b.is_ascii_alphanumeric());
        plain.then(|| u64::from_str_radix(digits, radix).ok()).flatten().map(Into::into)
    };
    if let Some(octal) = text.strip_prefix("0o") {
        return radix(octal, 8);
    }
    if let Some(hexadecimal) = text.strip_prefix("0x") {
        return radix(hexadecimal, 16);
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !digits.bytes().all(|b| b.is_ascii_digit() || b".eE+-".contains(&b))
        || !digits.contains(|c: char| c.is_ascii_digit())
    {
        return None;
    }
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let text = text.strip_prefix('+').unwrap_or(text);
    if digits.bytes().all(|b| b.is_ascii_digit()) {
        let unsigned = text.parse::<u64>().ok().map(Into::into);
        return unsigned.or_else(|| text.parse::<i64>().ok().map(Into::into)).or_else(|| float(text));
    }
    float(text)
}

fn float(text: &str) -> Option<serde_json::Number> {
    text.parse::<f64>().ok().and_then(serde_json::Number::from_f64)
}
