//! Infrastructure: directory, program, limits and rules.

use super::Check;
use crate::config::model::Provision;
use crate::config::tree::Path;

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
    check.lasting(&path.key("plan_within"), provision.plan_within);
    check.lasting(&path.key("plan_age"), provision.plan_age);
    check.positive(&path.key("budget"), provision.budget);
}
