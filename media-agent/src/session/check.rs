//! A check of the storage unit, for `storage check` (F-19): whether the repository can be read, every index file loads, packs that they name are there with their
//! length, and everything that snapshots refer to is there; with the data, whether each pack is what its name says.
//!
//! Writes nothing. Blocks; called by `orders` on a thread of its own, beside whatever runs.

use std::time::{Duration, Instant};

use outlast_proto::v1::answer::Body;
use outlast_proto::v1::{AgentMessage, CheckPart, CheckQuestion};
use outlast_repository::{Repository, RepositoryError};
use tokio::sync::mpsc;

use super::list_files::send;
use crate::storage::{Looked, SoundTrees, StorageUnit, show_lacks};

/// Between two words of how far it has come.
const EVERY: Duration = Duration::from_secs(1);
/// Of what is wrong, so much is named; the rest is counted.
const MOST_NAMED: usize = 100;
/// Trees of which it is remembered that they are sound, before that is begun anew: 32 MiB.
const MOST_REMEMBERED: usize = 1 << 20;

/// Sends how far it is, now and then, and in the last message whether all is well.
pub(super) fn answer(unit: &StorageUnit, id: u64, asked: &CheckQuestion, up: &mpsc::Sender<AgentMessage>) {
    let mut check = Check {
        id,
        up,
        told: Instant::now(),
        findings: Vec::new(),
        count: 0,
    };
    match check.run(unit, asked.read_data) {
        Ok(()) => {
            let findings = std::mem::take(&mut check.findings);
            let part = CheckPart {
                step: "done".to_owned(),
                clean: Some(check.count == 0),
                found: check.count,
                findings,
                ..CheckPart::default()
            };
            send(id, Body::Check(part), true, up);
        }
        Err(error) => {
            let told = crate::fault::reading(&unit.name, &error).told();
            send(id, Body::Error(told), true, up);
        }
    }
}

struct Check<'a> {
    id: u64,
    up: &'a mpsc::Sender<AgentMessage>,
    told: Instant,
    /// The first of what is wrong.
    findings: Vec<String>,
    count: u64,
}

impl Check<'_> {
    fn run(&mut self, unit: &StorageUnit, read_data: bool) -> Result<(), RepositoryError> {
        let repository = unit.repository()?;
        let _hold = repository.hold()?;
        repository.reload_index()?;
        for index in repository.damaged_index_files() {
            self.find(format!("index file {index} cannot be read: remove it when a backup or `restic repair index` has made its content anew"));
        }
        repository.look_for_packs()?;
        if read_data {
            self.read_packs(&repository)?;
        }
        self.look_at_snapshots(&repository)
    }

    /// A pack that is not what its name says counts as absent, so that the look at the snapshots names what suffers.
    fn read_packs(&mut self, repository: &Repository) -> Result<(), RepositoryError> {
        let packs = repository.packs()?;
        let total = packs.iter().map(|(_, size)| size).sum();
        let mut done = 0;
        for (pack, size) in packs {
            if !repository.is_pack_whole(&pack)? {
                self.find(format!(
                    "pack {pack} is not what its name says, or cannot be read"
                ));
            }
            done += size;
            self.tell("reading packs", done, total);
        }
        Ok(())
    }

    fn look_at_snapshots(&mut self, repository: &Repository) -> Result<(), RepositoryError> {
        let ids = repository.snapshot_ids()?;
        let total = ids.len() as u64;
        let mut sound = SoundTrees::new(repository, usize::MAX);
        for (done, id) in (1..).zip(ids) {
            // Read anew: what was read before says nothing of the file of now.
            match repository.snapshot(&id) {
                Ok(snapshot) => {
                    if sound.remembers() > MOST_REMEMBERED {
                        sound = SoundTrees::new(repository, usize::MAX);
                    }
                    if let Looked::Suffers(lacks) = sound.look(snapshot.tree)? {
                        self.find(format!("snapshot {id} lacks something: {}", show_lacks(&lacks)));
                    }
                }
                Err(error) if error.is_not_found() => {}
                Err(error) if error.is_loss() => self.find(error.to_string()),
                Err(error) => return Err(error),
            }
            self.tell("looking at snapshots", done, total);
        }
        // Somebody took it away in the middle of this.
        repository.prove()
    }

    fn find(&mut self, what: String) {
        self.count += 1;
        if self.findings.len() < MOST_NAMED {
            self.findings.push(what);
        }
    }

    fn tell(&mut self, step: &str, done: u64, total: u64) {
        if self.told.elapsed() < EVERY {
            return;
        }
        self.told = Instant::now();
        let part = CheckPart {
            step: step.to_owned(),
            done,
            total,
            found: self.count,
            ..CheckPart::default()
        };
        send(self.id, Body::Check(part), false, self.up);
    }
}
