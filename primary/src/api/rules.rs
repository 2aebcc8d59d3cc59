//! `Rules`.

use outlast_core::entry::{Asker, RuleChange};
use outlast_core::rules::{ListedRule, list, warnings};
use outlast_core::{Command, Refusal, Reply};
use outlast_proto::v1::rules_server::Rules;
use outlast_proto::v1::{
    self, ApplyRulesRequest, ApplyRulesResponse, DeleteRuleRequest, DeleteRuleResponse, DisableRuleRequest,
    EnableRuleRequest, GetRuleRequest, ListRulesRequest, ListRulesResponse, RuleView,
};
use outlast_proto::words::{InvalidRule, MAX_RULES, Rule, RuleName};
use tonic::{Request, Response, Status};

use super::jobs::asker;
use super::{Api, unexpected};
use crate::view::errors;

#[tonic::async_trait]
impl Rules for Api {
    async fn list(&self, request: Request<ListRulesRequest>) -> Result<Response<ListRulesResponse>, Status> {
        self.fresh(request.into_inner().stale).await?;
        let rules = list(&self.brain.read()).iter().map(view).collect();
        Ok(Response::new(ListRulesResponse { rules }))
    }

    async fn get(&self, request: Request<GetRuleRequest>) -> Result<Response<RuleView>, Status> {
        let request = request.into_inner();
        self.fresh(request.stale).await?;
        self.rule(&request.name).map(Response::new)
    }

    async fn apply(
        &self,
        request: Request<ApplyRulesRequest>,
    ) -> Result<Response<ApplyRulesResponse>, Status> {
        let asker = asker(&request)?;
        let request = request.into_inner();
        if request.rules.len() > MAX_RULES {
            let text = format!("rules: at most {MAX_RULES} are applied at once");
            return Err(Status::invalid_argument(text));
        }
        let rules = request.rules.into_iter().map(Rule::try_from);
        let rules = rules
            .collect::<Result<Vec<_>, InvalidRule>>()
            .map_err(|invalid| errors::of_refusal(&invalid.into()))?;
        let warnings = warnings(&rules);
        let changes = if request.dry_run {
            self.fresh(false).await?;
            let compared = self.brain.read().compare_rules(&rules);
            compared.map_err(|refusal| errors::of_refusal(&refusal))?
        } else {
            let change = RuleChange::Apply { rules };
            let id = request.request_id;
            match self.change_rules(asker, id, change).await? {
                Reply::RulesApplied { changes } => changes,
                reply => return Err(unexpected(&reply)),
            }
        };
        Ok(Response::new(ApplyRulesResponse { changes, warnings }))
    }

    async fn enable(&self, request: Request<EnableRuleRequest>) -> Result<Response<RuleView>, Status> {
        let asker = asker(&request)?;
        let EnableRuleRequest { request_id, name } = request.into_inner();
        self.switch_rule(asker, request_id, (&name, true)).await
    }

    async fn disable(&self, request: Request<DisableRuleRequest>) -> Result<Response<RuleView>, Status> {
        let asker = asker(&request)?;
        let DisableRuleRequest { request_id, name } = request.into_inner();
        self.switch_rule(asker, request_id, (&name, false)).await
    }

    async fn delete(
        &self,
        request: Request<DeleteRuleRequest>,
    ) -> Result<Response<DeleteRuleResponse>, Status> {
        let asker = asker(&request)?;
        let request = request.into_inner();
        let name = rule_name(&request.name)?;
        self.change_rules(asker, request.request_id, RuleChange::Delete { name })
            .await?;
        Ok(Response::new(DeleteRuleResponse {}))
    }
}

impl Api {
    async fn switch_rule(
        &self,
        asker: Asker,
        request_id: String,
        (name, enabled): (&str, bool),
    ) -> Result<Response<RuleView>, Status> {
        let change = RuleChange::Switch {
            name: rule_name(name)?,
            enabled,
        };
        self.change_rules(asker, request_id, change).await?;
        self.rule(name).map(Response::new)
    }

    async fn change_rules(
        &self,
        asker: Asker,
        request_id: String,
        change: RuleChange,
    ) -> Result<Reply, Status> {
        let command = Command::ChangeRules { change };
        self.submit_by(Some(asker), request_id, command).await
    }

    /// A rule as it is now.
    fn rule(&self, name: &str) -> Result<RuleView, Status> {
        let name = rule_name(name)?;
        let rules = list(&self.brain.read());
        let found = rules.iter().find(|rule| rule.name == name);
        found
            .map(view)
            .ok_or_else(|| errors::of_refusal(&Refusal::NoSuchRule { name }))
    }
}

fn rule_name(name: &str) -> Result<RuleName, Status> {
    name.parse().map_err(|_| errors::not_found("rule", name))
}

fn view(listed: &ListedRule) -> RuleView {
    let view = listed.rule.as_ref().map(RuleView::from);
    RuleView {
        builtin: listed.is_builtin,
        ..view.unwrap_or_else(|| RuleView {
            rule: Some(v1::Rule {
                name: listed.name.to_string(),
                enabled: Some(listed.enabled),
                ..Default::default()
            }),
            ..Default::default()
        })
    }
}
