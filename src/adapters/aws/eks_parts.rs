//! EKS: what a cluster is made of.

use aws_sdk_eks::types::{AddonIssueCode, NodegroupIssueCode};

use super::client::Aws;
use super::errors::sdk_error;
use crate::error::Result;

/// A node group or an add-on, as EKS describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EksPart {
    pub name: String,
    /// `ACTIVE`, `UPDATING`, `DEGRADED`, …
    pub status: String,
    /// Kubernetes' version for a node group (`1.33`); an add-on's own for an add-on.
    pub version: String,
    /// What EKS finds wrong with it: code and message.
    pub issues: Vec<String>,
}

impl EksPart {
    /// Whether EKS says that it is active and finds nothing wrong.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.status == "ACTIVE" && self.issues.is_empty()
    }
}

impl Aws {
    /// The managed node groups of a cluster, in EKS' order.
    pub async fn node_groups(&self, cluster: &str) -> Result<Vec<EksPart>> {
        let mut parts = Vec::new();
        for name in self.node_group_names(cluster).await? {
            let what = format!("describe node group {name} of EKS cluster {cluster}");
            let asked = self.retry().read(async || {
                let sent = self.eks().describe_nodegroup().cluster_name(cluster).nodegroup_name(&name).send().await;
                sent.map_err(|error| sdk_error(&what, error, self.profile()))
            });
            let answer = asked.await?;
            let group = answer.nodegroup();
            let issues = group.and_then(|group| group.health()).map_or(&[][..], |health| health.issues());
            parts.push(EksPart {
                status: group.and_then(|group| group.status()).map_or("", |status| status.as_str()).to_owned(),
                version: group.and_then(|group| group.version()).unwrap_or_default().to_owned(),
                issues: issues
                    .iter()
                    .map(|one| said(one.code().map(NodegroupIssueCode::as_str), one.message()))
                    .collect(),
                name,
            });
        }
        Ok(parts)
    }

    async fn node_group_names(&self, cluster: &str) -> Result<Vec<String>> {
        let what = format!("list the node groups of EKS cluster {cluster}");
        let (mut names, mut token) = (Vec::new(), None::<String>);
        loop {
            let asked = self.retry().read(async || {
                let sent =
                    self.eks().list_nodegroups().cluster_name(cluster).set_next_token(token.clone()).send().await;
                sent.map_err(|error| sdk_error(&what, error, self.profile()))
            });
            let answer = asked.await?;
            names.extend_from_slice(answer.nodegroups());
            token = answer.next_token().map(str::to_owned);
            if token.is_none() {
                return Ok(names);
            }
        }
    }

    /// The add-ons of a cluster that EKS manages, in its order.
    pub async fn addons(&self, cluster: &str) -> Result<Vec<EksPart>> {
        let mut parts = Vec::new();
        for name in self.addon_names(cluster).await? {
            let what = format!("describe add-on {name} of EKS cluster {cluster}");
            let asked = self.retry().read(async || {
                let sent = self.eks().describe_addon().cluster_name(cluster).addon_name(&name).send().await;
                sent.map_err(|error| sdk_error(&what, error, self.profile()))
            });
            let answer = asked.await?;
            let addon = answer.addon();
            let issues = addon.and_then(|addon| addon.health()).map_or(&[][..], |health| health.issues());
            parts.push(EksPart {
                status: addon.and_then(|addon| addon.status()).map_or("", |status| status.as_str()).to_owned(),
                version: addon.and_then(|addon| addon.addon_version()).unwrap_or_default().to_owned(),
                issues: issues.iter().map(|one| said(one.code().map(AddonIssueCode::as_str), one.message())).collect(),
                name,
            });
        }
        Ok(parts)
    }

    async fn addon_names(&self, cluster: &str) -> Result<Vec<String>> {
        let what = format!("list the add-ons of EKS cluster {cluster}");
        let (mut names, mut token) = (Vec::new(), None::<String>);
        loop {
            let asked = self.retry().read(async || {
                let sent = self.eks().list_addons().cluster_name(cluster).set_next_token(token.clone()).send().await;
                sent.map_err(|error| sdk_error(&what, error, self.profile()))
            });
            let answer = asked.await?;
            names.extend_from_slice(answer.addons());
            token = answer.next_token().map(str::to_owned);
            if token.is_none() {
                return Ok(names);
            }
        }
    }
}

fn said(code: Option<&str>, message: Option<&str>) -> String {
    [code, message].into_iter().flatten().collect::<Vec<_>>().join(": ")
}
