use serde_json::{Value, json};

use super::*;

fn changed(kind: &str, actions: Value, before: Value, after: Value, unknown: Value) -> Option<Cost> {
    let raw = json!({"address": "a.b", "mode": "managed", "type": kind,
        "change": {"actions": actions, "before": before, "after": after, "after_unknown": unknown}});
    let raw: RawChange = serde_json::from_value(raw).unwrap();
    cost(&raw, &Change::of(&raw), &Prices::built_in().unwrap())
}

fn created(kind: &str, after: Value, unknown: Value) -> Cost {
    changed(kind, json!(["create"]), Value::Null, after, unknown).unwrap()
}

fn is_unknown(cost: &Cost) -> bool {
    matches!(cost.after, Amount::Unknown(_))
}

#[test]
fn the_count_of_cache_nodes_that_changes_is_the_one_that_counts() {
    let cache = |clusters: u32, groups: u32, replicas: u32| {
        json!({"node_type": "cache.t4g.micro", "num_cache_clusters": clusters, "num_node_groups": groups,
            "replicas_per_node_group": replicas})
    };
    let of = |before: Value, after: Value| {
        let kind = "aws_elasticache_replication_group";
        changed(kind, json!(["update"]), before, after, json!({})).unwrap().of
    };
    // A state has all three; only one of them is in the configuration.
    assert_eq!(of(cache(1, 1, 0), cache(3, 1, 0)), "3 × cache.t4g.micro");
    assert_eq!(of(cache(2, 1, 1), cache(2, 1, 3)), "4 × cache.t4g.micro");
    assert_eq!(of(cache(2, 1, 1), cache(2, 2, 1)), "4 × cache.t4g.micro");
    assert_eq!(of(cache(2, 1, 1), cache(2, 1, 1)), "2 × cache.t4g.micro");
}

#[test]
fn defaults_that_are_taken_are_named() {
    let cache = json!({"node_type": "cache.t4g.micro"});
    let unknown = json!({"num_cache_clusters": true, "num_node_groups": true, "replicas_per_node_group": true});
    let one = created("aws_elasticache_replication_group", cache, unknown);
    assert_eq!(one.of, "cache.t4g.micro");
    assert_eq!(one.assumed.unwrap(), "one node (num_cache_clusters is known only after apply)");
    let database = json!({"engine": "postgres", "instance_class": "db.t4g.micro"});
    let one = created("aws_db_instance", database, json!({"multi_az": true}));
    assert_eq!(one.assumed.unwrap(), "one availability zone (multi_az is known only after apply)");
    let sharded = json!({"node_type": "cache.t4g.micro", "num_node_groups": 2});
    let two = created("aws_elasticache_replication_group", sharded, json!({"replicas_per_node_group": true}));
    assert_eq!(two.assumed.unwrap(), "no replicas (replicas_per_node_group is known only after apply)");
}

#[test]
fn every_disk_counts_and_what_is_bought_beside_gigabytes_is_unknown() {
    let server = |disk: Value| {
        json!({"instance_type": "t3.medium", "root_block_device": [{"volume_size": 20, "volume_type": "gp3"}],
            "ebs_block_device": [disk]})
    };
    let plain =
        created("aws_instance", server(json!({"volume_size": 100, "volume_type": "gp3", "iops": 3000})), json!({}));
    assert_eq!(plain.of, "t3.medium + 20 GB gp3 + 100 GB gp3");
    for disk in [
        json!({"volume_size": 100, "volume_type": "io1", "iops": 100}),
        json!({"volume_size": 100, "volume_type": "gp3", "iops": 4000}),
        json!({"volume_size": 100, "volume_type": "gp3", "throughput": 250}),
        json!({"volume_size": -100, "volume_type": "gp3"}),
    ] {
        assert!(is_unknown(&created("aws_instance", server(disk.clone()), json!({}))), "{disk}");
    }
    assert!(is_unknown(&created("aws_ebs_volume", json!({"size": 10, "type": "gp3", "iops": 9000}), json!({}))));
    let database = |size: u32| {
        let values = json!({"engine": "postgres", "instance_class": "db.t4g.micro", "allocated_storage": size,
            "storage_type": "gp3", "iops": 12000, "storage_throughput": 500});
        created("aws_db_instance", values, json!({}))
    };
    assert!(is_unknown(&database(100)) && !is_unknown(&database(400)));
}

#[test]
fn what_is_forgotten_goes_on_costing() {
    let kind = "aws_eip";
    let one = changed(kind, json!(["forget"]), json!({"id": "x"}), Value::Null, json!({})).unwrap();
    assert_eq!((one.after.dollars(), one.note), (one.before.dollars(), Some("goes on costing, managed by nobody")));
    assert!(one.after.dollars().unwrap() > 3.0);
}

#[test]
fn a_load_balancer_of_the_cluster_is_not_free() {
    let service = |kind: &str| {
        let after = json!({"spec": [{"type": kind}]});
        changed("kubernetes_service_v1", json!(["create"]), Value::Null, after, json!({}))
    };
    assert!(service("ClusterIP").is_none() && is_unknown(&service("LoadBalancer").unwrap()));
}

#[test]
fn costs_hold_no_secrets() {
    let raw = json!({"address": "a.b", "mode": "managed", "type": "aws_instance", "change": {"actions": ["create"],
        "before": null, "after": {"instance_type": "hunter2"}, "after_sensitive": {"instance_type": true}}});
    let raw: RawChange = serde_json::from_value(raw).unwrap();
    let cost = cost(&raw, &Change::of(&raw), &Prices::built_in().unwrap()).unwrap();
    assert_eq!(cost.after, Amount::Unknown("no price is known for (sensitive)".to_owned()));
}
