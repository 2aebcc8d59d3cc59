//! The tickets this host has accepted, one file for each job, durable before anybody hears of them (F-04a).
//!
//! Which are accepted, the core's `Client` says; here what it wants kept is written before it is told so. A file holds the highest attempt of its job; lower ones are refused, also by a later process. A file that cannot be read
//! blocks its job: nobody knows any more which attempts are to be refused.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use outlast_client_core::{Client, Record, Refusal};
use outlast_kit::files::{create_folder, remove_durably, sync_folder, write_durably};
use outlast_proto::words::{Attempt, AttemptId, JobId, JobKey, StartId};
use parking_lot::Mutex;
use prost::Message as _;

use crate::admission::Admission;

const FOLDER: &str = "tickets";
/// Magic and version of a file, followed by the CRC-32 of the record and the record.
const MAGIC: &[u8; 8] = b"OLTICKT\x01";
const HEADER: usize = MAGIC.len() + 4;

/// The accepted tickets.
pub(crate) struct TicketStore {
    folder: PathBuf,
    /// Never held while the disk is waited for.
    client: Arc<Mutex<Client>>,
}

/// A ticket that was not accepted, or cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum TicketError {
    /// A later attempt was accepted before.
    #[error("attempt {attempt} of job {job} is refused: attempt {highest} was accepted before")]
    Lower {
        /// Its job.
        job: JobId,
        /// The attempt.
        attempt: Attempt,
        /// The highest known one.
        highest: Attempt,
    },
    /// It was fenced.
    #[error("attempt {attempt} of job {job} is refused: it was fenced")]
    Fenced {
        /// Its job.
        job: JobId,
        /// The attempt.
        attempt: Attempt,
    },
    /// The job's file is damaged.
    #[error("{} is damaged: {reason}; no attempt of this job is accepted until the job is over", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// The disk.
    #[error("cannot keep tickets in {}: {source}", path.display())]
    Io {
        /// File or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl TicketStore {
    /// Reads what earlier processes accepted. Damaged files are logged and block their jobs.
    pub(crate) fn open(data_dir: &Path, start_id: StartId) -> Result<Self, TicketError> {
        let folder = data_dir.join(FOLDER);
        let failed = |source| TicketError::Io {
            path: folder.clone(),
            source,
        };
        create_folder(&folder, 0o700).map_err(failed)?;
        // A ticket whose name an earlier process did not come to sync counts from here on.
        sync_folder(&folder).map_err(failed)?;
        let mut client = Client::new(start_id);
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let Some(job) = path.file_name().and_then(|name| name.to_str()?.parse().ok()) else {
                if path.extension().is_some_and(|end| end == "tmp") {
                    // Half-written by an earlier process: nobody ever heard of it.
                    remove_durably(&path).map_err(failed)?;
                }
                continue;
            };
            match read(&path, job) {
                Ok(record) => client.found(record),
                Err(error @ TicketError::Corrupt { .. }) => {
                    tracing::error!(%job, %error, "a ticket file is damaged");
                    client.found_unreadable(job);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Self {
            folder,
            client: Arc::new(Mutex::new(client)),
        })
    }

    /// What decides, for whoever runs the attempts.
    pub(crate) fn client(&self) -> Arc<Mutex<Client>> {
        Arc::clone(&self.client)
    }

    /// Accepts an attempt, durably, whose media agent is at one of `addresses`. The same one again is fine.
    pub(crate) fn admit(&mut self, admission: &Admission, addresses: &[String]) -> Result<(), TicketError> {
        let id = admission.id;
        let admitted = self.client.lock().admit(id, &admission.signed, addresses);
        match admitted.map_err(|refusal| self.refused(id, refusal))? {
            Some(record) => self.write(record),
            None => Ok(()),
        }
    }

    /// Refuses this attempt and lower ones from now on, durably.
    pub(crate) fn fence(&mut self, id: AttemptId) -> Result<(), TicketError> {
        let fenced = self.client.lock().fence(id);
        match fenced.map_err(|refusal| self.refused(id, refusal))? {
            Some(record) => self.write(record),
            None => Ok(()),
        }
    }

    /// The media agent spoke the last word of this attempt: durable, so that a later process can tell it (C-08).
    pub(crate) fn end(&mut self, id: AttemptId, code: u32) -> Result<(), TicketError> {
        let record = self.client.lock().last_word(id, code);
        record.map_or(Ok(()), |record| self.write(record))
    }

    /// The leader says what is open: forgets the jobs that are over. Those of earlier processes that begin, with the addresses of
    /// their media agents.
    pub(crate) fn welcomed(&mut self, open: &BTreeMap<JobKey, Attempt>) -> Vec<(Admission, Vec<String>)> {
        let welcomed = self.client.lock().welcomed(open);
        for job in welcomed.over {
            match remove_durably(&self.path(job)) {
                Ok(()) => self.client.lock().forgotten(job),
                Err(error) => tracing::warn!(%job, %error, "the ticket of a job that is over stays"),
            }
        }
        let earlier = welcomed.earlier.into_iter();
        let earlier = earlier.filter_map(|record| {
            let admission = Admission::of_ticket(record.ticket?).ok()?;
            Some((admission, record.addresses))
        });
        earlier.collect()
    }

    fn refused(&self, id: AttemptId, refusal: Refusal) -> TicketError {
        let (job, attempt) = (id.job, id.attempt);
        match refusal {
            Refusal::Lower { highest } => TicketError::Lower {
                job,
                attempt,
                highest,
            },
            Refusal::Fenced => TicketError::Fenced { job, attempt },
            Refusal::Unreadable => TicketError::Corrupt {
                path: self.path(id.key()),
                reason: "see the log of the start",
            },
        }
    }

    fn write(&mut self, record: Record) -> Result<(), TicketError> {
        let body = record.encode_to_vec();
        let mut bytes = Vec::with_capacity(HEADER + body.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
        bytes.extend_from_slice(&body);
        let path = self.path(record.key());
        write_durably(&path, &bytes, 0o600).map_err(|source| TicketError::Io { path, source })?;
        self.client.lock().kept(record);
        Ok(())
    }

    fn path(&self, job: JobKey) -> PathBuf {
        self.folder.join(job.to_string())
    }
}

fn read(path: &Path, job: JobKey) -> Result<Record, TicketError> {
    let corrupt = |reason| TicketError::Corrupt {
        path: path.to_owned(),
        reason,
    };
    let bytes = fs::read(path).map_err(|source| TicketError::Io {
        path: path.to_owned(),
        source,
    })?;
    let (header, body) = bytes.split_at_checked(HEADER).ok_or(corrupt("it is too short"))?;
    let (magic, sum) = header.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err(corrupt("it is no ticket file of this version"));
    }
    if sum != crc32fast::hash(body).to_le_bytes() {
        return Err(corrupt("its checksum is wrong"));
    }
    let record = Record::decode(body).map_err(|_| corrupt("its record cannot be read"))?;
    if record.key() != job {
        return Err(corrupt("it is another job's"));
    }
    Ok(record)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use outlast_proto::v1::{JobKind, SignedTicket, Ticket};
    use outlast_proto::words::{Attempt, AttemptId, JobId, JobNonce, StartId};
    use prost::Message as _;

    use super::{TicketError, TicketStore};
    use crate::admission::Admission;

    fn store(folder: &Path, start_id: &str) -> TicketStore {
        TicketStore::open(folder, StartId(start_id.to_owned())).unwrap()
    }

    const NONCE: JobNonce = JobNonce(0xc0_ffee);

    fn id(job: u64, attempt: u32) -> AttemptId {
        of(job, NONCE, attempt)
    }

    fn of(job: u64, nonce: JobNonce, attempt: u32) -> AttemptId {
        AttemptId {
            job: JobId(job),
            nonce,
            attempt: Attempt(attempt),
        }
    }

    fn admission(job: u64, attempt: u32) -> Admission {
        admission_of(id(job, attempt))
    }

    fn admission_of(id: AttemptId) -> Admission {
        let ticket = Ticket {
            attempt: Some(id.to_ref()),
            client: "client".to_owned(),
            media_agent: "media-1".to_owned(),
            kind: JobKind::Backup.into(),
            ..Ticket::default()
        };
        Admission::of_ticket(SignedTicket {
            ticket: ticket.encode_to_vec().into(),
            ..SignedTicket::default()
        })
        .unwrap()
    }

    #[test]
    fn f04a_lower_attempts_are_refused_also_after_a_restart() {
        let temp = tempfile::tempdir().unwrap();
        let mut before = store(temp.path(), "a");
        before.admit(&admission(7, 2), &[]).unwrap();
        for mut store in [before, store(temp.path(), "b")] {
            let refused = store.admit(&admission(7, 1), &[]).unwrap_err();
            assert!(
                matches!(
                    refused,
                    TicketError::Lower {
                        highest: Attempt(2),
                        ..
                    }
                ),
                "{refused}"
            );
            store.admit(&admission(7, 2), &[]).unwrap();
            store.admit(&admission(8, 1), &[]).unwrap();
        }
        let mut after = store(temp.path(), "c");
        after.admit(&admission(7, 3), &[]).unwrap();
        assert!(after.admit(&admission(7, 2), &[]).is_err());
    }

    #[test]
    fn f09_what_an_earlier_process_accepted_and_is_still_open_is_known() {
        let temp = tempfile::tempdir().unwrap();
        let mut first = store(temp.path(), "a");
        let addresses = |job: u64| vec![format!("host:{job}")];
        for job in 1..=5 {
            first.admit(&admission(job, 2), &addresses(job)).unwrap();
        }
        first.fence(id(5, 2)).unwrap();
        let mut second = store(temp.path(), "b");
        second.admit(&admission(4, 2), &addresses(4)).unwrap();
        // Job 2 is over, 3 has come to another attempt, 4 is this process's, 5 was fenced.
        let open = [id(1, 2), id(3, 3), id(4, 2), id(5, 2)].map(|id| (id.key(), id.attempt));
        let earlier = second.welcomed(&BTreeMap::from(open));
        let [(only, its)] = earlier.as_slice() else {
            panic!("{earlier:?}")
        };
        assert_eq!((only.id, its), (id(1, 2), &addresses(1)));
    }

    #[test]
    fn f04_a_fenced_attempt_never_runs_again() {
        let temp = tempfile::tempdir().unwrap();
        let mut first = store(temp.path(), "a");
        first.admit(&admission(7, 1), &[]).unwrap();
        first.fence(id(7, 1)).unwrap();
        first.fence(id(9, 4)).unwrap();
        let mut second = store(temp.path(), "b");
        for (job, attempt, accepted) in [
            (7, 1, false),
            (9, 3, false),
            (9, 4, false),
            (9, 5, true),
            (7, 2, true),
        ] {
            let admitted = second.admit(&admission(job, attempt), &[]);
            assert_eq!(admitted.is_ok(), accepted, "attempt {attempt} of job {job}");
        }
    }

    /// Numbers decide who is newer, the nonce decides whether it is the same job at all.
    #[test]
    fn t90_s12b_a_job_whose_number_was_given_out_before_is_refused_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let (old, new) = (JobNonce(1), JobNonce(2));
        let mut first = store(temp.path(), "a");
        first.admit(&admission_of(of(3, JobNonce::NONE, 9)), &[]).unwrap();
        first.admit(&admission_of(of(3, old, 2)), &[]).unwrap();
        first.fence(of(3, old, 2)).unwrap();
        for mut store in [first, store(temp.path(), "b")] {
            assert!(store.admit(&admission_of(of(3, old, 1)), &[]).is_err());
            store.admit(&admission_of(of(3, new, 1)), &[]).unwrap();
            // Each has its own file, and one of before is where it was.
            assert!(temp.path().join("tickets/3").exists());
            assert!(temp.path().join("tickets/3-0000000000000002").exists());
        }
        // The one that is over goes, and no other.
        let mut third = store(temp.path(), "c");
        let open = BTreeMap::from([(of(3, new, 1).key(), Attempt(1))]);
        let earlier = third.welcomed(&open);
        let left: Vec<_> = std::fs::read_dir(temp.path().join("tickets")).unwrap().collect();
        assert_eq!(left.len(), 1);
        assert_eq!(earlier.len(), 1);
    }

    #[test]
    fn t90_f04a_an_accepted_ticket_outlives_a_power_cut() {
        if !outlast_test_filesystems::can_mount() {
            return;
        }
        let made = tempfile::tempdir().unwrap();
        store(made.path(), "a").admit(&admission(8, 2), &[]).unwrap();
        let name = "tickets/8-0000000000c0ffee";
        for seed in 0..6 {
            let folder = tempfile::tempdir().unwrap();
            let mut disk = outlast_test_filesystems::Disk::new(folder.path(), seed).unwrap();
            let data = disk.path().join("lib/agent");
            store(&data, "a").admit(&admission(7, 2), &[]).unwrap();
            // One that a killed process gave its name, and did not come to sync that.
            std::fs::copy(made.path().join(name), data.join(name)).unwrap();
            std::fs::File::open(data.join(name)).unwrap().sync_all().unwrap();
            assert!(store(&data, "b").admit(&admission(8, 1), &[]).is_err());
            disk.lose_power().unwrap();
            let mut after = store(&data, "c");
            for job in [7, 8] {
                assert!(after.admit(&admission(job, 1), &[]).is_err(), "job {job}");
                after.admit(&admission(job, 2), &[]).unwrap();
            }
        }
    }

    #[test]
    fn f04a_a_torn_file_blocks_its_job_and_no_other() {
        let temp = tempfile::tempdir().unwrap();
        let mut first = store(temp.path(), "a");
        first.admit(&admission(7, 3), &[]).unwrap();
        first.admit(&admission(8, 1), &[]).unwrap();
        let path = temp.path().join("tickets/7-0000000000c0ffee");
        let whole = std::fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        *flipped.last_mut().unwrap() ^= 1;
        for torn in [&whole[..0], &whole[..11], &whole[..whole.len() - 1], &flipped] {
            std::fs::write(&path, torn).unwrap();
            let mut second = store(temp.path(), "b");
            let refused = second.admit(&admission(7, 4), &[]).unwrap_err();
            assert!(matches!(refused, TicketError::Corrupt { .. }), "{refused}");
            assert!(refused.to_string().contains("tickets/7"), "{refused}");
            second.admit(&admission(8, 1), &[]).unwrap();
        }
        // Once the job is over, so is its file.
        let mut third = store(temp.path(), "c");
        third.welcomed(&BTreeMap::from([(id(8, 1).key(), Attempt(1))]));
        assert!(!path.exists());
        assert!(temp.path().join("tickets/8-0000000000c0ffee").exists());
        third.admit(&admission(7, 4), &[]).unwrap();
    }
}
