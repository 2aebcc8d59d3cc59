//! From an error of the TOML reader to a sentence for a person. Knows how serde words its messages, nothing else.
//!
//! Called by the loader only. The tests in `config/tests.rs` notice if a new serde words them differently.

use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

use super::environment::Overrides;
use super::{ConfigError, Place};

/// The end of the sentence about an unknown key.
pub(super) fn known(nearest: Option<&str>, known: &[String]) -> String {
    match nearest {
        Some(nearest) => format!("did you mean \"{nearest}\"?"),
        None if known.is_empty() => "no key is known here".to_owned(),
        None => format!("known here: {}", known.join(", ")),
    }
}

/// A text that is no TOML.
pub(super) fn syntax(file: &str, text: &str, error: &Error) -> ConfigError {
    let mut reason = error.message().replace('\n', ", ");
    let key = error
        .span()
        .and_then(|span| text.get(span))
        .filter(|key| !key.contains('\n'));
    if let Some(key) = key.filter(|_| reason == "duplicate key") {
        reason = format!("the key \"{key}\" is there twice");
    }
    ConfigError::Syntax {
        place: place_in_file(file, text, error.span().map(|span| span.start)),
        reason,
    }
}

/// A document that does not fit its type.
pub(super) fn of_error(
    file: &str,
    text: &str,
    document: &Spanned<DeTable<'_>>,
    overrides: &Overrides,
    error: &Error,
) -> ConfigError {
    let message = error.message();
    let start = error.span().map(|span| span.start);
    let place = match start.and_then(|start| overrides.at(start, text.len())) {
        Some(variable) => Place::Variable(variable.to_owned()),
        None => place_in_file(file, text, start),
    };
    let path = error.span().and_then(|span| path_to(document.get_ref(), &span));
    if let Some(rest) = message.strip_prefix("unknown field ") {
        let mut names = quoted(rest);
        if !names.is_empty() {
            let key = names.remove(0);
            return ConfigError::UnknownKey {
                place,
                nearest: nearest(&key, &names),
                key,
                known: names,
            };
        }
    }
    if let Some(rest) = message.strip_prefix("missing field ") {
        let name = quoted(rest).pop().unwrap_or_default();
        let (place, key) = match path {
            Some(table) => (place, format!("{table}.{name}")),
            // The whole document lacks it: no line is to blame.
            None => (Place::File(file.to_owned()), name),
        };
        return ConfigError::MissingKey { place, key };
    }
    ConfigError::WrongValue {
        place,
        key: path,
        reason: reworded(message),
    }
}

fn place_in_file(file: &str, text: &str, start: Option<usize>) -> Place {
    match start.and_then(|start| text.get(..start.min(text.len()))) {
        Some(before) => Place::Line(file.to_owned(), before.matches('\n').count() + 1),
        None => Place::File(file.to_owned()),
    }
}

/// The dotted keys that lead to the value at `span`.
fn path_to(table: &DeTable<'_>, span: &std::ops::Range<usize>) -> Option<String> {
    table.iter().find_map(|(key, value)| {
        let name = key.get_ref();
        // Deepest first: a table written with a header does not enclose what stands below it.
        if let Some(inner) = path_in(value.get_ref(), span) {
            return Some(format!("{name}{inner}"));
        }
        (value.span() == *span || key.span() == *span).then(|| name.to_string())
    })
}

fn path_in(value: &DeValue<'_>, span: &std::ops::Range<usize>) -> Option<String> {
    match value {
        DeValue::Table(table) => path_to(table, span).map(|path| format!(".{path}")),
        DeValue::Array(values) => values.iter().find_map(|value| {
            path_in(value.get_ref(), span).or_else(|| (value.span() == *span).then(String::new))
        }),
        _ => None,
    }
}

/// The words that stand between back quotes.
fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn nearest(key: &str, known: &[String]) -> Option<String> {
    let best = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(key, name), name))
        .min_by_key(|(distance, _)| *distance);
    // Half of the key mistyped is no longer a typing error.
    best.filter(|(distance, name)| *distance <= 1.max(key.len().min(name.len()) / 2))
        .map(|(_, name)| name.clone())
}

/// serde's wording of a wrong type or value, in words of people.
fn reworded(message: &str) -> String {
    let wrong = ["invalid type: ", "invalid value: "]
        .iter()
        .find_map(|prefix| message.strip_prefix(prefix));
    match wrong.and_then(|rest| rest.rsplit_once(", expected ")) {
        Some((found, expected)) => format!("expected {}, found {}", plain(expected), found_plain(found)),
        None => match message.strip_prefix("unknown variant ").map(quoted) {
            Some(words) if !words.is_empty() => {
                format!("\"{}\" is none of {}", words[0], words[1..].join(", "))
            }
            _ => message.to_owned(),
        },
    }
}

fn plain(expected: &str) -> &str {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a string" | "string" | "path string" | "a path string" => "a text in quotes",
        "a sequence" => "a list in [ ]",
        "a map" => "a table",
        other if other.starts_with("struct ") => "a table",
        other => other,
    }
}

fn found_plain(found: &str) -> String {
    let value = |rest: &str| rest.replace('`', "");
    if let Some(rest) = found.strip_prefix("string ") {
        return format!("the text {rest}");
    }
    for kind in ["integer ", "boolean ", "floating point "] {
        if let Some(rest) = found.strip_prefix(kind) {
            return value(rest);
        }
    }
    match found {
        "sequence" => "a list".to_owned(),
        "map" => "a table".to_owned(),
        other => other.to_owned(),
    }
}
