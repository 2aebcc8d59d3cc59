//! The connection to a media agent: TLS, and every address it gave; or the socket it named over that, if it is on this host.

use std::sync::Arc;
use std::time::Duration;

use outlast_kit::errors::innermost;
use outlast_kit::tls::{Credentials, media_agent_server_name};
use outlast_kit::{host, local};
use outlast_proto::v1::LocalRequest;
use outlast_proto::v1::data_client::DataClient;
use outlast_proto::words::AgentName;
use parking_lot::Mutex;
use tonic::transport::Channel;

/// For one address, TLS included.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// For a way that saves some work and nothing else.
const LOCAL_WITHIN: Duration = Duration::from_secs(5);

/// No address answered.
#[derive(Debug, thiserror::Error)]
#[error("media agent {media_agent} cannot be reached: {}", if tried.is_empty() { "it gave no address" } else { tried })]
pub(crate) struct Unreachable {
    media_agent: AgentName,
    /// Each address with the reason.
    tried: String,
}

/// How a media agent is reached, as often as it takes.
#[derive(Clone)]
pub(crate) enum Road {
    /// Over a connection that is there, and comes back by itself.
    Made(Channel),
    Addresses(Addresses),
}

/// Where a media agent is said to be.
#[derive(Clone)]
pub(crate) struct Addresses {
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) media_agent: AgentName,
    /// The newest the leader gave.
    pub(crate) addresses: Arc<Mutex<Vec<String>>>,
}

impl Road {
    /// A connection, if one can be made now.
    pub(crate) async fn travel(&self) -> Result<Channel, Unreachable> {
        match self {
            Road::Made(channel) => Ok(channel.clone()),
            Road::Addresses(addresses) => addresses.connect().await,
        }
    }
}

impl Addresses {
    /// Connects to the first address that answers, in the order given.
    async fn connect(&self) -> Result<Channel, Unreachable> {
        let addresses = self.addresses.lock().clone();
        let mut tried = Vec::new();
        for address in addresses {
            let connecting = once(&self.credentials, &self.media_agent, &address);
            match tokio::time::timeout(CONNECT_WITHIN, connecting).await {
                Ok(Ok(channel)) => return Ok(self.nearest(channel).await),
                Ok(Err(reason)) => tried.push(format!("{address}: {reason}")),
                Err(_) => tried.push(format!("{address}: no answer")),
            }
        }
        Err(Unreachable {
            media_agent: self.media_agent.clone(),
            tried: tried.join("; "),
        })
    }

    /// A connection without the network, if the media agent is on this host and lets us; else `channel`.
    async fn nearest(&self, channel: Channel) -> Channel {
        match tokio::time::timeout(LOCAL_WITHIN, through_socket(channel.clone())).await {
            Ok(Ok(Some(local))) => {
                tracing::info!(agent = %self.media_agent, "the media agent is on this host: data goes through its socket");
                return local;
            }
            Ok(Ok(None)) => {}
            Ok(Err(reason)) => {
                tracing::debug!(agent = %self.media_agent, reason, "no way through a socket; data goes over TLS");
            }
            Err(_) => {
                tracing::debug!(agent = %self.media_agent, "no answer through a socket; data goes over TLS")
            }
        }
        channel
    }
}

/// Asks over `channel` for a way, and goes it if there is one.
async fn through_socket(channel: Channel) -> Result<Option<Channel>, String> {
    let Some(kernel_id) = host::kernel_id() else {
        return Ok(None);
    };
    let asked = DataClient::new(channel).local(LocalRequest { kernel_id }).await;
    let reply = asked.map_err(|status| status.message().to_owned())?.into_inner();
    let Some(way) = reply.way else {
        return Ok(None);
    };
    let gone = local::connect(&way).await;
    gone.map(Some).map_err(|error| error.to_string())
}

async fn once(credentials: &Credentials, media_agent: &AgentName, address: &str) -> Result<Channel, String> {
    let name = media_agent_server_name(media_agent.as_str());
    let endpoint = credentials
        .endpoint(address, &name)
        .map_err(|error| error.to_string())?;
    endpoint.connect().await.map_err(|error| innermost(&error))
}
