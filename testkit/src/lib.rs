//! Worlds to test in: real servers on free ports of this host, gone when dropped, and stand-ins for what they lack.

mod api_server;
mod relay;
mod samples;
mod server;
mod stand_ins;

pub use self::api_server::{ApiServer, Autoscaler, install};
pub use self::relay::Relay;
pub use self::samples::{Served, answer};
pub use self::stand_ins::{accept, front, http_route, pod_metrics, routes, run_pods, run_replicas};
