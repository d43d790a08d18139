//! `docs/cli.md`, made from the commands themselves.

use clap::{Arg, ArgAction, Args, Command, CommandFactory};

/// Print the reference of the command line in Markdown
#[derive(Debug, Clone, Args)]
pub struct Reference {}

const HEAD: &str = "\
# The command line

<!-- Generated from the commands. `UPDATE_DOCS=1 cargo test reference` writes it again. -->
";

/// The whole of `docs/cli.md`.
#[must_use]
pub fn markdown() -> String {
    let mut root = super::Cli::command();
    root.build();
    let mut out = format!("{HEAD}\n{}\n", about(&root));
    out.push_str("\n## Global options\n\nEvery command takes these.\n\n");
    for arg in root.get_arguments().filter(|arg| shown(arg)) {
        argument(&mut out, arg);
    }
    for command in root.get_subcommands().filter(|command| documented(command)) {
        section(&mut out, command, "gospel-release", 2);
    }
    if let Some(after) = root.get_after_help() {
        out.push_str(&format!("\n## Notes\n\n{}\n", escaped(&after.to_string())));
    }
    out
}

fn documented(command: &Command) -> bool {
    !command.is_hide_set() && command.get_name() != "help"
}

fn section(out: &mut String, command: &Command, parent: &str, level: usize) {
    let name = format!("{parent} {}", command.get_name());
    out.push_str(&format!("\n{} `{name}`\n\n{}\n\n", "#".repeat(level), about(command)));
    let usage = command.clone().render_usage().to_string();
    out.push_str(&format!("```text\n{}\n```\n", usage.trim_start_matches("Usage: ").trim()));
    let own: Vec<&Arg> = command.get_arguments().filter(|arg| shown(arg) && !arg.is_global_set()).collect();
    if !own.is_empty() {
        out.push('\n');
    }
    for arg in own {
        argument(out, arg);
    }
    for below in command.get_subcommands().filter(|command| documented(command)) {
        section(out, below, &name, level + 1);
    }
}

/// `--help` and `--version` are the same everywhere.
fn shown(arg: &Arg) -> bool {
    !arg.is_hide_set() && (arg.is_positional() || !matches!(arg.get_id().as_str(), "help" | "version"))
}

fn about(command: &Command) -> String {
    let text = command.get_long_about().or_else(|| command.get_about());
    escaped(&text.map(ToString::to_string).unwrap_or_default())
}

fn argument(out: &mut String, arg: &Arg) {
    let mut name = arg.get_long().map(|long| format!("--{long}")).unwrap_or_default();
    if let Some(short) = arg.get_short() {
        name = format!("-{short}, {name}");
    }
    let takes = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    let named = arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
    let value = takes.then(|| named.unwrap_or_else(|| arg.get_id().as_str().to_uppercase()));
    let form = match value {
        Some(value) if arg.is_positional() && arg.is_required_set() => format!("<{value}>"),
        Some(value) if arg.is_positional() => format!("[{value}]"),
        Some(value) if arg.is_require_equals_set() => format!("{name}[={value}]"),
        Some(value) => format!("{name} <{value}>"),
        None => name,
    };
    let help = arg.get_long_help().or_else(|| arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let sentences: Vec<String> = escaped(&help).split("\n\n").map(sentence).chain(notes(arg, takes)).collect();
    out.push_str(&format!("- `{form}`: {}\n", sentences.join(" ")));
}

/// A paragraph of help on one line, with its full stop.
fn sentence(text: &str) -> String {
    let text = text.replace('\n', " ");
    if text.is_empty() || text.ends_with(['.', ']']) { text } else { text + "." }
}

/// What the flag's form does not say.
fn notes(arg: &Arg, takes: bool) -> Vec<String> {
    let mut notes = Vec::new();
    if matches!(arg.get_action(), ArgAction::Append) {
        notes.push("May be repeated.".into());
    }
    let values: Vec<_> = arg.get_possible_values().into_iter().filter(|value| !value.is_hide_set()).collect();
    if takes && !values.is_empty() {
        let names: Vec<String> = values.iter().map(|value| format!("`{}`", value.get_name())).collect();
        notes.push(format!("One of {}.", names.join(", ")));
    }
    let defaults: Vec<String> = arg.get_default_values().iter().map(|value| value.to_string_lossy().into()).collect();
    if takes && !defaults.is_empty() {
        notes.push(format!("Default: `{}`.", defaults.join(" ")));
    }
    notes
}

/// Text of ours as Markdown: what would be read as HTML is not.
fn escaped(text: &str) -> String {
    text.trim().replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_and_flag_is_in_the_reference() {
        let text = markdown();
        for part in [
            "## `gospel-release promote`",
            "### `gospel-release checklist attest`",
            "- `--rehearse[=SCENARIO]`",
            "- `--wait-approval <DURATION>`",
            "- `[VERSION]`: The version to release [default: ",
            "- `<GATE>`: The gate. One of `smoke`.",
            "Default: `text`.",
        ] {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
        assert!(!text.contains("gospel-release reference`"));
    }
}
