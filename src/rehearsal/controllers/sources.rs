//! An Application's sources: one, or several with a revision each, in their order (Argo CD, "Multiple Sources for an Application").

use serde_json::{Value, json};

use super::object::text;
use crate::rehearsal::World;

/// `spec.sources`, which count as soon as there are any (pkg/apis/application/v1alpha1, `HasMultipleSources`).
fn several(app: &Value) -> Option<&Vec<Value>> {
    app["spec"]["sources"].as_array().filter(|sources| !sources.is_empty())
}

/// Which of several is rendered: the first with a path. One that is only a `ref` has no manifests.
fn position(sources: &[Value]) -> usize {
    sources.iter().position(|source| !text(source, "/path").is_empty()).unwrap_or(0)
}

/// The source that is rendered.
pub fn rendered(app: &Value) -> &Value {
    several(app).map_or(&app["spec"]["source"], |sources| &sources[position(sources)])
}

/// Its revision in a part of the status, or in an operation; empty where there is none.
pub fn revision<'a>(app: &Value, part: &'a Value) -> &'a str {
    let of = several(app).and_then(|sources| part["revisions"][position(sources)].as_str());
    of.unwrap_or_else(|| text(part, "/revision"))
}

/// Writes that revision into such a part; the others are at the tips of their branches.
pub fn put_revision(world: &World, app: &Value, part: &mut Value, ours: &str) {
    let Some(sources) = several(app) else {
        part["revision"] = json!(ours);
        return;
    };
    let at = |(place, source): (usize, &Value)| {
        if place == position(sources) {
            return ours.to_owned();
        }
        let target = branch(source);
        world.repo.head(target).or_else(|| world.repo.resolve(target)).unwrap_or_default()
    };
    part["revisions"] = json!(sources.iter().enumerate().map(at).collect::<Vec<_>>());
}

/// Writes what was compared, synced or deployed.
pub fn put_source(app: &Value, part: &mut Value) {
    match several(app) {
        Some(sources) => part["sources"] = json!(sources),
        None => part["source"] = app["spec"]["source"].clone(),
    }
}

/// The branch, tag or commit that a source follows.
pub fn branch(source: &Value) -> &str {
    let target = text(source, "/targetRevision");
    if target.is_empty() || target == "HEAD" { "main" } else { target }
}
