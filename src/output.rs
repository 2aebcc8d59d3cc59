//! Results on stdout in the format asked for, remarks on stderr. What is printed is decided by the commands.

use std::io::{ErrorKind, Write as _};

use clap::ValueEnum;
use serde::Serialize;

use crate::error::CliError;

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// One JSON document a line.
    Jsonl,
}

/// The way results go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    format: Format,
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        Self { format }
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// One thing.
    pub(crate) fn one<T: Serialize>(
        &self,
        document: &T,
        table: impl FnOnce(&T) -> String,
    ) -> Result<(), CliError> {
        match self.format {
            Format::Table => self.text(&table(document)),
            Format::Json => self.text(&pretty(document)),
            Format::Jsonl => self.text(&line(document)),
        }
    }

    /// A list; `table` is not asked for an empty one, which is "no WHAT".
    pub(crate) fn list<T: Serialize>(
        &self,
        what: &str,
        documents: &[T],
        table: impl FnOnce(&[T]) -> String,
    ) -> Result<(), CliError> {
        match self.format {
            Format::Table if documents.is_empty() => self.text(&format!("no {what}\n")),
            Format::Table => self.text(&table(documents)),
            Format::Json => self.text(&pretty(&documents)),
            Format::Jsonl => documents
                .iter()
                .try_for_each(|document| self.text(&line(document))),
        }
    }

    /// Text as it is, a final line end added where it is missing.
    pub(crate) fn text(&self, text: &str) -> Result<(), CliError> {
        if text.is_empty() || text.ends_with('\n') {
            return self.piece(text);
        }
        self.piece(&format!("{text}\n"))
    }

    /// A piece of a text that goes on.
    pub(crate) fn piece(&self, text: &str) -> Result<(), CliError> {
        let mut stdout = std::io::stdout().lock();
        stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush())
            .map_err(|source| match source.kind() {
                ErrorKind::BrokenPipe => CliError::OutputClosed,
                _ => CliError::Output { source },
            })
    }
}

/// A remark on stderr. If nobody can read it, there is nobody to tell.
pub(crate) fn remark(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn pretty<T: Serialize>(document: &T) -> String {
    serde_json::to_string_pretty(document).expect("our documents have string keys only")
}

fn line<T: Serialize>(document: &T) -> String {
    serde_json::to_string(document).expect("our documents have string keys only")
}
