//! File systems for tests: a folder mirrored through FUSE as faithfully as it goes, and layers that make it misbehave. Nothing
//! of the product uses it; tests mount one with [`mount`], processes outside of tests use the binaries `odd-mount` and `test-disks`.

mod answer;
mod at;
mod caller;
mod forgetful;
mod guard;
mod layer;
mod mirror;
mod mount;
mod nodes;
mod odd;
mod opened;
mod possible;
mod serve;
mod served;

pub use at::At;
pub use forgetful::{Condition, Disk};
pub use guard::Guard;
pub use layer::{Call, Changes, Entry, Layer, Passthrough, Time};
pub use mount::{Mounted, mount};
pub use nodes::Node;
pub use odd::{Endless, Hang, Odd};
pub use possible::{can_mount, not_run};
/// Of the methods of [`Layer`] and [`Node`].
pub use rustix::{fs, io::Errno};
