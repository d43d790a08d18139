//! The ways to an address inside the cluster: directly, by port-forward, through the API server, or from a Job.

mod answer;
mod api_proxy;
mod connects;
mod job;
mod port_forward;
mod route;
mod tunnel;

pub use answer::HttpAnswer;
pub use connects::connects;
pub use route::Route;
pub use tunnel::Tunnel;
