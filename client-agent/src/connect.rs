//! The connection to a media agent: TLS, and every address it gave.

use std::time::Duration;

use outlast_kit::tls::{Credentials, media_agent_server_name};
use outlast_proto::words::AgentName;
use tonic::transport::Channel;

/// How long a media agent may take to be there. One that is running has given up on us by then, and for one that is started
/// later the leader asks again.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// No address answered.
#[derive(Debug, thiserror::Error)]
#[error("media agent {media_agent} cannot be reached: {}", if tried.is_empty() { "it gave no address" } else { tried })]
pub(crate) struct Unreachable {
    media_agent: AgentName,
    /// Each address with the reason.
    tried: String,
}

/// Connects to the first address that answers, in the order given; goes round until one does or a minute is over.
pub(crate) async fn connect(
    credentials: &Credentials,
    media_agent: &AgentName,
    addresses: &[String],
) -> Result<Channel, Unreachable> {
    let start = tokio::time::Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        let mut tried = Vec::new();
        for address in addresses {
            match once(credentials, media_agent, address).await {
                Ok(channel) => return Ok(channel),
                Err(reason) => tried.push(format!("{address}: {reason}")),
            }
        }
        if addresses.is_empty() || start.elapsed() + pause > PATIENCE {
            return Err(Unreachable {
                media_agent: media_agent.clone(),
                tried: tried.join("; "),
            });
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn once(credentials: &Credentials, media_agent: &AgentName, address: &str) -> Result<Channel, String> {
    let name = media_agent_server_name(media_agent.as_str());
    let endpoint = credentials
        .endpoint(address, &name)
        .map_err(|error| error.to_string())?;
    endpoint.connect().await.map_err(|error| innermost(&error))
}

/// "transport error" alone helps nobody.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
