//! Worlds to test in: real servers on free ports of this host, gone when dropped.

mod api_server;
mod server;

pub use self::api_server::{ApiServer, install};
