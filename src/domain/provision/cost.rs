//! What resources cost a month, before and after.

use serde::Serialize;
use serde_json::Value;

use super::secret::Secrets;
use super::values::{at, entered, glob, number, text, texts, truth, unknown};
use super::{Action, Change, Prices, RawChange};

/// Dollars a month.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Amount {
    /// It is not there.
    Absent,
    /// It costs nothing by itself.
    Free,
    /// Its price is in the table.
    Known(f64),
    /// Why there is no price. Never taken for 0.
    Unknown(String),
}

impl Amount {
    /// The dollars, where they are known.
    #[must_use]
    pub fn dollars(&self) -> Option<f64> {
        match self {
            Self::Absent | Self::Free => Some(0.0),
            Self::Known(dollars) => Some(*dollars),
            Self::Unknown(_) => None,
        }
    }
}

/// What one resource costs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cost {
    pub address: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub before: Amount,
    pub after: Amount,
    /// How the price is made up: `2 × t3.medium`.
    pub of: String,
    /// What is assumed of use, where the price rests on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assumed: Option<String>,
    /// What else a person should know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<&'static str>,
}

/// The sum over all resources.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Total {
    /// Dollars a month of what is known.
    pub known: f64,
    /// How many resources have no known price.
    pub unknown: usize,
}

impl Total {
    /// Adds one.
    pub fn add(&mut self, amount: &Amount) {
        match amount.dollars() {
            Some(dollars) => self.known += dollars,
            None => self.unknown += 1,
        }
    }
}

/// A price that was found.
#[derive(Default)]
struct Priced {
    dollars: f64,
    of: Vec<String>,
    assumed: Vec<String>,
}

/// No price, and why.
struct NoPrice(String);

/// What a resource costs; `None` for one that costs nothing by itself.
#[must_use]
pub fn cost(raw: &RawChange, change: &Change, prices: &Prices) -> Option<Cost> {
    let balanced = |value: &Value| text(value, "spec.type") == Some("LoadBalancer");
    let balancer =
        raw.kind.starts_with("kubernetes_service") && (balanced(&raw.change.before) || balanced(&raw.change.after));
    if raw.mode == "data" || prices.is_free(&raw.kind) && !balancer {
        return None;
    }
    let side = |value: &Value, marks: &Value, before: &Value| {
        if value.is_null() {
            return (Amount::Absent, Priced::default());
        }
        match (Resource { kind: &raw.kind, value, marks, before, prices }).price() {
            Ok(priced) => (Amount::Known(priced.dollars), priced),
            Err(NoPrice(why)) => (Amount::Unknown(why), Priced::default()),
        }
    };
    let old = side(&raw.change.before, &Value::Null, &Value::Null);
    let new = match change.action {
        Action::Destroy => (Amount::Absent, Priced::default()),
        Action::Forget => side(&raw.change.before, &Value::Null, &Value::Null),
        _ => side(&raw.change.after, &raw.change.after_unknown, &raw.change.before),
    };
    let ((before, was), (after, will)) = (old, new);
    let told = if after == Amount::Absent { was } else { will };
    let secrets = Secrets::of(&raw.change);
    let masked = |amount: Amount| match amount {
        Amount::Unknown(why) => Amount::Unknown(secrets.masked(&why)),
        amount => amount,
    };
    Some(Cost {
        address: change.shown_address(),
        kind: change.kind.clone(),
        before: masked(before),
        after: masked(after),
        of: secrets.masked(&told.of.join(" + ")),
        assumed: Some(told.assumed.join(", ")).filter(|text| !text.is_empty()),
        note: (change.action == Action::Forget).then_some("goes on costing, managed by nobody"),
    })
}

/// Types that are paid by use alone: the name of the amount that is assumed, what it counts, table and size of the price.
const BY_USE: [(&str, &str, &str, &str, &str); 5] = [
    ("aws_s3_bucket", "s3_gb", "GB kept", "s3", "standard"),
    ("aws_cloudfront_distribution", "cloudfront_gb", "GB served", "cloudfront", "us-and-europe"),
    ("aws_cloudwatch_log_group", "log_gb", "GB written", "cloudwatch-logs", "ingested"),
    ("aws_ecr_repository", "ecr_gb", "GB of images", "ecr", "private"),
    ("aws_efs_file_system", "efs_gb", "GB kept", "efs", "standard"),
];

