//! STS, in the Query protocol (API reference, version 2011-06-15).

use super::router::account_of_caller;
use super::wire::{Call, Fault};
use crate::rehearsal::World;

pub(super) fn answer(world: &World, call: &Call) -> Result<String, Fault> {
    match call.params.get("Action").map(String::as_str) {
        Some("GetCallerIdentity") => Ok(identity(account_of_caller(world, call), &call.request_id)),
        Some(other) => Err(Fault::not_rehearsed(format!("operation {other:?} of STS"))),
        None => Err(Fault::new(400, "MissingAction", "Missing Action")),
    }
}

fn identity(account: &str, request_id: &str) -> String {
    format!(
        concat!(
            r#"<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">"#,
            "<GetCallerIdentityResult><Arn>arn:aws:sts::{account}:assumed-role/gospelib-release/dana-dev</Arn>",
            "<UserId>AROAREHEARSAL0EXAMPLE:dana-dev</UserId><Account>{account}</Account></GetCallerIdentityResult>",
            "<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
        ),
        account = account,
        request_id = request_id
    )
}
