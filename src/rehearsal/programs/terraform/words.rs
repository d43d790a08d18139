//! The command line: flags as Go reads them, with one dash or two.

use std::time::Duration;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    Version,
    Init,
    Workspace,
    Plan,
    Show,
    Apply,
    State,
    Output,
    ForceUnlock,
}

/// A command with its flags and what is left.
#[derive(Debug)]
pub struct Words {
    pub command: Command,
    flags: Vec<(String, Option<String>)>,
    pub rest: Vec<String>,
}

const COMMANDS: [(&str, Command); 10] = [
    ("version", Command::Version),
    ("-version", Command::Version),
    ("init", Command::Init),
    ("workspace", Command::Workspace),
    ("plan", Command::Plan),
    ("show", Command::Show),
    ("apply", Command::Apply),
    ("state", Command::State),
    ("output", Command::Output),
    ("force-unlock", Command::ForceUnlock),
];
/// Commands of the real one that are not rehearsed.
const OTHERS: [&str; 12] = [
    "validate",
    "destroy",
    "console",
    "fmt",
    "get",
    "graph",
    "import",
    "login",
    "providers",
    "refresh",
    "taint",
    "untaint",
];
const SWITCHES: [&str; 13] = [
    "json",
    "no-color",
    "detailed-exitcode",
    "refresh-only",
    "auto-approve",
    "force",
    "raw",
    "input",
    "lock",
    "upgrade",
    "compact-warnings",
    "reconfigure",
    "dry-run",
];
const VALUED: [&str; 6] = ["out", "lock-timeout", "var", "var-file", "lockfile", "parallelism"];

impl Command {
    /// Reads the words after the program's name.
    ///
    /// # Errors
    /// What the program says to standard error before it ends with 1.
    pub fn read(args: &[String]) -> Result<Words, String> {
        let Some((name, args)) = args.split_first() else {
            return Err("Usage: terraform [global options] <subcommand> [args]\n".to_owned());
        };
        let known = COMMANDS.iter().find(|(known, _)| *known == name.replacen("--", "-", 1));
        let Some((name, command)) = known.map(|(name, command)| (name.trim_start_matches('-'), *command)) else {
            if OTHERS.contains(&name.as_str()) {
                return Err(format!("terraform {name} is not rehearsed: this is the stand-in of a rehearsal\n"));
            }
            return Err(format!(
                "Terraform has no command named {name:?}.\n\nTo see all of Terraform's top-level commands, run:\n  terraform \
                 -help\n\n"
            ));
        };
        let (mut flags, mut rest) = (Vec::new(), Vec::new());
        let mut left = args.iter();
        while let Some(word) = left.next() {
            let Some(flag) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')).filter(|flag| !flag.is_empty())
            else {
                rest.push(word.clone());
                continue;
            };
            let (flag, inline) = match flag.split_once('=') {
                Some((flag, value)) => (flag, Some(value.to_owned())),
                None => (flag, None),
            };
            let value = match () {
                () if SWITCHES.contains(&flag) => inline,
                () if VALUED.contains(&flag) => {
                    let value = inline.or_else(|| left.next().cloned());
                    Some(value.ok_or_else(|| unread(name, &format!("flag needs an argument: -{flag}")))?)
                }
                () => return Err(unread(name, &format!("flag provided but not defined: -{flag}"))),
            };
            flags.push((flag.to_owned(), value));
        }
        Ok(Words { command, flags, rest })
    }

    /// Whether its JSON is a stream of messages.
    pub fn speaks(self) -> bool {
        matches!(self, Self::Plan | Self::Apply)
    }
}

fn unread(name: &str, why: &str) -> String {
    format!(
        "\nError: Failed to parse command-line flags\n\n{why}\n\nFor more help on using this command, run:\n  terraform {name} \
         -help\n"
    )
}

impl Words {
    /// Whether a switch is on; the last one counts.
    pub fn has(&self, name: &str) -> bool {
        let last = self.flags.iter().rev().find(|(flag, _)| flag == name);
        last.is_some_and(|(_, value)| value.as_deref() != Some("false"))
    }

    pub fn json(&self) -> bool {
        self.has("json")
    }

    pub fn value(&self, name: &str) -> Option<&str> {
        self.flags.iter().rev().find(|(flag, _)| flag == name)?.1.as_deref()
    }

    pub fn all(&self, name: &str) -> Vec<String> {
        self.flags.iter().filter(|(flag, _)| flag == name).filter_map(|(_, value)| value.clone()).collect()
    }

    /// A duration in Go's form (`5s`, `1m30s`); none where it is not given.
    pub fn duration(&self, name: &str) -> Result<Duration, String> {
        let Some(text) = self.value(name) else { return Ok(Duration::ZERO) };
        let failed = || format!("invalid value {text:?} for flag -{name}: parse error");
        let (mut total, mut rest) = (0.0, text);
        while !rest.is_empty() && rest != "0" {
            let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or_else(failed)?;
            let number: f64 = rest[..end].parse().map_err(|_| failed())?;
            let (seconds, unit) = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)]
                .iter()
                .find(|(unit, _)| rest[end..].starts_with(unit))
                .map(|(unit, seconds)| (*seconds, unit.len()))
                .ok_or_else(failed)?;
            total += number * seconds;
            rest = &rest[end + unit..];
        }
        Duration::try_from_secs_f64(total).map_err(|_| failed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Words, String> {
        Command::read(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn flags_are_read_as_go_reads_them() {
        let words = read("plan -input=false --json -out p.tfplan -var-file=a -var-file b -lock-timeout=1m30s").unwrap();
        assert!(words.json() && !words.has("input") && !words.has("lock"));
        assert_eq!((words.value("out"), words.all("var-file")), (Some("p.tfplan"), vec!["a".into(), "b".into()]));
        assert_eq!(words.duration("lock-timeout"), Ok(Duration::from_secs(90)));
        assert_eq!(read("plan -lock-timeout=0s").unwrap().duration("lock-timeout"), Ok(Duration::ZERO));
        assert!(read("plan -lock-timeout=x").unwrap().duration("lock-timeout").is_err());
        assert!(read("plan -bogus").unwrap_err().contains("flag provided but not defined: -bogus"));
        assert!(read("bogus").unwrap_err().contains("no command named"));
        assert!(read("destroy").unwrap_err().contains("not rehearsed"));
        assert_eq!(read("state list").unwrap().rest, ["list"]);
    }
}
