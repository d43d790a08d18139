//! The part of HCL's syntax (<https://github.com/hashicorp/hcl/blob/main/hclsyntax/spec.md>) that the rehearsed modules are
//! written in: blocks, attributes, literals, lists, objects, references, `${…}` in strings. The rest is refused by name.

use serde_json::{Number, Value};

/// What stands in a file, or between the braces of a block.
#[derive(Debug, Clone, Default)]
pub struct Body {
    pub attributes: Vec<Attribute>,
    pub blocks: Vec<Block>,
}

#[derive(Debug, Clone)]
pub struct Attribute {
    pub name: String,
    pub value: Expr,
    pub line: usize,
}

/// `kind "label" "label" { … }`.
#[derive(Debug, Clone)]
pub struct Block {
    pub kind: String,
    pub labels: Vec<String>,
    pub body: Body,
    pub line: usize,
}

/// A value as it is written.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    Literal(Value),
    List(Vec<Expr>),
    Map(Vec<(String, Expr)>),
    /// A string with references in it.
    Template(Vec<Expr>),
    /// `aws_eks_cluster.production.arn`, `scaling_config[0]`: names and indices.
    Reference(Vec<String>),
}

/// What is wrong, and on which line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    pub line: usize,
    pub what: String,
}

impl Body {
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }

    pub fn blocks<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Block> {
        self.blocks.iter().filter(move |block| block.kind == kind)
    }
}

impl Expr {
    /// Every reference in it.
    pub fn references(&self) -> Vec<&[String]> {
        match self {
            Self::Literal(_) => Vec::new(),
            Self::Reference(names) => vec![names],
            Self::List(items) | Self::Template(items) => items.iter().flat_map(Self::references).collect(),
            Self::Map(entries) => entries.iter().flat_map(|(_, value)| value.references()).collect(),
        }
    }
}

/// Reads a file.
pub fn parse(text: &str) -> Result<Body, Wrong> {
    let mut parser = Parser { rest: text, line: 1 };
    let body = parser.body(true)?;
    Ok(body)
}

