//! A proposed change of `gospel-release.yaml`: values for keys, written into the text where they belong, and shown as a diff.
//!
//! Lines are changed, or added below their parent; every other byte stays. The result is read again and compared: what would
//! say anything else than it should is not proposed.

use serde_yaml::Value;

/// A value that a key should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// `production.cluster.arn`.
    pub key: String,
    pub value: String,
}

/// What is proposed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proposed {
    /// The file's text with what could be placed.
    pub text: String,
    /// What has to be written by hand: flow style, anchors, or something else that lines do not show.
    pub by_hand: Vec<Wanted>,
}

/// Places what is wanted in a file's text.
#[must_use]
pub fn propose(text: &str, wanted: &[Wanted]) -> Proposed {
    let mut proposed = Proposed { text: text.to_owned(), by_hand: Vec::new() };
    for one in wanted {
        match placed(&proposed.text, one).filter(|next| says(&proposed.text, next, one)) {
            Some(next) => proposed.text = next,
            None => proposed.by_hand.push(one.clone()),
        }
    }
    proposed
}

/// The difference of two texts, as `diff -u` shows it; empty where there is none.
#[must_use]
pub fn unified(name: &str, before: &str, after: &str) -> String {
    let diff = similar::TextDiff::from_lines(before, after);
    diff.unified_diff().context_radius(2).header(&format!("a/{name}"), &format!("b/{name}")).to_string()
}

/// A line of a block mapping: where it is, how deep, its key.
struct Line<'a> {
    at: std::ops::Range<usize>,
    indent: usize,
    key: &'a str,
    /// What follows the colon.
    rest: &'a str,
}

fn lines(text: &str) -> Vec<Line<'_>> {
    let (mut found, mut from) = (Vec::new(), 0);
    for line in text.split_inclusive('\n') {
        let at = from..from + line.len();
        from = at.end;
        let content = line.trim_end_matches(['\n', '\r']);
        let inner = content.trim_start_matches(' ');
        if let Some((key, rest)) = inner.split_once(':')
            && !inner.starts_with(['#', '-'])
            && (rest.is_empty() || rest.starts_with(' '))
        {
            found.push(Line { at, indent: content.len() - inner.len(), key: key.trim_matches(['"', '\'']), rest });
        }
    }
    found
}

fn placed(text: &str, wanted: &Wanted) -> Option<String> {
    let all = lines(text);
    let names: Vec<&str> = wanted.key.split('.').collect();
    // The lines below the parent found so far.
    let (mut from, mut until, mut parent) = (0, all.len(), None::<usize>);
    for (depth, name) in names.iter().enumerate() {
        let children = all[from..until].iter().map(|line| line.indent).min();
        let child = (from..until).find(|at| Some(all[*at].indent) == children && all[*at].key == *name);
        let Some(at) = child else {
            let indent = match (children, parent) {
                (Some(children), _) => children,
                (None, Some(parent)) => all[parent].indent + 2,
                (None, None) => 0,
            };
            return added(text, parent.map(|parent| &all[parent]), indent, &names[depth..], &wanted.value);
        };
        if depth + 1 == names.len() {
            return replaced(text, &all[at], &wanted.value);
        }
        let below = all[at + 1..until].iter().position(|line| line.indent <= all[at].indent);
        (from, until, parent) = (at + 1, below.map_or(until, |below| at + 1 + below), Some(at));
    }
    None
}

/// With the value of a line replaced; a comment behind it stays.
fn replaced(text: &str, line: &Line<'_>, value: &str) -> Option<String> {
    let comment = line.rest.find(" #").map_or("", |at| line.rest[at..].trim_end());
    let gap = if comment.is_empty() { "" } else { " " };
    let end = if text[line.at.clone()].ends_with('\n') { "\n" } else { "" };
    let key = &text[line.at.clone()];
    let key = &key[..key.find(':')?];
    let mut next = text.to_owned();
    next.replace_range(line.at.clone(), &format!("{key}: {}{gap}{}{end}", scalar(value), comment.trim_start()));
    Some(next)
}

