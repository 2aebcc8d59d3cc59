//! Reading entries back, in portions: a few hundred entries can be hundreds of megabytes, and neither a message nor
//! the memory may grow to that. openraft's replication and apply tasks each hold a reader.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};

use futures::stream::{self, Stream};
use openraft::{OptionalSend, RaftLogReader};

use crate::log::store::LogStore;
use crate::types::{Config, Entry, Vote};

/// A message or an apply step stops growing here; one entry more than this can be in it.
const PORTION_BYTES: u64 = 2 * 1024 * 1024;
const PORTION_ENTRIES: u64 = 512;

impl RaftLogReader<Config> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let (from, to) = bounds(&range);
        self.read(from, to, u64::MAX)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        self.read(start, end, PORTION_BYTES)
    }

    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (from, to) = bounds(&range);
        let portions = stream::try_unfold((self.clone(), from), move |(log, next)| async move {
            let entries = log.read(next, to.min(next.saturating_add(PORTION_ENTRIES)), PORTION_BYTES)?;
            let Some(last) = entries.last() else {
                return Ok::<_, io::Error>(None);
            };
            let next = last.log_id.index + 1;
            Ok(Some((stream::iter(entries.into_iter().map(Ok)), (log, next))))
        });
        // `apply` wants a stream that can be moved about.
        Box::pin(futures::TryStreamExt::try_flatten(portions))
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        self.vote()
    }
}

fn bounds<RB: RangeBounds<u64>>(range: &RB) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(index) => *index,
        Bound::Excluded(index) => index.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(index) => index.saturating_add(1),
        Bound::Excluded(index) => *index,
        Bound::Unbounded => u64::MAX,
    };
    (from, to.max(from))
}
