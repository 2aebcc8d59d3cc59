//! Connections between two processes of one host: a Unix socket in place of TLS over TCP.
//!
//! Nobody claims an identity there. A client that has shown its certificate over TLS is told the socket's path and a token; a
//! connection that begins with the token has the identity of that certificate, and the server's answer, which went through TLS too,
//! shows that it is the same server. [`socket`] and [`tokens`] are the server's side, [`way`] the client's. Used by both agents.

mod socket;
#[cfg(test)]
mod tests;
mod tokens;
mod way;

use crate::identity::Identity;

pub use socket::{LocalIncoming, LocalSocket};
pub use way::connect;

/// The name of every socket of ours: a client connects to nothing that is called otherwise.
const SOCKET: &str = "outlast.sock";
/// Of HTTP/2: what is not encrypted may be carried in larger pieces.
pub const FRAME: u32 = 256 << 10;
/// Of HTTP/2: what may be under way of a stream, and of a connection.
pub const WINDOW: u32 = 4 << 20;

/// Bytes nobody guesses.
type Secret = [u8; 32];

/// Who is at the other end of a local connection. Only a token that was taken makes one.
#[derive(Clone, Debug)]
pub struct HandedOver(pub(crate) Identity);
