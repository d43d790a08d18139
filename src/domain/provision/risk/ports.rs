//! Ports that the whole internet can reach afterwards and could not before.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use super::{Found, RiskKind};
use crate::domain::provision::RawChange;
use crate::domain::provision::values::{number, text, texts};

/// What a public web server is for.
const WEB: [u16; 2] = [80, 443];
/// Ports that administer a machine, or answer with its data.
const ADMIN: [u16; 17] =
    [22, 23, 1433, 1521, 2375, 2379, 3306, 3389, 5432, 5601, 5984, 6379, 8086, 9200, 9300, 11211, 27017];

/// What a rule opens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Opened {
    /// Every port of every protocol.
    Every,
    /// From and to, of `tcp` or `udp`.
    Ports { protocol: String, from: u16, to: u16 },
    /// A protocol that has no ports.
    Protocol(String),
    /// Ports that are known only after apply.
    Later,
}

impl Opened {
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Every, _) => true,
            (Self::Ports { protocol, from, to }, Self::Ports { protocol: other, from: low, to: high }) => {
                protocol == other && from <= low && high <= to
            }
            (one, other) => one == other,
        }
    }
}

/// Says what is newly opened by rules of a security group, or by a list of addresses that rules name.
pub(super) fn opened(raw: &RawChange, found: &mut Found) {
    let (before, after) = (&raw.change.before, &raw.change.after);
    let was = open(&raw.kind, before);
    for opened in open(&raw.kind, after).iter().filter(|opened| !was.iter().any(|was| was.covers(opened))) {
        say(opened, found);
    }
    let path = match raw.kind.as_str() {
        "aws_ec2_managed_prefix_list" => "entry.cidr",
        "aws_ec2_managed_prefix_list_entry" => "cidr",
        _ => return,
    };
    let everybody = |value| texts(value, path).into_iter().any(is_everybody);
    if everybody(after) && !everybody(before) {
        found.add(RiskKind::Exposed, "every rule that names this list is opened to the whole internet");
    }
}

fn say(opened: &Opened, found: &mut Found) {
    let (said, admin) = match opened {
        Opened::Every => ("every port is".to_owned(), true),
        Opened::Later => ("ports that are known only after apply are".to_owned(), false),
        Opened::Protocol(name) if name == "icmp" => ("ICMP (ping, and other control messages) is".to_owned(), false),
        Opened::Protocol(name) => (format!("protocol {name} is"), false),
        Opened::Ports { from, to, .. } if from == to && WEB.contains(from) => return,
        Opened::Ports { protocol, from, to } => {
            let of = if protocol == "tcp" { String::new() } else { format!(" ({protocol})") };
            let said = match (*from, *to) {
                (0, u16::MAX) => format!("every port{of} is"),
                (from, to) if from == to => format!("port {from}{of} is"),
                (from, to) => format!("ports {from} to {to}{of} are"),
            };
            (said, ADMIN.iter().any(|port| (from..=to).contains(&port)))
        }
    };
    let kind = if admin { RiskKind::AdminPortOpen } else { RiskKind::Exposed };
    found.add(kind, format!("{said} opened to the whole internet"));
}

fn open(kind: &str, value: &Value) -> BTreeSet<Opened> {
    let rules: Vec<&Value> = match kind {
        "aws_security_group" | "aws_default_security_group" => {
            value.get("ingress").and_then(Value::as_array).into_iter().flatten().collect()
        }
        "aws_security_group_rule" if text(value, "type") == Some("ingress") => vec![value],
        "aws_vpc_security_group_ingress_rule" => vec![value],
        _ => Vec::new(),
    };
    let sources = ["cidr_blocks", "ipv6_cidr_blocks", "cidr_ipv4", "cidr_ipv6"];
    let for_everybody = |rule: &&Value| sources.iter().any(|path| texts(rule, path).into_iter().any(is_everybody));
    rules.into_iter().filter(for_everybody).map(of_rule).collect()
}

fn of_rule(rule: &Value) -> Opened {
    let protocol = text(rule, "protocol").or_else(|| text(rule, "ip_protocol")).unwrap_or("tcp").to_lowercase();
    // A protocol is named, or has the number that IANA gave it.
    let protocol = match protocol.as_str() {
        "-1" | "all" => return Opened::Every,
        "6" => "tcp",
        "17" => "udp",
        "1" | "icmp" | "58" | "icmpv6" => return Opened::Protocol("icmp".to_owned()),
        "tcp" | "udp" => protocol.as_str(),
        other => return Opened::Protocol(other.to_owned()),
    };
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a port; what is outside is cut to its range"
    )]
    let port = |path| number(rule, path).map(|port| port.clamp(0.0, f64::from(u16::MAX)) as u16);
    match (port("from_port"), port("to_port")) {
        (Some(from), Some(to)) => Opened::Ports { protocol: protocol.to_owned(), from, to },
        _ => Opened::Later,
    }
}

/// Whether a range of addresses is so wide that it means everybody: `0.0.0.0/0`, and halves and quarters of it.
pub(super) fn is_everybody(range: &str) -> bool {
    let Some((address, bits)) = range.split_once('/') else { return false };
    match (address.parse(), bits.parse::<u8>()) {
        (Ok(IpAddr::V4(_)), Ok(bits)) => bits <= 7,
        // All addresses of IPv6 that are routed are in 2000::/3.
        (Ok(IpAddr::V6(_)), Ok(bits)) => bits <= 3,
        _ => false,
    }
}
