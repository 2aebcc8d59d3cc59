//! Ports for processes that tests start. Included by the tests of the command line and by ring 3.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::Mutex;

/// Below those that the kernel gives to outgoing connections.
const PORTS: std::ops::Range<u16> = 10_240..32_700;

/// A name for each port given, held until this process ends: nobody else's test, in this process or beside it, is given the same.
static GIVEN: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());

/// A port nobody listens on, and that no connection of anybody gets by chance before somebody does. Each is given once.
pub(crate) fn free_port() -> u16 {
    loop {
        let random = uuid::Uuid::new_v4().as_u128() % PORTS.len() as u128;
        let port = PORTS.start + random as u16;
        let name = SocketAddr::from_abstract_name(format!("outlast-test-port-{port}"));
        let Ok(claim) = UnixListener::bind_addr(&name.expect("it is short")) else {
            continue;
        };
        GIVEN.lock().expect("nobody fails here").push(claim);
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
