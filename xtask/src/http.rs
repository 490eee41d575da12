//! One HTTP request to a program on this host.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// How long anything of it may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// An answer that was 200.
pub(crate) struct Answer {
    head: String,
    /// What follows the head.
    pub(crate) body: String,
}

impl Answer {
    /// The value of a header, by its name in lower case; none where it is missing.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut named = lines.filter(|(known, _)| known.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value)
    }
}

/// Sends a request without a body.
///
/// Errors: nobody answers within five seconds, or the answer is not 200.
pub(crate) fn ask(to: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Result<Answer> {
    let mut stream =
        TcpStream::connect_timeout(&to, PATIENCE).with_context(|| format!("{to} does not answer"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let headers: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {to}\r\nContent-Length: 0\r\nConnection: close\r\n{headers}\r\n"
    )?;
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .with_context(|| format!("{to} broke off"))?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .with_context(|| format!("{to} gave no answer"))?;
    if !head.starts_with("HTTP/1.1 200") {
        bail!(
            "{method} {path}: {} {body}",
            head.lines().next().unwrap_or_default()
        );
    }
    Ok(Answer {
        head: head.to_owned(),
        body: body.to_owned(),
    })
}
