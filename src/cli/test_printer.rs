//! How the lists of `policy test` are printed while they come: lines for people, one JSON document, or a document a line.
//!
//! What is written waits for whoever reads; the connection beside it does not.

use outlast_proto::v1;
use serde::Serialize;

use crate::documents::{EntryDocument, TestedItemDocument};
use crate::error::CliError;
use crate::human::{clean, or_dash, size};
use crate::output::{Format, Output, remark};

/// Remarks and warnings of a client that are kept for its end.
const MOST_SAID: usize = 1000;

/// Prints entry after entry.
pub(super) struct Printer {
    output: Output,
    policy: String,
    text: String,
    has_begun: bool,
    client: Option<Client>,
}

/// The client whose entries come.
#[derive(Default)]
struct Client {
    item: Option<Item>,
    items: usize,
    warnings: Vec<String>,
    remarks: Vec<String>,
}

/// The item whose entries come.
struct Item {
    path: String,
    entries: usize,
}

/// An entry, or the end of an item, on a line of its own.
#[derive(Serialize)]
struct Line<'a, T> {
    client: &'a str,
    item: &'a str,
    #[serde(flatten)]
    what: T,
}

/// The end of a client.
#[derive(Serialize)]
struct ClientEnd<'a> {
    warnings: &'a [String],
    remarks: &'a [String],
    error: Option<crate::error::ErrorDocument>,
}

#[derive(Serialize)]
struct ClientEndLine<'a> {
    client: &'a str,
    #[serde(flatten)]
    end: ClientEnd<'a>,
}

impl Printer {
    pub(super) fn new(output: Output, policy: String) -> Self {
        Self {
            output,
            policy,
            text: String::new(),
            has_begun: false,
            client: None,
        }
    }

    /// Whether anything was printed.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Lists of this client follow, unless they do already.
    pub(super) fn begin_client(&mut self, client: &str) {
        if self.client.is_some() {
            return;
        }
        self.client = Some(Client::default());
        if self.output.format() == Format::Json {
            if self.has_begun {
                self.text.push(',');
            } else {
                self.text += &format!("{{\"policy\":{},\"clients\":[", json(&self.policy));
            }
            self.text += &format!("\n{{\"client\":{},\"items\":[", json(&client));
        }
        self.has_begun = true;
    }

    /// What is wrong with the whole list.
    pub(super) fn warn(&mut self, client: &str, warnings: &[String]) {
        if self.output.format() == Format::Table {
            for warning in warnings {
                remark(&format!("warning: client {}: {}", clean(client), clean(warning)));
            }
        }
        if let Some(client) = &mut self.client {
            keep(&mut client.warnings, warnings);
        }
    }

    pub(super) fn part(&mut self, client: &str, part: &v1::DryRunPart) {
        if self.output.format() == Format::Table {
            for said in &part.remarks {
                remark(&format!("client {}: {}", clean(client), clean(said)));
            }
        }
        if let Some(client) = &mut self.client {
            keep(&mut client.remarks, &part.remarks);
        }
        if !part.entries.is_empty() || part.item_ended.is_some() {
            self.begin_item(client, &part.item);
        }
        for entry in &part.entries {
            self.entry(client, &part.item, &EntryDocument::from(entry));
        }
        if let Some(ended) = &part.item_ended {
            self.end_item(client, &part.item, &TestedItemDocument::from(ended));
        }
    }

    fn begin_item(&mut self, client_name: &str, path: &str) {
        let Some(client) = &mut self.client else { return };
        if client.item.as_ref().is_some_and(|item| item.path == path) {
            return;
        }
        client.item = Some(Item {
            path: path.to_owned(),
            entries: 0,
        });
        client.items += 1;
        match self.output.format() {
            Format::Table => {
                self.text += &format!("client {}, item {}:\n", clean(client_name), clean(path));
            }
            Format::Json => {
                let comma = if client.items > 1 { "," } else { "" };
                self.text += &format!("{comma}\n {{\"item\":{},\"entries\":[", json(&path));
            }
            Format::Jsonl => {}
        }
    }

