//! The entries of one directory of a restore point, for a person who looks around in it.
//!
//! Blocks; called by `orders` on a thread of its own.

use outlast_proto::v1::answer::Body;
use outlast_proto::v1::{
    AgentMessage, Answer, FileInfo, JobError, ListFilesQuestion, ListFilesResponse, agent_message,
};
use outlast_proto::words::StatusCode;
use outlast_repository::{Node, NodeKind, RepositoryError, SnapshotId, st_mode_from_go_mode};
use tokio::sync::mpsc;

use crate::storage::{Content, StorageUnit, find};
use crate::tree_builder::{ItemPath, find_in_parent, show_bytes};

const BATCH: usize = 500;

/// Sends the answer in batches, the last marked.
pub(super) fn answer(
    unit: &StorageUnit,
    id: u64,
    asked: &ListFilesQuestion,
    up: &mpsc::Sender<AgentMessage>,
) {
    let mut batches = Batches {
        id,
        up,
        files: Vec::new(),
        warnings: Vec::new(),
    };
    match list(unit, asked, &mut batches) {
        Ok(()) => batches.end(),
        Err(error) => drop(send(id, Body::Error(error), true, up)),
    }
}

/// Files on their way to whoever asked.
struct Batches<'a> {
    id: u64,
    up: &'a mpsc::Sender<AgentMessage>,
    files: Vec<FileInfo>,
    /// For the first of them.
    warnings: Vec<String>,
}

impl Batches<'_> {
    /// Whether somebody still listens.
    fn push(&mut self, file: FileInfo) -> bool {
        let is_wanted = self.files.len() < BATCH || self.send(false);
        self.files.push(file);
        is_wanted
    }

    fn send(&mut self, last: bool) -> bool {
        let response = ListFilesResponse {
            files: std::mem::take(&mut self.files),
            warnings: std::mem::take(&mut self.warnings),
        };
        send(self.id, Body::Files(response), last, self.up)
    }

    fn end(mut self) {
        self.send(true);
    }
}

/// Answers a question that cannot be answered.
pub(super) fn refuse(id: u64, text: &str, up: &mpsc::Sender<AgentMessage>) {
    let code = u32::from(StatusCode::ACCESS_NOT_ALLOWED.0);
    let text = text.to_owned();
    send(id, Body::Error(JobError { code, text }), true, up);
}

pub(super) fn send(id: u64, body: Body, last: bool, up: &mpsc::Sender<AgentMessage>) -> bool {
    let answer = Answer {
        id,
        body: Some(body),
        last,
    };
    let body = Some(agent_message::Body::Answer(answer));
    up.blocking_send(AgentMessage { body }).is_ok()
}

fn list(unit: &StorageUnit, asked: &ListFilesQuestion, into: &mut Batches<'_>) -> Result<(), JobError> {
    let away = |error: RepositoryError| crate::fault::reading(&unit.name, &error).told();
    let missing = |text: String| JobError {
        code: u32::from(StatusCode::NO_SUCH_PATH.0),
        text,
    };
    let snapshot_id = SnapshotId::from_bytes(
        asked
            .snapshot
            .as_ref()
            .try_into()
            .map_err(|_| missing("the question names no restore point".into()))?,
    );
    let repository = unit.repository().map_err(away)?;
    let _hold = repository.hold().map_err(away)?;
    repository.reload_index().map_err(away)?;
    let content = Content::of_message(asked.content.as_ref());
    let found = find(&repository, &snapshot_id, &content)
        .map_err(|error| crate::fault::restore_point(&unit.name, &snapshot_id, &error).told())?;
    let snapshot = found.snapshot;
    let warning = (found.rewritten).map(|how| format!("restore point {snapshot_id}: {how}"));
    into.warnings.extend(warning.clone());
    let path = match (asked.path.as_str(), snapshot.paths.first()) {
        ("", Some(item)) => item.clone(),
        ("", None) => "/".to_owned(),
        (path, _) => path.to_owned(),
    };
    let no_such = || match &warning {
        Some(warning) => missing(format!("\"{path}\" is not there; {warning}")),
        None => missing(format!("\"{path}\" is not in this restore point")),
    };
    let parsed = ItemPath::parse(&path).ok_or_else(no_such)?;
    let found = find_in_parent(|id| repository.open_tree(id), &snapshot.tree, &parsed)
        .map_err(away)?
        .ok_or_else(no_such)?;
    let above: String = parsed
        .parts()
        .iter()
        .map(|part| format!("/{}", show_bytes(part)))
        .collect();
    let Some(subtree) = found.subtree else {
        into.push(info(above, &found));
        return Ok(());
    };
    for node in repository.open_tree(&subtree).map_err(away)? {
        let node = node.map_err(|damage| JobError {
            code: u32::from(StatusCode::STORAGE_UNIT_NOT_AVAILABLE.0),
            text: format!(
                "storage unit \"{}\": the list of \"{path}\" is damaged: {damage}",
                unit.name
            ),
        })?;
        if !into.push(info(format!("{above}/{}", show_bytes(&node.name)), &node)) {
            break;
        }
    }
    Ok(())
}

fn info(path: String, node: &Node) -> FileInfo {
    FileInfo {
        path,
        r#type: word(node.kind).to_owned(),
        mode: st_mode_from_go_mode(node.mode) & 0o7777,
        user: node.user.clone(),
        group: node.group.clone(),
        size: node.size,
        modified_at: Some(crate::stamps::to_message(crate::stamps::of_repository(
            node.mtime,
        ))),
        link_target: node.linktarget.as_deref().map(show_bytes).unwrap_or_default(),
    }
}

fn word(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::File => "file",
        NodeKind::Dir => "dir",
        NodeKind::Symlink => "symlink",
        NodeKind::Dev => "dev",
        NodeKind::CharDev => "chardev",
        NodeKind::Fifo => "fifo",
        NodeKind::Socket => "socket",
        NodeKind::Irregular => "irregular",
    }
}
