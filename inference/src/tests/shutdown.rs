//! The end of the process, over real sockets and under load. Every wait has a deadline and a name.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serin_core::digest::Digest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::fixtures;
use crate::serve::{Patience, serve};

const REQUEST: &[u8] = b"GET /recommend/7 HTTP/1.1\r\nhost: recommender\r\n\r\n";

/// Waits for `event`, but not for ever.
async fn within<T>(what: &str, event: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(Duration::from_secs(20), event).await;
    waited.unwrap_or_else(|_| panic!("waited 20 s for {what}"))
}

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

async fn start(patience: Patience) -> Running {
    let service = fixtures::service(Digest::of(b"manifest"));
    service.ready(fixtures::model());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let stopped = async { stopped.await.unwrap() };
    let serving = tokio::spawn(serve(listener, service, stopped, patience));
    Running {
        address,
        stop,
        serving,
    }
}

/// Reads one answer to its last byte; says whether the server closes after it. `None` when it was cut.
async fn read_answer(stream: &mut TcpStream) -> Option<(String, bool)> {
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let header = |name: &str| {
            head.lines()
                .find_map(|line| line.strip_prefix(name).map(str::trim))
        };
        let length: usize = header("content-length:").unwrap().parse().unwrap();
        if body.len() == length {
            return Some((text.clone(), header("connection:") == Some("close")));
        }
    }
}

#[derive(Default)]
struct Load {
    answered: AtomicU64,
    lost: AtomicU64,
    over: AtomicBool,
}

impl Load {
    /// One client with a pool of one connection, as a gateway would use it.
    async fn run(self: Arc<Self>, address: SocketAddr) {
        while !self.over.load(Ordering::Relaxed) {
            let Ok(mut stream) = TcpStream::connect(address).await else {
                return;
            };
            let mut closes = false;
            while !closes && !self.over.load(Ordering::Relaxed) {
                if stream.write_all(REQUEST).await.is_err() {
                    self.lost.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                let Some((answer, close)) = read_answer(&mut stream).await else {
                    self.lost.fetch_add(1, Ordering::Relaxed);
                    break;
                };
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
                self.answered.fetch_add(1, Ordering::Relaxed);
                closes = close;
            }
        }
    }

    async fn until_answered(&self, count: u64) {
        while self.answered.load(Ordering::Relaxed) < count {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_lost_while_the_server_ends() {
    let patience = Patience {
        drain: Duration::from_secs(2),
        linger: Duration::from_secs(1),
        finish: Duration::from_secs(5),
    };
    let Running {
        address,
        stop,
        serving,
    } = start(patience).await;
    let load = Arc::new(Load::default());
    let clients: Vec<_> = (0..8)
        .map(|_| tokio::spawn(Arc::clone(&load).run(address)))
        .collect();
    within("500 answers before the end", load.until_answered(500)).await;
    stop.send(()).unwrap();
    let before = load.answered.load(Ordering::Relaxed);
    within("200 answers during the drain", load.until_answered(before + 200)).await;
    load.over.store(true, Ordering::Relaxed);
    for client in clients {
        within("a client", client).await.unwrap();
    }
    within("the end of the server", serving).await.unwrap();
    assert_eq!(
        load.lost.load(Ordering::Relaxed),
        0,
        "of {}",
        load.answered.load(Ordering::Relaxed)
    );
}

#[tokio::test]
async fn a_connection_opened_before_the_end_may_still_bring_its_request() {
    let patience = Patience {
        drain: Duration::ZERO,
        linger: Duration::from_secs(60),
        finish: Duration::from_secs(5),
    };
    let Running {
        address,
        stop,
        serving,
    } = start(patience).await;
    let mut fresh = TcpStream::connect(address).await.unwrap();
    let mut halfway = TcpStream::connect(address).await.unwrap();
    halfway.write_all(&REQUEST[..20]).await.unwrap();
    stop.send(()).unwrap();
    let closed = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    within("the listener to close", closed).await;

    fresh.write_all(REQUEST).await.unwrap();
    halfway.write_all(&REQUEST[20..]).await.unwrap();
    for (name, mut stream) in [("fresh", fresh), ("halfway", halfway)] {
        let answer = within(name, read_answer(&mut stream)).await;
        let (answer, closes) = answer.unwrap_or_else(|| panic!("the {name} connection was cut"));
        assert!(answer.starts_with("HTTP/1.1 200") && closes, "{name}: {answer}");
    }
    within("the end of the server, without the rest of the linger", serving)
        .await
        .unwrap();
}

#[tokio::test]
async fn an_idle_connection_does_not_keep_the_server_alive() {
    let patience = Patience {
        drain: Duration::ZERO,
        linger: Duration::ZERO,
        finish: Duration::from_secs(60),
    };
    let Running {
        address,
        stop,
        serving,
    } = start(patience).await;
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(REQUEST).await.unwrap();
    assert!(within("the first answer", read_answer(&mut idle)).await.is_some());
    stop.send(()).unwrap();
    within("the end of the server", serving).await.unwrap();
    assert!(within("the close", read_answer(&mut idle)).await.is_none());
}
