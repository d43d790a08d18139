//! Secrets Manager, in JSON 1.1: names and dates. A value is never given out.

use std::time::Duration;

use serde_json::{Value, json};

use super::router::account;
use super::wire::{Call, Fault, page, seconds};
use crate::rehearsal::World;

/// The secrets of an environment, below `<project>/<environment>/`.
pub const SECRETS: [&str; 3] = ["clerk-secret-key", "database-url", "redis-url"];

pub(super) fn answer(world: &World, call: &Call) -> Result<Value, Fault> {
    match call.operation.as_str() {
        "DescribeSecret" => {
            let id = call.text("SecretId").unwrap_or_default();
            let names = names(world);
            let name = names.iter().find(|name| *name == id || arn(world, name) == id);
            name.map(|name| describe(world, name)).ok_or_else(|| {
                let text = "Secrets Manager can't find the specified secret.";
                Fault::new(400, "ResourceNotFoundException", text)
            })
        }
        "ListSecrets" => list(world, call),
        "GetSecretValue" | "BatchGetSecretValue" => Err(denied(world, &call.operation)),
        other => Err(Fault::not_rehearsed(format!("operation {other:?} of Secrets Manager"))),
    }
}

fn list(world: &World, call: &Call) -> Result<Value, Fault> {
    let entries = names(world).iter().map(|name| describe(world, name)).collect();
    // This service writes its members with capitals.
    let mut capital = call.body.clone();
    capital["maxResults"] = call.body["MaxResults"].clone();
    capital["nextToken"] = call.body["NextToken"].clone();
    let lower = Call { body: capital, ..clone_of(call) };
    let mut answer = page(&lower, entries, "SecretList")?;
    if let Some(token) = answer.as_object_mut().and_then(|map| map.shift_remove("nextToken")) {
        answer["NextToken"] = token;
    }
    Ok(answer)
}

fn clone_of(call: &Call) -> Call {
    Call {
        method: call.method.clone(),
        path: call.path.clone(),
        params: call.params.clone(),
        operation: call.operation.clone(),
        body: Value::Null,
        service: call.service.clone(),
        key: call.key.clone(),
        protocol: call.protocol,
        host: call.host.clone(),
        request_id: call.request_id.clone(),
    }
}

fn names(world: &World) -> Vec<String> {
    let of = |environment| SECRETS.iter().map(move |name| format!("{}/{environment}/{name}", world.shape.project));
    of("production").chain(of("staging")).collect()
}

fn arn(world: &World, name: &str) -> String {
    format!("arn:aws:secretsmanager:{}:{}:secret:{name}-Rh3rsl", world.shape.region, account(world))
}

fn describe(world: &World, name: &str) -> Value {
    let at = seconds(world.past.candidate.at - Duration::from_hours(90 * 24));
    json!({
        "ARN": arn(world, name),
        "Name": name,
        "RotationEnabled": false,
        "CreatedDate": at,
        "LastChangedDate": at,
        "Tags": [{ "Key": "project", "Value": world.shape.project }],
        "VersionIdsToStages": { "00000000-0000-4000-8000-000000000001": ["AWSCURRENT"] },
    })
}

fn denied(world: &World, operation: &str) -> Fault {
    let text = format!(
        "User: arn:aws:sts::{}:assumed-role/gospelib-release/dana-dev is not authorized to perform: \
         secretsmanager:{operation} because no identity-based policy allows the secretsmanager:{operation} action",
        account(world)
    );
    Fault::new(400, "AccessDeniedException", text)
}
