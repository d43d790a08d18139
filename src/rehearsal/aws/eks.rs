//! EKS, in REST JSON (API reference, version 2017-11-01).

use std::time::Duration;

use axum::http::Method;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::router::{Cluster, account_of_caller};
use super::wire::{Call, Fault, page, seconds};
use crate::rehearsal::World;
use crate::rehearsal::infrastructure::cloud;
use crate::rehearsal::programs::terraform::Cloud;

/// The node group of a cluster that nobody rehearsed making.
const NODE_GROUP: &str = "general";
/// Kubernetes' version, where nobody rehearsed another one.
const VERSION: &str = "1.33";
const ADDONS: [(&str, &str); 3] =
    [("coredns", "v1.12.1-eksbuild.2"), ("kube-proxy", "v1.33.0-eksbuild.2"), ("vpc-cni", "v1.19.5-eksbuild.1")];

pub(super) fn answer(world: &World, clusters: &[Cluster], call: &Call) -> Result<Value, Fault> {
    let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
    if call.method != Method::GET {
        return Err(Fault::not_rehearsed(format!("{} {} of EKS", call.method, call.path.join("/"))));
    }
    let account = account_of_caller(world, call);
    // In the scenario `wrong-cluster` the other account has a cluster of the same name.
    let foreign = world.scenario.world.wrong_cluster;
    let ours = || clusters.iter().filter(|cluster| foreign || cluster.shape.account == account);
    let name = match path.as_slice() {
        ["clusters"] => {
            return page(call, ours().map(|cluster| json!(cluster.shape.name)).collect(), "clusters");
        }
        ["clusters", name, ..] => *name,
        _ => return Err(Fault::not_rehearsed(format!("GET /{} of EKS", call.path.join("/")))),
    };
    let Some(cluster) = ours().find(|cluster| cluster.shape.name == name) else {
        return Err(Fault::new(404, "ResourceNotFoundException", format!("No cluster found for name: {name}.")));
    };
    let of = Named { name, account };
    let there = cloud(world);
    match &path[2..] {
        [] => Ok(json!({ "cluster": describe(world, cluster, &of, &there) })),
        ["node-groups"] => page(
            call,
            node_groups(world, &of, &there).iter().map(|one| one["nodegroupName"].clone()).collect(),
            "nodegroups",
        ),
        ["node-groups", name] => {
            let found = node_groups(world, &of, &there).into_iter().find(|one| one["nodegroupName"] == **name);
            let missing =
                || Fault::new(404, "ResourceNotFoundException", format!("No node group found for name: {name}."));
            Ok(json!({ "nodegroup": found.ok_or_else(missing)? }))
        }
        ["addons"] => page(call, ADDONS.iter().map(|(name, _)| json!(name)).collect(), "addons"),
        ["addons", name] => match ADDONS.iter().find(|(known, _)| known == name) {
            Some((name, version)) => Ok(json!({ "addon": addon(world, &of, name, version) })),
            None => Err(Fault::new(404, "ResourceNotFoundException", format!("No addon: {name} found in cluster."))),
        },
        _ => Err(Fault::not_rehearsed(format!("GET /{} of EKS", call.path.join("/")))),
    }
}

/// A cluster's name, and the account that is asked.
struct Named<'a> {
    name: &'a str,
    account: &'a str,
}

fn arn(world: &World, of: &Named, rest: &str) -> String {
    format!("arn:aws:eks:{}:{}:{rest}", world.shape.region, of.account)
}

fn created(world: &World) -> f64 {
    seconds(world.past.candidate.at - Duration::from_hours(400 * 24))
}

/// The cluster as Terraform made it, where it did.
fn made<'a>(there: &'a Cloud, of: &Named) -> Option<&'a Value> {
    there.all("aws_eks_cluster").find(|cluster| cluster["name"] == of.name)
}

fn describe(world: &World, cluster: &Cluster, of: &Named, there: &Cloud) -> Value {
    let name = of.name;
    let version = made(there, of).and_then(|made| made["version"].as_str()).unwrap_or(VERSION);
    json!({
        "name": name,
        "arn": arn(world, of, &format!("cluster/{name}")),
        "createdAt": created(world),
        "version": version,
        "endpoint": cluster.endpoint,
        "roleArn": format!("arn:aws:iam::{}:role/{name}-cluster", of.account),
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

/// The node groups of a cluster: those that Terraform made, or the one that was always there.
fn node_groups(world: &World, of: &Named, there: &Cloud) -> Vec<Value> {
    let made: Vec<&Value> = there.all("aws_eks_node_group").filter(|group| group["cluster_name"] == of.name).collect();
    if made.is_empty() {
        let scaling = json!({ "minSize": 2, "maxSize": 4, "desiredSize": 2 });
        return vec![node_group(world, of, NODE_GROUP, VERSION, &scaling)];
    }
    let text = |group: &Value, name: &str, default: &str| group[name].as_str().unwrap_or(default).to_owned();
    let group = |group: &Value| {
        let wanted = &group["scaling_config"][0];
        let scaling = json!({ "minSize": wanted["min_size"], "maxSize": wanted["max_size"], "desiredSize": wanted["desired_size"] });
        node_group(world, of, &text(group, "node_group_name", NODE_GROUP), &text(group, "version", VERSION), &scaling)
    };
    made.into_iter().map(group).collect()
}

fn node_group(world: &World, of: &Named, group: &str, version: &str, scaling: &Value) -> Value {
    let name = of.name;
    json!({
        "nodegroupName": group,
        "nodegroupArn": arn(world, of, &format!("nodegroup/{name}/{group}/5ec0ffee")),
        "clusterName": name,
        "version": version,
        "releaseVersion": format!("{version}.1-20250610"),
        "createdAt": created(world),
        "status": "ACTIVE",
        "capacityType": "ON_DEMAND",
        "scalingConfig": scaling,
        "instanceTypes": ["t3.medium"],
        "amiType": "AL2023_x86_64_STANDARD",
        "health": { "issues": [] },
    })
}

fn addon(world: &World, of: &Named, name: &str, version: &str) -> Value {
    let cluster = of.name;
    json!({
        "addonName": name,
        "clusterName": cluster,
        "status": "ACTIVE",
        "addonVersion": version,
        "health": { "issues": [] },
        "addonArn": arn(world, of, &format!("addon/{cluster}/{name}/5ec0ffee")),
        "createdAt": created(world),
        "modifiedAt": created(world),
    })
}
