//! What others put in the place of a restore point with restic is told from it: by its tree, or else by its numbers.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::path::Path;
use std::sync::Arc;

use outlast_kit::identity::Kind;
use outlast_proto::v1::journal_event::What;
use outlast_proto::v1::primary_message::Body;
use outlast_proto::v1::{AttemptOver, Content, ListFilesQuestion, Origin, Question, answer, question};
use outlast_repository::{
    BlobId, LocalStorage, Node, Password, Repository, Snapshot, SnapshotId, Tree, WriterOptions,
};
use support::client::BackupStream;
use support::home::{ITEM, home, with_backup};
use support::restorer::restore;
use support::source::file;
use support::world::{PASSWORD, RunningAgent, World};

/// Of `home`.
const FILES: u64 = 5;
const BYTES: u64 = 2 * 2_200_000 + 5000 + 6;

/// What somebody does to a snapshot, as restic does it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    /// `restic tag`.
    Tag,
    /// `restic rewrite --exclude twin.bin`.
    WithoutTwin,
    /// `restic repair snapshots`, after the chunks of `twin.bin` were lost.
    ShortTwin,
    /// `restic rewrite` of something that is counted nowhere.
    OtherMode,
}

fn repository(world: &World) -> Repository {
    let storage = Arc::new(LocalStorage::new(world.storage()));
    let repository = Repository::open(storage, &Password::new(PASSWORD.to_owned())).unwrap();
    repository.reload_index().unwrap();
    repository
}

/// Puts a changed snapshot in the place of another, which it names. `forget_tag`: tags that begin so are not taken over. The new id.
fn rewrite(world: &World, id: &[u8], change: Change, forget_tag: Option<&str>) -> Vec<u8> {
    let repository = repository(world);
    let id = SnapshotId::from_bytes(id.try_into().unwrap());
    let mut snapshot: Snapshot = repository.snapshot(&id).unwrap();
    snapshot.original = Some(id);
    match forget_tag {
        Some(key) => snapshot.tags.retain(|tag| !tag.starts_with(key)),
        None => snapshot.tags.push("somebody's".to_owned()),
    }
    let changed = |mut node: Node| -> Option<Node> {
        match change {
            Change::WithoutTwin if node.name == b"twin.bin" => return None,
            Change::ShortTwin if node.name == b"twin.bin" => (node.size, node.content) = (0, Some(vec![])),
            Change::OtherMode if node.name == b"twin.bin" => node.mode ^= 0o111,
            _ => {}
        }
        Some(node)
    };
    snapshot.tree = map(&repository, &snapshot.tree, &changed);
    let now = repository.save_snapshot(&snapshot).unwrap();
    repository.remove_snapshot(&id).unwrap();
    now.as_bytes().to_vec()
}

fn map(repository: &Repository, tree: &BlobId, changed: &impl Fn(Node) -> Option<Node>) -> BlobId {
    let nodes = repository.open_tree(tree).unwrap();
    let nodes = nodes.filter_map(|node| {
        let mut node = changed(node.unwrap())?;
        node.subtree = node.subtree.map(|subtree| map(repository, &subtree, changed));
        Some(node)
    });
    let nodes = nodes.collect();
    let writer = repository.writer(WriterOptions::default()).unwrap();
    let (id, _) = writer.add_tree(&Tree { nodes }).unwrap();
    writer.flush().unwrap();
    id
}

/// The tree that the journal named when the item ended.
fn committed_tree(world: &World) -> Vec<u8> {
    let ended = world
        .primary
        .events(1, 1)
        .into_iter()
        .find_map(|what| match what {
            What::ItemEnded(ended) => Some(ended.tree.to_vec()),
            _ => None,
        });
    ended.unwrap()
}

/// Exceptions, then lines of details.
async fn said(world: &World, job: u64) -> (Vec<String>, Vec<String>) {
    world.primary.end_of(job, 1).await;
    let (mut exceptions, mut details) = (Vec::new(), Vec::new());
    for what in world.primary.events(job, 1) {
        match what {
            What::Exceptions(found) => exceptions.extend(found.exceptions.into_iter().map(|e| e.reason)),
            What::Detail(detail) => details.push(detail.text),
            _ => {}
        }
    }
    (exceptions, details)
}

