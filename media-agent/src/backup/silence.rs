//! What a client's file system does not answer to, as the job's details tell it: once for each path, bounded. Used by the engines.

use std::collections::BTreeSet;

use outlast_proto::v1::journal_event::What;
use outlast_proto::v1::{DetailSaid, Severity};

use super::engine::Base;
use crate::fault::{Fault, shorten};

/// Calls that do not return are told for so many paths.
const MOST_TOLD: usize = 100;
const MOST_SAID: usize = 1024;

/// The paths that were told of.
#[derive(Default)]
pub(crate) struct Silences(BTreeSet<String>);

impl Silences {
    /// A call has not returned for so long; `next` is what comes of it.
    pub(crate) fn tell(
        &mut self,
        base: &Base,
        path: String,
        (waits_for, seconds): (String, u32),
        next: &str,
    ) -> Result<(), Fault> {
        let path = shorten(path, MOST_SAID);
        if waits_for.is_empty() || self.0.len() >= MOST_TOLD || !self.0.insert(path.clone()) {
            return Ok(());
        }
        let waits_for = shorten(waits_for, MOST_SAID);
        let text = format!(
            "{path}: the client's file system has not answered for {seconds} s ({waits_for}); {next}"
        );
        say(base, Severity::Warning, text)
    }

    /// Something else that the client says about a path.
    pub(crate) fn remark(&mut self, base: &Base, path: String, remark: String) -> Result<(), Fault> {
        let text = format!("{}: {}", shorten(path, MOST_SAID), shorten(remark, MOST_SAID));
        if self.0.len() >= MOST_TOLD || !self.0.insert(text.clone()) {
            return Ok(());
        }
        say(base, Severity::Info, text)
    }
}

fn say(base: &Base, severity: Severity, text: String) -> Result<(), Fault> {
    let said = What::Detail(DetailSaid {
        severity: severity.into(),
        text,
    });
    match base.recorder.try_event(said) {
        // It is no result: the attempt goes on without it.
        Err(error) if error.is_full() => Ok(()),
        journalled => Ok(journalled?),
    }
}