    fn entry(&mut self, client: &str, item: &str, entry: &EntryDocument) {
        match self.output.format() {
            Format::Table => self.text += &line_of(entry),
            Format::Json => {
                let open = self.client.as_mut().and_then(|client| client.item.as_mut());
                let is_first = open.is_none_or(|open| {
                    open.entries += 1;
                    open.entries == 1
                });
                let comma = if is_first { "" } else { "," };
                self.text += &format!("{comma}\n  {}", json(entry));
            }
            Format::Jsonl => self.line(client, item, entry),
        }
    }

    fn end_item(&mut self, client: &str, item: &str, ended: &TestedItemDocument) {
        match self.output.format() {
            Format::Table => self.text += &totals_of(ended),
            // The fields of the end after those of the beginning.
            Format::Json => self.text += &format!("],{}", inner(ended)),
            Format::Jsonl => self.line(client, item, ended),
        }
        if let Some(client) = &mut self.client {
            client.item = None;
        }
    }

    /// No more of this client comes; with `is_told`, nobody else says the error.
    pub(super) fn end_client(&mut self, name: &str, error: Option<&CliError>, is_told: bool) {
        self.begin_client(name);
        let Some(client) = self.client.take() else { return };
        let end = ClientEnd {
            warnings: &client.warnings,
            remarks: &client.remarks,
            error: error.map(CliError::document),
        };
        match (self.output.format(), error) {
            (Format::Table, Some(error)) if is_told => {
                remark(&format!("client {}: {}", clean(name), clean(&error.to_string())));
            }
            (Format::Table, _) => {}
            (Format::Json, _) => {
                // An item whose end did not come has no numbers.
                let open = if client.item.is_some() { "]}" } else { "" };
                self.text += &format!("{open}],{}", inner(&end));
            }
            (Format::Jsonl, _) => {
                self.text += &json(&ClientEndLine { client: name, end });
                self.text.push('\n');
            }
        }
    }

    /// Everything was said.
    pub(super) async fn end(mut self) -> Result<(), CliError> {
        if self.output.format() == Format::Json && self.has_begun {
            self.text += "]}\n";
        }
        self.flush().await
    }

    /// Writes what is there. Whoever reads may take his time: the connection is served meanwhile.
    pub(super) async fn flush(&mut self) -> Result<(), CliError> {
        if self.text.is_empty() {
            return Ok(());
        }
        let (text, output) = (std::mem::take(&mut self.text), self.output);
        let written = tokio::task::spawn_blocking(move || output.piece(&text)).await;
        written.unwrap_or_else(|error| {
            Err(CliError::Output {
                source: std::io::Error::other(error),
            })
        })
    }

    fn line(&mut self, client: &str, item: &str, what: impl Serialize) {
        self.text += &json(&Line { client, item, what });
        self.text.push('\n');
    }
}

fn keep(kept: &mut Vec<String>, said: &[String]) {
    let room = MOST_SAID.saturating_sub(kept.len());
    kept.extend(said.iter().take(room).cloned());
}

