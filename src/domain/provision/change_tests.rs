use serde_json::json;

use super::*;

fn change(diff: Value) -> Change {
    let raw = json!({"address": "aws_x.y", "mode": "managed", "type": "aws_x", "change": diff});
    Change::of(&serde_json::from_value(raw).unwrap())
}

fn lines(change: &Change) -> Vec<String> {
    let line = |attribute: &Attribute| {
        let forces = if attribute.forces { " !" } else { "" };
        format!("{} {} → {}{forces}", attribute.path, attribute.before.text(), attribute.after.text())
    };
    change.attributes.iter().map(line).collect()
}

#[test]
fn attributes_are_compared_part_by_part() {
    let change = change(json!({
        "actions": ["delete", "create"],
        "before": {"a": 1, "tags": {"x": "1", "y": "2"}, "list": ["a", "b"], "same": [1], "id": "i-1", "pw": "old"},
        "after": {"a": 2, "tags": {"x": "1", "y": "3"}, "list": ["a"], "same": [1], "pw": "new"},
        "after_unknown": {"id": true, "tags": {}},
        "before_sensitive": {"pw": true}, "after_sensitive": {"pw": true},
        "replace_paths": [["tags", "y"]],
    }));
    assert_eq!(change.action, Action::Replace);
    assert_eq!(
        lines(&change),
        [
            "tags.y \"2\" → \"3\" !",
            "a 1 → 2",
            "id \"i-1\" → (known after apply)",
            "list [\"a\",\"b\"] → [\"a\"]",
            "pw (sensitive) → (sensitive)",
        ]
    );
}

#[test]
fn items_of_a_set_that_only_stand_elsewhere_have_not_changed() {
    let rule = |port: u16, from: &str| json!({"from_port": port, "cidr_blocks": [from]});
    let change = change(json!({
        "actions": ["update"],
        "before": {"ingress": [rule(443, "10.0.0.0/8"), rule(22, "10.0.0.0/8")]},
        "after": {"ingress": [rule(22, "0.0.0.0/0"), rule(443, "10.0.0.0/8"), rule(80, "10.0.0.0/8")]},
    }));
    assert_eq!(
        lines(&change),
        [
            "ingress[0].cidr_blocks [\"10.0.0.0/8\"] → [\"0.0.0.0/0\"]",
            "ingress[2].from_port (none) → 80",
            "ingress[2].cidr_blocks (none) → [\"10.0.0.0/8\"]",
        ]
    );
}

#[test]
fn policies_inside_texts_are_compared_as_documents() {
    let policy = |action: &str| json!({"Statement": [{"Action": action, "Effect": "Allow"}]}).to_string();
    let change = change(
        json!({"actions": ["update"], "before": {"policy": policy("s3:Get*")}, "after": {"policy": policy("*")}}),
    );
    assert_eq!(lines(&change), ["policy.Statement[0].Action \"s3:Get*\" → \"*\""]);
}

#[test]
fn secrets_are_hidden_by_mark_by_name_and_in_parts() {
    let change = change(json!({
        "actions": ["update"],
        "before": {"master_password": "a", "deep": {"x": [{"k": "s1"}]}, "whole": {"k": "s2"}},
        "after": {"master_password": "b", "deep": {"x": [{"k": "s3"}]}, "whole": {"k": "s4"}},
        "before_sensitive": {"deep": {"x": [{"k": true}]}},
        "after_sensitive": {"whole": true},
    }));
    let text = lines(&change).join("\n");
    assert_eq!(change.attributes.len(), 3, "{text}");
    assert!(!text.contains("\"a\"") && !text.contains("s1") && !text.contains("s2") && !text.contains("s4"), "{text}");
}

#[test]
fn copies_of_a_secret_are_hidden_where_terraform_does_not_mark_them() {
    let change = change(json!({
        "actions": ["update"],
        "before": {"input": {"pw": "hunter2"}, "output": {"pw": "hunter2"}, "url": "postgres://a:hunter2@db", "n": 1},
        "after": {"input": {"pw": "hunter3"}, "url": "postgres://a:hunter3@db", "n": 2},
        "after_unknown": {"output": true},
        "before_sensitive": {"input": {"pw": true}}, "after_sensitive": {"input": {"pw": true}},
    }));
    assert_eq!(
        lines(&change),
        [
            "input.pw (sensitive) → (sensitive)",
            "n 1 → 2",
            "output (sensitive) → (known after apply)",
            "url (sensitive) → (sensitive)",
        ]
    );
}

#[test]
fn secrets_in_documents_environments_and_numbers_are_hidden() {
    let env = |value: &str| json!([{"name": "DB_PASSWORD", "value": value}, {"name": "PORT", "value": "1"}]);
    let change = change(json!({
        "actions": ["update"],
        "before": {"containers": env("hunter2").to_string(), "pin": 123_456, "copy": 123_456, "clientSecret": "x1"},
        "after": {"containers": env("hunter3").to_string(), "pin": 654_321, "copy": 654_321, "clientSecret": "x2",
            "new": env("hunter4").to_string()},
        "before_sensitive": {"pin": true}, "after_sensitive": {"pin": true},
    }));
    assert_eq!(
        lines(&change),
        [
            "clientSecret (sensitive) → (sensitive)",
            "containers[0].value (sensitive) → (sensitive)",
            "copy (sensitive) → (sensitive)",
            "new (none) → (sensitive)",
            "pin (sensitive) → (sensitive)",
        ]
    );
    let whole = json!({"db": {"actions": ["create"], "after": {"Api-Key": "hunter2"}}, "n": {"actions": ["create"], "after": 1}});
    let shown = outputs(serde_json::from_value(whole).unwrap());
    assert_eq!(shown.iter().map(|output| output.after.text()).collect::<Vec<_>>(), ["(sensitive)", "1"]);
}

#[test]
fn actions_and_reasons_are_terraforms() {
    let of = |actions: &[&str]| Action::of(&actions.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>());
    assert_eq!(of(&["create", "delete"]), Action::Replace);
    assert_eq!(of(&["delete", "create"]), Action::Replace);
    assert_eq!(of(&["forget"]), Action::Forget);
    assert_eq!(of(&["explode"]), Action::Unknown);
    assert_eq!(reason("replace_because_cannot_update"), None);
    assert_eq!(reason("delete_because_count_index").unwrap(), "count is lower than before");
    assert_eq!(reason("something_new").unwrap(), "something new");
}
