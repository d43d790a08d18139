//! One endpoint for all services: the credential scope says which one is meant.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, Uri};
use bytes::Bytes;

use super::wire::{Call, Fault, Protocol, fault_answer, json_answer, xml_answer};
use super::{amplify, ecr, eks, secrets, sts, upload};
use crate::rehearsal::World;
use crate::rehearsal::shape::ClusterShape;

/// The access key of staging's account, where it has one of its own.
pub const STAGING_KEY: &str = "AKIAREHEARSAL0STAGNG";

/// Where EKS says that a cluster's API server is.
#[derive(Debug, Clone)]
pub struct Cluster {
    pub shape: ClusterShape,
    /// `https://127.0.0.1:PORT`.
    pub endpoint: String,
    /// Its CA certificate in PEM.
    pub ca_pem: String,
}

/// STS, EKS, ECR, Secrets Manager and Amplify. IAM is not rehearsed: any SigV4 credential is accepted, and its
/// signature is not verified.
pub fn router(world: Arc<World>, clusters: Vec<Cluster>) -> Router {
    Router::new().fallback(answer).with_state((world, clusters.into()))
}

async fn answer(
    State((world, clusters)): State<(Arc<World>, Arc<[Cluster]>)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let call = Call::read(&method, &uri, &headers, &body);
    if let Some(blob) = upload::download(&world, &call) {
        return blob;
    }
    let Some(service) = call.service.as_deref() else {
        let fault = Fault::new(403, "MissingAuthenticationToken", "Missing Authentication Token");
        return fault_answer(&call, &fault);
    };
    let answer = match service {
        "sts" => {
            return match sts::answer(&world, &call) {
                Ok(text) => xml_answer(&call, text),
                Err(fault) => fault_answer(&Call { protocol: Protocol::Query, ..call }, &fault),
            };
        }
        "ecr" => ecr::answer(&world, &call),
        "secretsmanager" => secrets::answer(&world, &call),
        "eks" => eks::answer(&world, &clusters, &call),
        "amplify" => amplify::answer(&world, &call),
        other => Err(Fault::not_rehearsed(format!("AWS service {other:?}"))),
    };
    match answer {
        Ok(value) => json_answer(&call, &value),
        Err(fault) => fault_answer(&call, &fault),
    }
}

/// The account that answers: another one's in the scenario `wrong-cluster`.
pub(super) fn account(world: &World) -> &str {
    if world.scenario.world.wrong_cluster { "999900001111" } else { &world.shape.account }
}

/// The account of the key that signed. Images, secrets and apps are production's whoever asks.
pub(super) fn account_of_caller<'a>(world: &'a World, call: &Call) -> &'a str {
    if call.key.as_deref() == Some(STAGING_KEY) { world.shape.account_of("staging") } else { account(world) }
}
