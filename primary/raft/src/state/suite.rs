//! openraft's own test suite for stores, run on ours (DESIGN section 2), and a snapshot built while rows change. Tests only.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use openraft::entry::RaftEntry;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{RaftSnapshotBuilder, StorageError};
use tempfile::TempDir;
use tonic::transport::Channel;

use crate::format::LogIdForm;
use crate::log::LogStore;
use crate::machine::{Applied, Machine, MachineError};
use crate::node::start;
use crate::options::{Connect, ConnectError, RaftOptions};
use crate::peer::Peer;
use crate::state::{Core, StateStore};
use crate::types::{Command, Config, Entry, LogId, Payload, Snapshot};

struct Nowhere;

impl Connect for Nowhere {
    fn channel(&self, peer: &Peer) -> Result<Channel, ConnectError> {
        Err(ConnectError {
            address: peer.address.clone(),
            reason: "a test".into(),
        })
    }
}

/// Commands are `key=value` or `key`, which deletes.
#[derive(Default)]
struct Table {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Machine for Table {
    fn restore(&mut self, rows: Vec<(Vec<u8>, Vec<u8>)>, _: u64) -> Result<(), MachineError> {
        self.rows = rows.into_iter().collect();
        Ok(())
    }

    fn apply(&mut self, _: u64, command: &[u8]) -> Result<Applied, MachineError> {
        let mut parts = command.splitn(2, |byte| *byte == b'=');
        let key = parts.next().unwrap_or_default().to_vec();
        let value = parts.next().map(<[u8]>::to_vec);
        Ok(Applied {
            reply: vec![],
            changes: vec![(key, value)],
        })
    }
}

fn open(dir: &TempDir) -> (LogStore, StateStore) {
    let options = RaftOptions::new(1, Peer::default(), dir.path().to_path_buf(), Arc::new(Nowhere));
    let opened = start::open(&options, Box::new(Table::default())).unwrap();
    (opened.log, opened.state)
}

struct Builder;

impl StoreBuilder<Config, LogStore, StateStore, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, StateStore), StorageError<Config>> {
        let dir = tempfile::tempdir().unwrap();
        let (log, state) = open(&dir);
        // The suite purges without snapshots; that ours would not is another test's matter.
        log.allow_purge(Some(LogIdForm {
            term: u64::MAX,
            index: u64::MAX,
        }));
        Ok((dir, log, state))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stores_pass_openrafts_suite() {
    Suite::<Config, LogStore, StateStore, Builder, TempDir>::test_all(Builder)
        .await
        .unwrap();
}

fn command(index: u64, text: String) -> Entry {
    let log_id: LogId = LogIdForm { term: 1, index }.into();
    Entry::new(log_id, Payload::Normal(Command(Bytes::from(text))))
}

fn apply(core: &mut Core, from: u64, texts: Vec<String>) -> std::io::Result<()> {
    let entries: Vec<_> = (from..)
        .zip(texts)
        .map(|(index, text)| command(index, text))
        .collect();
    core.apply(&entries).map(drop)
}

async fn built(state: &StateStore, mut builder: super::build::Builder) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let Snapshot { snapshot, .. } = builder.build_snapshot().await.unwrap();
    drop(builder);
    assert_eq!(state.with_blocking(|core| Ok(core.views())).unwrap(), 0);
    snapshot.rows().unwrap().map(Result::unwrap).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_is_of_the_moment_it_was_begun() {
    let dir = tempfile::tempdir().unwrap();
    let (_log, mut state) = open(&dir);
    let rows = |value: &str| {
        (0..3_500)
            .map(|n| format!("key{n:05}={value}"))
            .collect::<Vec<_>>()
    };
    state.with_blocking(|core| apply(core, 1, rows("old"))).unwrap();
    let builder = state.get_snapshot_builder().await;
    // Everything changes between the view and the build: overwritten, deleted, new.
    state
        .with_blocking(|core| {
            apply(core, 4_000, rows("new"))?;
            apply(
                core,
                8_000,
                (0..3_500).step_by(3).map(|n| format!("key{n:05}")).collect(),
            )?;
            apply(
                core,
                12_000,
                (0..3_500).map(|n| format!("key{n:05}x=more")).collect(),
            )
        })
        .unwrap();
    let found = built(&state, builder).await;
    let old = rows("old")
        .into_iter()
        .map(|row| row.split_once('=').map(|(k, v)| (k.into(), v.into())).unwrap());
    assert_eq!(found, old.collect::<BTreeMap<Vec<u8>, Vec<u8>>>());
    let later = state.get_snapshot_builder().await;
    assert_eq!(
        built(&state, later).await.len(),
        3_500 - 3_500usize.div_ceil(3) + 3_500
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t90_the_log_is_purged_no_further_than_the_older_of_two_snapshots() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, mut state) = open(&dir);
    let id = |index| LogIdForm { term: 1, index };
    let mut purged = Vec::new();
    for round in 0..4 {
        let entries: Vec<_> = (0..10)
            .map(|n| command(round * 10 + n, format!("key{n}={round}")))
            .collect();
        RaftLogStorageExt::blocking_append(&mut log, entries.clone())
            .await
            .unwrap();
        state.with_blocking(|core| core.apply(&entries)).unwrap();
        state.get_snapshot_builder().await.build_snapshot().await.unwrap();
        log.purge(id(round * 10 + 9).into()).await.unwrap();
        purged.push(log.ends().unwrap().0);
    }
    // The first snapshot has none before it, and the log is the only other way.
    assert_eq!(purged, [None, Some(id(9)), Some(id(19)), Some(id(29))]);
    // Less is done as asked.
    assert_eq!(log.ends().unwrap().1, Some(id(39)));
    // What the leader sends may begin behind the end of the log, which then leads nowhere.
    log.purge(id(60).into()).await.unwrap();
    assert_eq!(log.ends().unwrap(), (Some(id(60)), Some(id(60))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t90_a_snapshot_of_a_newer_version_is_not_taken_for_a_damaged_one() {
    let dir = tempfile::tempdir().unwrap();
    let (log, mut state) = open(&dir);
    state
        .with_blocking(|core| apply(core, 1, vec!["key=value".into()]))
        .unwrap();
    let Snapshot { snapshot, .. } = state.get_snapshot_builder().await.build_snapshot().await.unwrap();
    let path = snapshot.path().to_path_buf();
    super::blocking(move || state.close().and_then(|()| log.close()))
        .await
        .unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[12] = 2;
    let end = bytes.len() - 4;
    let sum = crc32fast::hash(&bytes[..end]).to_be_bytes();
    bytes[end..].copy_from_slice(&sum);
    std::fs::write(&path, &bytes).unwrap();
    let found = path.parent().unwrap().to_path_buf();
    let error = super::Kept::open(&found).err().unwrap();
    assert!(error.to_string().contains("version 2"), "{error}");
    assert!(path.exists(), "it was removed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_install_replaces_rows_and_outdates_views() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (_log, mut source) = open(&from);
    source
        .with_blocking(|core| apply(core, 1, (0..2_500).map(|n| format!("s{n}=1")).collect()))
        .unwrap();
    let snapshot = source
        .get_snapshot_builder()
        .await
        .build_snapshot()
        .await
        .unwrap();
    let (log, mut target) = open(&to);
    target
        .with_blocking(|core| apply(core, 1, vec!["gone=1".into()]))
        .unwrap();
    let outdated = target.get_snapshot_builder().await;
    target
        .install_snapshot(&snapshot.meta, snapshot.snapshot.clone())
        .await
        .unwrap();
    // A view from before gives the snapshot that outdated it.
    assert_eq!(built(&target, outdated).await.len(), 2_500);
    assert_eq!(target.applied_state().await.unwrap().0, snapshot.meta.last_log_id);
    let path = to.path().join("state");
    let reopened = super::blocking(move || {
        target.close()?;
        log.close()?;
        drop((log, target));
        Ok(super::Rows::open(&path)?)
    });
    let (rows, content) = reopened.await.unwrap();
    assert_eq!(
        (content.len(), rows.meta().applied),
        (2_500, snapshot.snapshot.head().applied)
    );
}

#[test]
fn an_install_that_fails_half_way_leaves_the_old_rows() {
    let dir = tempfile::tempdir().unwrap();
    let mut rows = super::Rows::create(dir.path(), 1).unwrap();
    let row = |n: u32| (n.to_be_bytes().to_vec(), b"value".to_vec());
    let applied = Some(LogIdForm { term: 1, index: 5 });
    rows.replace(
        (0..10).map(row).map(Ok),
        applied,
        Default::default(),
        Default::default(),
    )
    .unwrap();
    let broken = (10..3_000)
        .map(row)
        .map(Ok)
        .chain([Err(std::io::Error::other("cut"))]);
    assert!(
        rows.replace(broken, None, Default::default(), Default::default())
            .is_err()
    );
    drop(rows);
    let (mut rows, content) = super::Rows::open(dir.path()).unwrap();
    assert_eq!(
        (content, rows.meta().applied),
        ((0..10).map(row).collect(), applied)
    );
    // And the next one is not mixed with what the failed one left.
    rows.replace(
        (0..3).map(row).map(Ok),
        applied,
        Default::default(),
        Default::default(),
    )
    .unwrap();
    drop(rows);
    assert_eq!(
        super::Rows::open(dir.path()).unwrap().1,
        (0..3).map(row).collect::<Vec<_>>()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_named_before_a_crash_is_installed_at_start() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (_log, mut source) = open(&from);
    source
        .with_blocking(|core| apply(core, 1, vec!["a=1".into(), "b=2".into()]))
        .unwrap();
    let snapshot = source
        .get_snapshot_builder()
        .await
        .build_snapshot()
        .await
        .unwrap();
    let (mut log, state) = open(&to);
    // Its first promise: from here on the directory is kept as it is.
    log.save_vote(&crate::types::Vote::new(1.into(), 1))
        .await
        .unwrap();
    let close = move || state.close().and_then(|()| log.close());
    super::blocking(close).await.unwrap();
    for file in std::fs::read_dir(from.path().join("snapshot"))
        .unwrap()
        .map(|entry| entry.unwrap())
    {
        std::fs::copy(file.path(), to.path().join("snapshot").join(file.file_name())).unwrap();
    }
    let (mut log, mut state) = open(&to);
    let mut helper = openraft::StorageHelper::new(&mut log, &mut state).with_id(1);
    helper.get_initial_state().await.unwrap();
    assert_eq!(state.applied_state().await.unwrap().0, snapshot.meta.last_log_id);
}
