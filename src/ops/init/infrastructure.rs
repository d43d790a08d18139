//! Terraform's files: what they name outright.

use super::draft::Draft;
use super::tree::Text;

/// A line of a block that is no comment.
struct Line<'a> {
    /// From 1.
    number: usize,
    text: &'a str,
    /// Whether it stands in no block inside of its block.
    top: bool,
}

/// A block at the top of a file: `provider "aws" { … }`.
struct Block<'a> {
    header: Vec<&'a str>,
    lines: Vec<Line<'a>>,
}

impl Block<'_> {
    /// The literal of an attribute that stands right in the block, with its line.
    fn literal(&self, name: &str) -> Option<(&str, usize)> {
        self.lines.iter().filter(|line| line.top).find_map(|line| Some((literal(line.text, name)?, line.number)))
    }

    fn has(&self, name: &str) -> bool {
        self.lines.iter().any(|line| line.top && value_of(line.text, name).is_some())
    }
}

fn value_of<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (known, value) = line.split_once('=')?;
    (known.trim() == name).then(|| value.trim())
}

/// A literal alone: what is computed is not known here.
fn literal<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let value = value_of(line, name)?.trim_start_matches('[').trim_start();
    let literal = value.strip_prefix('"')?.split('"').next()?;
    (!literal.is_empty() && !literal.contains("${")).then_some(literal)
}

/// The blocks of a file, without comments.
fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let (mut depth, mut comment) = (0_usize, false);
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if comment || line.starts_with("/*") {
            comment = !line.contains("*/");
            continue;
        }
        if line.starts_with('#') || line.starts_with("//") {
            continue;
        }
        if depth == 0 && line.contains('{') {
            let (header, rest) = line.split_once('{').unwrap_or((line, ""));
            let header = header.split_whitespace().map(|word| word.trim_matches('"')).collect();
            // `output "x" { value = "y" }` is a whole block.
            let inside = rest.trim().trim_end_matches('}').trim();
            let lines = vec![Line { number: index + 1, text: inside, top: true }];
            blocks.push(Block { header, lines });
        } else if let Some(block) = blocks.last_mut().filter(|_| depth > 0) {
            block.lines.push(Line { number: index + 1, text: line, top: depth == 1 });
        }
        depth = (depth + line.matches('{').count()).saturating_sub(line.matches('}').count());
    }
    blocks
}

/// The root module of production, and what its files name outright.
pub(super) fn terraform(files: &[Text], draft: &mut Draft) {
    let dir = |file: &Text| file.path.rsplit_once('/').map_or(String::new(), |(dir, _)| dir.to_owned());
    let modules: Vec<&Text> = files.iter().filter(|file| file.path.ends_with(".tf")).collect();
    let ours = |dir: &String| dir.ends_with("/production") || dir.ends_with("/prod");
    let Some(module) = modules.iter().map(|file| dir(file)).find(ours) else {
        let mut roots: Vec<String> = modules.iter().filter(|file| is_root(&file.text)).map(|file| dir(file)).collect();
        roots.dedup();
        if !roots.is_empty() {
            let ask = format!("where is production's Terraform configuration? There is {}", roots.join(", "));
            draft.ask("provision.directory", &ask);
        }
        return;
    };
    let above = module.rsplit_once('/').map_or("", |(above, _)| above);
    let beside = |dir: &String| *dir != module && dir.rsplit_once('/').is_some_and(|(other, _)| other == above);
    let mut others: Vec<String> = modules.iter().map(|file| dir(file)).filter(beside).collect();
    others.dedup();
    let others = if others.is_empty() { String::new() } else { format!("; beside it: {}", others.join(", ")) };
    draft.value("provision.directory", module.as_str(), format!("{module}/*.tf{others}"));
    let mut outputs = Vec::new();
    for file in modules.into_iter().filter(|file| dir(file) == module) {
        for block in blocks(&file.text) {
            let mut value = |name: &str, key: &str| {
                if let Some((text, line)) = block.literal(name) {
                    draft.value(key, text, format!("{}:{line}", file.path));
                }
            };
            match block.header.as_slice() {
                // Another provider block has an alias, and is for another region or account.
                ["provider", "aws"] if !block.has("alias") => {
                    value("region", "production.aws.region");
                    value("allowed_account_ids", "production.aws.account");
                }
                ["output", name] => {
                    let literal = block.literal("value").map_or(String::new(), |(text, _)| format!(" ({text})"));
                    outputs.push(format!("{name}{literal}"));
                }
                _ => value("cluster_name", "production.cluster.eks"),
            }
        }
    }
    if !outputs.is_empty() {
        let ask = format!("which keys do these outputs of Terraform fill: {}?", outputs.join(", "));
        draft.ask("provision.checks.outputs", &ask);
    }
}

/// A module that others call has no provider or backend of its own.
fn is_root(text: &str) -> bool {
    blocks(text).iter().any(|block| block.header.first() == Some(&"provider"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drafted(path: &str, text: &str) -> Draft {
        let file = |path: &str, text: &str| Text { path: path.to_owned(), text: text.to_owned() };
        let mut draft = Draft::default();
        terraform(&[file("infra/staging/main.tf", "provider \"aws\" {}"), file(path, text)], &mut draft);
        draft
    }

    #[test]
    fn the_region_is_that_of_the_provider_without_an_alias() {
        let text = "/*\nprovider \"aws\" {\n  region = \"eu-west-9\"\n}\n*/\nprovider \"aws\" {\n  alias = \"edge\"\n  region = \"us-east-1\"\n}\n                    variable \"x\" {\n  region = \"us-west-1\"\n}\nprovider \"aws\" {\n  # region = \"eu-west-8\"\n  region = \"eu-west-1\"\n  allowed_account_ids = [\"418272771234\"]\n                    \n  default_tags {\n    region = \"no\"\n  }\n}\nmodule \"eks\" {\n  cluster_name = \"shop\"\n}\n                    output \"registry\" {\n  value = \"r.example\"\n}\noutput \"arn\" { value = aws_eks_cluster.x.arn }\n";
        let draft = drafted("infra/production/main.tf", text);
        assert_eq!(draft.get("production.aws.region"), Some("eu-west-1"));
        assert_eq!(draft.get("production.aws.account"), Some("418272771234"));
        assert_eq!(draft.get("production.cluster.eks"), Some("shop"));
        let found = draft.found();
        let directory = found.iter().find(|found| found.key == "provision.directory").unwrap();
        assert_eq!(directory.from, "infra/production/*.tf; beside it: infra/staging");
        assert_eq!(draft.questions[0].ask, "which keys do these outputs of Terraform fill: registry (r.example), arn?");
    }

    #[test]
    fn other_environments_are_named_where_none_is_productions() {
        let draft = drafted("infra/modules/x/main.tf", "output \"x\" {}");
        assert_eq!(draft.questions[0].ask, "where is production's Terraform configuration? There is infra/staging");
    }
}
