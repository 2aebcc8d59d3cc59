//! `Policies.Test`: what a backup of one client would take and leave out, asked of that client and handed on as it is read.

use std::time::Duration;

use outlast_core::Refusal;
use outlast_core::dispatch::candidate;
use outlast_kit::errors::status;
use outlast_proto::v1::{
    self, Answer, DryRunPart, DryRunQuestion, ErrorDetail, JobError, RepositoryQuestion, TestPolicyRequest,
    TestPolicyResponse, answer, question,
};
use outlast_proto::words::{AgentName, Policy, PolicyName, PoolName, StatusCode};
use prost::bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::Api;
use super::policies::judge;
use crate::sessions::Asked;
use crate::view::errors;

/// Parts on their way from a client; more only make it worth while where the network is slow.
const PARTS: u32 = 4;
/// A client says at least every 5 s that it goes on.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// The media agent reads one small file.
const REPOSITORY_WITHIN: Duration = Duration::from_secs(10);
/// A reader that takes nothing for so long holds a walk in a directory of the client's.
const READ_WITHIN: Duration = Duration::from_secs(600);

type Sender = mpsc::Sender<Result<TestPolicyResponse, Status>>;

/// What is asked for.
pub(super) struct Test {
    policy: Policy,
    client: AgentName,
    left_out_only: bool,
    most_entries: Option<u64>,
}

impl Api {
    /// Finds the policy and the client, who has to be here.
    pub(super) fn test_of(&self, request: TestPolicyRequest) -> Result<Test, Status> {
        let policy = match request.draft {
            Some(draft) => self.draft(draft, request.items_are_paths)?,
            None => self.kept(&request.policy)?,
        };
        let client = match (request.client.as_str(), policy.clients.as_slice()) {
            ("", [only]) => only.clone(),
            ("", clients) => {
                let names: Vec<_> = clients.iter().map(AgentName::as_str).collect();
                let text = format!("client: the policy has several, name one of {}", names.join(", "));
                return Err(Status::invalid_argument(text));
            }
            (name, clients) => {
                let client: AgentName = name.parse().map_err(|_| errors::not_found("client", name))?;
                if !clients.contains(&client) {
                    let policy = policy.name.clone();
                    return Err(errors::of_refusal(&Refusal::ClientNotInPolicy { policy, client }));
                }
                client
            }
        };
        if self.brain.read().client(&client).is_none() {
            return Err(unreachable(&format!("client \"{client}\" has never connected")));
        }
        if !self.registry.is_connected(&client) {
            return Err(unreachable(&format!("client \"{client}\" is not connected")));
        }
        Ok(Test {
            policy,
            client,
            left_out_only: request.left_out_only,
            most_entries: request.most_entries,
        })
    }

    /// Judged as if it were applied.
    fn draft(&self, draft: v1::Policy, items_are_paths: bool) -> Result<Policy, Status> {
        let policy = Policy::try_from(draft).map_err(|error| errors::of_field(&error))?;
        judge(&policy, items_are_paths).map_err(|error| errors::of_field(&error))?;
        match self.brain.read().compare_policy(&policy) {
            Ok(_) => Ok(policy),
            Err(refusal) => Err(errors::of_refusal(&refusal)),
        }
    }

    fn kept(&self, name: &str) -> Result<Policy, Status> {
        let found = name
            .parse::<PolicyName>()
            .ok()
            .and_then(|name| self.brain.read().policy(&name).map(|(policy, _)| policy.clone()));
        found.ok_or_else(|| errors::not_found("policy", name))
    }
}

/// Whoever would answer is not here: another try may find it.
fn unreachable(text: &str) -> Status {
    let code = StatusCode::CANNOT_CONNECT_TO_CLIENT.0.into();
    let detail = ErrorDetail {
        code,
        ..Default::default()
    };
    status(Code::Aborted, text.to_owned(), &detail)
}

pub(super) fn start(api: &Api, test: Test) -> ReceiverStream<Result<TestPolicyResponse, Status>> {
    let (sender, receiver) = mpsc::channel(1);
    let name = format!("test of policy {} on {}", test.policy.name, test.client);
    let (api_of_task, asker) = (api.clone(), sender.clone());
    let conducted = async move {
        let Err(error) = conduct(&api_of_task, &test, &sender).await else {
            return;
        };
        if let Some(status) = error {
            // Whoever asked may have gone meanwhile.
            let _ = sender.send(Err(status)).await;
        }
    };
    api.tasks.serving(name, conducted, move |_| async move {
        let _ = asker.send(Err(errors::panicked())).await;
    });
    ReceiverStream::new(receiver)
}

