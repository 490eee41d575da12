//! Accepts connections, and ends without cutting one that brings a request.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::router::router;
use crate::service::Service;

/// What the system keeps waiting at most for a listener of tokio.
const BACKLOG: usize = 1024;
/// A request line and headers; longer ones are answered with 431 by hyper.
const HEAD_MAX_BYTES: usize = 16 << 10;
/// The pause after a refused accept, which most often means that all file descriptors are in use.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long each part of the end may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Requests are still accepted, so that gateways have time to hear that this pod leaves.
    pub drain: Duration,
    /// Nothing new is accepted; connections opened a moment ago may still send their request.
    pub linger: Duration,
    /// Idle connections are closed; requests being answered are finished.
    pub finish: Duration,
}

/// Serves until `stop`, then ends in three parts, see [`Patience`].
///
/// Guarantee: a request that reached an accepted connection before the end of `linger` is answered, unless answering
/// takes longer than `finish`. There is no time limit on an idle connection before that: a gateway that keeps one in
/// its pool would lose the request it sends while we close.
pub async fn serve(
    listener: TcpListener,
    service: Arc<Service>,
    stop: impl Future<Output = ()>,
    patience: Patience,
) {
    let mut server = Server {
        router: router(Arc::clone(&service)),
        connections: JoinSet::new(),
        graceful: GracefulShutdown::new(),
    };
    server.accept_until(&listener, stop).await;

    service.drain();
    info!(
        drain_ms = patience.drain.as_millis(),
        "draining: /readyz fails, requests are still answered"
    );
    server.accept_until(&listener, sleep(patience.drain)).await;
    server.accept_backlog(listener);

    let Server {
        mut connections,
        graceful,
        ..
    } = server;
    if timeout(patience.linger, all(&mut connections)).await.is_err() {
        debug!(connections = connections.len(), "closing idle connections");
    }
    if timeout(patience.finish, graceful.shutdown()).await.is_err() {
        warn!(
            connections = connections.len(),
            "requests are cut: they took longer than the time to finish"
        );
    }
    info!("stopped");
}

struct Server {
    router: Router,
    connections: JoinSet<()>,
    graceful: GracefulShutdown,
}

impl Server {
    async fn accept_until(&mut self, listener: &TcpListener, end: impl Future<Output = ()>) {
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => return,
                Some(_) = self.connections.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => self.open(stream),
                    Err(error) => {
                        warn!(%error, "cannot accept a connection");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }

    /// Takes in what the system has already accepted for us, for closing the listener would reset it.
    fn accept_backlog(&mut self, listener: TcpListener) {
        let Ok(listener) = listener.into_std() else { return };
        for _ in 0..BACKLOG {
            let Ok((stream, _)) = listener.accept() else {
                return;
            };
            if let Ok(stream) = stream
                .set_nonblocking(true)
                .and_then(|()| TcpStream::from_std(stream))
            {
                self.open(stream);
            }
        }
    }

    fn open(&mut self, stream: TcpStream) {
        // Without this an answer may wait 40 ms for the acknowledgement of the one before it.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "cannot switch off Nagle's algorithm");
        }
        let service = TowerToHyperService::new(self.router.clone());
        let connection = http1::Builder::new()
            .max_buf_size(HEAD_MAX_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        let connection = self.graceful.watch(connection);
        self.connections.spawn(async move {
            if let Err(error) = connection.await {
                debug!(%error, "a connection ended early");
            }
        });
    }
}

async fn all(connections: &mut JoinSet<()>) {
    while connections.join_next().await.is_some() {}
}
