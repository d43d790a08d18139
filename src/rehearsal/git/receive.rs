//! The commands of a push, read before Git sees them, and how a push is refused (gitprotocol-pack(5)).

/// Release tags: never moved, never deleted.
pub const PROTECTED: &str = "refs/tags/release/";
/// The branch that production follows.
pub const MAIN: &str = "refs/heads/main";

/// What a client asks `git-receive-pack` to do.
#[derive(Debug, Default)]
pub struct Push {
    pub commands: Vec<Command>,
    /// Whether progress and errors may be sent beside the report.
    side_band: bool,
    /// Whether the client wants a report at all.
    report: bool,
}

/// One ref to change; an object id of zeros is "not there".
#[derive(Debug, PartialEq, Eq)]
pub struct Command {
    pub old: String,
    pub new: String,
    pub name: String,
}

/// Why a push is refused: what the client prints as `remote: …`, and the reason behind its `[remote rejected]`.
#[derive(Debug)]
pub struct Refusal {
    pub remote: Vec<String>,
    pub reason: String,
}

impl Refusal {
    /// Somebody else holds the ref's lock.
    pub fn locked(name: &str) -> Self {
        Self { remote: Vec::new(), reason: format!("cannot lock ref '{name}': is being updated by another push") }
    }
}

impl Push {
    /// Reads the packet lines up to the first flush.
    pub fn parse(body: &[u8]) -> Result<Self, &'static str> {
        let mut push = Self::default();
        let mut rest = body;
        loop {
            let (line, after) = packet(rest)?;
            rest = after;
            let Some(line) = line else { return Ok(push) };
            let (command, capabilities) = match line.iter().position(|byte| *byte == 0) {
                Some(at) => (&line[..at], &line[at + 1..]),
                None => (line, &[][..]),
            };
            for capability in String::from_utf8_lossy(capabilities).split_whitespace() {
                push.side_band |= capability == "side-band-64k";
                push.report |= capability.starts_with("report-status");
            }
            let text = String::from_utf8_lossy(command);
            let text = text.trim_end_matches('\n');
            if text.starts_with("shallow ") {
                continue;
            }
            let mut parts = text.splitn(3, ' ').map(str::to_owned);
            let (Some(old), Some(new), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
                return Err("a command of the push cannot be read");
            };
            push.commands.push(Command { old, new, name });
        }
    }

    /// GitHub's answer to a push that a tag ruleset forbids (docs.github.com, "Available rules for rulesets"), or the
    /// protection of main (docs.github.com, "Troubleshooting protected branches").
    pub fn against_rules(&self, slug: &str, main_is_protected: bool) -> Option<Refusal> {
        if main_is_protected && self.commands.iter().any(|command| command.name == MAIN) {
            let remote = vec![
                format!("error: GH006: Protected branch update failed for {MAIN}."),
                String::new(),
                "- Changes must be made through a pull request.".to_owned(),
            ];
            return Some(Refusal { remote, reason: "protected branch hook declined".into() });
        }
        let zeros = |id: &str| id.bytes().all(|byte| byte == b'0');
        let moved = |command: &&Command| command.name.starts_with(PROTECTED) && !zeros(&command.old);
        let command = self.commands.iter().find(moved)?;
        let verb = if zeros(&command.new) { "delete" } else { "update" };
        let remote = vec![
            format!("error: GH013: Repository rule violations found for {}.", command.name),
            format!("Review all repository rules at https://github.com/{slug}/rules"),
            String::new(),
            format!("- Cannot {verb} this protected ref."),
            String::new(),
        ];
        Some(Refusal { remote, reason: "push declined due to repository rule violations".into() })
    }

    /// The whole answer that refuses every command.
    pub fn refuse(&self, refusal: &Refusal) -> Vec<u8> {
        let mut report = line(b"unpack ok\n");
        for command in &self.commands {
            report.extend(line(format!("ng {} {}\n", command.name, refusal.reason).as_bytes()));
        }
        report.extend(b"0000");
        let mut answer = Vec::new();
        if self.side_band {
            for text in &refusal.remote {
                answer.extend(line(format!("\u{2}{text}\n").as_bytes()));
            }
            if self.report {
                answer.extend(line(&[b"\x01", report.as_slice()].concat()));
            }
            answer.extend(b"0000");
        } else if self.report {
            answer = report;
        }
        answer
    }
}

/// One packet line; `None` for a flush.
fn packet(bytes: &[u8]) -> Result<(Option<&[u8]>, &[u8]), &'static str> {
    let cut = "the push ends within a packet line";
    let (length, rest) = bytes.split_at_checked(4).ok_or(cut)?;
    let length = std::str::from_utf8(length).ok().and_then(|hex| usize::from_str_radix(hex, 16).ok()).ok_or(cut)?;
    match length {
        0 => Ok((None, rest)),
        1..4 => Err("the push has a packet line of no meaning"),
        _ => rest.split_at_checked(length - 4).map(|(line, rest)| (Some(line), rest)).ok_or(cut),
    }
}

fn line(bytes: &[u8]) -> Vec<u8> {
    [format!("{:04x}", bytes.len() + 4).as_bytes(), bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_and_refused() {
        let (a, zero) = ("a".repeat(40), "0".repeat(40));
        let first = format!("{a} {zero} refs/tags/release/v1.2.0\0 report-status side-band-64k\n");
        let body = [line(first.as_bytes()), b"0000PACK".to_vec()].concat();
        let push = Push::parse(&body).unwrap();
        assert_eq!(push.commands.len(), 1);
        let refusal = push.against_rules("o/r", false).unwrap();
        assert!(refusal.remote[0].contains("GH013"));
        let answer = String::from_utf8(push.refuse(&refusal)).unwrap();
        assert!(answer.contains("ng refs/tags/release/v1.2.0 push declined"), "{answer}");
        assert!(Push::parse(b"00").is_err() && Push::parse(b"fffftoo short").is_err());
    }
}
