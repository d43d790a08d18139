//! The generated pages and the schema are those of the code. `UPDATE_DOCS=1 cargo test reference` writes them again.

use std::path::Path;

fn current(file: &str, made: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, made).unwrap();
        return;
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == made, "{file} is not current: UPDATE_DOCS=1 cargo test reference");
}

#[test]
fn the_reference_of_the_command_line_is_current() {
    current("docs/cli.md", &gospel_release::cli::reference::markdown());
}

#[test]
fn the_reference_of_the_configuration_is_current() {
    current("docs/configuration.md", &gospel_release::config::reference::markdown());
}

#[test]
fn the_schema_of_the_configuration_is_current() {
    current("schema/gospel-release.schema.json", &gospel_release::config::schema::file());
}
