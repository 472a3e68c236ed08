//! Free ports on loopback.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below those that systems give to whoever asks for any: no listener or connection of another test is
/// given one of these between the moment it is found free and that in which it is used.
const RANGE: std::ops::Range<u32> = 12_000..32_000;

/// Processes of tests that run at once have numbers close to each other, and use ports far from each other.
const PER_PROCESS: u32 = 40;

/// A loopback port on which nobody listens, and which nobody else is told of.
pub fn closed_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(PER_PROCESS);
    for _ in RANGE {
        let place = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % RANGE.len() as u32;
        let port = (RANGE.start + place) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port of loopback is free");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client;

    #[tokio::test]
    async fn nobody_listens_on_a_closed_port_and_none_is_told_twice() {
        let ports = [closed_port(), closed_port(), closed_port()];
        assert!(ports[0] != ports[1] && ports[1] != ports[2]);
        for port in ports {
            assert!(RANGE.contains(&u32::from(port)));
            assert!(client().get(format!("http://127.0.0.1:{port}/")).send().await.is_err());
        }
    }
}