fn line_of(entry: &EntryDocument) -> String {
    let what = match entry.fate.as_deref() {
        Some("taken") => "take",
        Some("left_out") => "leave out",
        Some(other) => other,
        None => "-",
    };
    let why = match (&entry.pattern, &entry.reason) {
        (Some(pattern), _) => format!("  (exclude: {})", clean(pattern)),
        (None, Some(reason)) => format!("  ({})", clean(reason)),
        (None, None) => String::new(),
    };
    format!(
        "{what:<9}  {:<7}  {:>10}  {}{why}\n",
        or_dash(entry.r#type.as_ref()),
        or_dash(entry.size.map(size)),
        clean(&entry.path),
    )
}

fn totals_of(item: &TestedItemDocument) -> String {
    let count =
        |number: u64, one: &str, many: &str| format!("{number} {}", if number == 1 { one } else { many });
    let numbers = format!(
        "{}, {}, {} to read; {} left out, {}",
        count(item.files, "file", "files"),
        count(item.directories, "directory", "directories"),
        size(item.bytes),
        item.left_out,
        count(item.exceptions, "exception", "exceptions"),
    );
    match &item.error {
        None => format!("  {numbers}\n\n"),
        Some(error) => format!(
            "  would fail with {} ({}): {}\n  until then: {numbers}\n\n",
            error.code,
            error.help,
            clean(&error.text)
        ),
    }
}

fn json<T: Serialize>(document: &T) -> String {
    serde_json::to_string(document).expect("our documents have string keys only")
}

/// The fields of an object, and the brace that ends it.
fn inner<T: Serialize>(document: &T) -> String {
    json(document).split_off(1)
}

#[cfg(test)]
mod tests {
    use outlast_proto::v1::{DryRunEntry, DryRunItem, DryRunPart, EntryFate};
    use serde_json::Value;

    use super::Printer;
    use crate::error::CliError;
    use crate::output::{Format, Output};

    fn entry(fate: EntryFate, path: &str, pattern: &str, reason: &str) -> DryRunEntry {
        DryRunEntry {
            fate: fate.into(),
            path: path.into(),
            r#type: "file".into(),
            size: Some(2048),
            pattern: pattern.into(),
            reason: reason.into(),
        }
    }

    /// What is printed of two clients, the second of which breaks off in an item.
    fn printed(format: Format) -> String {
        let mut printer = Printer::new(Output::new(format), "home".into());
        printer.begin_client("a");
        printer.part(
            "a",
            &DryRunPart {
                item: "/x".into(),
                entries: vec![
                    entry(EntryFate::Taken, "/x/a\nb", "", ""),
                    entry(EntryFate::LeftOut, "/x/c", "*.tmp", ""),
                ],
                ..DryRunPart::default()
            },
        );
        printer.part(
            "a",
            &DryRunPart {
                item: "/x".into(),
                entries: vec![entry(EntryFate::Exception, "/x/d", "", "why")],
                item_ended: Some(DryRunItem {
                    files: 1,
                    bytes: 2048,
                    ..DryRunItem::default()
                }),
                ..DryRunPart::default()
            },
        );
        // An item without an entry.
        printer.part(
            "a",
            &DryRunPart {
                item: "/y".into(),
                item_ended: Some(DryRunItem::default()),
                ..DryRunPart::default()
            },
        );
        printer.end_client("a", None, false);
        printer.begin_client("b");
        printer.part(
            "b",
            &DryRunPart {
                item: "/x".into(),
                entries: vec![entry(EntryFate::Taken, "/x", "", "")],
                ..DryRunPart::default()
            },
        );
        let reason = "gone".to_owned();
        printer.end_client("b", Some(&CliError::BrokenAnswer { reason }), false);
        if format == Format::Json {
            printer.text += "]}\n";
        }
        printer.text
    }

    #[test]
    fn lists_are_one_document_however_they_end() {
        let document: Value = serde_json::from_str(&printed(Format::Json)).unwrap();
        assert_eq!(document["policy"], "home");
        let [a, b] = document["clients"].as_array().unwrap().as_slice() else {
            panic!("{document:#}");
        };
        assert_eq!((&a["client"], &a["error"]), (&Value::from("a"), &Value::Null));
        assert_eq!(a["items"][0]["entries"][0]["path"], "/x/a\nb");
        assert_eq!(a["items"][0]["entries"][1]["pattern"], "*.tmp");
        assert_eq!(a["items"][0]["entries"][2]["fate"], "exception");
        assert_eq!(a["items"][0]["bytes"], 2048);
        assert_eq!(a["items"][1]["item"], "/y");
        assert_eq!(b["items"][0]["entries"][0]["fate"], "taken");
        assert_eq!(b["error"]["text"], "the answer broke off: gone");
    }

    #[test]
    fn every_line_is_a_document() {
        let text = printed(Format::Jsonl);
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 3 + 2 + 1 + 1 + 1);
        assert_eq!(
            (&lines[1]["client"], &lines[1]["fate"]),
            (&"a".into(), &"left_out".into())
        );
        assert_eq!((&lines[3]["item"], &lines[3]["files"]), (&"/x".into(), &1.into()));
    }

    #[test]
    fn every_entry_is_a_line_for_people() {
        let text = printed(Format::Table);
        for line in [
            "client a, item /x:",
            "take       file        2.0 KiB  /x/a\\x0Ab",
            "leave out  file        2.0 KiB  /x/c  (exclude: *.tmp)",
            "exception  file        2.0 KiB  /x/d  (why)",
            "  1 file, 0 directories, 2.0 KiB to read; 0 left out, 0 exceptions",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line:?} is not in\n{text}"
            );
        }
    }
}
