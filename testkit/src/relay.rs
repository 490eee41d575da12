//! A network between a client and a server that can forget connections.

use anyhow::{Context as _, Result};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Passes connections on to a port of this host, until they are forgotten.
///
/// A forgotten one stays open and carries nothing: so it looks to both ends when a NAT or a firewall between them has
/// lost its state. New ones are passed on as before. All end when it is dropped.
pub struct Relay {
    port: u16,
    // Counts how often all were forgotten; those that are dropped with it end.
    age: watch::Sender<u32>,
}

impl Relay {
    /// Listens on a free port.
    ///
    /// Errors: the host has no port left.
    pub async fn to(server: u16) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("no free port on 127.0.0.1")?;
        let port = listener.local_addr().context("a listener has no address")?.port();
        let (age, mut seen) = watch::channel(0);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let Ok((client, _)) = accepted else { continue };
                        tokio::spawn(pass_on(client, server, seen.clone()));
                    }
                    changed = seen.changed() => if changed.is_err() { break },
                }
            }
        });
        Ok(Self { port, age })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on the connections that there are carry nothing.
    pub fn forget(&self) {
        self.age.send_modify(|age| *age = age.saturating_add(1));
    }
}

async fn pass_on(mut client: TcpStream, port: u16, mut age: watch::Receiver<u32>) {
    age.mark_unchanged();
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else {
        return;
    };
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => {}
        changed = age.changed() => if changed.is_ok() {
            // Neither end is told; both are let go with the relay.
            while age.changed().await.is_ok() {}
        }
    }
}
