//! What resources cost a month, before and after.

use serde::Serialize;
use serde_json::Value;

use super::values::{number, text, texts, truth, unknown};
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
    if raw.mode == "data" || prices.is_free(&raw.kind) {
        return None;
    }
    let side = |value: &Value, marks: &Value| {
        if value.is_null() {
            return (Amount::Absent, Priced::default());
        }
        match (Resource { kind: &raw.kind, value, marks, prices }).price() {
            Ok(priced) => (Amount::Known(priced.dollars), priced),
            Err(NoPrice(why)) => (Amount::Unknown(why), Priced::default()),
        }
    };
    let (before, was) = side(&raw.change.before, &Value::Null);
    // What is left behind goes on costing, but nobody counts it here any more.
    let gone = matches!(change.action, Action::Destroy | Action::Forget);
    let nothing = (Amount::Absent, Priced::default());
    let (after, will) = if gone { nothing } else { side(&raw.change.after, &raw.change.after_unknown) };
    let told = if gone { was } else { will };
    Some(Cost {
        address: change.address.clone(),
        kind: change.kind.clone(),
        before,
        after,
        of: told.of.join(" + "),
        assumed: Some(told.assumed.join(", ")).filter(|text| !text.is_empty()),
    })
}

/// A resource's values on one side of the change.
struct Resource<'a> {
    kind: &'a str,
    value: &'a Value,
    marks: &'a Value,
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
                if let Some(size) = self.maybe("root_block_device.volume_size")? {
                    self.add(&mut priced, size, "ebs", self.or("root_block_device.volume_type", "gp3")?)?;
                }
            }
            "aws_db_instance" => self.database(&mut priced)?,
            "aws_elasticache_cluster" => {
                let nodes = self.maybe("num_cache_nodes")?.unwrap_or(1.0);
                self.redis_only()?;
                self.add(&mut priced, nodes, "elasticache-redis", self.text("node_type")?)?;
            }
            "aws_elasticache_replication_group" => {
                self.redis_only()?;
                let nodes = self.cache_nodes()?;
                self.add(&mut priced, nodes, "elasticache-redis", self.text("node_type")?)?;
            }
            "aws_nat_gateway" => {
                self.add(&mut priced, 1.0, "vpc", "nat-gateway")?;
                self.used(&mut priced, "nat_gb", "GB through it", "vpc-traffic", "nat-gateway")?;
            }
            "aws_lb" | "aws_alb" => self.load_balancer(&mut priced)?,
            "aws_eip" => self.add(&mut priced, 1.0, "vpc", "public-ipv4")?,
            "aws_ebs_volume" => self.add(&mut priced, self.number("size")?, "ebs", self.or("type", "gp2")?)?,
            "aws_vpc_endpoint" => self.endpoint(&mut priced)?,
            "aws_s3_bucket" => self.used(&mut priced, "s3_gb", "GB kept", "s3", "standard")?,
            "aws_cloudfront_distribution" => {
                self.used(&mut priced, "cloudfront_gb", "GB served", "cloudfront", "us-and-europe")?;
            }
            "aws_cloudwatch_log_group" => {
                self.used(&mut priced, "log_gb", "GB written", "cloudwatch-logs", "ingested")?;
            }
            "aws_ecr_repository" => self.used(&mut priced, "ecr_gb", "GB of images", "ecr", "private")?,
            "aws_efs_file_system" => self.used(&mut priced, "efs_gb", "GB kept", "efs", "standard")?,
            "aws_route53_zone" => self.add(&mut priced, 1.0, "route53", "zone")?,
            "aws_kms_key" => self.add(&mut priced, 1.0, "kms", "key")?,
            "aws_secretsmanager_secret" => self.add(&mut priced, 1.0, "secrets-manager", "secret")?,
            "aws_cloudwatch_metric_alarm" => self.add(&mut priced, 1.0, "cloudwatch", "alarm")?,
            "aws_cloudwatch_dashboard" => self.add(&mut priced, 1.0, "cloudwatch", "dashboard")?,
            kind => return Err(NoPrice(format!("no price is known for {kind}"))),
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
        self.add(priced, copies, "rds-postgres", self.text("instance_class")?)?;
        if let Some(size) = self.maybe("allocated_storage")? {
            self.add(priced, copies * size, "rds-storage", self.or("storage_type", "gp2")?)?;
        }
        Ok(())
    }

    fn redis_only(&self) -> Result<(), NoPrice> {
        match text(self.value, "engine") {
            None | Some("redis") => Ok(()),
            Some(engine) => Err(NoPrice(format!("no price is known for the engine {engine}"))),
        }
    }

    fn cache_nodes(&self) -> Result<f64, NoPrice> {
        if let Some(groups) = number(self.value, "num_node_groups") {
            return Ok(groups * (1.0 + number(self.value, "replicas_per_node_group").unwrap_or(0.0)));
        }
        Ok(self.maybe("num_cache_clusters")?.unwrap_or(1.0))
    }

    fn load_balancer(&self, priced: &mut Priced) -> Result<(), NoPrice> {
        let kind = self.or("load_balancer_type", "application")?;
        self.add(priced, 1.0, "load-balancer", kind)?;
        let units = format!("{kind}-unit");
        self.used(priced, "load_balancer_units", "capacity unit in use", "load-balancer", &units)
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
        priced.dollars += one * count;
        let storage = matches!(table, "ebs" | "rds-storage");
        priced.of.push(match (storage, count) {
            (true, count) => format!("{count} GB {size}"),
            (false, 1.0) => size.to_owned(),
            (false, count) => format!("{count} × {size}"),
        });
        Ok(())
    }

    /// What is paid by use, with what is assumed of it.
    fn used(&self, priced: &mut Priced, name: &str, what: &str, table: &str, size: &str) -> Result<(), NoPrice> {
        let amount = self.prices.assumed(name).ok_or_else(|| no_assumption(name))?;
        let one = self.prices.monthly(table, size).ok_or_else(|| NoPrice(format!("no price is known for {size}")))?;
        priced.dollars += one * amount;
        priced.assumed.push(format!("{amount} {what}"));
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
            None if unknown(self.marks, path) && path != "num_cache_clusters" => Err(later(path)),
            None => Ok(None),
        }
    }
}

/// Attributes that AWS fills in when they are not set: they are always "known after apply" then.
fn has_default(path: &str) -> bool {
    matches!(path, "storage_type" | "root_block_device.volume_type" | "type")
}

fn later(path: &str) -> NoPrice {
    NoPrice(format!("{path} is known only after apply"))
}

fn no_assumption(name: &str) -> NoPrice {
    NoPrice(format!("the table of prices assumes nothing for {name}"))
}
