//! The files of a checkout that may say something about releases, each read once and never a large one.

use std::path::{Path, PathBuf};

/// Longer files are no configuration.
const LARGEST: u64 = 512 * 1024;
/// Files that are looked at; a monorepo has more, but not of these kinds near its root.
const MOST: usize = 20_000;
/// Levels of directories.
const DEEP: usize = 8;
/// Directories that hold what others wrote, or what was built.
const SKIPPED: [&str; 7] = ["node_modules", "target", "vendor", "dist", "build", ".terraform", ".git"];

/// A file, by its path relative to the root.
#[derive(Debug, Clone)]
pub(super) struct Text {
    pub path: String,
    pub text: String,
}

/// The YAML and Terraform files below `root`, sorted by path.
pub(super) fn texts(root: &Path) -> Vec<Text> {
    let mut found = Vec::new();
    walk(root, 0, &mut found);
    found.sort();
    let read = |path: PathBuf| {
        let relative = path.strip_prefix(root).ok()?.to_str()?.to_owned();
        Some(Text { path: relative, text: std::fs::read_to_string(&path).ok()? })
    };
    found.into_iter().filter_map(read).collect()
}

fn walk(dir: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        if found.len() >= MOST {
            return;
        }
        // A link may lead out of the checkout, or round in a circle.
        let Ok(kind) = entry.file_type() else { continue };
        let name = entry.file_name().to_string_lossy().into_owned();
        if kind.is_dir() && depth < DEEP && !SKIPPED.contains(&name.as_str()) {
            walk(&entry.path(), depth + 1, found);
        } else if kind.is_file()
            && [".yaml", ".yml", ".tf"].iter().any(|end| name.ends_with(end))
            && entry.metadata().is_ok_and(|meta| meta.len() <= LARGEST)
        {
            found.push(entry.path());
        }
    }
}

/// The directories right below `root/name`, sorted.
pub(super) fn directories(root: &Path, name: &str) -> Vec<String> {
    let entries = std::fs::read_dir(root.join(name)).into_iter().flatten().flatten();
    let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut names: Vec<String> = directories.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}
