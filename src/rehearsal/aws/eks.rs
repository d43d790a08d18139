//! EKS, in REST JSON (API reference, version 2017-11-01).

use std::time::Duration;

use axum::http::Method;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::router::{Cluster, account};
use super::wire::{Call, Fault, page, seconds};
use crate::rehearsal::World;

const NODE_GROUP: &str = "general";
const ADDONS: [(&str, &str); 3] =
    [("coredns", "v1.11.4-eksbuild.2"), ("kube-proxy", "v1.31.3-eksbuild.2"), ("vpc-cni", "v1.19.2-eksbuild.1")];

pub(super) fn answer(world: &World, cluster: &Cluster, call: &Call) -> Result<Value, Fault> {
    let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
    if call.method != Method::GET {
        return Err(Fault::not_rehearsed(format!("{} {} of EKS", call.method, call.path.join("/"))));
    }
    if let [root, name, ..] = path.as_slice()
        && *root == "clusters"
        && *name != world.shape.cluster
    {
        return Err(Fault::new(404, "ResourceNotFoundException", format!("No cluster found for name: {name}.")));
    }
    match path.as_slice() {
        ["clusters"] => page(call, vec![json!(world.shape.cluster)], "clusters"),
        ["clusters", _] => Ok(json!({ "cluster": describe(world, cluster) })),
        ["clusters", _, "node-groups"] => page(call, vec![json!(NODE_GROUP)], "nodegroups"),
        ["clusters", _, "node-groups", NODE_GROUP] => Ok(json!({ "nodegroup": node_group(world) })),
        ["clusters", _, "node-groups", name] => {
            Err(Fault::new(404, "ResourceNotFoundException", format!("No node group found for name: {name}.")))
        }
        ["clusters", _, "addons"] => page(call, ADDONS.iter().map(|(name, _)| json!(name)).collect(), "addons"),
        ["clusters", _, "addons", name] => match ADDONS.iter().find(|(known, _)| known == name) {
            Some((name, version)) => Ok(json!({ "addon": addon(world, name, version) })),
            None => Err(Fault::new(404, "ResourceNotFoundException", format!("No addon: {name} found in cluster."))),
        },
        _ => Err(Fault::not_rehearsed(format!("GET /{} of EKS", call.path.join("/")))),
    }
}

fn arn(world: &World, rest: &str) -> String {
    format!("arn:aws:eks:{}:{}:{rest}", world.shape.region, account(world))
}

fn created(world: &World) -> f64 {
    seconds(world.past.candidate.at - Duration::from_hours(400 * 24))
}

fn describe(world: &World, cluster: &Cluster) -> Value {
    let name = &world.shape.cluster;
    json!({
        "name": name,
        "arn": arn(world, &format!("cluster/{name}")),
        "createdAt": created(world),
        "version": "1.31",
        "endpoint": cluster.endpoint,
        "roleArn": format!("arn:aws:iam::{}:role/{name}-cluster", account(world)),
        "resourcesVpcConfig": {
            "subnetIds": ["subnet-0a1b2c3d4e5f60718", "subnet-0a1b2c3d4e5f60719"],
            "securityGroupIds": [],
            "vpcId": "vpc-0a1b2c3d4e5f60717",
            "endpointPublicAccess": true,
            "endpointPrivateAccess": true,
            "publicAccessCidrs": ["0.0.0.0/0"],
        },
        "kubernetesNetworkConfig": { "serviceIpv4Cidr": "10.100.0.0/16", "ipFamily": "ipv4" },
        "identity": { "oidc": { "issuer": format!("https://oidc.eks.{}.amazonaws.com/id/REHEARSAL", world.shape.region) } },
        "status": "ACTIVE",
        "certificateAuthority": { "data": STANDARD.encode(&cluster.ca_pem) },
        "platformVersion": "eks.18",
        "tags": { "project": world.shape.project },
    })
}

fn node_group(world: &World) -> Value {
    let name = &world.shape.cluster;
    json!({
        "nodegroupName": NODE_GROUP,
        "nodegroupArn": arn(world, &format!("nodegroup/{name}/{NODE_GROUP}/5ec0ffee")),
        "clusterName": name,
        "version": "1.31",
        "releaseVersion": "1.31.4-20250203",
        "createdAt": created(world),
        "status": "ACTIVE",
        "capacityType": "ON_DEMAND",
        "scalingConfig": { "minSize": 2, "maxSize": 4, "desiredSize": 2 },
        "instanceTypes": ["t3.medium"],
        "amiType": "AL2023_x86_64_STANDARD",
        "health": { "issues": [] },
    })
}

fn addon(world: &World, name: &str, version: &str) -> Value {
    let cluster = &world.shape.cluster;
    json!({
        "addonName": name,
        "clusterName": cluster,
        "status": "ACTIVE",
        "addonVersion": version,
        "health": { "issues": [] },
        "addonArn": arn(world, &format!("addon/{cluster}/{name}/5ec0ffee")),
        "createdAt": created(world),
        "modifiedAt": created(world),
    })
}