struct Parser<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Parser<'a> {
    fn wrong<T>(&self, what: impl Into<String>) -> Result<T, Wrong> {
        Err(Wrong { line: self.line, what: what.into() })
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn skip(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    fn take(&mut self, token: &str) -> bool {
        let there = self.rest.starts_with(token);
        if there {
            self.skip(token.len());
        }
        there
    }

    fn expect(&mut self, token: &str) -> Result<(), Wrong> {
        if self.take(token) { Ok(()) } else { self.wrong(format!("{token:?} was expected here")) }
    }

    /// Blanks and comments; line breaks only where they mean nothing.
    fn blank(&mut self, lines: bool) {
        loop {
            let until = self.rest.find(|c: char| !(c == ' ' || c == '\t' || c == '\r' || (lines && c == '\n')));
            self.skip(until.unwrap_or(self.rest.len()));
            if self.rest.starts_with('#') || self.rest.starts_with("//") {
                self.skip(self.rest.find('\n').unwrap_or(self.rest.len()));
            } else if self.rest.starts_with("/*") {
                self.skip(self.rest.find("*/").map_or(self.rest.len(), |end| end + 2));
            } else {
                return;
            }
        }
    }

    fn name(&mut self) -> Result<String, Wrong> {
        let end = self.rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-'));
        match end.unwrap_or(self.rest.len()) {
            0 => self.wrong("a name was expected here"),
            end => Ok(self.skip(end).to_owned()),
        }
    }

    fn body(&mut self, whole: bool) -> Result<Body, Wrong> {
        let mut body = Body::default();
        loop {
            self.blank(true);
            match self.peek() {
                None if whole => return Ok(body),
                None => return self.wrong("the file ends within a block"),
                Some('}') if !whole => {
                    self.skip(1);
                    return Ok(body);
                }
                Some(_) => self.item(&mut body)?,
            }
        }
    }

    /// An attribute or a block.
    fn item(&mut self, body: &mut Body) -> Result<(), Wrong> {
        let line = self.line;
        let name = self.name()?;
        self.blank(false);
        if self.take("=") {
            self.blank(false);
            let value = self.value()?;
            if body.attribute(&name).is_some() {
                return Err(Wrong { line, what: format!("the argument {name:?} is there twice") });
            }
            body.attributes.push(Attribute { name, value, line });
            return Ok(());
        }
        let mut labels = Vec::new();
        while self.peek() != Some('{') {
            match self.peek() {
                Some('"') => match self.string()? {
                    Expr::Literal(Value::String(label)) => labels.push(label),
                    _ => return self.wrong("a label is a plain string"),
                },
                Some(_) => labels.push(self.name()?),
                None => return self.wrong("the file ends within a block"),
            }
            self.blank(false);
        }
        self.skip(1);
        body.blocks.push(Block { kind: name, labels, body: self.body(false)?, line });
        Ok(())
    }

    fn value(&mut self) -> Result<Expr, Wrong> {
        let value = match self.peek() {
            Some('"') => self.string()?,
            Some('[') => {
                self.skip(1);
                let mut items = Vec::new();
                while !self.closes(']') {
                    items.push(self.value()?);
                    self.blank(true);
                    self.take(",");
                }
                Expr::List(items)
            }
            Some('{') => {
                self.skip(1);
                let mut entries = Vec::new();
                while !self.closes('}') {
                    let key = if self.peek() == Some('"') {
                        match self.string()? {
                            Expr::Literal(Value::String(key)) => key,
                            _ => return self.wrong("a key is a plain string"),
                        }
                    } else {
                        self.name()?
                    };
                    self.blank(false);
                    if !self.take("=") {
                        self.expect(":")?;
                    }
                    self.blank(false);
                    entries.push((key, self.value()?));
                    self.blank(true);
                    self.take(",");
                }
                Expr::Map(entries)
            }
            Some(c) if c.is_ascii_digit() || c == '-' => {
                let end = self.rest.find(|c: char| !(c.is_ascii_digit() || c == '-' || c == '.' || c == 'e'));
                let text = self.skip(end.unwrap_or(self.rest.len()));
                match serde_json::from_str::<Number>(text) {
                    Ok(number) => Expr::Literal(Value::Number(number)),
                    Err(_) => return self.wrong(format!("{text} is no number")),
                }
            }
            _ => self.reference()?,
        };
        self.blank(false);
        match self.peek() {
            None | Some('\n' | ',' | ']' | '}') => Ok(value),
            Some(_) => {
                let rest: String = self.rest.chars().take_while(|c| *c != '\n').take(20).collect();
                self.wrong(format!("functions and operators are not evaluated: {rest}"))
            }
        }
    }

    fn closes(&mut self, bracket: char) -> bool {
        self.blank(true);
        // At the end of the file, the value that is asked for next says so.
        self.peek() == Some(bracket) && !self.skip(1).is_empty()
    }

    /// `true`, `null`, or names and indices.
    fn reference(&mut self) -> Result<Expr, Wrong> {
        let mut names = vec![self.name()?];
        loop {
            if self.take(".") {
                names.push(self.name()?);
            } else if self.take("[") {
                let end = self.rest.find(']').unwrap_or(0);
                names.push(self.skip(end).trim().trim_matches('"').to_owned());
                self.expect("]")?;
            } else {
                break;
            }
        }
        Ok(match names.as_slice() {
            [one] if one == "true" || one == "false" => Expr::Literal(Value::Bool(one == "true")),
            [one] if one == "null" => Expr::Literal(Value::Null),
            _ => Expr::Reference(names),
        })
    }

    fn string(&mut self) -> Result<Expr, Wrong> {
        self.skip(1);
        let (mut parts, mut text) = (Vec::new(), String::new());
        loop {
            if self.take("\"") {
                break;
            }
            if self.take("$${") {
                text.push_str("${");
            } else if self.take("${") {
                if !text.is_empty() {
                    parts.push(Expr::Literal(Value::String(std::mem::take(&mut text))));
                }
                self.blank(true);
                parts.push(self.reference()?);
                self.blank(true);
                self.expect("}")?;
            } else if self.take("\\") {
                match self.peek() {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some(c @ ('"' | '\\')) => text.push(c),
                    _ => return self.wrong("an unknown escape in a string"),
                }
                self.skip(1);
            } else {
                match self.peek() {
                    None | Some('\n') => return self.wrong("a string that does not end"),
                    Some(c) => {
                        text.push(c);
                        self.skip(c.len_utf8());
                    }
                }
            }
        }
        if parts.is_empty() {
            return Ok(Expr::Literal(Value::String(text)));
        }
        if !text.is_empty() {
            parts.push(Expr::Literal(Value::String(text)));
        }
        Ok(Expr::Template(parts))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn blocks_attributes_and_references() {
        let text = r#"
# A comment.
terraform { required_version = ">= 1.9" }
resource "aws_x" "a" { // another
  name  = "n-${var.zone}"
  sizes = [1, 2.5, -3,
    true]
  tags = { project = "p", "k 1": null }
  nested {
    of = aws_y.b.list[0].id /* here */
  }
}
"#;
        let body = parse(text).unwrap();
        let block = body.blocks("resource").next().unwrap();
        assert_eq!((block.labels.join("."), block.line), ("aws_x.a".to_owned(), 4));
        let reference = |names: &str| Expr::Reference(names.split(' ').map(str::to_owned).collect());
        assert_eq!(
            block.body.attribute("name").unwrap().value,
            Expr::Template(vec![Expr::Literal(json!("n-")), reference("var zone")])
        );
        let sizes = [json!(1), json!(2.5), json!(-3), json!(true)].map(Expr::Literal);
        assert_eq!(block.body.attribute("sizes").unwrap().value, Expr::List(sizes.to_vec()));
        assert_eq!(block.body.blocks[0].body.attributes[0].value, reference("aws_y b list 0 id"));
        assert_eq!(block.body.attribute("tags").unwrap().line, 8);
    }

    #[test]
    fn what_is_not_read_is_named_with_its_line() {
        let refused = |text: &str| parse(text).unwrap_err();
        assert_eq!(refused("a = 1\nb = length(x)").line, 2);
        assert!(refused("b = 1 + 2").what.contains("not evaluated: + 2"));
        assert!(refused("a \"b\" {").what.contains("ends within a block"));
        assert!(refused("a = [1, 2").what.contains("expected"));
        assert!(refused("a = \"x\ny\"").what.contains("does not end"));
        assert!(refused("a = 1\na = 2").what.contains("twice"));
        assert!(refused("resource x").what.contains("ends within a block"));
    }
}
