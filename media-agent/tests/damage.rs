//! S-14b: what was read as damaged or missing counts as absent from then on, over restarts and for every media agent of the
//! storage unit; content is stored anew, and the job's details say so and name what still suffers. Judged by plain restic.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use outlast_kit::identity::Kind;
use outlast_proto::v1::Ticket;
use outlast_proto::v1::journal_event::What;
use outlast_repository::{BlobKind, LocalStorage, Password, Repository};
use support::client::BackupStream;
use support::home::{ITEM, home, with_backup};
use support::restorer::restore;
use support::source::{Source, dir, file, noise};
use support::world::{PASSWORD, RunningAgent, World};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Harm {
    Flip,
    Cut,
    Delete,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Who {
    TheSame,
    AfterARestart,
    /// One that has nothing of the first but the storage unit.
    AnotherAgent,
}

/// Everything that lies where packs do.
fn packs_of(world: &World) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(world.storage().join("data")).unwrap();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
    files.map(|file| file.unwrap().path()).collect()
}

/// The largest pack of the kind.
fn pack(world: &World, kind: BlobKind) -> PathBuf {
    let storage = Arc::new(LocalStorage::new(world.storage()));
    let repository = Repository::open(storage, &Password::new(PASSWORD.to_owned())).unwrap();
    let packs = packs_of(world).into_iter();
    let packs = packs.map(|path| (path.metadata().unwrap().len(), path));
    let is_meant = |(size, path): &(u64, PathBuf)| {
        let id = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
        repository.pack_blobs(&id, *size).unwrap()[0].kind == kind
    };
    packs.filter(is_meant).max().unwrap().1
}

fn do_harm(pack: &Path, harm: Harm) {
    let open = || {
        std::fs::File::options()
            .read(true)
            .write(true)
            .open(pack)
            .unwrap()
    };
    match harm {
        Harm::Flip => {
            let mut byte = [0];
            open().read_exact_at(&mut byte, 100).unwrap();
            open().write_all_at(&[byte[0] ^ 1], 100).unwrap();
        }
        Harm::Cut => open().set_len(50).unwrap(),
        Harm::Delete => std::fs::remove_file(pack).unwrap(),
    }
}

/// All files of a source, as a restore gives them.
fn files(source: &Source) -> BTreeMap<String, Vec<u8>> {
    fn collect(at: &str, source: &Source, into: &mut BTreeMap<String, Vec<u8>>) {
        match source {
            Source::File(content) => drop(into.insert(at.to_owned(), content.clone())),
            Source::Link(_) => {}
            Source::Dir(children) => {
                for (name, child) in children {
                    collect(&format!("{at}/{}", String::from_utf8_lossy(name)), child, into);
                }
            }
        }
    }
    let mut found = BTreeMap::new();
    collect(ITEM, source, &mut found);
    found
}

/// What a restore brings, and its code.
async fn restored(
    world: &World,
    agent: &RunningAgent,
    job: u64,
    snapshot: &[u8],
) -> (BTreeMap<String, Vec<u8>>, u32) {
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let ticket = world.restore_ticket(job, snapshot, &[]);
    let (files, _, over) = restore(&laptop, &agent.address, world.hello(&ticket)).await;
    (files, over.code)
}

async fn backed_up(world: &World, agent: &RunningAgent, ticket: &Ticket, source: &Source) -> Vec<u8> {
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(ticket)).await;
    stream.welcome().await;
    let (.., snapshot) = stream.item(0, source, "home").await;
    assert_eq!(stream.over().await.code, 0);
    snapshot
}

async fn details(world: &World, job: u64) -> Vec<String> {
    world.primary.end_of(job, 1).await;
    let said = world.primary.events(job, 1).into_iter();
    said.filter_map(|what| match what {
        What::Detail(detail) => Some(detail.text),
        _ => None,
    })
    .collect()
}

/// What is damaged is read only with all the data, and is all that is wrong.
fn restic_names_only(world: &World, pack: &Path) {
    let checked = world.restic(&["check", "--read-data"]);
    let said = String::from_utf8_lossy(&checked.stderr);
    let wrong: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("Pack ID does not match"))
        .collect();
    assert!(!checked.status.success() && wrong.len() == 1, "{said}");
    assert!(
        wrong[0].contains(pack.file_name().unwrap().to_str().unwrap()),
        "{said}"
    );
    assert!(!said.contains("error for tree"), "{said}");
}

/// As the help tells: what is left of the pack goes, and restic makes the index anew.
fn repair_with_restic(world: &World, pack: &Path) {
    let _ = std::fs::remove_file(pack);
    let rebuilt = world.restic(&["rebuild-index"]);
    assert!(
        rebuilt.status.success(),
        "{}",
        String::from_utf8_lossy(&rebuilt.stderr)
    );
    world.assert_clean();
}

