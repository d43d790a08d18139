//! Parts of a sheet, drawn as text for a terminal or as Markdown for a pull request.

use crate::domain::{printable, wrapped};
use crate::ui::style::{Style, Tone};

/// A sheet is read in the narrowest terminal.
const WIDTH: usize = 79;
/// GitHub takes comments of 65,536 characters; bytes are never fewer. Each part has a share, and what is beyond it is counted.
const COMMENT: usize = 65_000;
/// The share of a tree, in bytes.
const TREE: usize = 24_000;
/// The share of another part, in bytes: the parts before the tree fit beside it.
const SHARE: usize = 8_000;
/// The longest line of an item, in characters.
const LINE: usize = 1_000;

/// A titled part.
pub(super) struct Block {
    pub title: String,
    pub tone: Tone,
    pub parts: Vec<Part>,
}

pub(super) enum Part {
    /// A sentence.
    Note(String),
    /// A thing, and sentences about it.
    Item { sign: &'static str, head: String, notes: Vec<String> },
    /// Rows of cells: the first row is the head; cells from `right` on are numbers.
    Table { right: usize, rows: Vec<Vec<String>> },
    /// Lines with their depth.
    Tree(Vec<(usize, String)>),
}

impl Block {
    pub fn new(title: impl Into<String>, tone: Tone) -> Self {
        Self { title: title.into(), tone, parts: Vec::new() }
    }

    pub fn note(&mut self, text: impl Into<String>) {
        self.parts.push(Part::Note(text.into()));
    }

    pub fn item(&mut self, sign: &'static str, head: impl Into<String>, notes: Vec<String>) {
        self.parts.push(Part::Item { sign, head: head.into(), notes });
    }

    /// As text, at most 80 columns where names allow.
    pub fn text(&self, style: Style) -> String {
        let mut page = Page(String::new());
        page.0.push_str(&style.paint(self.tone, &printable(&self.title)));
        page.0.push('\n');
        for part in &self.parts {
            match part {
                Part::Note(note) => page.line(2, 4, note),
                Part::Item { sign, head, notes } => {
                    page.line(2, 4, &format!("{sign} {head}"));
                    notes.iter().for_each(|note| page.line(6, 6, note));
                }
                Part::Table { right, rows } => page.table(*right, rows),
                Part::Tree(lines) => {
                    lines.iter().for_each(|(depth, line)| page.line(2 + depth * 2, depth * 2 + 6, line));
                }
            }
        }
        page.0
    }

    /// As Markdown of the GitHub flavour.
    pub fn markdown(&self) -> String {
        let mut out = format!("### {}\n\n", escaped(&self.title));
        let mut after_item = false;
        let mut more = 0;
        for part in &self.parts {
            let item = matches!(part, Part::Item { .. });
            if after_item && !item {
                end_items(&mut out, &mut more);
            }
            after_item = item;
            match part {
                Part::Note(note) => out.push_str(&format!("{}\n\n", escaped(&cut(note)))),
                Part::Item { sign, head, notes } => {
                    let mut text = format!("- {} {}\n", escaped(sign), code(&cut(head)));
                    notes.iter().for_each(|note| text.push_str(&format!("  - {}\n", escaped(&cut(note)))));
                    if more > 0 || out.len() + text.len() > SHARE {
                        more += 1;
                    } else {
                        out.push_str(&text);
                    }
                }
                Part::Table { right, rows } => out.push_str(&table(*right, rows)),
                Part::Tree(lines) => out.push_str(&details(lines)),
            }
        }
        if after_item {
            end_items(&mut out, &mut more);
        }
        out
    }
}

/// A list of items ends, and says how many of them are left out.
fn end_items(out: &mut String, more: &mut usize) {
    if *more > 0 {
        out.push_str(&format!("- … and {more} more\n"));
        *more = 0;
    }
    out.push('\n');
}

fn cut(text: &str) -> String {
    if text.chars().count() <= LINE { text.to_owned() } else { text.chars().take(LINE).chain(['…']).collect() }
}

/// Parts as a comment on a pull request. What does not fit is said to be missing.
pub(super) fn comment(blocks: &[Block]) -> String {
    let (mut out, mut missing) = (String::new(), 0);
    for block in blocks {
        let text = block.markdown();
        if out.len() + text.len() <= COMMENT {
            out.push_str(&text);
        } else {
            missing += 1;
        }
    }
    if missing > 0 {
        out.push_str(&format!("… and {missing} more parts: `--output text` shows them\n"));
    }
    out
}

struct Page(String);

impl Page {
    fn line(&mut self, indent: usize, next: usize, text: &str) {
        let text = format!("{}{}", " ".repeat(indent), printable(text));
        for line in wrapped(text.trim_end(), WIDTH, next) {
            self.0.push_str(&line);
            self.0.push('\n');
        }
    }

