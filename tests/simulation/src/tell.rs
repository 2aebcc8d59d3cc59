//! A line for a trace.

use outlast_core::Command;
use outlast_proto::v1::{JournalEvent, journal_event::What};

use crate::net::{Input, Msg};

pub(crate) fn event(event: &JournalEvent) -> String {
    let id = event
        .attempt
        .as_ref()
        .map_or(String::new(), |id| format!("{}/{}", id.job, id.attempt));
    let what = match &event.what {
        Some(What::Ended(ended)) => format!("ended {} {}", ended.status_code, ended.text),
        Some(What::Interrupted(interrupted)) => format!("interrupted: {}", interrupted.reason),
        Some(What::ItemStarted(item)) => format!("item {} started", item.item),
        Some(What::ItemEnded(item)) => format!("item {} ended, adopted {}", item.item, item.adopted),
        Some(What::Marked(marked)) => format!("marked, resilient {}", marked.resilient),
        Some(What::Exceptions(_)) => "exceptions".to_owned(),
        Some(What::Detail(detail)) => detail.text.clone(),
        Some(What::Checkpoint(_) | What::MarkLost(_) | What::Surveyed(_)) | None => "something".to_owned(),
    };
    format!("#{} {id} {what}", event.sequence)
}

pub(crate) fn command(command: &Command) -> String {
    match command {
        Command::RecordEvents {
            agent,
            journal_id,
            events,
        } => {
            let (first, last) = (events.first(), events.last());
            let number = |event: Option<&outlast_core::JournalEvent>| event.map_or(0, |event| event.sequence);
            format!(
                "events {}..{} of {agent}'s {journal_id}",
                number(first),
                number(last)
            )
        }
        Command::RegisterAgent { hello } => format!("agent {} with {}", hello.name, hello.start_id),
        Command::DispatchJob {
            job,
            version,
            media_agent,
        } => format!("job {job} version {version} to {media_agent}"),
        Command::RecordAdmission { job, attempt, .. } => format!("admission of {job}/{attempt}"),
        Command::SubmitBackup { policy, .. } => format!("backup of {policy}"),
        Command::ApplyPolicy { policy } => format!("policy {}", policy.name),
        _ => "something".to_owned(),
    }
}

pub(crate) fn input(input: &Input) -> String {
    match input {
        Input::Message(conn, Msg::Up(body)) => format!("conn {conn}: {}", short(body)),
        Input::Message(conn, Msg::Down(body)) => format!("conn {conn}: {}", short(body)),
        Input::Message(conn, Msg::StreamUp(sequence, received, body)) => {
            format!("conn {conn}: up {sequence} ({received}) {}", short(body))
        }
        Input::Message(conn, Msg::StreamDown(sequence, received, body)) => {
            format!("conn {conn}: down {sequence} ({received}) {}", short(body))
        }
        Input::Message(conn, msg) => format!("conn {conn}: {}", short(msg)),
        Input::Closed(conn) => format!("conn {conn} closed"),
        Input::Datagram(from, _) => format!("datagram of {from}"),
        Input::Timer(timer) => short(timer),
    }
}

fn short(what: &impl std::fmt::Debug) -> String {
    let mut text = format!("{what:?}");
    if text.len() > 100 {
        text.truncate(text.floor_char_boundary(100));
    }
    text
}
