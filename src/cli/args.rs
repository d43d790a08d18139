//! The whole command line: global flags and the list of commands.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand, ValueEnum};

use super::{
    checklist, completions, config, doctor, hotfix, init, monitor, promote, provision, rehearse, rollback, runs, tag,
};
use crate::ui::style::ColorChoice;

const AFTER_HELP: &str = "\
Try it: gospel-release promote --rehearse
Exit codes: 0 done, 1 internal, 2 usage, 3 configuration, 10 gate blocked, 11 waiting for a person, 12 timed out,
13 locked, 14 wrong world, 15 an outside system failed, 16 regression, 17 debt open, 18 drift, 130 interrupted.";

/// Ship a service to production: checklist, tag, monitor, rollback, in one guided flow.
#[derive(Debug, Clone, Parser)]
#[command(name = "gospel-release", version, after_help = AFTER_HELP, arg_required_else_help = true)]
#[command(disable_help_subcommand = false, subcommand_required = true, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Reads a command line; the first word is the program's name. The error knows its exit code and prints itself.
    ///
    /// Flags may stand before and after the command, where clap looks at each side alone: what spans both is seen to here.
    pub fn read(line: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let line: Vec<OsString> = line.into_iter().collect();
        let mut cli = Self::try_parse_from(&line)?;
        cli.global.sets = every_set(&line);
        if cli.global.interactive && cli.global.rehearse.is_none() {
            let message = "--interactive is for rehearsals: add --rehearse";
            return Err(Self::command().error(ErrorKind::MissingRequiredArgument, message));
        }
        if cli.global.output == Output::Markdown && !matches!(cli.command, Command::Provision(_)) {
            let message = "--output markdown is for provision: use text or json here";
            return Err(Self::command().error(ErrorKind::ArgumentConflict, message));
        }
        Ok(cli)
    }

    /// The commands that read `gospel-release.yaml`.
    #[must_use]
    pub fn commands_with_settings() -> Vec<String> {
        let all = Self::command();
        let names = all.get_subcommands().map(|command| command.get_name().to_owned());
        names.filter(|name| !matches!(name.as_str(), "rehearse" | "completions" | "reference")).collect()
    }
}

/// All `--set` flags in order. clap keeps those on one side of the command only; no other flag takes a value that
/// begins with `-`, so the word is always the flag.
fn every_set(line: &[OsString]) -> Vec<String> {
    let mut words = line.iter().filter_map(|word| word.to_str()).take_while(|word| *word != "--");
    let mut sets = Vec::new();
    while let Some(word) = words.next() {
        if word == "--set" {
            sets.extend(words.next().map(str::to_owned));
        } else if let Some(set) = word.strip_prefix("--set=") {
            sets.push(set.to_owned());
        }
    }
    sets
}

/// Flags that every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Configuration file [default: gospel-release.yaml, searched upward from here]
    #[arg(long, global = true, value_name = "PATH")]
    pub config: Option<PathBuf>,

    /// Set one value of the configuration, over every file: gates.soak=12h
    #[arg(long = "set", global = true, value_name = "KEY=VALUE", action = ArgAction::Append)]
    pub sets: Vec<String>,

    /// Run against the embedded, simulated production [default scenario: clean]
    ///
    /// Nothing outside this machine is contacted. `gospel-release rehearse list` describes the scenarios.
    #[arg(long, global = true, value_name = "SCENARIO", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "clean")]
    pub rehearse: Option<String>,

    /// In a rehearsal: ask the person what would otherwise be confirmed for them
    #[arg(long, global = true)]
    pub interactive: bool,

    /// Look at everything, change nothing
    #[arg(long, global = true)]
    pub dry_run: bool,

    /// Answer the confirmation prompt with yes; other consents have flags of their own
    #[arg(long, global = true)]
    pub yes: bool,

    /// Form of the result on standard output
    #[arg(long, global = true, value_name = "FORM", value_enum, default_value_t)]
    pub output: Output,

    /// Write the stream of events to standard error in this form, instead of drawing it
    #[arg(long, global = true, value_name = "FORM", value_enum)]
    pub events: Option<Events>,

    /// Colours
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t)]
    pub color: ColorChoice,

    /// Say more: -v for requests, -vv for their details
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
}

/// Form of the result on standard output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    #[default]
    Text,
    /// One JSON document
    Json,
    /// For a comment on a pull request (provision only)
    Markdown,
}

/// Form of the stream of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Events {
    /// One JSON object a line
    Jsonl,
}

/// The commands, in the order in which people meet them.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    Promote(promote::Promote),
    Rollback(rollback::Rollback),
    Hotfix(hotfix::Hotfix),
    Checklist(checklist::Checklist),
    Tag(tag::Tag),
    Monitor(monitor::Monitor),
    Provision(provision::Provision),
    Doctor(doctor::Doctor),
    Status(runs::Status),
    Resume(runs::Resume),
    Abort(runs::Abort),
    Runs(runs::Runs),
    Init(init::Init),
    Config(config::Config),
    Rehearse(rehearse::Rehearse),
    Completions(completions::Completions),
    #[command(hide = true)]
    Reference(super::reference::Reference),
}

/// A duration argument: `24h`, `90s`, `1h30m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    crate::config::model::span::parse(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::read(line.split(' ').map(OsString::from))
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn rehearse_never_swallows_the_next_word() {
        let cli = parse("gospel-release --rehearse promote v1.2.0").unwrap();
        assert_eq!(cli.global.rehearse.as_deref(), Some("clean"));
        let cli = parse("gospel-release promote --rehearse=ci-red v1.2.0").unwrap();
        assert_eq!(cli.global.rehearse.as_deref(), Some("ci-red"));
        let Command::Promote(promote) = cli.command else { panic!("not promote") };
        assert_eq!(promote.version.unwrap().to_string(), "v1.2.0");
    }

    #[test]
    fn global_flags_may_stand_before_and_after_the_command() {
        let cli = parse("gospel-release --rehearse --set a.b=1 promote --interactive --set=c=2 --output json").unwrap();
        assert!(cli.global.interactive && cli.global.output == Output::Json);
        assert_eq!(cli.global.sets, ["a.b=1", "c=2"]);
        assert!(parse("gospel-release promote --rehearse --interactive").unwrap().global.interactive);
    }

    #[test]
    fn wrong_lines_end_with_2() {
        for line in [
            "gospel-release promote 1.2",
            "gospel-release promote v1.2.0-",
            "gospel-release promote --aprove",
            "gospel-release monitor --for 1",
            "gospel-release promote --interactive",
            "gospel-release checklist attest smoke --note ok",
            "gospel-release tag -v1.2.0",
            "gospel-release status --output markdown",
            "gospel-release provision",
            "gospel-release",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