/// The paths and warnings of a listing, or code and text of the error.
async fn ask(
    world: &World,
    snapshot: &[u8],
    content: Option<Content>,
) -> Result<(Vec<String>, Vec<String>), (u32, String)> {
    let id = world.primary.answers().len() as u64 + 1;
    let asked = ListFilesQuestion {
        snapshot: snapshot.to_vec().into(),
        path: ITEM.into(),
        content,
    };
    let body = Some(question::Body::ListFiles(asked));
    world.primary.order(Body::Question(Question { id, body })).await;
    let is_it = |a: &outlast_proto::v1::Answer| a.id == id && a.last;
    (world.primary)
        .wait_for("an answer", |p| p.answers().iter().any(is_it))
        .await;
    let (mut paths, mut warnings) = (Vec::new(), Vec::new());
    for answer in world.primary.answers().into_iter().filter(|a| a.id == id) {
        match answer.body.unwrap() {
            answer::Body::Files(files) => {
                paths.extend(files.files.into_iter().map(|f| f.path));
                warnings.extend(files.warnings);
            }
            answer::Body::Error(error) => return Err((error.code, error.text)),
            other => panic!("{other:?}"),
        }
    }
    Ok((paths, warnings))
}

async fn look(change: Change, forget_tag: Option<&str>, names_tree: bool, names_numbers: bool) {
    let row = format!("{change:?} {forget_tag:?} {names_tree} {names_numbers}");
    let (world, agent, snapshot) = with_backup().await;
    let tree = committed_tree(&world);
    assert_eq!(tree.len(), 32);
    rewrite(&world, &snapshot, change, forget_tag);
    let content = names_numbers.then(|| Content {
        tree: if names_tree {
            tree.into()
        } else {
            Vec::new().into()
        },
        files: FILES,
        bytes: BYTES,
        origin: None,
    });
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let mut ticket = world.restore_ticket(2, &snapshot, &[]);
    ticket.restore.as_mut().unwrap().content = content.clone();
    let (files, _, over) = restore(&laptop, &agent.address, world.hello(&ticket)).await;
    let there = if change == Change::WithoutTwin { 4 } else { 5 };
    assert_eq!(
        files.len(),
        there,
        "{row}: what is there is restored all the same"
    );
    let is_other = change != Change::Tag;
    assert_eq!(over.code, u32::from(is_other), "{row}: {}", over.text);
    let (exceptions, details) = said(&world, 2).await;
    let (_, warnings) = ask(&world, &snapshot, content).await.unwrap();
    let lists = [
        (&exceptions, "exceptions"),
        (&details, "details"),
        (&warnings, "warnings"),
    ];
    for (texts, kind) in lists {
        assert_eq!(texts.len(), usize::from(is_other), "{row}, {kind}: {texts:?}");
        let numbers = match change {
            Change::OtherMode => format!("there are still {FILES} files of {BYTES} bytes"),
            _ => format!(
                "{FILES} files of {BYTES} bytes were backed up, {there} files of {} bytes",
                BYTES - 2_200_000
            ),
        };
        assert!(
            texts.iter().all(|text| text.contains(&numbers)),
            "{row}, {kind}: {texts:?}"
        );
    }
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_what_stands_in_the_place_of_a_restore_point_is_not_taken_for_it() {
    for change in [
        Change::Tag,
        Change::WithoutTwin,
        Change::ShortTwin,
        Change::OtherMode,
    ] {
        // As primaries of now know it; as those of before, with the tags of now.
        look(change, None, true, true).await;
        look(change, None, false, false).await;
    }
    for change in [Change::Tag, Change::WithoutTwin, Change::ShortTwin] {
        // A restore point of before, which names its tree nowhere; all tags taken away.
        look(change, Some("tree:"), false, true).await;
        look(change, Some("tree:"), false, false).await;
        look(change, Some(""), false, true).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_a_restore_point_of_which_nothing_is_known_any_more_is_not_called_whole() {
    let (world, agent, snapshot) = with_backup().await;
    rewrite(&world, &snapshot, Change::Tag, Some(""));
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let ticket = world.restore_ticket(2, &snapshot, &[]);
    let (files, _, over) = restore(&laptop, &agent.address, world.hello(&ticket)).await;
    assert_eq!((files.len(), over.code), (5, 1));
    agent.stop().await;
}

/// Who wrote the one of `with_backup`, as the primary says it.
fn origin(world: &World) -> Origin {
    let ticket = world.ticket(1, 1, &[Path::new(ITEM)]);
    Origin {
        cluster_id: ticket.cluster_id,
        attempt: ticket.attempt,
        item: 0,
        client: ticket.client,
        path: ITEM.to_owned(),
    }
}

/// What a restore of the point ends with, if the primary says that of its origin.
async fn restored(
    world: &World,
    agent: &RunningAgent,
    job: u64,
    id: &[u8],
    content: &Content,
) -> AttemptOver {
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let mut ticket = world.restore_ticket(job, id, &[]);
    ticket.restore.as_mut().unwrap().content = Some(content.clone());
    let (files, _, over) = restore(&laptop, &agent.address, world.hello(&ticket)).await;
    assert_eq!(files.is_empty(), over.code == 71, "{}", over.text);
    over
}

/// `restic rewrite` and `restic repair` name the snapshot that they found, which may have been another one before (issue point 16).
#[tokio::test(flavor = "multi_thread")]
async fn t90_a_restore_point_that_was_changed_twice_is_followed() {
    for (change, forget_tag, code) in [
        (Change::Tag, None, 0),
        (Change::WithoutTwin, None, 1),
        (Change::Tag, Some("tree:"), 0),
        (Change::WithoutTwin, Some("tree:"), 1),
        (Change::Tag, Some(""), 71),
    ] {
        let (world, agent, snapshot) = with_backup().await;
        let content = Content {
            tree: committed_tree(&world).into(),
            files: FILES,
            bytes: BYTES,
            origin: Some(origin(&world)),
        };
        let once = rewrite(&world, &snapshot, Change::Tag, None);
        rewrite(&world, &once, change, forget_tag);
        let over = restored(&world, &agent, 2, &snapshot, &content).await;
        assert_eq!(over.code, code, "{change:?} {forget_tag:?}: {}", over.text);
        let listed = ask(&world, &snapshot, Some(content.clone())).await;
        assert_eq!(
            listed.is_ok(),
            code != 71,
            "{change:?} {forget_tag:?}: {listed:?}"
        );
        // Two that were made of it: nobody knows which is meant.
        if code == 1 {
            rewrite_of_nothing(&world, &once);
            let over = restored(&world, &agent, 3, &snapshot, &content).await;
            assert_eq!(over.code, 71, "{}", over.text);
            assert!(
                over.text.contains("more than one was made from it"),
                "{}",
                over.text
            );
        }
        agent.stop().await;
    }
}

/// One more that says that it was made of `once`, which is gone.
fn rewrite_of_nothing(world: &World, once: &[u8]) {
    let repository = repository(world);
    let (_, mut snapshot) = repository.snapshots().unwrap().remove(0);
    snapshot.original = Some(SnapshotId::from_bytes(once.try_into().unwrap()));
    snapshot.tags.push("another".to_owned());
    repository.save_snapshot(&snapshot).unwrap();
}

/// Something else that only resembles what is gone stays what it is.
#[tokio::test(flavor = "multi_thread")]
async fn t90_what_was_written_as_something_else_does_not_stand_for_a_restore_point() {
    let (world, agent, snapshot) = with_backup().await;
    let content = Content {
        tree: committed_tree(&world).into(),
        files: FILES,
        bytes: BYTES,
        origin: Some(origin(&world)),
    };
    let once = rewrite(&world, &snapshot, Change::Tag, None);
    let twice = rewrite(&world, &once, Change::Tag, None);
    let others: [fn(&mut Content); 8] = [
        |content| content.origin = None,
        |content| content.tree = vec![7; 32].into(),
        |content| content.origin.as_mut().unwrap().item = 1,
        |content| content.origin.as_mut().unwrap().client = "tower".into(),
        |content| content.origin.as_mut().unwrap().cluster_id = "another".into(),
        |content| content.origin.as_mut().unwrap().path = "/srv".into(),
        |content| content.origin.as_mut().unwrap().attempt.as_mut().unwrap().attempt = 2,
        |content| content.origin.as_mut().unwrap().attempt.as_mut().unwrap().nonce ^= 1,
    ];
    for (job, other) in (10..).zip(others) {
        let mut content = content.clone();
        other(&mut content);
        let over = restored(&world, &agent, job, &snapshot, &content).await;
        assert_eq!(over.code, 71, "{content:?}: {}", over.text);
    }
    assert_eq!(restored(&world, &agent, 2, &snapshot, &content).await.code, 0);
    // One that nobody has changed is its writer's own, whatever it says.
    let repository = repository(&world);
    let twice = SnapshotId::from_bytes(twice.as_slice().try_into().unwrap());
    let mut unchanged = repository.snapshot(&twice).unwrap();
    unchanged.original = None;
    repository.save_snapshot(&unchanged).unwrap();
    repository.remove_snapshot(&twice).unwrap();
    assert_eq!(restored(&world, &agent, 3, &snapshot, &content).await.code, 71);
    agent.stop().await;
}

/// What the parent has is not read again because of what somebody did to it.
#[tokio::test(flavor = "multi_thread")]
async fn t90_a_parent_that_was_changed_twice_is_followed() {
    let (world, agent, snapshot) = with_backup().await;
    let once = rewrite(&world, &snapshot, Change::Tag, None);
    rewrite(&world, &once, Change::WithoutTwin, None);
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    for (job, is_said, all) in [(2, true, 1), (3, false, 4)] {
        let mut ticket = world.ticket(job, 1, &[Path::new(ITEM)]);
        ticket.items[0].parent_snapshot = snapshot.clone().into();
        ticket.items[0].parent_attempt = origin(&world).attempt.filter(|_| is_said);
        let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
        stream.welcome().await;
        let (wanted, ..) = stream.item(0, &home(), "home").await;
        assert_eq!(wanted, all, "{is_said}");
        assert_eq!(stream.over().await.code, 0);
    }
    agent.stop().await;
}

/// One that is wanted and was taken out is not there, and the text says why.
#[tokio::test(flavor = "multi_thread")]
async fn t90_a_path_that_was_taken_out_of_a_restore_point_is_said_to_be() {
    let (world, agent, snapshot) = with_backup().await;
    rewrite(&world, &snapshot, Change::WithoutTwin, None);
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let ticket = world.restore_ticket(2, &snapshot, &["/srv/home/twin.bin"]);
    let (_, _, over) = restore(&laptop, &agent.address, world.hello(&ticket)).await;
    assert_eq!(over.code, 71);
    assert!(over.text.contains("rewritten outside Outlast"), "{}", over.text);
    agent.stop().await;
}

async fn attempt(world: &World, agent: &RunningAgent, number: u32) -> BackupStream {
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let ticket = world.ticket(1, number, &[Path::new(ITEM), Path::new("/etc/hosts")]);
    let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
    stream.welcome().await;
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_f14_a_finished_item_that_was_rewritten_is_not_taken_over() {
    for (change, forget_tag, is_taken_over) in [
        (Change::Tag, None, true),
        (Change::Tag, Some("tree:"), true),
        (Change::WithoutTwin, None, false),
        (Change::ShortTwin, Some("tree:"), false),
        (Change::OtherMode, None, false),
    ] {
        let world = World::new().await;
        let agent = world.agent("media-1").await;
        let mut first = attempt(&world, &agent, 1).await;
        let (.., finished) = first.item(0, &home(), "home").await;
        drop(first);
        rewrite(&world, &finished, change, forget_tag);
        let mut second = attempt(&world, &agent, 2).await;
        if !is_taken_over {
            second.item(0, &home(), "home").await;
        }
        second.item(1, &file("127.0.0.1 localhost\n"), "hosts").await;
        assert_eq!(second.over().await.code, 0, "{change:?} {forget_tag:?}");
        world.primary.end_of(1, 2).await;
        let is_adopted = |what: &What| matches!(what, What::ItemEnded(ended) if ended.adopted);
        let adopted = world.primary.events(1, 2).iter().any(is_adopted);
        assert_eq!(adopted, is_taken_over, "{change:?} {forget_tag:?}");
        agent.stop().await;
    }
}

/// Nothing was to be written, so nothing may be said of writing; and both ways to ask say the same.
#[tokio::test(flavor = "multi_thread")]
async fn t90_a_restore_point_that_is_gone_is_said_to_be() {
    let (world, agent, snapshot) = with_backup().await;
    let id = SnapshotId::from_bytes(snapshot.as_slice().try_into().unwrap());
    repository(&world).remove_snapshot(&id).unwrap();
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let ticket = world.restore_ticket(2, &snapshot, &[]);
    let (_, _, over) = restore(&laptop, &agent.address, world.hello(&ticket)).await;
    assert_eq!(over.code, 71, "{}", over.text);
    assert!(
        over.text.contains("is gone from storage unit \"unit-1\""),
        "{}",
        over.text
    );
    assert_eq!(ask(&world, &snapshot, None).await, Err((over.code, over.text)));
    agent.stop().await;
}
