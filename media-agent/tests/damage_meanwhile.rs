//! S-14b: what is damaged or goes missing while a job runs that relies on it is noticed before the job makes a restore point of it.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::path::{Path, PathBuf};

use outlast_kit::identity::Kind;
use outlast_proto::v1::journal_event::What;
use outlast_repository::BlobKind;
use support::client::BackupStream;
use support::harm::{Harm, backed_up, details, do_harm, files, pack, packs_of, repair_with_restic, restored};
use support::home::{ITEM, home, with_backup};
use support::source::{Source, file, noise};
use support::world::{RunningAgent, World};

/// A backup whose walk is over but for its last word, with a parent that has everything.
async fn about_to_end(world: &World, agent: &RunningAgent, parent: &[u8]) -> BackupStream {
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let mut ticket = world.ticket(3, 1, &[Path::new(ITEM)]);
    ticket.items[0].parent_snapshot = parent.to_vec().into();
    let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
    stream.welcome().await;
    let (wanted, _) = stream.begin(0, &home(), "home").await;
    assert_eq!(wanted.len(), 0, "all of it is unchanged");
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_s14b_no_restore_point_is_made_of_what_was_found_damaged_meanwhile() {
    let (world, agent, first) = with_backup().await;
    let mut stream = about_to_end(&world, &agent, &first).await;
    do_harm(&pack(&world, BlobKind::Data), Harm::Flip);
    assert_eq!(restored(&world, &agent, 2, &first).await.1, 1);
    stream.end_item(0).await;
    let (wanted, sent, second) = stream.item(0, &home(), "home").await;
    assert!(wanted > 0 && sent > 0, "{wanted}, {sent}");
    assert_eq!(stream.over().await.code, 0);
    let said = details(&world, 3).await;
    assert!(
        said.iter()
            .any(|text| text.contains("from its beginning") && text.contains("big.bin")),
        "{said:?}"
    );
    let (files_back, code) = restored(&world, &agent, 4, &second).await;
    assert_eq!((code, files_back == files(&home())), (0, true));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_s14b_packs_of_the_parent_that_go_missing_in_mid_job_are_stored_anew() {
    for (harm, kind) in [
        (Harm::Delete, BlobKind::Data),
        (Harm::Cut, BlobKind::Data),
        (Harm::Delete, BlobKind::Tree),
    ] {
        let (world, agent, first) = with_backup().await;
        let mut stream = about_to_end(&world, &agent, &first).await;
        do_harm(&pack(&world, kind), harm);
        stream.end_item(0).await;
        let (.., second) = stream.item(0, &home(), "home").await;
        assert_eq!(stream.over().await.code, 0, "{harm:?}, {kind}");
        assert_eq!(world.snapshots(), 2, "none of what was missing");
        let (files_back, code) = restored(&world, &agent, 4, &second).await;
        assert_eq!(
            (code, files_back == files(&home())),
            (0, true),
            "{harm:?}, {kind}"
        );
        agent.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_s14b_index_files_that_go_missing_in_mid_job_are_noticed() {
    let (world, agent, first) = with_backup().await;
    let mut stream = about_to_end(&world, &agent, &first).await;
    for file in std::fs::read_dir(world.storage().join("index")).unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    stream.end_item(0).await;
    let (wanted, _, second) = stream.item(0, &home(), "home").await;
    assert!(wanted > 0);
    assert_eq!(stream.over().await.code, 0);
    world.assert_clean();
    let (files_back, code) = restored(&world, &agent, 4, &second).await;
    assert_eq!((code, files_back == files(&home())), (0, true));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_s14b_packs_of_this_job_that_are_cut_before_its_snapshot_are_stored_anew() {
    let world = World::new().await;
    let agent = world.agent("media-1").await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    // More than the packs that are filled at a time hold, so that some are written before the end.
    let source = file(noise(5, 80 << 20));
    let ticket = world.ticket(1, 1, &[Path::new("/srv/large")]);
    let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
    stream.welcome().await;
    let (wanted, contents) = stream.begin(0, &source, "large").await;
    let files_sent = [(wanted[0], contents[&wanted[0]].as_slice())];
    let needed = stream.offer(&files_sent).await;
    stream.chunks(needed).await;
    stream.file_ends(&files_sent).await;
    let begun = std::time::Instant::now();
    let is_pack = |path: &PathBuf| path.file_name().is_some_and(|name| name.len() == 64);
    let cut = loop {
        let mut files = packs_of(&world).into_iter();
        match files.find(is_pack) {
            Some(pack) => break pack,
            None => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
        }
        assert!(begun.elapsed() < support::world::PATIENCE, "no pack is written");
    };
    // Its writer looks at it once it has its name: what is wrong by then is a failed write, and another case.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let pack = std::fs::File::options().write(true).open(&cut).unwrap();
    pack.set_len(1000).unwrap();
    stream.end_item(0).await;
    let (_, sent, snapshot) = stream.item(0, &source, "large").await;
    assert!((1..80).contains(&sent), "only what was in the pack: {sent}");
    assert_eq!(stream.over().await.code, 0);
    agent.stop().await;
    repair_with_restic(&world, &cut);
    let out = world.dir.path().join("out");
    world.restic_restore(&snapshot, &out);
    assert!(std::fs::read(out.join("srv/large")).unwrap() == contents[&wanted[0]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_s14b_packs_that_go_missing_again_and_again_end_the_attempt() {
    let world = World::new().await;
    let agent = world.agent("media-1").await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    // Each file lies in a pack of its own.
    let names = ["a", "b", "c"];
    let content = |name: &&str| {
        (
            name.as_bytes().to_vec(),
            file(noise(name.as_bytes()[0].into(), 300_000)),
        )
    };
    let source = |count| Source::Dir(names.iter().take(count).map(content).collect());
    let (mut packs, mut parent) = (Vec::new(), Vec::new());
    for count in 1..=names.len() {
        let before = packs_of(&world);
        let ticket = world.ticket(count as u64, 1, &[Path::new(ITEM)]);
        parent = backed_up(&world, &agent, &ticket, &source(count)).await;
        let new = packs_of(&world).into_iter().filter(|pack| !before.contains(pack));
        packs.push(new.max_by_key(|pack| pack.metadata().unwrap().len()).unwrap());
    }
    let mut ticket = world.ticket(4, 1, &[Path::new(ITEM)]);
    ticket.items[0].parent_snapshot = parent.into();
    let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
    stream.welcome().await;
    for (walk, pack) in packs.iter().enumerate() {
        let (wanted, contents) = stream.begin(0, &source(names.len()), "home").await;
        assert_eq!(wanted.len(), usize::from(walk > 0), "what the walk before missed");
        for node in &wanted {
            let files = [(*node, contents[node].as_slice())];
            let needed = stream.offer(&files).await;
            stream.chunks(needed).await;
            stream.file_ends(&files).await;
        }
        do_harm(pack, Harm::Delete);
        stream.end_item(0).await;
    }
    let over = stream.over().await;
    assert_eq!(over.code, 84, "{}", over.text);
    assert!(
        over.text.contains("3 times") && over.text.contains("/srv/home/c"),
        "{}",
        over.text
    );
    assert_eq!(world.snapshots(), 3);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_s14b_packs_of_finished_items_that_go_missing_in_mid_job_are_exceptions() {
    let world = World::new().await;
    let agent = world.agent("media-1").await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let ticket = world.ticket(1, 1, &[Path::new(ITEM), Path::new("/etc/hosts")]);
    let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
    stream.welcome().await;
    stream.item(0, &home(), "home").await;
    do_harm(&pack(&world, BlobKind::Data), Harm::Delete);
    stream.item(1, &file("127.0.0.1 localhost\n"), "hosts").await;
    assert_eq!(stream.over().await.code, 1);
    world.primary.end_of(1, 1).await;
    let found = world.primary.events(1, 1).into_iter();
    let found: Vec<_> = found
        .filter_map(|what| match what {
            What::Exceptions(found) if found.item == 0 => Some(found.exceptions),
            _ => None,
        })
        .flatten()
        .collect();
    let big = found.iter().find(|it| it.path == "/srv/home/big.bin");
    let big = big.unwrap_or_else(|| panic!("{found:?}"));
    assert!(big.reason.contains("after it was backed up"), "{found:?}");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_s14b_what_an_earlier_attempt_finished_and_is_damaged_since_is_not_taken_over() {
    let world = World::new().await;
    let agent = world.agent("media-1").await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let ticket = world.ticket(1, 1, &[Path::new(ITEM), Path::new("/etc/hosts")]);
    let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
    stream.welcome().await;
    let (.., first) = stream.item(0, &home(), "home").await;
    drop(stream);
    do_harm(&pack(&world, BlobKind::Data), Harm::Flip);
    assert_eq!(restored(&world, &agent, 2, &first).await.1, 1);
    let ticket = world.ticket(1, 2, &[Path::new(ITEM), Path::new("/etc/hosts")]);
    let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
    stream.welcome().await;
    let (.., second) = stream.item(0, &home(), "home").await;
    stream.item(1, &file("127.0.0.1 localhost\n"), "hosts").await;
    assert_eq!(stream.over().await.code, 0);
    assert_ne!(first, second);
    let (files_back, code) = restored(&world, &agent, 3, &second).await;
    assert_eq!(code, 0);
    assert!(files_back == files(&home()));
    agent.stop().await;
}
