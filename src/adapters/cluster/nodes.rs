//! Nodes: how many there are, and which are ready.

use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams};

use super::connect::Cluster;
use crate::error::Result;

/// A node, as far as it is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeState {
    pub name: String,
    /// Its condition `Ready` is `True`, and it may be scheduled on.
    pub ready: bool,
    /// Why not, in the kubelet's words.
    pub why: String,
}

impl Cluster {
    /// Every node, by name.
    pub async fn nodes(&self) -> Result<Vec<NodeState>> {
        let api: Api<Node> = Api::all(self.client().clone());
        let nodes = self.list(&api, &ListParams::default(), "nodes").await?;
        Ok(nodes.into_iter().map(state).collect())
    }
}

fn state(node: Node) -> NodeState {
    let cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false);
    let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
    let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready");
    let is_ready = ready.as_ref().is_some_and(|ready| ready.status == "True");
    let why = match ready {
        _ if is_ready && cordoned => "cordoned".to_owned(),
        Some(ready) => ready.message.or(ready.reason).unwrap_or_default(),
        None => "it has no condition Ready".to_owned(),
    };
    NodeState { name: node.metadata.name.unwrap_or_default(), ready: is_ready && !cordoned, why }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_is_ready_when_it_says_so_and_takes_pods() {
        let node = |status: &str, cordoned: bool| {
            let value = json!({"metadata": {"name": "n"}, "spec": {"unschedulable": cordoned}, "status": {
                "conditions": [{"type": "Ready", "status": status, "reason": "KubeletNotReady", "message": "no CNI"}]}});
            state(serde_json::from_value(value).unwrap())
        };
        assert!(node("True", false).ready);
        assert_eq!((node("True", true).ready, node("True", true).why.as_str()), (false, "cordoned"));
        assert_eq!((node("Unknown", false).ready, node("False", false).why.as_str()), (false, "no CNI"));
        assert!(!state(Node::default()).ready);
    }
}
