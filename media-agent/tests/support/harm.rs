//! What is done to packs of a storage unit, and what restores, journals and listings say afterwards.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use outlast_kit::identity::Kind;
use outlast_proto::v1::Ticket;
use outlast_proto::v1::journal_event::What;
use outlast_repository::{BlobKind, LocalStorage, Password, Repository};

use super::client::BackupStream;
use super::home::ITEM;
use super::restorer::restore;
use super::source::Source;
use super::world::{PASSWORD, RunningAgent, World};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Harm {
    Flip,
    Cut,
    Delete,
}

/// Everything that lies where packs do.
pub(crate) fn packs_of(world: &World) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(world.storage().join("data")).unwrap();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
    files.map(|file| file.unwrap().path()).collect()
}

/// The largest pack of the kind.
pub(crate) fn pack(world: &World, kind: BlobKind) -> PathBuf {
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

pub(crate) fn do_harm(pack: &Path, harm: Harm) {
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
pub(crate) fn files(source: &Source) -> BTreeMap<String, Vec<u8>> {
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
pub(crate) async fn restored(
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

pub(crate) async fn backed_up(
    world: &World,
    agent: &RunningAgent,
    ticket: &Ticket,
    source: &Source,
) -> Vec<u8> {
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(ticket)).await;
    stream.welcome().await;
    let (.., snapshot) = stream.item(0, source, "home").await;
    assert_eq!(stream.over().await.code, 0);
    snapshot
}

pub(crate) async fn details(world: &World, job: u64) -> Vec<String> {
    world.primary.end_of(job, 1).await;
    let said = world.primary.events(job, 1).into_iter();
    said.filter_map(|what| match what {
        What::Detail(detail) => Some(detail.text),
        _ => None,
    })
    .collect()
}

/// As the help tells: what is left of the pack goes, and restic makes the index anew.
pub(crate) fn repair_with_restic(world: &World, pack: &Path) {
    let _ = std::fs::remove_file(pack);
    let rebuilt = world.restic(&["rebuild-index"]);
    assert!(
        rebuilt.status.success(),
        "{}",
        String::from_utf8_lossy(&rebuilt.stderr)
    );
    world.assert_clean();
}
