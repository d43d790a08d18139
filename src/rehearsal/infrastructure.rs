//! The infrastructure of the world: its root module, what was applied before the story begins, and what others do to it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::git::fill;
use super::programs::terraform::{Cloud, Holder, applied, changed_by_hand, lock_file};
use super::scenario::{Edit, Infrastructure, Module};
use super::shape::Shape;
use super::world::World;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::process;

/// The root module's directory in the repository.
pub const DIRECTORY: &str = "infra/terraform/environments/production";
/// Who applied what there is.
const PAST: &str = "dana@laptop";
/// How often others look whether it is their turn (wall time).
const LOOK: Duration = Duration::from_millis(100);

/// The module that this scenario has, before anybody wanted anything.
fn module(shape: &Shape, knobs: &Infrastructure) -> String {
    match knobs.module {
        Module::Aws => fill(include_str!("git/files/main.tf"), shape, &[]),
        Module::BuiltIn => fill(include_str!("git/files/built-in.tf"), shape, &[]),
    }
}

fn edited(text: String, edits: &[Edit]) -> Result<String> {
    edits.iter().try_fold(text, |text, edit| {
        if text.matches(&edit.from).count() != 1 {
            return Err(Error::internal(format!("the rehearsed module does not have once: {}", edit.from)));
        }
        Ok(text.replace(&edit.from, &edit.to))
    })
}

/// What the repository has of it.
pub fn files(shape: &Shape, knobs: &Infrastructure) -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    files.insert(format!("{DIRECTORY}/main.tf"), edited(module(shape, knobs), &knobs.wants)?);
    files.insert(".gitignore".to_owned(), ".terraform/\n*.tfstate\n*.tfstate.*\n".to_owned());
    if knobs.module == Module::Aws {
        files.insert(format!("{DIRECTORY}/.terraform.lock.hcl"), lock_file("~> 5.80"));
    }
    Ok(files)
}

/// Whether Terraform itself, or OpenTofu, plans it: it needs no provider, and is installed.
#[must_use]
pub fn is_planned_by_the_real_one(knobs: &Infrastructure) -> bool {
    knobs.module == Module::BuiltIn && ["terraform", "tofu"].into_iter().any(|name| process::find(name).is_some())
}

/// What the configuration says that an apply should leave.
#[must_use]
pub fn checks(knobs: &Infrastructure) -> Value {
    match knobs.module {
        Module::Aws => json!({
            "kubernetes_version": "1.33",
            "probe": ["database_endpoint", "redis_endpoint"],
            "probe_image": "curlimages/curl:8.12.1",
        }),
        Module::BuiltIn => json!({ "outputs": [] }),
    }
}

/// Applies what there is, in the checkout, and changes what was changed by hand.
pub fn past(home: &Path, checkout: &Path, shape: &Shape, knobs: &Infrastructure) -> Result<()> {
    Cloud::new(home, &shape.account, &shape.region).save()?;
    let dir = checkout.join(DIRECTORY);
    applied(home, &dir, &module(shape, knobs), &Clock::real(), PAST)?;
    for one in &knobs.by_hand {
        changed_by_hand(home, &dir, &one.address, &one.set)?;
    }
    Ok(())
}

/// What exists in AWS now; nothing where the world's files are gone.
#[must_use]
pub fn cloud(world: &World) -> Cloud {
    world.repo.path().parent().and_then(Cloud::open).unwrap_or_default()
}

/// Lives others' lives until it is dropped: a colleague who applies after a plan, and one who holds the lock.
pub async fn others(world: Arc<World>, home: PathBuf, checkout: PathBuf) {
    let dir = checkout.join(DIRECTORY);
    let knobs = &world.scenario.world.infrastructure;
    if let Some(who) = &knobs.locked_by {
        let mut holder = None;
        loop {
            if world.switches.state_locked() {
                holder = holder.or_else(|| Holder::take(&dir, who));
            } else {
                holder = None;
            }
            world.clock.sleep_wall(LOOK).await;
        }
    }
    let Some(colleague) = &knobs.colleague else { return };
    let after: SignedDuration = colleague.after.parse().unwrap_or_default();
    let Ok(text) = edited(module(&world.shape, knobs), &colleague.edits) else { return };
    loop {
        world.clock.sleep_wall(LOOK).await;
        let due = cloud(&world).planned.is_some_and(|planned| world.clock.now() >= planned + after);
        // Somebody else may hold the lock just now: then they try again.
        if due && applied(&home, &dir, &text, &Clock::real(), &colleague.who).is_ok() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::Scenario;

    #[test]
    fn every_scenario_has_a_module() {
        let shape = Shape::gospelib();
        for scenario in Scenario::all().unwrap() {
            let knobs = &scenario.world.infrastructure;
            assert!(files(&shape, knobs).is_ok(), "{}", scenario.name);
            if let Some(colleague) = &knobs.colleague {
                edited(module(&shape, knobs), &colleague.edits).unwrap();
                assert!(colleague.after.parse::<SignedDuration>().is_ok());
            }
        }
    }
}
