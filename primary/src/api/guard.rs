//! Who may call a service, by the kind of their certificate. Roles come with their issue.

pub(crate) use outlast_kit::identity::Kind;

use outlast_kit::identity::Identity;
use tonic::{Request, Status};

/// An interceptor that lets only these kinds through.
pub(crate) fn only(
    kinds: &'static [Kind],
) -> impl Fn(Request<()>) -> Result<Request<()>, Status> + Clone + Send + Sync + 'static {
    move |request| {
        let identity = Identity::of_peer(&request).map_err(|e| Status::unauthenticated(e.to_string()))?;
        if kinds.contains(&identity.kind) {
            return Ok(request);
        }
        Err(Status::permission_denied(format!(
            "{identity} may not use this service"
        )))
    }
}
