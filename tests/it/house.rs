//! Who may import whom: the house has walls (docs/architecture.md).

use std::path::{Path, PathBuf};

/// A room, and the rooms that it may use.
const ROOMS: [(&str, &[&str]); 12] = [
    ("error.rs", &[]),
    ("clock.rs", &[]),
    ("process.rs", &["error"]),
    ("domain", &["error"]),
    ("engine", &["clock", "domain", "error"]),
    ("adapters", &["clock", "config", "domain", "error", "process"]),
    ("monitor", &["adapters", "clock", "config", "domain", "error"]),
    ("gates", &["adapters", "config", "domain", "engine", "error", "monitor"]),
    ("steps", &["adapters", "clock", "config", "domain", "engine", "error", "monitor"]),
    ("ui", &["clock", "config", "domain", "engine", "error"]),
    ("rehearsal", &["clock", "domain", "error", "process"]),
    ("config", &["domain", "error", "ui"]),
];

fn files(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let entries = std::fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let rust = |file: &PathBuf| file.extension().is_some_and(|ending| ending == "rs");
    entries.flat_map(|entry| files(&entry.expect("an entry").path())).filter(rust).collect()
}

#[test]
fn rooms_use_only_the_rooms_below_them() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for (room, may) in ROOMS {
        let own = room.trim_end_matches(".rs");
        for file in files(&source.join(room)) {
            let text = std::fs::read_to_string(&file).expect("a source file");
            for (number, line) in text.lines().enumerate() {
                for used in line.split("crate::").skip(1) {
                    let used: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                    // The crate's own names: Error, Kind, Result.
                    let known = used == own || may.contains(&used.as_str()) || used.starts_with(char::is_uppercase);
                    if !known && !line.trim_start().starts_with("//") {
                        wrong.push(format!("{}:{}: {room} uses {used}", file.display(), number + 1));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A file past 600 lines is two files.
#[test]
fn files_stay_small() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let long: Vec<String> = files(&source)
        .into_iter()
        .filter_map(|file| {
            let lines = std::fs::read_to_string(&file).ok()?.lines().count();
            (lines > 600).then(|| format!("{}: {lines} lines", file.display()))
        })
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}
