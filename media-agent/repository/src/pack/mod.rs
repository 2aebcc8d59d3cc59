//! Pack files: many sealed blobs, then a sealed header that lists them, then the header's length.
//! Where blobs are found again is `index`; who writes packs is `writer`. Called by both.

mod builder;
mod header;

pub(crate) use builder::{PackBuilder, Payload, SealedPack};
pub use header::PackedBlob;
pub(crate) use header::{file_size, parse_header, plain_len};
