//! What can go wrong at the command line, and the one table from error to exit code (CLI.md "Exit codes").
//!
//! No printing here: `main` prints. Used by every command.

use std::path::PathBuf;

use outlast_kit::config::ConfigError;
use outlast_kit::errors;
use outlast_kit::leader::CallError;
use outlast_kit::tls::TlsError;
use serde::Serialize;
use tonic::{Code, Status};

use crate::policy_file::PolicyFileError;
use crate::rule_file::RuleFileError;

/// The exit codes of CLI.md.
pub(crate) mod exit {
    pub(crate) const SUCCESSFUL: u8 = 0;
    pub(crate) const FAILED: u8 = 1;
    pub(crate) const WRONG_USAGE: u8 = 2;
    pub(crate) const EXCEPTIONS: u8 = 3;
    pub(crate) const NOT_REACHABLE: u8 = 4;
    pub(crate) const REFUSED: u8 = 5;
    pub(crate) const NO_SUCH_THING: u8 = 6;
}

/// A command that did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error("no context file: {} does not exist; name one with --context or OUTLAST_CONTEXT", path.display())]
    NoContext { path: PathBuf },
    #[error("no context file: name one with --context or OUTLAST_CONTEXT")]
    NoHome,
    #[error("{}: \"primaries\" names no address; give host:port of every primary", path.display())]
    NoPrimaries { path: PathBuf },
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    PolicyFile(#[from] PolicyFileError),
    #[error(transparent)]
    RuleFile(#[from] RuleFileError),
    #[error("no leader: {answering} of {} primaries answer; --stale shows what it knows", tried.len())]
    NoLeader {
        answering: usize,
        /// Addresses, each with what it said.
        tried: Vec<(String, String)>,
    },
    #[error("no primary answers: 0 of {}", tried.len())]
    NoPrimary { tried: Vec<(String, String)> },
    #[error("{}", said(.0))]
    Refused(Status),
    #[error("the answer broke off: {reason}")]
    BrokenAnswer { reason: String },
    #[error("{} is not UTF-8 and cannot be named on this way", path.display())]
    NotUtf8 { path: PathBuf },
    #[error("the current folder is not known: {source}")]
    NoCurrentFolder { source: std::io::Error },
    #[error("there is no status code {code}")]
    NoSuchCode { code: u16 },
    #[error("there is no command \"{command}\"")]
    NoSuchCommand { command: String },
    #[error("{reason}")]
    BadName { reason: String },
    #[error("{} exists already; nothing was changed", path.display())]
    Exists { path: PathBuf },
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Authority(#[from] outlast_kit::authority::AuthorityError),
    #[error("cannot write the result: {source}")]
    Output { source: std::io::Error },
    /// Whoever read our output has had enough; not worth a word.
    #[error("the reader of the output has gone")]
    OutputClosed,
}

/// The body of `{"error": ...}`.
#[derive(Debug, Serialize)]
pub(crate) struct ErrorDocument {
    code: Option<u32>,
    text: String,
    pub(crate) help: Option<String>,
    tried: Vec<String>,
    /// What each of `tried` said, in the same order.
    answers: Vec<String>,
    exit_code: u8,
}

impl CliError {
    /// The process's exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            CliError::NoContext { .. }
            | CliError::NoHome
            | CliError::NoPrimaries { .. }
            | CliError::Config(_)
            | CliError::Tls(_)
            | CliError::NotUtf8 { .. }
            | CliError::NoCurrentFolder { .. }
            | CliError::NoSuchCommand { .. } => exit::WRONG_USAGE,
            CliError::PolicyFile(error) if error.is_refusal() => exit::REFUSED,
            CliError::PolicyFile(_) | CliError::RuleFile(_) => exit::WRONG_USAGE,
            CliError::NoLeader { .. } | CliError::NoPrimary { .. } | CliError::BrokenAnswer { .. } => {
                exit::NOT_REACHABLE
            }
            CliError::Refused(status) => of_status(status.code()),
            CliError::NoSuchCode { .. } => exit::NO_SUCH_THING,
            CliError::BadName { .. } => exit::WRONG_USAGE,
            CliError::Exists { .. } => exit::REFUSED,
            CliError::Output { .. } | CliError::File { .. } | CliError::Authority(_) => exit::FAILED,
            CliError::OutputClosed => exit::SUCCESSFUL,
        }
    }

    /// The nodes that were asked in vain, each with what it said.
    pub(crate) fn tried(&self) -> &[(String, String)] {
        match self {
            CliError::NoLeader { tried, .. } | CliError::NoPrimary { tried } => tried,
            _ => &[],
        }
    }

    /// For `-o json`.
    pub(crate) fn document(&self) -> ErrorDocument {
        let code = match self {
            CliError::Refused(status) => Some(errors::detail(status).code).filter(|code| *code != 0),
            _ => None,
        };
        let (tried, answers) = self.tried().iter().cloned().unzip();
        ErrorDocument {
            code,
            text: self.to_string(),
            help: code.map(crate::help_pages::command),
            tried,
            answers,
            exit_code: self.exit_code(),
        }
    }
}

