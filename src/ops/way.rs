//! How production's images change: by one commit that Argo CD syncs, or past Git, with the commit after it.

use std::sync::Arc;
use std::time::Duration;

use crate::adapters::cluster::{Events, Logs};
use crate::adapters::http;
use crate::config::Config;
use crate::domain::ServiceName;
use crate::engine::Plan;
use crate::error::Result;
use crate::monitor::endpoints::Endpoints;
use crate::steps;

use super::connect::Connected;

/// How long the images must stay, after they were applied directly, before it is believed (world time).
const UNREVERTED: Duration = Duration::from_secs(30);

/// The way of one change.
pub(super) struct Way<'a> {
    pub connected: &'a Connected,
    pub config: &'a Config,
    pub commit: steps::ChangeOverlay,
    /// Past Git.
    pub direct: bool,
    /// Consent to pause automated sync.
    pub pause_sync: bool,
    /// Consent to end another's Argo CD operation.
    pub terminate_sync: bool,
    /// The command that goes past Git and Argo CD, where this one does not.
    pub past: String,
}

impl Way<'_> {
    /// The images are named: on main, and seen there by Argo CD; or by the Deployments themselves.
    pub fn changed(&self, plan: Plan) -> Plan {
        let (applications, argo) = (&self.connected.applications, &self.config.argo);
        let free = steps::FreeArgo::new(applications.clone(), argo.clone(), self.terminate_sync);
        if self.direct {
            return plan
                .step(steps::PauseSync {
                    applications: applications.clone(),
                    application: argo.application.clone(),
                    consent: self.pause_sync,
                })
                .step(free.past_git())
                .step(self.apply());
        }
        plan.step(free).step(self.commit.clone()).step(steps::ArgoSync::new(
            applications.clone(),
            Arc::clone(&self.connected.git),
            argo.clone(),
            self.terminate_sync,
            Some(self.past.clone()),
        ))
    }

    /// Pods of the affected services on their images, production healthy, and nothing that puts the old images back.
    pub fn arrived(&self, affected: impl Fn(&ServiceName) -> bool, plan: Plan) -> Result<Plan> {
        let production = &self.connected.production;
        let namespace = &self.config.production.namespace;
        let mut only = self.config.clone();
        only.services.retain(|service| affected(&service.name));
        let rollout = steps::Rollout::new(
            production.workloads.clone(),
            Events::new(&production.cluster, namespace),
            Logs::new(&production.cluster, namespace),
            production.aws.clone(),
            only,
        );
        let rollout = if self.direct { rollout.applied(self.apply()) } else { rollout };
        let unreverted = self.direct.then(|| steps::Unreverted::new(self.apply(), UNREVERTED));
        Ok(plan
            .step(rollout)
            .step(steps::ProductionHealth {
                endpoints: Endpoints::new(self.config, &self.config.production, &production.cluster)?,
                http: http::client()?,
                urls: self.config.production.urls.clone(),
                within: self.config.rollout.within,
            })
            .step_if(unreverted))
    }

    /// What was done past Git is made good: main says it, and automated sync goes on.
    pub fn made_good(self, plan: Plan) -> Plan {
        if !self.direct {
            return plan;
        }
        let (applications, git) = (self.connected.applications.clone(), Arc::clone(&self.connected.git));
        let workloads = self.connected.production.workloads.clone();
        plan.step(self.commit).step(steps::ResumeSync::new(applications, workloads, git, self.config.clone()))
    }

    fn apply(&self) -> steps::ApplyImages {
        steps::ApplyImages { workloads: self.connected.production.workloads.clone(), config: self.config.clone() }
    }
}
