//! `Policies`.

use outlast_core::without_effect::of_policy;
use outlast_core::{Command, Refusal, Reply};
use outlast_proto::convert::InvalidField;
use outlast_proto::v1::policies_server::Policies;
use outlast_proto::v1::{
    self, ApplyPolicyRequest, ApplyPolicyResponse, DeletePolicyRequest, DeletePolicyResponse,
    GetPolicyRequest, ListPoliciesRequest, ListPoliciesResponse, PolicyView, TestPolicyRequest,
    TestPolicyResponse,
};
use outlast_proto::words::{Policy, PolicyName};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::page::Paging;
use super::{Api, policy_test, unexpected};
use crate::view::errors;

#[tonic::async_trait]
impl Policies for Api {
    type TestStream = ReceiverStream<Result<TestPolicyResponse, Status>>;

    async fn apply(
        &self,
        request: Request<ApplyPolicyRequest>,
    ) -> Result<Response<ApplyPolicyResponse>, Status> {
        let request = request.into_inner();
        let message = request
            .policy
            .ok_or_else(|| Status::invalid_argument("policy: is missing"))?;
        let policy = Policy::try_from(message).map_err(|error| errors::of_field(&error))?;
        judge(&policy, request.items_are_paths).map_err(|error| errors::of_field(&error))?;
        if policy.retry.incomplete_for.is_some() && !self.brain.read().has_rules() {
            return Err(errors::of_refusal(&Refusal::TooOld));
        }
        let mut response = if request.dry_run {
            self.compare(&policy).await?
        } else {
            match self
                .submit(
                    request.request_id,
                    Command::ApplyPolicy {
                        policy: policy.clone(),
                    },
                )
                .await?
            {
                Reply::PolicyApplied {
                    changes,
                    created,
                    revision,
                } => ApplyPolicyResponse {
                    changes,
                    created,
                    revision,
                    warnings: Vec::new(),
                },
                reply => return Err(unexpected(&reply)),
            }
        };
        response.warnings = self.warnings(&policy);
        Ok(Response::new(response))
    }

    async fn get(&self, request: Request<GetPolicyRequest>) -> Result<Response<PolicyView>, Status> {
        let request = request.into_inner();
        self.fresh(request.stale).await?;
        let state = self.brain.read();
        let name: Option<PolicyName> = request.name.parse().ok();
        let found = name.as_ref().and_then(|name| state.policy(name)).map(view);
        found
            .map(Response::new)
            .ok_or_else(|| errors::not_found("policy", &request.name))
    }

    async fn list(
        &self,
        request: Request<ListPoliciesRequest>,
    ) -> Result<Response<ListPoliciesResponse>, Status> {
        let request = request.into_inner();
        let paging = Paging::parse(request.page, |token| token.parse::<PolicyName>().ok())?;
        self.fresh(request.stale).await?;
        let state = self.brain.read();
        let rows = state
            .policies()
            .filter(|(policy, _)| paging.after.as_ref().is_none_or(|a| policy.name > *a));
        let (rows, next_page_token) = paging.take(rows, |(policy, _)| policy.name.to_string());
        Ok(Response::new(ListPoliciesResponse {
            policies: rows.into_iter().map(view).collect(),
            next_page_token,
        }))
    }

    async fn delete(
        &self,
        request: Request<DeletePolicyRequest>,
    ) -> Result<Response<DeletePolicyResponse>, Status> {
        let request = request.into_inner();
        let name = request
            .name
            .parse()
            .map_err(|_| errors::not_found("policy", &request.name))?;
        self.submit(request.request_id, Command::DeletePolicy { name })
            .await?;
        Ok(Response::new(DeletePolicyResponse {}))
    }

    async fn test(&self, request: Request<TestPolicyRequest>) -> Result<Response<Self::TestStream>, Status> {
        let request = request.into_inner();
        self.fresh(false).await?;
        let test = self.test_of(request)?;
        Ok(Response::new(policy_test::start(self, test)))
    }
}

/// What is asked of a policy that is applied, but not of those that are kept from before.
pub(super) fn judge(policy: &Policy, items_are_paths: bool) -> Result<(), InvalidField> {
    for item in policy.items.iter().filter(|_| !items_are_paths) {
        outlast_patterns::item_path(item).map_err(|error| InvalidField::new("items", error))?;
    }
    outlast_patterns::check(&policy.exclude, &policy.items)
        .map_err(|reason| InvalidField::new("exclude", reason))
}

fn view((policy, revision): (&Policy, u32)) -> PolicyView {
    let without_effect = of_policy(policy).into_iter().map(|row| v1::WithoutEffect {
        key: row.key.to_owned(),
        text: row.text.to_owned(),
    });
    PolicyView {
        without_effect: without_effect.collect(),
        policy: Some(v1::Policy::from(policy)),
        revision,
    }
}

impl Api {
    async fn compare(&self, policy: &Policy) -> Result<ApplyPolicyResponse, Status> {
        self.fresh(false).await?;
        let state = self.brain.read();
        let (changes, created) = state
            .compare_policy(policy)
            .map_err(|refusal| errors::of_refusal(&refusal))?;
        let revision = state.policy(&policy.name).map_or(0, |(_, revision)| revision);
        Ok(ApplyPolicyResponse {
            changes,
            created,
            revision,
            warnings: Vec::new(),
        })
    }

    /// What is accepted but will not do what a reader of the policy may think.
    fn warnings(&self, policy: &Policy) -> Vec<String> {
        let state = self.brain.read();
        let unknown = policy.clients.iter().filter(|name| state.client(name).is_none());
        let mut warnings: Vec<_> = unknown
            .map(|name| format!("client \"{name}\" has never connected; its jobs will wait for it"))
            .collect();
        for pattern in &policy.exclude {
            if let Some(each) = outlast_patterns::alternation(pattern) {
                warnings.push(format!(
                    "exclude: {pattern:?} is taken as it is: braces are characters; to leave out alternatives write a line for each: {}",
                    each.iter().map(|one| format!("{one:?}")).collect::<Vec<_>>().join(", ")
                ));
            }
        }
        warnings.extend(of_policy(policy).iter().map(|row| row.text.to_owned()));
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::judge;
    use outlast_proto::words::Policy;

    /// Whoever does not come through a policy file meets the same judge.
    #[test]
    fn t90_patterns_are_judged_at_the_api_too() {
        for (item, items_are_paths, pattern, field) in [
            ("/home", false, "*.tmp", None),
            ("/home", false, "/home/x", Some("exclude")),
            ("/home", true, "a[b", Some("exclude")),
            ("/srv/*", false, "*.tmp", Some("items")),
            ("/srv/*", true, "*.tmp", None),
        ] {
            let name = |it: &str| it.parse().unwrap();
            let clients = vec!["laptop".parse().unwrap()];
            let pool = "default".parse().unwrap();
            let mut policy = Policy::with_defaults(name("home"), clients, vec![item.to_owned()], pool);
            policy.exclude = vec![pattern.to_owned()];
            let found = judge(&policy, items_are_paths).err().map(|error| error.field);
            assert_eq!(found, field, "{item} {pattern}");
            // What is kept from before is not judged again.
            assert!(policy.validate().is_ok());
        }
    }
}
