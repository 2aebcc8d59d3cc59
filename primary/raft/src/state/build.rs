//! Building a snapshot beside apply: from a view, page by page, so that apply never waits longer than one page takes.
//! Called by openraft through [`store`](super::store).

use std::io;

use openraft::RaftSnapshotBuilder;

use crate::state::core::ViewId;
use crate::state::snapshot::{Head, SnapshotFile, SnapshotWriter};
use crate::state::store::{StateStore, blocking};
use crate::types::{Config, Snapshot};

/// Builds one snapshot, of the moment it was made.
pub(crate) struct Builder {
    store: StateStore,
    view: io::Result<(ViewId, Head)>,
}

impl Builder {
    pub(crate) fn new(store: StateStore) -> Self {
        let view = store.with_blocking(|core| Ok(core.freeze()));
        Self { store, view }
    }
}

impl Drop for Builder {
    fn drop(&mut self) {
        if let Ok((view, _)) = self.view {
            let view_dropped = self.store.with_blocking(|core| {
                core.drop_view(view);
                Ok(())
            });
            // Fails only when the state is closed, and the view with it.
            drop(view_dropped);
        }
    }
}

impl RaftSnapshotBuilder<Config> for Builder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let (view, head) = match &self.view {
            Ok((view, head)) => (*view, head.clone()),
            Err(e) => return Err(io::Error::new(e.kind(), e.to_string())),
        };
        let store = self.store.clone();
        let file = blocking(move || build(&store, view, &head)).await?;
        Ok(Snapshot {
            meta: file.meta()?,
            snapshot: file,
        })
    }
}

fn build(store: &StateStore, view: ViewId, head: &Head) -> io::Result<SnapshotFile> {
    let path = store.part("built");
    if !write(store, view, head, &path)? {
        std::fs::remove_file(&path)?;
        let newer = store.with_blocking(|core| Ok(core.snapshot().cloned()))?;
        return newer.ok_or_else(|| io::Error::other("the view of a snapshot under way is gone"));
    }
    // Reading it back compares the rows with the tally of the moment the view was taken.
    let file = SnapshotFile::open(&path)?;
    store.adopt(file)
}

/// False when a snapshot was installed meanwhile: that one is newer than this one would be.
fn write(store: &StateStore, view: ViewId, head: &Head, path: &std::path::Path) -> io::Result<bool> {
    let mut writer = SnapshotWriter::create(path, head)?;
    let mut after = None;
    loop {
        let Some(page) = store.with_blocking(|core| core.page(view, after.as_deref()))? else {
            return Ok(false);
        };
        for (key, value) in &page.rows {
            writer.row(key, value)?;
        }
        match page.reach {
            Some(reach) => after = Some(reach),
            None => break,
        }
    }
    writer.finish()?;
    Ok(true)
}