/// With lines added below their parent, or at the end.
fn added(text: &str, parent: Option<&Line<'_>>, indent: usize, names: &[&str], value: &str) -> Option<String> {
    if parent.is_some_and(|parent| !parent.rest.split(" #").next().unwrap_or_default().trim().is_empty()) {
        return None;
    }
    let mut new = String::new();
    for (depth, name) in names.iter().enumerate() {
        let blank = " ".repeat(indent + depth * 2);
        let last = depth + 1 == names.len();
        new.push_str(&if last { format!("{blank}{name}: {}\n", scalar(value)) } else { format!("{blank}{name}:\n") });
    }
    let at = parent.map_or(text.len(), |parent| parent.at.end);
    let before = &text[..at];
    let gap = if before.is_empty() || before.ends_with('\n') { "" } else { "\n" };
    Some(format!("{before}{gap}{new}{}", &text[at..]))
}

/// Quoted where YAML would take it for something else than a string.
fn scalar(value: &str) -> String {
    let plain = serde_yaml::from_str::<Value>(value).is_ok_and(|read| read == Value::String(value.to_owned()));
    let safe = plain && !value.contains(" #") && !value.contains(": ") && !value.is_empty();
    if safe { value.to_owned() } else { serde_json::Value::String(value.to_owned()).to_string() }
}

/// Whether the new text says what is wanted there, and the same as before everywhere else.
fn says(before: &str, after: &str, wanted: &Wanted) -> bool {
    let read = |text: &str| serde_yaml::from_str::<Value>(text).ok();
    let (Some(before), Some(mut after)) = (read(before), read(after)) else { return false };
    let mut before = if before.is_null() { Value::Mapping(serde_yaml::Mapping::new()) } else { before };
    let names: Vec<&str> = wanted.key.split('.').collect();
    let there = names.iter().try_fold(&after, |value, name| value.get(*name));
    let right = there == Some(&Value::String(wanted.value.clone()));
    without(&mut before, &names);
    without(&mut after, &names);
    right && before == after
}

/// Takes a key out, and the parents that are empty without it.
fn without(value: &mut Value, names: &[&str]) {
    let (Some(map), Some((name, rest))) = (value.as_mapping_mut(), names.split_first()) else { return };
    if let Some(inner) = map.get_mut(*name) {
        without(inner, rest);
        let empty = inner.is_null() || inner.as_mapping().is_some_and(serde_yaml::Mapping::is_empty);
        if rest.is_empty() || empty {
            map.remove(*name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(pairs: &[(&str, &str)]) -> Vec<Wanted> {
        pairs.iter().map(|(key, value)| Wanted { key: (*key).into(), value: (*value).into() }).collect()
    }

    const TEXT: &str = "# ours\nproject: gospelib\nproduction:\n    aws: {region: us-east-1}\n    cluster:\n        eks: old  # by \
                        hand\n    namespace: x\nservices:\n  - name: a\n";

    #[test]
    fn values_are_placed_and_nothing_else_moves() {
        let all = wanted(&[
            ("production.cluster.eks", "gospelib-production"),
            ("production.cluster.arn", "arn:aws:eks:us-east-1:4:cluster/x"),
            ("images.registry", "4.dkr.ecr.us-east-1.amazonaws.com"),
            ("production.aws.account", "418272771234"),
        ]);
        let proposed = propose(TEXT, &all);
        assert_eq!(proposed.by_hand, all[3..], "a flow mapping is for people");
        let diff = unified("gospel-release.yaml", TEXT, &proposed.text);
        for line in [
            "--- a/gospel-release.yaml",
            "-        eks: old  # by hand",
            "+        eks: gospelib-production # by hand",
            "+        arn: arn:aws:eks:us-east-1:4:cluster/x",
            "+images:",
            "+  registry: 4.dkr.ecr.us-east-1.amazonaws.com",
        ] {
            assert!(diff.lines().any(|found| found == line), "{line}\n{diff}");
        }
        assert_eq!(unified("x", TEXT, TEXT), "");
    }

    #[test]
    fn what_looks_like_a_number_is_quoted() {
        let proposed = propose("", &wanted(&[("production.aws.account", "418272771234")]));
        assert_eq!(proposed.text, "production:\n  aws:\n    account: \"418272771234\"\n");
        assert!(propose("production: &a\n  x: 1\nb: *a\n", &wanted(&[("b.x", "2")])).by_hand.len() == 1);
    }
}