impl From<CallError> for CliError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::NoLeader { answering, tried } => CliError::NoLeader { answering, tried },
            CallError::Refused(status) => CliError::Refused(status),
        }
    }
}

/// What a primary said. One of before a call was there says nothing.
fn said(status: &Status) -> String {
    match (status.code(), status.message()) {
        (Code::Unimplemented, "") => {
            "the leader is of a version that does not know this command: upgrade the primaries".to_owned()
        }
        (_, message) => message.to_owned(),
    }
}

/// From gRPC's code to ours.
fn of_status(code: Code) -> u8 {
    match code {
        Code::Ok => exit::SUCCESSFUL,
        Code::NotFound => exit::NO_SUCH_THING,
        Code::InvalidArgument | Code::OutOfRange => exit::WRONG_USAGE,
        Code::FailedPrecondition
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::AlreadyExists
        | Code::ResourceExhausted
        | Code::Unimplemented => exit::REFUSED,
        // Aborted: whoever was to answer went away in the middle.
        Code::Unavailable | Code::DeadlineExceeded | Code::Aborted => exit::NOT_REACHABLE,
        Code::Cancelled | Code::Unknown | Code::Internal | Code::DataLoss => exit::FAILED,
    }
}

#[cfg(test)]
mod tests {
    use outlast_proto::v1::ErrorDetail;
    use tonic::{Code, Status};

    use super::CliError;

    #[test]
    fn grpc_codes_become_exit_codes() {
        for (code, expected) in [
            (Code::NotFound, 6),
            (Code::FailedPrecondition, 5),
            (Code::PermissionDenied, 5),
            (Code::Unauthenticated, 5),
            (Code::ResourceExhausted, 5),
            (Code::InvalidArgument, 2),
            (Code::Unavailable, 4),
            (Code::DeadlineExceeded, 4),
            (Code::Aborted, 4),
            (Code::Internal, 1),
        ] {
            let error = CliError::Refused(Status::new(code, "no"));
            assert_eq!(error.exit_code(), expected, "{code:?}");
        }
    }

    #[test]
    fn no_leader_is_said_in_the_words_of_the_contract() {
        let tried: Vec<_> = (1..=3)
            .map(|n| (format!("host:{n}"), "refused".to_owned()))
            .collect();
        let error = CliError::NoLeader { answering: 1, tried };
        assert_eq!(
            error.to_string(),
            "no leader: 1 of 3 primaries answer; --stale shows what it knows"
        );
        assert_eq!(error.exit_code(), 4);
        let json = serde_json::to_value(error.document()).unwrap();
        assert_eq!(json["tried"], serde_json::json!(["host:1", "host:2", "host:3"]));
        assert_eq!(
            (&json["code"], &json["help"]),
            (&serde_json::Value::Null, &serde_json::Value::Null)
        );
    }

    #[test]
    fn our_code_travels_in_the_details() {
        let detail = ErrorDetail {
            code: 1000,
            ..Default::default()
        };
        let status = outlast_kit::errors::status(Code::FailedPrecondition, "client is disabled", &detail);
        let json = serde_json::to_value(CliError::Refused(status).document()).unwrap();
        assert_eq!(json["code"], 1000);
        assert_eq!(json["text"], "client is disabled");
        assert_eq!(json["help"], "outlast help code 1000");
    }
}
