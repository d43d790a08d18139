//! Commands that people copy from what they are told: with the configuration that this call was given by hand.

use std::borrow::Cow;
use std::path::Path;
use std::sync::OnceLock;

use crate::domain::{printable, sh_word};

const OURS: &str = "gospel-release ";

static NAMED: OnceLock<Named> = OnceLock::new();

/// What a command must repeat.
#[derive(Debug)]
struct Named {
    flag: String,
    /// Our commands that read a configuration.
    commands: Vec<String>,
}

/// From now on every command of ours that is told names this file, as `--config` did. `commands` are those that read one.
pub fn name_config(file: &Path, commands: Vec<String>) {
    let flag = format!("--config {} ", sh_word(&printable(&file.to_string_lossy())));
    // The first one holds: a process has one command line.
    let _ = NAMED.set(Named { flag, commands });
}

/// A text as it is told: its commands can be copied as they stand.
#[must_use]
pub fn told(text: &str) -> Cow<'_, str> {
    NAMED.get().map_or(Cow::Borrowed(text), |named| named.told(text))
}

impl Named {
    fn told<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut parts = text.split(OURS);
        let mut out = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let name_alone = !out.ends_with(|c: char| c.is_alphanumeric() || "/-_.".contains(c));
            let end = part.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(part.len());
            out.push_str(OURS);
            if name_alone && self.commands.iter().any(|command| *command == part[..end]) {
                out.push_str(&self.flag);
            }
            out.push_str(part);
        }
        if out == text { Cow::Borrowed(text) } else { Cow::Owned(out) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_repeat_the_configuration_and_sentences_do_not() {
        let named = Named {
            flag: "--config 'my file.yaml' ".to_owned(),
            commands: ["resume", "abort", "status"].map(str::to_owned).to_vec(),
        };
        for (text, told) in [
            ("to go on: gospel-release resume RUN", "to go on: gospel-release --config 'my file.yaml' resume RUN"),
            (
                "gospel-release status; gospel-release resume",
                "gospel-release --config 'my file.yaml' status; gospel-release --config 'my file.yaml' resume",
            ),
            ("this gospel-release does not know it", "this gospel-release does not know it"),
            ("use gospel-release 0.1.0, or a newer one", "use gospel-release 0.1.0, or a newer one"),
            ("gospel-release rehearse list", "gospel-release rehearse list"),
            ("/opt/gospel-release status", "/opt/gospel-release status"),
            ("gospel-release statuses", "gospel-release statuses"),
        ] {
            assert_eq!(named.told(text), told);
            // Told twice, it is the same.
            assert_eq!(named.told(told), told);
        }
    }
}
