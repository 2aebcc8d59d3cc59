//! gRPC statuses that carry our own [`ErrorDetail`]: code, leader, field; and what errors come from.

use std::io::{
    self,
    ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof},
};

use outlast_proto::v1::ErrorDetail;
use prost::Message as _;
use tonic::{Code, Status};

/// A status with our detail inside.
#[must_use]
pub fn status(code: Code, text: impl Into<String>, detail: &ErrorDetail) -> Status {
    Status::with_details(code, text, detail.encode_to_vec().into())
}

/// Our detail of a status; empty when it carries none.
#[must_use]
pub fn detail(status: &Status) -> ErrorDetail {
    ErrorDetail::decode(status.details()).unwrap_or_default()
}

/// "I am not the leader": `UNAVAILABLE`, naming the leader where it is known.
#[must_use]
pub fn not_leader(leader: Option<(&str, &str)>) -> Status {
    match leader {
        Some((name, address)) => {
            let detail = ErrorDetail {
                leader_name: name.to_owned(),
                leader_address: address.to_owned(),
                ..Default::default()
            };
            status(
                Code::Unavailable,
                format!("not the leader; {name} at {address} is"),
                &detail,
            )
        }
        None => status(
            Code::Unavailable,
            "there is no leader at the moment",
            &ErrorDetail::default(),
        ),
    }
}

/// What an error comes from in the end: "transport error" alone helps nobody.
#[must_use]
pub fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    if matches!(
        kind,
        Some(UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe)
    ) {
        return "the other side is gone".to_owned();
    }
    error.to_string()
}

/// An error with all that it comes from, as one sentence; what its text says already is not said again.
#[must_use]
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = cause.source();
    }
    text
}

/// What a status comes from in the end; its own text if it came from the other side.
#[must_use]
pub fn cause_of(status: &Status) -> String {
    match std::error::Error::source(status) {
        Some(source) => innermost(source),
        None => status.message().to_owned(),
    }
}

/// Whether our own side made up a status because the connection failed, rather than a server answering with it.
///
/// A graceful end of a server can show as any code (HTTP/2 `GOAWAY` in mid-call: `INTERNAL`); what an error of the
/// connection became has that error as its source, which no status from outside has.
#[must_use]
pub fn is_of_connection(status: &Status) -> bool {
    let without_answer = || match status.code() {
        Code::Cancelled => true,
        Code::Unavailable => !status.metadata().contains_key("content-type"),
        _ => false,
    };
    status.details().is_empty() && (std::error::Error::source(status).is_some() || without_answer())
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use tonic::{Code, Status};

    #[derive(Debug, thiserror::Error)]
    enum Layer {
        #[error("the daemon does not start")]
        Silent(#[source] io::Error),
        #[error("cannot open: {0}")]
        Telling(#[source] io::Error),
        #[error("outside")]
        Deep(#[source] Box<Layer>),
    }

    #[test]
    fn causes_are_said_once() {
        let reason = || io::Error::other("no room");
        for (error, said) in [
            (Layer::Silent(reason()), "the daemon does not start: no room"),
            (Layer::Telling(reason()), "cannot open: no room"),
            (
                Layer::Deep(Box::new(Layer::Silent(reason()))),
                "outside: the daemon does not start: no room",
            ),
        ] {
            assert_eq!(super::with_causes(&error), said);
        }
    }

    #[test]
    fn who_is_gone_is_said_in_plain_words() {
        for (kind, text, said) in [
            (
                io::ErrorKind::UnexpectedEof,
                "no close_notify",
                "the other side is gone",
            ),
            (io::ErrorKind::ConnectionReset, "reset", "the other side is gone"),
            (io::ErrorKind::ConnectionRefused, "refused", "refused"),
        ] {
            let status = Status::from_error(Box::new(io::Error::new(kind, text)));
            assert_eq!(super::cause_of(&status), said, "{kind}");
        }
        assert_eq!(super::cause_of(&Status::unavailable("away")), "away");
    }

    #[test]
    fn t90_whatever_code_a_broken_connection_becomes_is_no_answer() {
        for code in [
            Code::Internal,
            Code::Unknown,
            Code::Unavailable,
            Code::PermissionDenied,
        ] {
            let mut status = Status::new(code, "h2 protocol error");
            status.set_source(Arc::new(io::Error::other("go away")));
            assert!(super::is_of_connection(&status), "{code:?}");
        }
        assert!(super::is_of_connection(&Status::unavailable("refused")));
        for answer in [
            Status::internal("no"),
            Status::permission_denied("no"),
            super::not_leader(Some(("primary-2", "127.0.0.1:1"))),
        ] {
            assert!(!super::is_of_connection(&answer), "{answer:?}");
        }
    }
}
