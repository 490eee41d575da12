//! The server from the outside: over its router, over a directory somebody damages, over a socket while it ends.

mod fixtures;
mod http;
mod loading;
mod shutdown;
