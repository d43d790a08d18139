use serde_json::{Value, json};

use super::*;

/// Kinds and reasons of a change of `kind`.
fn found(kind: &str, actions: Value, before: Value, after: Value, unknown: Value) -> Vec<(RiskKind, String)> {
    let raw = json!({"address": "a.b", "mode": "managed", "type": kind,
        "change": {"actions": actions, "before": before, "after": after, "after_unknown": unknown}});
    let raw: RawChange = serde_json::from_value(raw).unwrap();
    risks(&raw, &Change::of(&raw)).into_iter().map(|risk| (risk.kind, risk.reason)).collect()
}

fn updated(kind: &str, before: Value, after: Value) -> Vec<(RiskKind, String)> {
    found(kind, json!(["update"]), before, after, json!({}))
}

fn created(kind: &str, after: Value, unknown: Value) -> Vec<(RiskKind, String)> {
    found(kind, json!(["create"]), Value::Null, after, unknown)
}

fn kinds(found: Vec<(RiskKind, String)>) -> Vec<RiskKind> {
    found.into_iter().map(|(kind, _)| kind).collect()
}

#[test]
fn protection_that_is_left_out_is_switched_off() {
    use RiskKind::{BackupsOff, ProtectionOff};
    let database = |before: Value, after: Value| updated("aws_db_instance", before, after);
    assert_eq!(kinds(database(json!({"deletion_protection": true}), json!({}))), [ProtectionOff]);
    assert_eq!(
        kinds(database(json!({"deletion_protection": true}), json!({"deletion_protection": null}))),
        [ProtectionOff]
    );
    let later = json!({"deletion_protection": true, "backup_retention_period": true});
    let before = json!({"deletion_protection": true, "backup_retention_period": 7});
    let unsure = found("aws_db_instance", json!(["update"]), before, json!({}), later);
    assert_eq!(
        unsure,
        [
            (ProtectionOff, "deletion_protection may be switched off: known only after apply".to_owned()),
            (BackupsOff, "backup_retention_period may be switched off: known only after apply".to_owned()),
        ]
    );
    assert_eq!(
        kinds(database(json!({"backup_retention_period": 7}), json!({"backup_retention_period": null}))),
        [BackupsOff]
    );
    let shorter = database(json!({"backup_retention_period": 30}), json!({"backup_retention_period": 1}));
    assert_eq!(shorter[0].1, "automated backups are kept 1 day, not 30; older ones are deleted");
    assert!(database(json!({"backup_retention_period": 1}), json!({"backup_retention_period": 30})).is_empty());
    assert_eq!(kinds(database(json!({}), json!({"skip_final_snapshot": true}))), [ProtectionOff]);
    let versions = |on: bool| json!({"versioning": [{"enabled": on}]});
    assert_eq!(kinds(updated("aws_s3_bucket", versions(true), versions(false))), [BackupsOff]);
    assert!(updated("aws_s3_bucket", versions(true), versions(true)).is_empty());
    let plain = json!({"transit_encryption_enabled": false, "at_rest_encryption_enabled": false});
    let sealed = json!({"transit_encryption_enabled": true, "at_rest_encryption_enabled": true});
    assert_eq!(kinds(updated("aws_elasticache_replication_group", sealed, plain)), [ProtectionOff, ProtectionOff]);
}

#[test]
fn a_clusters_api_is_open_unless_it_is_closed() {
    let of = |access: Value, from: Value| json!({"vpc_config": [{"endpoint_public_access": access, "public_access_cidrs": from}]});
    let open = [(RiskKind::Exposed, "the cluster's API answers the whole internet".to_owned())];
    assert_eq!(created("aws_eks_cluster", of(Value::Null, Value::Null), json!({})), open);
    assert_eq!(created("aws_eks_cluster", of(json!(true), json!([])), json!({})), open);
    let unknown = json!({"vpc_config": [{"public_access_cidrs": true}]});
    let unsure = created("aws_eks_cluster", of(json!(true), Value::Null), unknown);
    assert!(unsure[0].1.ends_with("unless what is known only after apply says otherwise"), "{unsure:?}");
    assert!(created("aws_eks_cluster", of(json!(false), Value::Null), json!({})).is_empty());
    assert!(created("aws_eks_cluster", of(json!(true), json!(["10.0.0.0/8"])), json!({})).is_empty());
    assert!(updated("aws_eks_cluster", of(Value::Null, Value::Null), of(json!(true), json!([]))).is_empty());
}

