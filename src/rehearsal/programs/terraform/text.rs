//! What people read, in Terraform's words.

use serde_json::{Value, json};

use super::plan::{Action, Plan, Tally};
use super::said;
use super::state::{Instance, State};
use super::value::object;

pub const INITIALIZED: &str = "\nTerraform has been successfully initialized!\n\nYou may now begin working with Terraform. Try \
running \"terraform plan\" to see\nany changes that are required for your infrastructure. All Terraform commands\nshould now work.\n";
pub const LOCK_FILE_MADE: &str = "\nTerraform has created a lock file .terraform.lock.hcl to record the provider\nselections it \
made above. Include this file in your version control repository\nso that Terraform can guarantee to make the same selections by \
default when\nyou run \"terraform init\" in the future.\n";
pub const NOT_LOCKED: &str = "The following dependency selections recorded in the lock file are inconsistent with the current \
configuration:\n  - provider registry.terraform.io/hashicorp/aws: required by this configuration but no version is \
selected\n\nTo make the initial dependency selections that will initialize the dependency lock file, run:\n  terraform init";
pub const NOT_INSTALLED: &str = "The installed provider plugins are not consistent with the packages selected in the dependency \
lock file:\n  - registry.terraform.io/hashicorp/aws: there is no package for it cached in .terraform/providers\n\nTo download the \
plugins required for this configuration, run:\n  terraform init";
pub const NO_WORKSPACE: &str = "You can create this workspace with the \"new\" subcommand \nor include the \"-or-create\" flag with the \"select\" subcommand.\n";
pub const NEW_WORKSPACE: &str = "You're now on a new, empty workspace. Workspaces isolate their state,\nso if you run \"terraform \
plan\" Terraform will not see any existing state\nfor this configuration.\n";
pub const STALE: &str = "The given plan file can no longer be applied because the state was changed by another operation after \
the plan was created.";
pub const NO_STATE: &str = "No state file was found!\n\nState management commands require a state file. Run this command\nin a \
directory where Terraform has been run or use the -state flag\nto point the command to a specific state location.\n";
pub const APPROVE: &str = "\nDo you want to perform these actions?\n  Terraform will perform the actions described above.\n  Only \
'yes' will be accepted to approve.\n\n  Enter a value: ";

/// A plan without its attributes: those are what `show -json` is for.
pub fn plan(plan: &Plan) -> String {
    if plan.refresh_only {
        return drift(plan);
    }
    if !plan.applyable() {
        return "\nNo changes. Your infrastructure matches the configuration.\n".to_owned();
    }
    let mut out = "\nTerraform will perform the following actions:\n\n".to_owned();
    for change in &plan.changes {
        let what = match change.action {
            Action::NoOp => continue,
            Action::Create => "will be created",
            Action::Update => "will be updated in-place",
            Action::Replace => "must be replaced",
            Action::Delete => "will be destroyed",
        };
        out.push_str(&format!("  # {} {what}\n", change.address));
    }
    let Tally { add, change, remove } = plan.tally();
    out + &format!("\nPlan: {add} to add, {change} to change, {remove} to destroy.\n")
}

fn drift(plan: &Plan) -> String {
    let Some(drift) = plan.document["resource_drift"].as_array() else {
        return "\nNo changes. Your infrastructure still matches the configuration.\n".to_owned();
    };
    let mut out = "\nNote: Objects have changed outside of Terraform\n\n".to_owned();
    for one in drift {
        let gone = one["change"]["actions"] == json!(["delete"]);
        let what = if gone { "has been deleted" } else { "has changed" };
        out.push_str(&format!("  # {} {what}\n", one["address"].as_str().unwrap_or_default()));
    }
    out
}

pub fn saved(path: &str) -> String {
    format!(
        "\nSaved the plan to: {path}\n\nTo perform exactly these actions, run the following command to apply:\n    terraform \
         apply {path:?}\n"
    )
}

/// What a saved plan does, as `apply` says it first: the message, and the change.
pub fn planned(plan: &Plan) -> Vec<(String, Value)> {
    let changed = plan.changes.iter().filter(|change| change.action != Action::NoOp);
    changed
        .map(|change| {
            let word = change.action.word();
            let mut fields = json!({ "resource": said::resource(&change.address), "action": word });
            if let Some(reason) = &change.reason {
                fields["reason"] = json!(reason);
            }
            (format!("{}: Plan to {word}", change.address), fields)
        })
        .collect()
}

pub fn state(state: &State) -> String {
    state.resources.iter().map(|(address, instance)| resource(address, instance) + "\n").collect()
}

/// One resource, with its attributes as JSON.
pub fn resource(address: &str, instance: &Instance) -> String {
    let (kind, name) = address.split_once('.').unwrap_or((address, ""));
    let tainted = if instance.tainted { " (tainted)" } else { "" };
    let mut out = format!("# {address}:{tainted}\nresource {kind:?} {name:?} {{\n");
    if let Value::Object(attributes) = object(&instance.attributes) {
        for (name, value) in attributes.iter().filter(|(_, value)| !value.is_null()) {
            out.push_str(&format!("    {name} = {value}\n"));
        }
    }
    out + "}\n"
}