/// Asks, and hands on to the end; an error for whoever asked, if somebody is there.
async fn conduct(api: &Api, test: &Test, sender: &Sender) -> Result<(), Option<Status>> {
    let found = tokio::select! {
        found = repository(api, &test.policy.pool) => found,
        () = sender.closed() => return Err(None),
    };
    let (repository_config_sha256, warnings) = match found {
        Ok(config) => (config, Vec::new()),
        Err(why) => {
            let warning = format!(
                "which repository the backup would go to is not known ({why}): if it lies in an item it is listed here, though the backup leaves it out"
            );
            (Bytes::new(), vec![warning])
        }
    };
    let client = test.client.to_string();
    let first = TestPolicyResponse {
        client,
        warnings,
        part: None,
    };
    sender.send(Ok(first)).await.map_err(|_| None)?;
    let question = question::Body::DryRun(DryRunQuestion {
        policy: Some(v1::Policy::from(&test.policy)),
        repository_config_sha256,
        left_out_only: test.left_out_only,
        most_entries: test.most_entries,
        parts: PARTS,
    });
    let asked = api.registry.ask(&test.client, question).await;
    let mut asked = asked.map_err(|_| Some(broken_off(&test.client)))?;
    tracing::info!(policy = %test.policy.name, client = %test.client, "a policy is tested");
    let ended = pass_on(api, test, &mut asked, sender).await;
    if ended.is_err() {
        asked.withdraw().await;
    }
    ended
}

/// The SHA-256 of the config of the repository that a job would be written to now, or why it is not known.
async fn repository(api: &Api, pool: &PoolName) -> Result<Bytes, String> {
    let agent = candidate(&api.brain.read(), &api.registry.presence(), pool);
    let agent = agent.ok_or_else(|| format!("no media agent of pool \"{pool}\" is connected"))?;
    let asking = async {
        let question = question::Body::Repository(RepositoryQuestion {});
        let mut asked = api.registry.ask(&agent, question).await.ok()?;
        asked.next().await
    };
    let answer = tokio::time::timeout(REPOSITORY_WITHIN, asking).await;
    match answer.ok().flatten().and_then(|answer| answer.body) {
        Some(answer::Body::Repository(found)) => Ok(found.config_sha256),
        Some(answer::Body::Error(error)) => Err(format!("media agent \"{agent}\": {}", error.text)),
        _ => Err(format!("media agent \"{agent}\" does not answer")),
    }
}

/// Hands on part after part, each when the one before has been read.
async fn pass_on(api: &Api, test: &Test, asked: &mut Asked, sender: &Sender) -> Result<(), Option<Status>> {
    loop {
        let answer = tokio::select! {
            answer = tokio::time::timeout(ANSWER_WITHIN, asked.next()) => answer,
            () = sender.closed() => return Err(None),
        };
        let (part, last) = match answer {
            Err(_) => {
                let (client, seconds) = (&test.client, ANSWER_WITHIN.as_secs());
                let text = format!("client \"{client}\" did not answer within {seconds} s; ask again");
                return Err(Some(unreachable(&text)));
            }
            Ok(Some(Answer {
                body: Some(answer::Body::DryRun(part)),
                last,
                ..
            })) => (part, last),
            Ok(Some(Answer {
                body: Some(answer::Body::Error(error)),
                ..
            })) => return Err(Some(refused(api, &test.client, &error))),
            Ok(_) => return Err(Some(broken_off(&test.client))),
        };
        if last && part == DryRunPart::default() {
            return Ok(());
        }
        hand_on(part, sender).await?;
        if last {
            return Ok(());
        }
        asked.allow_one().await;
    }
}

async fn hand_on(part: DryRunPart, sender: &Sender) -> Result<(), Option<Status>> {
    // A sign of life.
    if part == DryRunPart::default() {
        return Ok(());
    }
    let response = TestPolicyResponse {
        part: Some(part),
        ..TestPolicyResponse::default()
    };
    match tokio::time::timeout(READ_WITHIN, sender.send(Ok(response))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(None),
        Err(_) => {
            let minutes = READ_WITHIN.as_secs() / 60;
            let text = format!("nothing of the list was read for {minutes} min, so it was broken off");
            Err(Some(Status::aborted(text)))
        }
    }
}

/// The client has said no. One that knows no dry runs is of an older version.
fn refused(api: &Api, client: &AgentName, error: &JobError) -> Status {
    if error.code != u32::from(StatusCode::ACCESS_NOT_ALLOWED.0) {
        return Status::failed_precondition(format!("client \"{client}\": {}", error.text));
    }
    let state = api.brain.read();
    let version = state.client(client).map_or("", |agent| agent.version.as_str());
    Status::failed_precondition(format!(
        "client \"{client}\" runs version {version}, which cannot say what a backup would take: upgrade it ({})",
        error.text
    ))
}

fn broken_off(client: &AgentName) -> Status {
    unreachable(&format!(
        "the answer of client \"{client}\" broke off: its session with the leader ended, or it broke the protocol; ask again"
    ))
}
