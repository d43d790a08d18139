//! Kustomizations as people write them, for the tests: a model of the lines, drawn from a tape of choices, and what an edit
//! makes of it. It knows nothing of YAML; it only prints.

use std::collections::BTreeMap;

use super::{Digest, OverlayImage};

pub const IMAGES: [&str; 4] = ["gateway", "auth", "registry.example:5000/team/notes", "worker"];
const NAMES: [&str; 2] = ["418272771234.dkr.ecr.us-east-1.amazonaws.com/gospelib", "127.0.0.1:5000/x"];
const PLAIN: [&str; 4] = ["v1.2.0", "1.2.0", "release-7", "0ab12cd"];
const QUOTED: [&str; 10] =
    ["1.10", "20250304", "on", "null", "12e5", "2025-03-04", "a: b", "x #y", "it's", "say \"\\\""];
const ORDER: [&str; 4] = ["name", "newName", "newTag", "digest"];

/// Choices, one after the other; at its end, always the first.
pub struct Tape<'a>(std::slice::Iter<'a, u16>);

impl<'a> Tape<'a> {
    pub fn new(choices: &'a [u16]) -> Self {
        Self(choices.iter())
    }

    fn upto(&mut self, count: usize) -> usize {
        self.0.next().map_or(0, |choice| usize::from(*choice) % count)
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.upto(of.len())].clone()
    }

    fn seldom(&mut self) -> bool {
        self.upto(4) == 3
    }
}