async fn damage_is_healed(harm: Harm, is_data: bool, is_full: bool, who: Who) {
    let row = format!("{harm:?}, data: {is_data}, full: {is_full}, {who:?}");
    let (world, mut agent, first) = with_backup().await;
    let kind = if is_data { BlobKind::Data } else { BlobKind::Tree };
    let pack = pack(&world, kind);
    do_harm(&pack, harm);
    let (files_back, code) = restored(&world, &agent, 2, &first).await;
    assert_ne!(code, 0, "{row}");
    assert_ne!(files_back, files(&home()), "{row}");
    match who {
        Who::TheSame => {}
        Who::AfterARestart => {
            agent.stop().await;
            agent = world.agent("media-1").await;
        }
        Who::AnotherAgent => {
            agent.stop().await;
            std::fs::remove_dir_all(world.dir.path().join("data-media-1")).unwrap();
            agent = world.agent("media-1").await;
        }
    }
    let mut ticket = world.ticket(3, 1, &[Path::new(ITEM)]);
    ticket.full = is_full;
    if !is_full {
        ticket.items[0].parent_snapshot = first.clone().into();
    }
    let second = backed_up(&world, &agent, &ticket, &home()).await;
    let said = details(&world, 3).await;
    assert!(
        said.iter().any(|text| text.contains("count as absent")),
        "{row}: {said:?}"
    );
    assert!(
        said.iter().any(|text| text.contains("stored anew, because")),
        "{row}: {said:?}"
    );
    assert!(
        !said.iter().any(|text| text.contains("cannot be restored wholly")),
        "{row}: {said:?}"
    );
    for (job, snapshot) in [(4, &second), (5, &first)] {
        let (files_back, code) = restored(&world, &agent, job, snapshot).await;
        assert_eq!(code, 0, "{row}");
        assert!(files_back == files(&home()), "{row}");
    }
    // A later backup has nothing to tell and nothing to do.
    let mut ticket = world.ticket(6, 1, &[Path::new(ITEM)]);
    ticket.items[0].parent_snapshot = second.clone().into();
    backed_up(&world, &agent, &ticket, &home()).await;
    assert_eq!(details(&world, 6).await, Vec::<String>::new(), "{row}");
    // Restic says what is wrong with the old pack, and no more; without it all is well.
    if harm == Harm::Flip {
        restic_names_only(&world, &pack);
    } else {
        repair_with_restic(&world, &pack);
        let out = world.dir.path().join("out");
        world.restic_restore(&second, &out);
        world.restic_restore(&first, &out);
        let big = std::fs::read(out.join("srv/home/big.bin")).unwrap();
        assert!(big == files(&home())["/srv/home/big.bin"], "{row}");
    }
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_s14b_a_flipped_pack_is_stored_anew() {
    for (is_data, is_full, who) in [
        (true, true, Who::TheSame),
        (true, false, Who::AfterARestart),
        (true, true, Who::AnotherAgent),
        (false, true, Who::AfterARestart),
        (false, false, Who::TheSame),
    ] {
        damage_is_healed(Harm::Flip, is_data, is_full, who).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_s14b_a_cut_pack_is_stored_anew() {
    for (is_data, is_full, who) in [
        (true, true, Who::TheSame),
        (true, false, Who::AnotherAgent),
        (false, true, Who::AfterARestart),
        (false, false, Who::TheSame),
    ] {
        damage_is_healed(Harm::Cut, is_data, is_full, who).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_s14b_a_missing_pack_is_stored_anew() {
    for (is_data, is_full, who) in [
        (true, true, Who::AfterARestart),
        (true, false, Who::TheSame),
        (false, true, Who::TheSame),
        (false, false, Who::AnotherAgent),
    ] {
        damage_is_healed(Harm::Delete, is_data, is_full, who).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_s14b_missing_packs_are_found_without_a_restore() {
    let (world, agent, first) = with_backup().await;
    do_harm(&pack(&world, BlobKind::Data), Harm::Delete);
    let mut ticket = world.ticket(2, 1, &[Path::new(ITEM)]);
    ticket.items[0].parent_snapshot = first.clone().into();
    let second = backed_up(&world, &agent, &ticket, &home()).await;
    let (files_back, code) = restored(&world, &agent, 3, &second).await;
    assert_eq!(code, 0);
    assert!(files_back == files(&home()));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_s14b_restore_points_that_stay_damaged_are_named_once() {
    let (world, agent, first) = with_backup().await;
    do_harm(&pack(&world, BlobKind::Data), Harm::Delete);
    // The large files are gone at the source.
    let source = dir([("notes", dir([("a.txt", file("a".repeat(5000)))]))]);
    let ticket = world.ticket(2, 1, &[Path::new(ITEM)]);
    let second = backed_up(&world, &agent, &ticket, &source).await;
    let said = details(&world, 2).await;
    let id: String = first.iter().map(|byte| format!("{byte:02x}")).collect();
    let named: Vec<&String> = said
        .iter()
        .filter(|text| text.contains("cannot be restored wholly"))
        .collect();
    assert_eq!(named.len(), 1, "{said:?}");
    assert!(
        named[0].contains(&id) && named[0].contains(ITEM) && named[0].contains("/srv/home/big.bin"),
        "{named:?}"
    );
    let mut ticket = world.ticket(3, 1, &[Path::new(ITEM)]);
    ticket.items[0].parent_snapshot = second.into();
    backed_up(&world, &agent, &ticket, &source).await;
    let said = details(&world, 3).await;
    assert_eq!(
        said.len(),
        1,
        "what counts as absent, and not again who suffers: {said:?}"
    );
    agent.stop().await;
}

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
