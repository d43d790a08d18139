//! Staging, production and Argo CD: accounts, clusters, namespaces, and the ways in.

use super::{Check, reach};
use crate::config::Config;
use crate::config::model::{Argo, Aws, Cluster, Environment};
use crate::config::tree::Path;

pub(super) fn environment(check: &mut Check<'_>, path: &Path, environment: &Environment) {
    aws(check, &path.key("aws"), &environment.aws);
    cluster(check, &path.key("cluster"), &environment.cluster, &environment.aws);
    check.dns_label(&path.key("namespace"), &environment.namespace);
    check.inside(&path.key("overlay"), &environment.overlay);
    check.at_least_one(&path.key("replicas"), environment.replicas);
    let health = path.key("health");
    reach(check, &health.key("reach"), &environment.health.reach);
    check.unless(!environment.health.paths.is_empty(), &health.key("paths"), "there must be at least one path");
    for (index, asked) in environment.health.paths.iter().enumerate() {
        let right = asked.starts_with('/') && !asked.contains(char::is_whitespace);
        check.unless(right, &health.key("paths").index(index), format!("{asked:?} is not a path; it begins with '/'"));
    }
    check.at_least_one(&health.key("samples"), environment.health.samples);
    check.lasting(&health.key("timeout"), environment.health.timeout);
    let prometheus = path.key("prometheus");
    reach(check, &prometheus.key("reach"), &environment.prometheus.reach);
    for (key, query) in [
        ("requests", &environment.prometheus.requests),
        ("errors", &environment.prometheus.errors),
        ("p95", &environment.prometheus.p95),
        ("label", &environment.prometheus.label),
    ] {
        check.not_blank(&prometheus.key(key), query);
    }
    for (index, url) in environment.urls.iter().enumerate() {
        check.url(&path.key("urls").index(index), url);
    }
}

fn aws(check: &mut Check<'_>, path: &Path, aws: &Aws) {
    if let Some(account) = &aws.account {
        let right = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        check.unless(right, &path.key("account"), format!("an AWS account has 12 digits, found {account:?}"));
    }
    if let Some(region) = &aws.region {
        let right =
            !region.is_empty() && region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        check.unless(right, &path.key("region"), format!("{region:?} is not an AWS region, such as us-east-1"));
    }
    if let Some(endpoint) = &aws.endpoint {
        check.url(&path.key("endpoint"), endpoint);
    }
}

fn cluster(check: &mut Check<'_>, path: &Path, cluster: &Cluster, aws: &Aws) {
    if let Some(arn) = &cluster.arn {
        let at = path.key("arn");
        match Arn::parse(arn) {
            None => {
                let form = "arn:aws:eks:REGION:ACCOUNT:cluster/NAME";
                check.wrong(&at, format!("{arn:?} is not the ARN of an EKS cluster ({form})"));
            }
            Some(arn) => {
                let mut same = |part: &str, in_arn: &str, key: &str, set: Option<&String>| {
                    if let Some(set) = set.filter(|set| *set != in_arn) {
                        check.wrong(&at, format!("its {part} is {in_arn}, and {key} is {set}"));
                    }
                };
                same("account", arn.account, "aws.account", aws.account.as_ref());
                same("region", arn.region, "aws.region", aws.region.as_ref());
                same("cluster", arn.cluster, "cluster.eks", cluster.eks.as_ref());
            }
        }
    }
    let pinned_twice = cluster.eks.is_some() && cluster.kube_system_uid.is_some();
    check.unless(
        !pinned_twice,
        &path.key("kube_system_uid"),
        "it is for a cluster that is not EKS; cluster.eks is set",
    );
    if let Some(name) = &cluster.eks {
        check.not_blank(&path.key("eks"), name);
    }
}

/// The parts of an EKS cluster's ARN (AWS service authorization reference, "Amazon EKS").
struct Arn<'a> {
    region: &'a str,
    account: &'a str,
    cluster: &'a str,
}

impl<'a> Arn<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let ["arn", partition, "eks", region, account, resource] = parts[..] else { return None };
        let cluster = resource.strip_prefix("cluster/").filter(|name| !name.is_empty() && !name.contains('/'))?;
        let digits = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        (partition.starts_with("aws") && digits && !region.is_empty()).then_some(Self { region, account, cluster })
    }
}

/// Staging and production may share a cluster, never a namespace in it.
pub(super) fn apart(check: &mut Check<'_>, config: &Config) {
    let (staging, production) = (&config.staging, &config.production);
    let same = staging.cluster == production.cluster && staging.namespace == production.namespace;
    let message = "staging is this very namespace of the same cluster";
    check.unless(!same, &Path::default().keys("production.namespace"), message);
    let message = "staging has the same overlay";
    check.unless(staging.overlay != production.overlay, &Path::default().keys("production.overlay"), message);
}

pub(super) fn argo(check: &mut Check<'_>, argo: &Argo) {
    let path = Path::default().key("argo");
    if let Some(aws) = &argo.aws {
        self::aws(check, &path.key("aws"), aws);
    }
    if let Some(cluster) = &argo.cluster {
        // Without an account of its own, Argo CD's cluster is in production's: nothing to compare with here.
        let aws = argo.aws.clone().unwrap_or_default();
        self::cluster(check, &path.key("cluster"), cluster, &aws);
    }
    check.dns_label(&path.key("namespace"), &argo.namespace);
    for (key, name) in [("application", &argo.application), ("staging_application", &argo.staging_application)] {
        check.dns_label(&path.key(key), name);
    }
    check.lasting(&path.key("syncs_within"), argo.syncs_within);
    check.lasting(&path.key("stuck_after"), argo.stuck_after);
}