#[test]
fn the_whole_internet_has_many_names_and_protocols_differ() {
    use RiskKind::{AdminPortOpen, Exposed};
    let rule = |protocol: &str, port: i32, from: &str| json!({"ip_protocol": protocol, "from_port": port, "to_port": port, "cidr_ipv4": from});
    let opened = |rule: Value| created("aws_vpc_security_group_ingress_rule", rule, json!({}));
    for everybody in ["0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/2", "0::/0", "2000::/3"] {
        assert_eq!(kinds(opened(rule("tcp", 22, everybody))), [AdminPortOpen], "{everybody}");
    }
    for few in ["10.0.0.0/8", "2001:db8::/32", "nonsense/0", "0.0.0.0"] {
        assert!(opened(rule("tcp", 22, few)).is_empty(), "{few}");
    }
    let icmp = opened(rule("icmp", -1, "0.0.0.0/0"));
    assert_eq!(icmp, [(Exposed, "ICMP (ping, and other control messages) is opened to the whole internet".to_owned())]);
    let group = |protocol: &str, from: u16, to: u16| json!({"ingress": [{"protocol": protocol, "from_port": from, "to_port": to, "cidr_blocks": ["0.0.0.0/0"]}]});
    assert_eq!(kinds(updated("aws_security_group", group("udp", 22, 22), group("tcp", 22, 22))), [AdminPortOpen]);
    assert!(updated("aws_security_group", group("tcp", 20, 30), group("tcp", 22, 22)).is_empty());
    let list = json!({"entry": [{"cidr": "0.0.0.0/0"}]});
    assert_eq!(kinds(updated("aws_ec2_managed_prefix_list", json!({"entry": []}), list)), [Exposed]);
    assert_eq!(kinds(created("aws_ec2_managed_prefix_list_entry", json!({"cidr": "::/0"}), json!({}))), [Exposed]);
}

#[test]
fn everything_is_written_in_many_ways() {
    use RiskKind::{Admin, WidePermission};
    let policy = |action: &str, resource: &str| {
        let statement = json!({"Statement": {"Effect": "Allow", "Action": action, "Resource": resource}});
        kinds(created("aws_iam_policy", json!({"policy": statement.to_string()}), json!({})))
    };
    for resource in ["*", "**", "arn:aws:*:*:*:*", "arn:aws:s3:::*", "arn:aws:iam::*:*"] {
        assert_eq!(policy("*", resource), [Admin], "{resource}");
        assert_eq!(policy("s3:*", resource), [WidePermission], "{resource}");
    }
    assert_eq!((policy("*:*", "*"), policy("**", "*")), (vec![Admin], vec![Admin]));
    assert!(policy("s3:*", "arn:aws:s3:::bucket/*").is_empty() && policy("s3:Get*", "*").is_empty());
    let but = json!({"Statement": [{"Effect": "Allow", "NotAction": "iam:*", "Resource": "arn:aws:*:*:*:*"}]});
    let inline = json!({"inline_policy": but.to_string()});
    assert_eq!(kinds(created("aws_ssoadmin_permission_set_inline_policy", inline, json!({}))), [Admin]);
    let attached = |kind: &str, path: &str, name: &str| {
        kinds(created(kind, json!({path: [format!("arn:aws:iam::aws:policy/{name}")]}), json!({})))
    };
    assert_eq!(attached("aws_iam_role", "managed_policy_arns", "AdministratorAccess"), [Admin]);
    assert_eq!(attached("aws_ssoadmin_managed_policy_attachment", "managed_policy_arn", "IAMFullAccess"), [Admin]);
    assert_eq!(
        attached("aws_iam_role_policy_attachments_exclusive", "policy_arns", "PowerUserAccess"),
        [WidePermission]
    );
    assert!(attached("aws_iam_role", "managed_policy_arns", "ReadOnlyAccess").is_empty());
}