/// What one resource of each type that is paid by use costs, of those that `patterns` cover, with what is assumed;
/// `None` where there is none, or one has no price.
pub(super) fn by_use(patterns: &[String], prices: &Prices) -> Option<(f64, String)> {
    let covered = BY_USE.iter().filter(|(kind, ..)| patterns.iter().any(|pattern| glob(pattern, kind)));
    let mut priced = Priced::default();
    for (_, name, what, table, size) in covered {
        used(&mut priced, prices, name, what, table, size).ok()?;
    }
    Some((priced.dollars, priced.assumed.join(", "))).filter(|(_, assumed)| !assumed.is_empty())
}

/// A resource's values on one side of the change.
struct Resource<'a> {
    kind: &'a str,
    value: &'a Value,
    marks: &'a Value,
    /// What it was, where this is what it will be.
    before: &'a Value,
    prices: &'a Prices,
}

impl Resource<'_> {
    fn price(&self) -> Result<Priced, NoPrice> {
        let mut priced = Priced::default();
        match self.kind {
            "aws_eks_cluster" => self.add(&mut priced, 1.0, "eks", "cluster")?,
            "aws_eks_node_group" => self.nodes(&mut priced)?,
            "aws_instance" => {
                self.add(&mut priced, 1.0, "ec2", self.text("instance_type")?)?;
                self.disks(&mut priced, "root_block_device")?;
                self.disks(&mut priced, "ebs_block_device")?;
            }
            "aws_db_instance" => self.database(&mut priced)?,
            "aws_elasticache_cluster" => {
                let nodes = self.maybe("num_cache_nodes")?.unwrap_or(1.0);
                self.redis_only()?;
                self.add(&mut priced, nodes, "elasticache-redis", self.text("node_type")?)?;
            }
            "aws_elasticache_replication_group" => {
                self.redis_only()?;
                let nodes = self.cache_nodes(&mut priced)?;
                self.add(&mut priced, nodes, "elasticache-redis", self.text("node_type")?)?;
            }
            "aws_nat_gateway" => {
                self.add(&mut priced, 1.0, "vpc", "nat-gateway")?;
                used(&mut priced, self.prices, "nat_gb", "GB through it", "vpc-traffic", "nat-gateway")?;
            }
            "aws_lb" | "aws_alb" => self.load_balancer(&mut priced)?,
            "aws_eip" => self.add(&mut priced, 1.0, "vpc", "public-ipv4")?,
            "aws_ebs_volume" => {
                let kind = self.or("type", "gp2")?;
                let path = |name: &str| number(self.value, name);
                baseline(kind, path("iops"), path("throughput"), (3000.0, 125.0))?;
                self.add(&mut priced, self.number("size")?, "ebs", kind)?;
            }
            "aws_vpc_endpoint" => self.endpoint(&mut priced)?,
            "aws_route53_zone" => self.add(&mut priced, 1.0, "route53", "zone")?,
            "aws_kms_key" => self.add(&mut priced, 1.0, "kms", "key")?,
            "aws_secretsmanager_secret" => self.add(&mut priced, 1.0, "secrets-manager", "secret")?,
            "aws_cloudwatch_metric_alarm" => self.add(&mut priced, 1.0, "cloudwatch", "alarm")?,
            "aws_cloudwatch_dashboard" => self.add(&mut priced, 1.0, "cloudwatch", "dashboard")?,
            kind if kind.starts_with("kubernetes_service") => {
                if text(self.value, "spec.type") == Some("LoadBalancer") {
                    return Err(NoPrice(
                        "no price is known for the load balancer that the cluster makes for it".into(),
                    ));
                }
            }
            kind => {
                let found = BY_USE.iter().find(|(name, ..)| *name == kind);
                let Some((_, name, what, table, size)) = found else {
                    return Err(NoPrice(format!("no price is known for {kind}")));
                };
                used(&mut priced, self.prices, name, what, table, size)?;
            }
        }
        Ok(priced)
    }

    fn nodes(&self, priced: &mut Priced) -> Result<(), NoPrice> {
        if text(self.value, "capacity_type") == Some("SPOT") {
            return Err(NoPrice("spot prices change by the hour".to_owned()));
        }
        let count = self.number("scaling_config.desired_size")?;
        let size = match texts(self.value, "instance_types").first() {
            Some(size) => size,
            None if unknown(self.marks, "instance_types") => return Err(later("instance_types")),
            // The launch template says it, which is another resource.
            None if !texts(self.value, "launch_template.id").is_empty() || unknown(self.marks, "launch_template") => {
                return Err(NoPrice("its instance type is in a launch template".to_owned()));
            }
            // EKS' own default.
            None => "t3.medium",
        };
        self.add(priced, count, "ec2", size)?;
        let disk = if let Some(disk) = number(self.value, "disk_size") {
            disk
        } else {
            let disk = self.prices.assumed("node_disk_gb").ok_or_else(|| no_assumption("node_disk_gb"))?;
            priced.assumed.push(format!("{disk} GB of disk a node"));
            disk
        };
        self.add(priced, count * disk, "ebs", "gp3")
    }

    fn database(&self, priced: &mut Priced) -> Result<(), NoPrice> {
        let engine = text(self.value, "engine").unwrap_or("of the same engine as its source");
        if engine != "postgres" {
            return Err(NoPrice(format!("no price is known for the engine {engine}")));
        }
        let copies = if truth(self.value, "multi_az") == Some(true) { 2.0 } else { 1.0 };
        self.assume_unset(&mut priced.assumed, "multi_az", "one availability zone");
        self.add(priced, copies, "rds-postgres", self.text("instance_class")?)?;
        if let Some(size) = self.maybe("allocated_storage")? {
            let kind = self.or("storage_type", "gp2")?;
            let path = |name: &str| number(self.value, name);
            // What RDS gives for nothing: https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/CHAP_Storage.html
            let free = if size < 400.0 { (3000.0, 125.0) } else { (12000.0, 500.0) };
            baseline(kind, path("iops"), path("storage_throughput"), free)?;
            self.add(priced, copies * size, "rds-storage", kind)?;
        }
        Ok(())
    }

    /// Volumes that are made with a server.
    fn disks(&self, priced: &mut Priced, path: &str) -> Result<(), NoPrice> {
        let size = format!("{path}.volume_size");
        let blocks: Vec<&Value> = at(self.value, path).into_iter().flat_map(entered).collect();
        if blocks.iter().any(|block| number(block, "volume_size").is_none()) && unknown(self.marks, &size) {
            return Err(later(&size));
        }
        for block in blocks {
            let Some(size) = number(block, "volume_size") else { continue };
            // AWS' own default; "known only after apply" where it is not set.
            let kind = text(block, "volume_type").unwrap_or("gp3");
            baseline(kind, number(block, "iops"), number(block, "throughput"), (3000.0, 125.0))?;
            self.add(priced, size, "ebs", kind)?;
        }
        Ok(())
    }

    /// Names the default that was taken for what is known only after apply.
    fn assume_unset(&self, assumed: &mut Vec<String>, path: &str, default: &str) {
        if at(self.value, path).into_iter().all(Value::is_null) && unknown(self.marks, path) {
            assumed.push(format!("{default} ({path} is known only after apply)"));
        }
    }

    fn redis_only(&self) -> Result<(), NoPrice> {
        match text(self.value, "engine") {
            None | Some("redis") => Ok(()),
            Some(engine) => Err(NoPrice(format!("no price is known for the engine {engine}"))),
        }
    }

    /// A state has both, the number of nodes and how they are arranged; the one that changes is what is wanted.
    fn cache_nodes(&self, priced: &mut Priced) -> Result<f64, NoPrice> {
        let (clusters, groups) = ("num_cache_clusters", "num_node_groups");
        let arranged = |value: &Value| {
            let copies = number(value, "replicas_per_node_group").unwrap_or(0.0);
            number(value, groups).map(|groups| groups * (1.0 + copies))
        };
        let (counted, shards) = (number(self.value, clusters), arranged(self.value));
        let counts = match (counted, shards) {
            (Some(counted), Some(_)) if Some(counted) != number(self.before, clusters) => Some(counted),
            (Some(counted), Some(shards)) if Some(shards) == arranged(self.before) => Some(counted),
            (Some(counted), None) => Some(counted),
            _ => None,
        };
        if let Some(counted) = counts {
            return Ok(counted);
        }
        if let Some(shards) = shards {
            self.assume_unset(&mut priced.assumed, "replicas_per_node_group", "no replicas");
            return Ok(shards);
        }
        if unknown(self.marks, groups) && !unknown(self.marks, clusters) {
            return Err(later(groups));
        }
        self.assume_unset(&mut priced.assumed, clusters, "one node");
        Ok(1.0)
    }

    fn load_balancer(&self, priced: &mut Priced) -> Result<(), NoPrice> {
        let kind = self.or("load_balancer_type", "application")?;
        self.add(priced, 1.0, "load-balancer", kind)?;
        let units = format!("{kind}-unit");
        used(priced, self.prices, "load_balancer_units", "capacity unit in use", "load-balancer", &units)
    }

    fn endpoint(&self, priced: &mut Priced) -> Result<(), NoPrice> {
        match self.or("vpc_endpoint_type", "Gateway")? {
            // Gateway endpoints are not charged for.
            "Gateway" => Ok(()),
            "Interface" if unknown(self.marks, "subnet_ids") && texts(self.value, "subnet_ids").is_empty() => {
                Err(later("subnet_ids"))
            }
            "Interface" => {
                let zones = texts(self.value, "subnet_ids").len().max(1);
                self.add(priced, zones as f64, "vpc", "interface-endpoint")
            }
            other => Err(NoPrice(format!("no price is known for an endpoint of type {other}"))),
        }
    }

    /// So many of a size.
    fn add(&self, priced: &mut Priced, count: f64, table: &str, size: &str) -> Result<(), NoPrice> {
        let one = self.prices.monthly(table, size).ok_or_else(|| NoPrice(format!("no price is known for {size}")))?;
        if count.is_nan() || count < 0.0 {
            return Err(NoPrice(format!("{count} of {size} cannot be")));
        }
        priced.dollars += one * count;
        let storage = matches!(table, "ebs" | "rds-storage");
        priced.of.push(match (storage, count) {
            (true, count) => format!("{count} GB {size}"),
            (false, 1.0) => size.to_owned(),
            (false, count) => format!("{count} × {size}"),
        });
        Ok(())
    }

    fn text(&self, path: &str) -> Result<&str, NoPrice> {
        match text(self.value, path) {
            Some(text) => Ok(text),
            None if unknown(self.marks, path) => Err(later(path)),
            None => Err(NoPrice(format!("{path} is not set"))),
        }
    }

    fn or<'b>(&'b self, path: &str, default: &'b str) -> Result<&'b str, NoPrice> {
        match text(self.value, path) {
            Some(text) => Ok(text),
            None if unknown(self.marks, path) && !has_default(path) => Err(later(path)),
            None => Ok(default),
        }
    }

    fn number(&self, path: &str) -> Result<f64, NoPrice> {
        self.maybe(path)?.ok_or_else(|| NoPrice(format!("{path} is not set")))
    }

    fn maybe(&self, path: &str) -> Result<Option<f64>, NoPrice> {
        match number(self.value, path) {
            Some(number) => Ok(Some(number)),
            None if unknown(self.marks, path) => Err(later(path)),
            None => Ok(None),
        }
    }
}