#[derive(Debug, Clone)]
pub struct Overlay {
    mark: bool,
    ending: &'static str,
    ends: bool,
    before: Vec<String>,
    after: Vec<String>,
    images: Images,
    /// `images:` with what stands on its line.
    anchor: &'static str,
    note: &'static str,
    column: usize,
    /// The column of a list that is new.
    fresh: usize,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Images {
    Absent,
    Empty(&'static str),
    Block,
    /// One line, or a line for each entry.
    Flow(bool),
}

#[derive(Debug, Clone)]
struct Entry {
    flow: bool,
    gap: usize,
    /// What stands on the line of the dash, where that is not the first key.
    head: Option<String>,
    brace: (&'static str, &'static str),
    items: Vec<Item>,
}

#[derive(Debug, Clone)]
enum Item {
    Note(&'static str),
    Pair(Pair),
}

#[derive(Debug, Clone)]
struct Pair {
    key: &'static str,
    text: Option<String>,
    json: bool,
    quote: Option<char>,
    anchor: String,
    gap: usize,
    note: &'static str,
    separator: &'static str,
}

impl Pair {
    fn new(key: &'static str, text: &str, json: bool) -> Self {
        let quote = json.then_some('"');
        let (anchor, note, separator) = (String::new(), "", ", ");
        let mut pair = Self { key, text: None, json, quote, anchor, gap: 1, note, separator };
        pair.set(text);
        pair
    }

    fn set(&mut self, text: &str) {
        if QUOTED.contains(&text) && self.quote.is_none() {
            self.quote = Some('"');
        }
        self.text = Some(text.to_owned());
    }

    fn print(&self) -> String {
        let key = if self.json { format!("\"{}\"", self.key) } else { self.key.to_owned() };
        let Some(text) = &self.text else { return format!("{key}:") };
        let text = match self.quote {
            Some('"') => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
            Some(_) => format!("'{}'", text.replace('\'', "''")),
            None => text.clone(),
        };
        format!("{key}:{:2$}{}{text}", "", self.anchor, self.gap)
    }
}

impl Entry {
    fn draw(tape: &mut Tape<'_>, image: &str, flow: bool) -> Self {
        let json = flow && tape.seldom();
        let mut keys = vec![("name", image.to_owned())];
        if tape.seldom() {
            keys.push(("newName", tape.one(&NAMES).to_owned()));
        }
        let quote = if json { Some('"') } else { tape.one(&[None, None, Some('"'), Some('\'')]) };
        let tags = if quote.is_some() { tape.one(&[&PLAIN[..], &QUOTED[..]]) } else { &PLAIN };
        let holds = tape.upto(4);
        if holds != 1 {
            keys.push(("newTag", tape.one(tags).to_owned()));
        }
        if holds == 1 || holds == 2 {
            keys.push(("digest", digest(tape).to_string()));
        }
        if tape.seldom() {
            let count = keys.len();
            keys.rotate_left(tape.upto(count));
        }
        let mut items = Vec::new();
        for (at, (key, text)) in keys.into_iter().enumerate() {
            if !flow && tape.seldom() {
                let notes: &[&str] = if at == 0 { &["# first"] } else { &["# between: {a, *b, &c", "#", ""] };
                items.push(Item::Note(tape.one(notes)));
            }
            let mut pair = Pair::new(key, &text, json);
            pair.separator = tape.one(&[", ", ",", " , "]);
            pair.note = if flow { "" } else { tape.one(&["", "", " # a note, newTag: v0", "   #"]) };
            if key == "name" {
                pair.quote = if json { Some('"') } else { tape.one(&[None, None, Some('\'')]) };
            } else {
                pair.quote = quote;
                pair.gap = tape.one(&[1, 1, 2]);
                if tape.seldom() {
                    pair.anchor = format!("&{key} ");
                }
            }
            items.push(Item::Pair(pair));
        }
        if holds == 3 && !flow && tape.seldom() {
            items.push(Item::Pair(Pair { text: None, gap: 1, note: "", ..Pair::new("digest", "", json) }));
        }
        let anchor = format!("&{}", tape.one(&["entry", "e-1"]));
        let head = tape.one(&[None, None, None, Some(String::new()), Some("# alone".to_owned()), Some(anchor)]);
        let brace = tape.one(&[("{", "}"), ("{ ", " }"), ("{", ",}")]);
        Self { flow, gap: tape.one(&[1, 1, 3]), head: if flow { None } else { head }, brace, items }
    }

    fn new(fields: &[(&'static str, Option<String>)], flow: bool, gap: usize, json: bool) -> Self {
        let pairs = fields.iter().filter_map(|(key, text)| Some(Item::Pair(Pair::new(key, text.as_ref()?, json))));
        Self { flow, gap, head: None, brace: ("{", "}"), items: pairs.collect() }
    }

    fn pairs(&self) -> impl Iterator<Item = &Pair> {
        self.items.iter().filter_map(|item| if let Item::Pair(pair) = item { Some(pair) } else { None })
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.pairs().find(|pair| pair.key == key)?.text.as_deref()
    }

    fn place(&self, key: &str) -> Option<usize> {
        self.items.iter().position(|item| matches!(item, Item::Pair(pair) if pair.key == key))
    }

    fn apply(&mut self, fields: &[(&'static str, Option<String>)]) -> bool {
        let mut plainly = true;
        for (key, text) in fields.iter().filter_map(|(key, text)| Some((*key, text.as_ref()?))) {
            if self.get(key) == Some(text.as_str()) {
                continue;
            }
            if let Some(place) = self.place(key) {
                let Item::Pair(pair) = &mut self.items[place] else { unreachable!() };
                plainly &= pair.text.is_some() && (pair.quote.is_some() || !QUOTED.contains(&text.as_str()));
                pair.set(text);
            } else {
                plainly = false;
                let before = ORDER.iter().take_while(|before| **before != key);
                let before = before.filter(|before| self.get(before).is_some()).last().unwrap();
                let place = self.place(before).unwrap();
                let json = self.pairs().any(|pair| pair.json);
                self.items.insert(place + 1, Item::Pair(Pair::new(key, text, json)));
            }
        }
        for (key, _) in fields.iter().filter(|(key, text)| text.is_none() && *key != "newName") {
            if self.get(key).is_some() {
                let place = self.place(key).unwrap();
                self.items.remove(place);
                // The next thing moves up behind the dash.
                while place == 0 && self.head.is_none() && matches!(self.items[0], Item::Note("")) {
                    self.items.remove(0);
                }
                plainly = false;
            }
        }
        plainly
    }

    fn flow(&self) -> String {
        let mut pairs = String::new();
        for (at, pair) in self.pairs().enumerate() {
            pairs.push_str(if at == 0 { "" } else { pair.separator });
            pairs.push_str(&pair.print());
        }
        format!("{}{pairs}{}", self.brace.0, self.brace.1)
    }

    fn print(&self, column: usize, lines: &mut Vec<String>) {
        let mut lead = format!("{:column$}-{:2$}", "", "", self.gap);
        if self.flow {
            lines.push(format!("{lead}{}", self.flow()));
            return;
        }
        let indent = " ".repeat(lead.len());
        if let Some(head) = &self.head {
            lines.push(format!("{lead}{head}").trim_end().to_owned());
            lead.clone_from(&indent);
        }
        for item in &self.items {
            let text = match item {
                Item::Note(note) => (*note).to_owned(),
                Item::Pair(pair) => format!("{}{}", pair.print(), pair.note),
            };
            lines.push(if text.is_empty() { text } else { format!("{lead}{text}") });
            lead.clone_from(&indent);
        }
    }
}

impl Overlay {
    pub fn draw(tape: &mut Tape<'_>) -> Self {
        let column = tape.one(&[0, 2, 1, 4]);
        let other = tape.one(&[0, 2, 4]);
        let list = |key: &str, item: &str| vec![format!("{key}:"), format!("{:other$}- {item}", "")];
        let images = tape.one(&[
            Images::Block,
            Images::Block,
            Images::Block,
            Images::Flow(false),
            Images::Flow(true),
            Images::Absent,
            Images::Empty(" []"),
            Images::Empty(""),
            Images::Empty(" null"),
        ]);
        let mut before = vec!["# The overlay of production; images: below".to_owned(), String::new()];
        before.extend(list("resources", "base.yaml # - newTag: v0"));
        let patch = [
            "patches:",
            "- target: {kind: Deployment}",
            "  patch: |-",
            "    - op: add",
            "      path: /metadata/labels/b",
            "      value: \"# no comment\"",
        ];
        let settings = [
            "configMapGenerator:",
            "- name: settings",
            "  literals:",
            "  - images=none",
            "# images:",
            "#  - name: gateway",
        ];
        let label = ["labels: # newTag", "  - pairs: {images: few}", "    includeSelectors: false"];
        let mut after = Vec::new();
        for part in [&patch[..], &settings, &label, &["# the end"]] {
            match tape.upto(3) {
                0 => before.extend(part.iter().map(ToString::to_string)),
                1 => after.extend(part.iter().map(ToString::to_string)),
                _ => {}
            }
        }
        let mut names = IMAGES.to_vec();
        let first = tape.upto(names.len());
        names.rotate_left(first);
        names.truncate(1 + tape.upto(3));
        if matches!(images, Images::Absent | Images::Empty(_)) {
            names.clear();
        }
        let entries = names.into_iter().map(|name| {
            let flow = matches!(images, Images::Flow(_)) || tape.seldom();
            Entry::draw(tape, name, flow)
        });
        let mut entries: Vec<Entry> = entries.collect();
        // One anchor of a name is enough for a file, or the later one would be meant.
        entries.dedup_by(|later, former| later.head.is_some() && former.head.is_some());
        let listed = matches!(images, Images::Block | Images::Flow(_));
        let anchor = if listed { tape.one(&["", "", "", " &list"]) } else { "" };
        let notable = !matches!(images, Images::Flow(true));
        Self {
            mark: tape.seldom(),
            ending: tape.one(&["\n", "\n", "\r\n"]),
            ends: !tape.seldom(),
            before,
            after,
            images,
            anchor,
            note: if notable { tape.one(&["", "", " # what runs"]) } else { "" },
            column,
            fresh: other,
            entries,
        }
    }

    pub fn print(&self) -> Vec<u8> {
        let mut lines = self.before.clone();
        let (anchor, note) = (self.anchor, self.note);
        match self.images {
            Images::Absent => {}
            Images::Empty(value) => lines.push(format!("images:{value}{note}")),
            Images::Block => {
                lines.push(format!("images:{anchor}{note}"));
                self.entries.iter().for_each(|entry| entry.print(self.column, &mut lines));
            }
            Images::Flow(false) => {
                let entries = self.entries.iter().map(Entry::flow).collect::<Vec<_>>().join(", ");
                lines.push(format!("images:{anchor} [{entries}]{note}"));
            }
            Images::Flow(true) => {
                lines.push(format!("images:{anchor} ["));
                let last = self.entries.len() - 1;
                let comma = |at: usize| if at == last { "" } else { "," };
                lines.extend(
                    self.entries.iter().enumerate().map(|(at, entry)| format!("   {}{}", entry.flow(), comma(at))),
                );
                lines.push("  ]".into());
            }
        }
        lines.extend(self.after.clone());
        let mut text = lines.join(self.ending);
        if self.ends {
            text.push_str(self.ending);
        }
        if self.mark {
            text.insert(0, '\u{feff}');
        }
        text.into_bytes()
    }

    /// What the file says about its images.
    pub fn says(&self) -> BTreeMap<String, OverlayImage> {
        let image = |entry: &Entry| OverlayImage {
            name: entry.get("newName").map(ToOwned::to_owned),
            tag: entry.get("newTag").map(ToOwned::to_owned),
            digest: entry.get("digest").map(|digest| digest.parse().unwrap()),
        };
        self.entries.iter().map(|entry| (entry.get("name").unwrap().to_owned(), image(entry))).collect()
    }

    /// Something else for some of the images.
    pub fn wish(&self, tape: &mut Tape<'_>) -> BTreeMap<String, OverlayImage> {
        let says = self.says();
        let mut wanted = BTreeMap::new();
        for image in IMAGES {
            let had = says.get(image).cloned();
            let name = if tape.seldom() { Some(tape.one(&NAMES).to_owned()) } else { None };
            let tag = tape.one(&[&PLAIN[..], &QUOTED[..]]);
            let (tag, digest) = (Some(tape.one(tag).to_owned()), Some(digest(tape)));
            let want = match tape.upto(6) {
                0 => continue,
                1 => OverlayImage { name, tag, digest: None },
                2 => OverlayImage { name, tag: None, digest },
                3 => OverlayImage { name, tag, digest },
                4 => OverlayImage { tag, ..had.unwrap_or_default() },
                _ => had.unwrap_or(OverlayImage { name, tag: None, digest: None }),
            };
            wanted.insert(image.to_owned(), want);
        }
        wanted
    }

    /// The edit, on the model. Whether values alone have changed, so that the way back gives the same bytes.
    pub fn apply(&mut self, wanted: &BTreeMap<String, OverlayImage>) -> bool {
        let mut plainly = true;
        for (image, want) in wanted {
            let fields = [
                ("name", Some(image.clone())),
                ("newName", want.name.clone()),
                ("newTag", want.tag.clone()),
                ("digest", want.digest.as_ref().map(ToString::to_string)),
            ];
            if let Some(entry) = self.entries.iter_mut().find(|entry| entry.get("name") == Some(image)) {
                plainly &= entry.apply(&fields);
                continue;
            }
            plainly = false;
            let Some(last) = self.entries.last_mut() else {
                if self.images == Images::Absent {
                    self.before.append(&mut self.after);
                    self.note = "";
                }
                (self.images, self.column) = (Images::Block, self.fresh);
                self.entries.push(Entry::new(&fields, false, 1, false));
                continue;
            };
            let json = last.pairs().any(|pair| pair.json);
            let notes = last.items.iter().rposition(|item| matches!(item, Item::Pair(_))).unwrap() + 1;
            let notes = last.items.split_off(notes);
            let mut entry = Entry::new(&fields, last.flow, last.gap, json);
            entry.items.extend(notes);
            self.entries.push(entry);
        }
        plainly
    }
}

fn digest(tape: &mut Tape<'_>) -> Digest {
    format!("sha256:{}", tape.one(&["0a", "42", "e7"]).repeat(32)).parse().unwrap()
}
