//! Stands between the operator and Prometheus and spoils the answers, one way after the other.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use parking_lot::Mutex;

/// What becomes of the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// They pass as they are.
    None,
    /// Every sample is no number.
    NaN,
    /// The login page of a proxy.
    Html,
    /// The query cannot be executed.
    Unprocessable,
    /// Nobody is there.
    Unavailable,
    /// They come too late.
    Late,
}

impl Lie {
    /// Every way to spoil an answer.
    pub(crate) const ALL: [Self; 5] = [
        Self::NaN,
        Self::Html,
        Self::Unprocessable,
        Self::Unavailable,
        Self::Late,
    ];

    /// In words, for people.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::None => "the truth",
            Self::NaN => "NaN",
            Self::Html => "HTML",
            Self::Unprocessable => "422",
            Self::Unavailable => "503",
            Self::Late => "20 s late",
        }
    }

    /// The answer instead of `truth`, a whole HTTP response.
    fn instead_of(self, truth: &str) -> String {
        match self {
            Self::None | Self::Late => truth.to_owned(),
            Self::NaN => without_numbers(truth),
            Self::Html => response("200 OK", "text/html", "<html><body>Log in, please</body></html>"),
            Self::Unprocessable => response(
                "422 Unprocessable Entity",
                "application/json",
                r#"{"status":"error","errorType":"execution","error":"query processing would load too many samples"}"#,
            ),
            Self::Unavailable => response("503 Service Unavailable", "text/plain", "no healthy upstream"),
        }
    }
}

fn response(status: &str, kind: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// The same answer with NaN in the place of every sample's value. The values are the only strings that end an array
/// of two: `[time,"value"]`.
fn without_numbers(truth: &str) -> String {
    let body = truth.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let parts: Vec<&str> = body.split("\"]").collect();
    let (last, parts) = parts.split_last().unwrap_or((&"", &[]));
    let mut spoiled: Vec<String> = parts
        .iter()
        .map(|part| {
            let before = part.rsplit_once('"').map_or(*part, |(before, _)| before);
            format!("{before}\"NaN")
        })
        .collect();
    spoiled.push((*last).to_owned());
    response("200 OK", "application/json", &spoiled.join("\"]"))
}

/// A proxy on this host. It serves until this process ends: nothing of it outlives the test.
pub(crate) struct Liar {
    address: SocketAddr,
    lie: Arc<Mutex<Lie>>,
}

impl Liar {
    /// Listens on a free port of `host`, in front of `prometheus`.
    pub(crate) fn start(host: &str, prometheus: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((host, 0)).with_context(|| format!("cannot listen on {host}"))?;
        let address = listener.local_addr().context("a listener without an address")?;
        let lie = Arc::new(Mutex::new(Lie::None));
        let told = lie.clone();
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let told = told.clone();
                // A connection that breaks is the operator's to notice.
                thread::spawn(move || drop(answer(connection, prometheus, &told)));
            }
        });
        Ok(Self { address, lie })
    }

    /// What the operator is told to ask.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on answers are spoiled so.
    pub(crate) fn tell(&self, lie: Lie) {
        *self.lie.lock() = lie;
    }
}

fn answer(mut operator: TcpStream, prometheus: SocketAddr, told: &Mutex<Lie>) -> Result<()> {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let length = operator.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        request.extend(buffer.iter().take(length));
    }
    let head = String::from_utf8_lossy(&request);
    let line = head.lines().next().unwrap_or_default();
    let lie = *told.lock();
    if lie == Lie::Late {
        thread::sleep(Duration::from_secs(20));
    }
    let mut upstream = TcpStream::connect(prometheus)?;
    // HTTP/1.0: the answer is neither chunked nor compressed and ends with the connection.
    let line = line.replace("HTTP/1.1", "HTTP/1.0");
    write!(upstream, "{line}\r\nHost: prometheus\r\n\r\n")?;
    let mut truth = String::new();
    upstream.read_to_string(&mut truth)?;
    operator.write_all(lie.instead_of(&truth).as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_lose_their_numbers_and_labels_stay() {
        let truth = "HTTP/1.0 200 OK\r\n\r\n{\"result\":[{\"metric\":{\"pod\":\"p\"},\"values\":[[1.5,\"7\"],[2.5,\"8\"]]}]}";
        let spoiled = Lie::NaN.instead_of(truth);
        assert!(
            spoiled.ends_with(
                "{\"result\":[{\"metric\":{\"pod\":\"p\"},\"values\":[[1.5,\"NaN\"],[2.5,\"NaN\"]]}]}"
            ),
            "{spoiled}"
        );
    }
}
