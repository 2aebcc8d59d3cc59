//! What a policy names: exclude patterns, which are gitignore's, and the paths of items as a policy file writes them.
//!
//! Pure; the matching is the `ignore` library's, which is ripgrep's. The client agent matches with this, the API and the command line
//! judge with it what is applied. What a file system holds is not known here.

mod class;
mod glob;
mod item;
mod judge;
mod list;
mod pattern;

pub use glob::GlobFault;
pub use item::{InvalidItem, item_path, written_item};
pub use judge::{alternation, check};
pub use list::{Patterns, Unusable};
