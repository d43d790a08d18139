//! Infrastructure: directory, program, limits and rules.

use super::Check;
use crate::config::model::{Checks, Policy, Provision};
use crate::config::tree::Path;
use crate::domain::provision::{WHOLE, built_in};

pub(super) fn provision(check: &mut Check<'_>, provision: &Provision) {
    let path = Path::default().key("provision");
    check.inside(&path.key("directory"), &provision.directory);
    if let Some(program) = &provision.program {
        let right = !program.trim().is_empty() && !program.starts_with('-');
        check.unless(right, &path.key("program"), "it is not the name or path of a program");
    }
    if let Some(workspace) = &provision.workspace {
        // Terraform's own rule: what stands in a URL's path as it is.
        let safe = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
        let right = !workspace.is_empty() && workspace.bytes().all(safe) && !workspace.starts_with('-');
        check.unless(right, &path.key("workspace"), format!("{workspace:?} is not the name of a workspace"));
    }
    for (index, file) in provision.var_files.iter().enumerate() {
        check.not_blank(&path.key("var_files").index(index), file);
    }
    for (index, setting) in provision.backend_config.iter().enumerate() {
        check.not_blank(&path.key("backend_config").index(index), setting);
    }
    check.lasting(&path.key("plan_within"), provision.plan_within);
    check.lasting(&path.key("plan_age"), provision.plan_age);
    check.positive(&path.key("budget"), provision.budget);
    let table = path.key("cost_table");
    check.unique(&table, "resource", provision.cost_table.iter().map(|row| row.resource.as_str()));
    for (index, row) in provision.cost_table.iter().enumerate() {
        let right = row.monthly >= 0.0 && row.monthly.is_finite();
        check.unless(right, &table.index(index).key("monthly"), "it must not be below 0");
    }
    policy(check, &path.key("policy"), &provision.policy);
    checks(check, &path.key("checks"), &provision.checks);
}

fn checks(check: &mut Check<'_>, path: &Path, checks: &Checks) {
    check.lasting(&path.key("within"), checks.within);
    let outputs = path.key("outputs");
    check.unique(&outputs, "key", checks.outputs.iter().map(|row| row.key.as_str()));
    for (index, row) in checks.outputs.iter().enumerate() {
        check.not_blank(&outputs.index(index).key("output"), &row.output);
        check.not_blank(&outputs.index(index).key("key"), &row.key);
    }
    for (index, name) in checks.probe.iter().enumerate() {
        check.not_blank(&path.key("probe").index(index), name);
    }
}

fn policy(check: &mut Check<'_>, path: &Path, policy: &Policy) {
    let known: Vec<&str> =
        built_in().iter().map(|rule| rule.name.as_str()).chain(WHOLE.iter().map(|(name, _)| *name)).collect();
    let mut seen = Vec::new();
    for (key, names) in [("deny", &policy.deny), ("warn", &policy.warn), ("off", &policy.off)] {
        for (index, name) in names.iter().enumerate() {
            let at = path.key(key).index(index);
            let message = format!("{name:?} is no built-in rule; there are {}", known.join(", "));
            check.unless(known.contains(&name.as_str()), &at, message);
            check.unless(!seen.contains(&name), &at, format!("{name} stands in these lists twice"));
            seen.push(name);
        }
    }
    let rules = path.key("rules");
    check.unique(&rules, "name", policy.rules.iter().map(|rule| rule.name.as_str()));
    for (index, rule) in policy.rules.iter().enumerate() {
        let at = rules.index(index);
        check.not_blank(&at.key("name"), &rule.name);
        check.not_blank(&at.key("message"), &rule.message);
        let taken = known.contains(&rule.name.as_str());
        check.unless(!taken, &at.key("name"), format!("{} is the name of a built-in rule", rule.name));
        let both = rule.attribute.is_some() != rule.values.is_empty();
        check.unless(both, &at, "`attribute` and `values` belong together");
    }
}