#[test]
fn a_resources_policy_lets_everybody_in() {
    let open = |statement: Value, kind: &str, path: &str| {
        let mut whole = json!({"Effect": "Allow", "Action": "x:Y", "Resource": "*"});
        whole.as_object_mut().unwrap().extend(statement.as_object().unwrap().clone());
        !created(kind, json!({path: json!({"Statement": [whole]}).to_string()}), json!({})).is_empty()
    };
    for (kind, path) in [
        ("aws_s3_bucket", "policy"),
        ("aws_kms_key_policy", "policy"),
        ("aws_sns_topic", "policy"),
        ("aws_efs_file_system_policy", "policy"),
        ("aws_backup_vault_policy", "policy"),
        ("aws_opensearch_domain", "access_policies"),
        ("aws_iam_role", "assume_role_policy"),
    ] {
        assert!(open(json!({"Principal": {"AWS": "*"}}), kind, path), "{kind}");
        assert!(!open(json!({"Principal": {"AWS": "arn:aws:iam::1:root"}}), kind, path), "{kind}");
    }
    let bucket = |statement: Value| open(statement, "aws_s3_bucket_policy", "policy");
    assert!(bucket(json!({"Principal": "*", "Condition": {}})));
    assert!(bucket(json!({"Principal": "*", "Condition": {"Bool": {"aws:SecureTransport": "true"}}})));
    assert!(bucket(json!({"NotPrincipal": {"AWS": "arn:aws:iam::1:user/x"}})));
    assert!(!bucket(json!({"Principal": "*", "Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}})));
    let acl = |after: Value| kinds(created("aws_s3_bucket_acl", after, json!({})));
    assert_eq!(acl(json!({"acl": "authenticated-read"})), [RiskKind::Exposed]);
    let uri = "http://acs.amazonaws.com/groups/global/AllUsers";
    assert_eq!(acl(json!({"access_control_policy": [{"grant": [{"grantee": [{"uri": uri}]}]}]})), [RiskKind::Exposed]);
    assert!(acl(json!({"acl": "private"})).is_empty());
}

#[test]
fn what_is_gone_moved_or_expired_is_on_top() {
    use RiskKind::{AddressLoss, DataLoss, OneWay, Outage};
    let destroyed = |kind: &str| kinds(found(kind, json!(["delete"]), json!({"id": "x"}), Value::Null, json!({})));
    assert_eq!(destroyed("aws_db_cluster_snapshot"), [DataLoss]);
    assert_eq!(destroyed("aws_s3_object"), [DataLoss]);
    assert_eq!(destroyed("aws_rds_cluster_instance"), [AddressLoss]);
    assert_eq!(destroyed("aws_route53_hosted_zone_dnssec"), [AddressLoss]);
    assert_eq!(destroyed("aws_eks_node_group"), [Outage]);
    let nodes = |count: u32| json!({"scaling_config": [{"desired_size": count}]});
    assert_eq!(kinds(updated("aws_eks_node_group", nodes(2), nodes(0))), [Outage]);
    let update = |kind: &str, before: Value, after: Value| kinds(updated(kind, before, after));
    assert_eq!(update("aws_kms_key", json!({"is_enabled": true}), json!({"is_enabled": false})), [DataLoss]);
    assert_eq!(update("aws_db_instance", json!({"identifier": "a"}), json!({"identifier": "b"})), [AddressLoss]);
    assert_eq!(update("aws_db_instance", json!({"port": 5432}), json!({"port": 5433})), [AddressLoss]);
    let weight = |weight: u32| json!({"name": "api", "weighted_routing_policy": [{"weight": weight}]});
    assert_eq!(update("aws_route53_record", weight(10), weight(0)), [AddressLoss]);
    let origin = |name: &str| json!({"origin": [{"domain_name": name}]});
    assert_eq!(update("aws_cloudfront_distribution", origin("a"), origin("b")), [AddressLoss]);
    let version = |engine: &str, version: &str| json!({"engine": engine, "engine_version": version});
    assert_eq!(update("aws_elasticache_cluster", version("redis", "6.2"), version("redis", "7.1")), [OneWay]);
    assert_eq!(update("aws_db_instance", version("mysql", "8.0.40"), version("mysql", "8.4.3")), [OneWay]);
    assert!(update("aws_db_instance", version("mysql", "8.0.40"), version("mysql", "8.0.41")).is_empty());
    assert!(update("aws_db_instance", version("postgres", "16.3"), version("postgres", "16.4")).is_empty());
    let aliases = found(
        "aws_cloudfront_distribution",
        json!(["update"]),
        json!({"aliases": ["x.com"]}),
        json!({}),
        json!({"aliases": true}),
    );
    assert_eq!(aliases[0].1, "it may not answer for x.com any more: known only after apply");
    let record = json!({"name": "api", "allow_overwrite": true});
    assert_eq!(kinds(created("aws_route53_record", record, json!({}))), [AddressLoss]);
    let rule = |days: u32| json!({"rule": [{"id": "old", "status": "Enabled", "expiration": [{"days": days}]}]});
    let expires = |before: Value, after: Value| updated("aws_s3_bucket_lifecycle_configuration", before, after);
    assert_eq!(expires(json!({"rule": []}), rule(30))[0].1, "the rule old deletes objects after 30 days");
    assert_eq!(expires(rule(30), rule(7))[0].1, "the rule old deletes objects after 7 days, not 30");
    assert!(expires(rule(7), rule(30)).is_empty() && expires(rule(7), rule(7)).is_empty());
}

#[test]
fn what_is_forgotten_with_its_data_is_managed_by_nobody() {
    let forgotten = |kind: &str| kinds(found(kind, json!(["forget"]), json!({"id": "x"}), Value::Null, json!({})));
    assert_eq!(forgotten("aws_db_instance"), [RiskKind::Unmanaged]);
    assert_eq!(forgotten("aws_eip"), [RiskKind::Unmanaged]);
    assert!(forgotten("aws_iam_role").is_empty());
}

#[test]
fn reasons_hold_no_secrets() {
    let raw = json!({"address": "a.b", "mode": "managed", "type": "aws_route53_record", "change": {"actions": ["update"],
        "before": {"name": "x", "records": ["hunter2.example"]}, "after": {"name": "x", "records": ["hunter3.example"]},
        "before_sensitive": {"records": true}, "after_sensitive": {"records": [true]}}});
    let raw: RawChange = serde_json::from_value(raw).unwrap();
    let found = risks(&raw, &Change::of(&raw));
    assert_eq!(found[0].reason, "x points away from (sensitive), to (sensitive)");
}
