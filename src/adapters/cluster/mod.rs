//! A Kubernetes cluster, pinned; and what a release asks of it, one narrow client a file.

mod access;
mod argo;
mod argo_pause;
mod config_maps;
mod connect;
mod connections;
mod errors;
mod events;
mod external_secrets;
mod forward;
mod images;
mod jobs;
mod lease;
mod logs;
mod nodes;
mod pods;
mod register;
mod watch;
mod workloads;

pub use access::{Access, Allowed};
pub use argo::{AppCondition, AppHistory, AppState, Applications, Operation, Refresh};
pub use config_maps::{ConfigMaps, StoredMap};
pub use connect::{Cluster, ClusterIdentity};
pub(super) use errors::{classify as classify_status, kube_error};
pub use events::{EventLine, Events};
pub use external_secrets::{ExternalSecretState, ExternalSecrets};
pub use forward::{Forwarded, Target};
pub use images::FIELD_MANAGER;
pub use jobs::{JobOutcome, JobSpec, Jobs};
pub use lease::{LeaseState, LeaseWrite, Leases};
pub use logs::Logs;
pub use nodes::NodeState;
pub use pods::{Condition, ContainerState, PodState, Terminated, Waiting};
pub use register::Register;
pub use watch::Live;
pub use workloads::{DeploymentState, ReplicaSetState, Workloads};
