//! Environment variables as values of a TOML document. What the document means does not matter here.
//!
//! Values from variables get positions behind the end of the file's text, one each, so that an error can be led back
//! to its variable. Called by the loader only.

use std::borrow::Cow;
use std::ffi::OsString;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{ConfigError, Place};

/// The section of the command line's context file.
const COMMAND_LINE: &str = "client";
/// What a variable's first word may be besides a table of the file.
const SECTIONS: [&str; 4] = ["primary", "media-agent", "client-agent", COMMAND_LINE];

/// The variables of one section, in the order of their names.
#[derive(Default)]
pub(super) struct Overrides(Vec<Override>);

struct Override {
    variable: String,
    path: Vec<String>,
    text: String,
    as_text: bool,
}

impl Overrides {
    /// Picks the variables that belong to `section`: `OUTLAST_MEDIA_AGENT__TLS__CA` of the daemon, and `OUTLAST_TLS__CA` of a
    /// table of its file, which gives way to the former. The command line's section has the long form only: it runs on hosts
    /// whose variables are meant for daemons.
    pub(super) fn of_section(
        section: &str,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let prefix = format!("OUTLAST_{}__", section.to_uppercase().replace('-', "_"));
        let mut overrides = Vec::new();
        for (variable, value) in variables {
            let Some((variable, words)) = variable
                .to_str()
                .and_then(|name| Some((name, words_of(name, &prefix, section)?)))
            else {
                continue;
            };
            let text = value.into_string().map_err(|_| ConfigError::WrongValue {
                place: Place::Variable(variable.to_owned()),
                key: None,
                reason: "the value is not UTF-8".to_owned(),
            })?;
            let path = words.split("__").map(str::to_lowercase).collect();
            overrides.push(Override {
                variable: variable.to_owned(),
                path,
                text,
                as_text: false,
            });
        }
        overrides.sort_by_key(|entry| (entry.variable.starts_with(&prefix), entry.variable.clone()));
        Ok(Self(overrides))
    }

    /// Puts every value into `document`, over what the file says.
    pub(super) fn apply<'i>(&'i self, document: &mut DeTable<'i>, text_len: usize) {
        for (number, entry) in self.0.iter().enumerate() {
            let position = text_len + 1 + number;
            let span = position..position + 1;
            insert(document, &entry.path, entry.value(&span), &span);
        }
    }

    /// The variable whose value has this position.
    pub(super) fn at(&self, position: usize, text_len: usize) -> Option<&str> {
        let number = position.checked_sub(text_len + 1)?;
        self.0.get(number).map(|entry| entry.variable.as_str())
    }

    /// Lets the variable's value count as plain text from now on; false if it does already.
    pub(super) fn take_as_text(&mut self, variable: &str) -> bool {
        self.0
            .iter_mut()
            .find(|entry| entry.variable == variable && !entry.as_text)
            .is_some_and(|entry| {
                entry.as_text = true;
                true
            })
    }
}

/// The path a variable names, if it is one for this section.
fn words_of<'a>(variable: &'a str, prefix: &str, section: &str) -> Option<&'a str> {
    if let Some(words) = variable.strip_prefix(prefix) {
        return Some(words);
    }
    let words = variable.strip_prefix("OUTLAST_")?;
    let (table, _) = words.split_once("__")?;
    let is_section = SECTIONS.contains(&table.to_lowercase().replace('_', "-").as_str());
    (section != COMMAND_LINE && !is_section).then_some(words)
}

impl Override {
    fn value(&self, span: &Range<usize>) -> DeValue<'_> {
        let parsed = (!self.as_text).then(|| DeValue::parse(&self.text).ok()).flatten();
        match parsed {
            Some(value) => moved(value.into_inner(), span),
            None => DeValue::String(Cow::Borrowed(&self.text)),
        }
    }
}

/// The value with all its parts at `span`.
fn moved<'i>(value: DeValue<'i>, span: &Range<usize>) -> DeValue<'i> {
    let part = |value: Spanned<DeValue<'i>>| Spanned::new(span.clone(), moved(value.into_inner(), span));
    match value {
        DeValue::Array(values) => DeValue::Array(values.into_iter().map(part).collect()),
        DeValue::Table(entries) => DeValue::Table(
            entries
                .into_iter()
                .map(|(key, value)| (Spanned::new(span.clone(), key.into_inner()), part(value)))
                .collect(),
        ),
        plain => plain,
    }
}

fn insert<'i>(table: &mut DeTable<'i>, path: &'i [String], value: DeValue<'i>, span: &Range<usize>) {
    let Some((first, rest)) = path.split_first() else {
        return;
    };
    let key = Spanned::new(span.clone(), Cow::Borrowed(first.as_str()));
    if rest.is_empty() {
        // Removed first: a map that knows a key keeps the old one, and with it the old position.
        table.remove(first.as_str());
        table.insert(key, Spanned::new(span.clone(), value));
        return;
    }
    if !table
        .get(first.as_str())
        .is_some_and(|known| known.get_ref().is_table())
    {
        table.remove(first.as_str());
        let empty = DeValue::Table(DeTable::new());
        table.insert(key, Spanned::new(span.clone(), empty));
    }
    if let Some(DeValue::Table(deeper)) = table.get_mut(first.as_str()).map(Spanned::get_mut) {
        insert(deeper, rest, value, span);
    }
}
