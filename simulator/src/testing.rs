//! What tests of sockets share.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{HeaderMap, Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Nothing here takes longer.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A clock that stands still.
pub(crate) fn clock() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

/// A free port, taken.
pub(crate) async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// What a raw server does with one request.
pub(crate) enum Reply {
    /// These bytes, then wait for the next request.
    Send(String),
    /// These bytes, then close.
    SendAndClose(String),
    /// Close without a word.
    Close,
    /// Never answer.
    Hang,
}

/// A server that answers request paths as told, over connections that are kept alive.
pub(crate) async fn serve_raw(reply: impl Fn(&str) -> Reply + Clone + Send + 'static) -> SocketAddr {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(talk(stream, reply.clone()));
        }
    });
    address
}

async fn talk(mut stream: TcpStream, reply: impl Fn(&str) -> Reply) {
    let mut seen = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => seen.extend_from_slice(&buffer[..read]),
        }
        if !seen.ends_with(b"\r\n\r\n") {
            continue;
        }
        let text = String::from_utf8(std::mem::take(&mut seen)).unwrap();
        match reply(text.split(' ').nth(1).unwrap()) {
            Reply::Send(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
            Reply::SendAndClose(answer) => return stream.write_all(answer.as_bytes()).await.unwrap(),
            Reply::Close => return,
            Reply::Hang => std::future::pending().await,
        }
    }
}

/// One answer as bytes on the wire.
pub(crate) fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> String {
    let mut text = format!("HTTP/1.1 {status} Test\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        text.extend([name, ": ", value, "\r\n"]);
    }
    text + "\r\n" + body
}

/// Asks once.
pub(crate) async fn ask(method: Method, url: &str) -> (u16, HeaderMap, Bytes) {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let request = Request::builder()
        .method(method)
        .uri(url)
        .body(Empty::new())
        .unwrap();
    let response = timeout(DEADLINE, client.request(request))
        .await
        .expect("an answer in time")
        .unwrap();
    let (head, body) = response.into_parts();
    (
        head.status.as_u16(),
        head.headers,
        body.collect().await.unwrap().to_bytes(),
    )
}

/// Asks with GET.
pub(crate) async fn get(url: &str) -> (u16, HeaderMap, Bytes) {
    ask(Method::GET, url).await
}