    fn table(&mut self, right: usize, rows: &[Vec<String>]) {
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let width =
            |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        for row in rows {
            let cells = row.iter().enumerate().map(|(column, cell)| {
                let (cell, width) = (printable(cell), widths[column]);
                if column >= right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            });
            self.0.push_str(format!("  {}", cells.collect::<Vec<_>>().join("  ")).trim_end());
            self.0.push('\n');
        }
    }
}

fn table(right: usize, rows: &[Vec<String>]) -> String {
    let mut out = String::new();
    for (index, row) in rows.iter().enumerate() {
        let cells: Vec<String> = row.iter().map(|cell| escaped(cell)).collect();
        out.push_str(&format!("| {} |\n", cells.join(" | ")));
        if index == 0 {
            let rule = |column| if column >= right { "---:" } else { "---" };
            out.push_str(&format!("| {} |\n", (0..row.len()).map(rule).collect::<Vec<_>>().join(" | ")));
        }
    }
    out + "\n"
}

/// A tree that is opened with a click, in the colours of a diff.
fn details(lines: &[(usize, String)]) -> String {
    let (mut body, mut left) = (String::new(), 0);
    for (depth, line) in lines {
        if left > 0 || body.len() + line.len() > TREE {
            left += 1;
            continue;
        }
        // A diff is coloured by the first character of a line.
        let line = printable(&cut(line)).replace("```", "'''");
        let (sign, rest) = match line.chars().next() {
            Some('+') => ("+", &line[1..]),
            Some('-') => ("-", &line[1..]),
            Some('~') => ("!", &line[1..]),
            Some('±') => ("-", &line['±'.len_utf8()..]),
            _ => (" ", line.as_str()),
        };
        body.push_str(format!("{sign} {}{}\n", "  ".repeat(*depth), rest.trim_start()).trim_end_matches(' '));
    }
    if left > 0 {
        body.push_str(&format!("  … and {left} more lines\n"));
    }
    format!("<details><summary>Show</summary>\n\n```diff\n{body}```\n\n</details>\n\n")
}

/// Text as it stands: nothing in it is markup, and nobody is mentioned.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in printable(text).chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' => out.extend(['\\', c]),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '@' => out.push_str("@\u{200b}"),
            _ => out.push(c),
        }
    }
    out
}

fn code(text: &str) -> String {
    format!("`{}`", printable(text).replace('`', "'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_is_no_markup() {
        assert_eq!(escaped("a|b <i> &commat;x @team *x*"), "a\\|b &lt;i&gt; &amp;commat;x @\u{200b}team \\*x\\*");
        let mut block = Block::new("Risk", Tone::Bad);
        block.item("!", "aws_x.`y`", vec!["<script>".into()]);
        block.note("end");
        assert_eq!(block.markdown(), "### Risk\n\n- ! `aws_x.'y'`\n  - &lt;script&gt;\n\nend\n\n");
        block.parts = vec![Part::Tree(vec![(0, "~ a ``` b".into()), (2, "x: 1 → 2".into())])];
        assert!(block.markdown().contains("```diff\n! a ''' b\n      x: 1 → 2\n```"), "{}", block.markdown());
    }

    #[test]
    fn a_comment_stays_below_what_github_takes_and_counts_the_rest() {
        let mut block = Block::new("RISK", Tone::Bad);
        (0..5000).for_each(|i| block.item("!", format!("aws_x.y[{i}]"), vec!["data loss: it is gone".into()]));
        block.note("end");
        let text = block.markdown();
        assert!(text.len() < SHARE + 200 && text.ends_with(" more\n\nend\n\n"), "{}", text.len());
        let told = text.matches("aws_x").count();
        assert!(text.contains(&format!("- … and {} more\n", 5000 - told)), "{told}");
        let tree = |depth: usize| Part::Tree((0..9000).map(|i| (depth, format!("~ line {i}"))).collect());
        let long = |title: &str| Block { title: title.into(), tone: Tone::Strong, parts: vec![tree(1)] };
        let whole = comment(&[block, long("a"), long("b"), long("c")]);
        assert!(
            whole.len() < 65_536 && whole.ends_with("and 1 more parts: `--output text` shows them\n"),
            "{}",
            whole.len()
        );
    }

    #[test]
    fn columns_of_numbers_stand_right() {
        let mut block = Block::new("Cost", Tone::Strong);
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        block.parts.push(Part::Table {
            right: 1,
            rows: vec![row(["what", "$"]), row(["a", "1.00"]), row(["bcdef", "12.00"])],
        });
        assert_eq!(block.text(Style::plain()), "Cost\n  what       $\n  a       1.00\n  bcdef  12.00\n");
    }
}
