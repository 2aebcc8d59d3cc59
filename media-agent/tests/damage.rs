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
use support::client::{BackupStream, restore};
use support::home::{ITEM, home, with_backup};
use support::source::{Source, dir, file};
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

/// The largest pack of the kind.
fn pack(world: &World, kind: BlobKind) -> PathBuf {
    let storage = Arc::new(LocalStorage::new(world.storage()));
    let repository = Repository::open(storage, &Password::new(PASSWORD.to_owned())).unwrap();
    let folders = std::fs::read_dir(world.storage().join("data")).unwrap();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
    let packs = files.map(|file| {
        let file = file.unwrap();
        (file.metadata().unwrap().len(), file.path())
    });
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

#[tokio::test(flavor = "multi_thread")]
async fn t90_s14b_no_restore_point_is_made_of_what_was_found_damaged_meanwhile() {
    let (world, agent, first) = with_backup().await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let mut ticket = world.ticket(3, 1, &[Path::new(ITEM)]);
    ticket.items[0].parent_snapshot = first.clone().into();
    let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
    stream.welcome().await;
    let (wanted, _) = stream.begin(0, &home(), "home").await;
    assert_eq!(wanted.len(), 0, "all of it is unchanged");
    do_harm(&pack(&world, BlobKind::Data), Harm::Flip);
    assert_eq!(restored(&world, &agent, 2, &first).await.1, 1);
    stream.end_item(0).await;
    let over = stream.over().await;
    assert_eq!(over.code, 84);
    assert!(over.text.contains("big.bin"), "{}", over.text);
    assert_eq!(world.snapshots(), 1);
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
