//! Why the process ends. Each message says what a person can do.

use std::error::Error as StdError;
use std::io;
use std::net::SocketAddr;

use crate::load::LoadError;

/// Why the server could not run, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Most often another process has the port.
    #[error("cannot listen on {address}; free the port or choose another with --listen")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused a signal handler.
    #[error("cannot receive signals; a drain would be impossible")]
    Signals {
        /// What the system said.
        source: io::Error,
    },
    /// The artifact will never be servable as it is named.
    #[error("the model cannot be served")]
    Model {
        /// What is wrong with it.
        source: LoadError,
    },
}

/// A message and its causes on one line.
pub fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        // Some libraries repeat the cause in their own message.
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text
}
