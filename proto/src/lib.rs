//! Outlast's vocabulary and its gRPC API.
//!
//! [`words`] holds the words of SPEC section 1 as types; `v1` the code generated from `proto/outlast/v1/*.proto`.
//! No behaviour lives here. Every other crate of the workspace uses it.
pub mod words;

#[cfg(feature = "grpc")]
pub mod convert;

#[cfg(all(feature = "grpc", any(test, fuzzing)))]
pub mod fuzz;

#[cfg(feature = "grpc")]
pub mod v1 {
    //! Messages, clients and servers of package `outlast.v1`.
    #![allow(missing_docs, unreachable_pub, clippy::all, clippy::too_many_lines)]
    tonic::include_proto!("outlast.v1");

    /// The compiled .proto files, for server reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
}
