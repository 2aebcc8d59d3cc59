//! `Storage`.

use outlast_proto::v1::storage_server::Storage;
use outlast_proto::v1::{ListStorageRequest, ListStorageResponse};
use tonic::{Request, Response, Status};

use super::Api;
use crate::view;

#[tonic::async_trait]
impl Storage for Api {
    async fn list(
        &self,
        request: Request<ListStorageRequest>,
    ) -> Result<Response<ListStorageResponse>, Status> {
        self.fresh(request.into_inner().stale).await?;
        let registry = self.registry_if_leading();
        let state = self.brain.read();
        let units = state.storage_units();
        let units = units.map(|unit| view::storage::message(&state, registry, unit));
        Ok(Response::new(ListStorageResponse {
            units: units.collect(),
        }))
    }
}
