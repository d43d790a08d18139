//! `required_version` of a root module, as its files say it.

use std::path::Path;

use crate::domain::provision::Constraint;
use crate::error::{Error, Result};

/// A file of a configuration that is longer is not read for this; Terraform itself will.
const LARGEST: u64 = 4 * 1024 * 1024;

/// What files of a configuration end with.
const ENDINGS: [&str; 4] = [".tf", ".tf.json", ".tofu", ".tofu.json"];

/// A constraint, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Required {
    pub constraint: Constraint,
    /// `main.tf:2`.
    pub place: String,
}

/// Every `required_version` in the directory's `.tf` files. What cannot be understood is left to Terraform, which checks it too.
///
/// # Errors
/// There is no such directory, or no configuration in it.
pub(super) fn required(dir: &Path) -> Result<Vec<Required>> {
    let entries = std::fs::read_dir(dir).map_err(|error| {
        Error::config(format!("read the Terraform configuration in {}", dir.display()))
            .because(error)
            .hint("set provision.directory to the root module, relative to the checkout")
    })?;
    let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    let named = |file: &Path, end: &str| file.to_string_lossy().ends_with(end);
    if !files.iter().any(|file| ENDINGS.iter().any(|end| named(file, end))) {
        return Err(Error::config(format!("{} holds no Terraform configuration (*.tf)", dir.display()))
            .hint("set provision.directory to the root module, relative to the checkout"));
    }
    let mut found = Vec::new();
    for file in files.iter().filter(|file| named(file, ".tf")) {
        let small = file.metadata().is_ok_and(|meta| meta.is_file() && meta.len() <= LARGEST);
        let Some(text) = small.then(|| std::fs::read_to_string(file).ok()).flatten() else { continue };
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        found.extend(in_text(&text).into_iter().filter_map(|(line, constraint)| {
            Some(Required { constraint: constraint.parse().ok()?, place: format!("{name}:{line}") })
        }));
    }
    Ok(found)
}

/// `required_version = "…"` on lines that are no comment: the line's number, and the text.
fn in_text(text: &str) -> Vec<(usize, String)> {
    let (mut found, mut comment) = (Vec::new(), false);
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if comment {
            comment = !line.contains("*/");
            continue;
        }
        if line.starts_with("/*") {
            comment = !line.contains("*/");
            continue;
        }
        let rest = match line.split_once("terraform {") {
            Some((before, rest)) if before.trim().is_empty() => rest.trim(),
            _ => line,
        };
        let value = rest.strip_prefix("required_version").and_then(|rest| rest.trim_start().strip_prefix('='));
        let value = value.and_then(|rest| rest.trim_start().strip_prefix('"')?.split('"').next());
        found.extend(value.map(|value| (index + 1, value.to_owned())));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn required_versions_are_found_and_comments_are_not() {
        let text = "# required_version = \"1\"\n/*\nrequired_version = \"2\"\n*/\nterraform {\n  required_version = \">= 1.9\" # x\n}\n";
        assert_eq!(in_text(text), [(6, ">= 1.9".to_owned())]);
        assert_eq!(in_text("terraform { required_version = \"~> 1.5\" }"), [(1, "~> 1.5".to_owned())]);
    }

    #[test]
    fn a_directory_without_a_configuration_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(required(dir.path()).unwrap_err().what().contains("holds no Terraform configuration"));
        assert!(required(&dir.path().join("none")).is_err());
        std::fs::write(dir.path().join("main.tf"), "terraform {\n required_version = \">= 1.0\"\n}").unwrap();
        assert_eq!(required(dir.path()).unwrap()[0].place, "main.tf:2");
    }
}
