//! Ports for processes that tests start. Included by the tests of the primary and of the command line, and by ring 3.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::Mutex;

/// Below those that the kernel gives to outgoing connections.
const PORTS: std::ops::Range<u16> = 10_240..32_704;
/// What `outlast dev` takes from the port it is told on, and a little more.
const BLOCK: u16 = 16;

/// A name for each block given, held until this process ends: nobody else's test, in this process or beside it, is given the same, also
/// while its process is dead.
static GIVEN: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());

/// The first of so many ports, on which nobody listens, and that no connection of anybody gets by chance before somebody does.
/// Each is given once.
pub(crate) fn free_ports() -> u16 {
    loop {
        let blocks = PORTS.len() as u128 / u128::from(BLOCK);
        let first = PORTS.start + BLOCK * (uuid::Uuid::new_v4().as_u128() % blocks) as u16;
        let name = SocketAddr::from_abstract_name(format!("outlast-test-ports-{first}"));
        let Ok(claim) = UnixListener::bind_addr(&name.expect("it is short")) else {
            continue;
        };
        GIVEN.lock().expect("nobody fails here").push(claim);
        let is_free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
        if (first..first + BLOCK).all(is_free) {
            return first;
        }
    }
}