/// Attributes that AWS fills in when they are not set: they are always "known after apply" then.
fn has_default(path: &str) -> bool {
    matches!(path, "storage_type" | "type")
}

/// What is paid by use, with what is assumed of it.
fn used(priced: &mut Priced, prices: &Prices, name: &str, what: &str, table: &str, size: &str) -> Result<(), NoPrice> {
    let amount = prices.assumed(name).ok_or_else(|| no_assumption(name))?;
    let one = prices.monthly(table, size).ok_or_else(|| NoPrice(format!("no price is known for {size}")))?;
    priced.dollars += one * amount;
    priced.assumed.push(format!("{amount} {what}"));
    Ok(())
}

/// The table prices gigabytes; what is bought beside them has no price here.
fn baseline(kind: &str, iops: Option<f64>, throughput: Option<f64>, free: (f64, f64)) -> Result<(), NoPrice> {
    let above = |amount: Option<f64>, free: f64| amount.is_some_and(|amount| amount > free);
    match kind {
        "io1" | "io2" => Err(NoPrice(format!("the provisioned IOPS of {kind} have no price here"))),
        "gp3" if above(iops, free.0) || above(throughput, free.1) => {
            Err(NoPrice("IOPS or throughput beyond what gp3 includes have no price here".to_owned()))
        }
        _ => Ok(()),
    }
}

fn later(path: &str) -> NoPrice {
    NoPrice(format!("{path} is known only after apply"))
}

fn no_assumption(name: &str) -> NoPrice {
    NoPrice(format!("the table of prices assumes nothing for {name}"))
}

#[cfg(test)]
#[path = "cost_tests.rs"]
mod tests;
