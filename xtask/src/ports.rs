//! Who listens on which TCP port, from `/proc/net`.

use std::collections::BTreeSet;
use std::fs;

/// State of a listening socket in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// A listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Listener {
    port: u16,
    inode: u64,
}

/// A sentence for each of `ports` that is taken: the port, what we need it for, who holds it, and what to do.
pub(crate) fn conflicts(ports: &[(u16, &str)]) -> Vec<String> {
    let listeners = listeners();
    let taken = |port| listeners.iter().find(move |listener| listener.port == port);
    ports
        .iter()
        .filter_map(|&(port, use_)| {
            let holder = holder(taken(port)?.inode).unwrap_or_else(|| "another process".into());
            Some(format!(
                "port {port} ({use_}) is held by {holder}: end it, or move it to another port"
            ))
        })
        .collect()
}

fn listeners() -> BTreeSet<Listener> {
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .flat_map(|path| parse(&fs::read_to_string(path).unwrap_or_default()))
        .collect()
}

fn parse(table: &str) -> Vec<Listener> {
    table.lines().skip(1).filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Listener> {
    let fields: Vec<_> = line.split_ascii_whitespace().collect();
    let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
    let port = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
    (*state == LISTEN).then_some(Listener {
        port,
        inode: inode.parse().ok()?,
    })
}

/// Name and pid of the process that has the socket open.
fn holder(inode: u64) -> Option<String> {
    let socket = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?;
    processes.flatten().find_map(|process| {
        // `/proc/self` and its like lead to the same sockets, under a name nobody can end.
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        let descriptors = fs::read_dir(process.path().join("fd")).ok()?;
        descriptors
            .flatten()
            .find(|fd| fs::read_link(fd.path()).is_ok_and(|link| link.as_os_str() == socket.as_str()))?;
        let name = fs::read_to_string(process.path().join("comm")).ok()?;
        Some(format!("{} (pid {pid})", name.trim()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn only_listening_sockets_count() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
             0: 0100007F:192B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1\n   \
             1: 0100007F:1F92 0100007F:C001 01 00000000:00000000 00:00000000 00000000     0        0 4712 1\n";
        assert_eq!(
            parse(table),
            [Listener {
                port: 6443,
                inode: 4711
            }]
        );
    }

    #[test]
    fn a_conflict_names_port_purpose_and_holder() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let found = conflicts(&[(port, "the test")]);
        assert_eq!(found.len(), 1);
        let pid = format!("(pid {})", std::process::id());
        assert!(
            found[0].contains(&format!("port {port} (the test)")) && found[0].contains(&pid),
            "{found:?}"
        );
    }
}
