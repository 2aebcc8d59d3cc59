//! Sets of characters, `[a-z]`: read as git reads them, written as the library that matches reads them.
//!
//! The library knows neither `[:alpha:]` nor a backslash within a set, and lets a set match a slash, which git's never do.

use std::fmt::Write as _;

use crate::glob::GlobFault;

/// A set of characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Class {
    negated: bool,
    /// One bit for each ASCII character.
    ascii: u128,
    /// First and last of what is beyond ASCII.
    beyond: Vec<(char, char)>,
    /// A range in it that holds nothing, first and last.
    pub(crate) backwards: Option<(char, char)>,
}

impl Class {
    /// The set that begins at `start`, and where the rest begins.
    pub(crate) fn parse(text: &[char], start: usize) -> Result<(Self, usize), GlobFault> {
        let character = |at: usize| text.get(at).copied().ok_or(GlobFault::OpenClass);
        let mut class = Self::default();
        let mut at = start + 1;
        class.negated = matches!(character(at)?, '!' | '^');
        at += usize::from(class.negated);
        // What a range would begin with: nothing at the beginning, nor after a range or a named set.
        let mut before = None;
        // A "]" that comes first is one of the set.
        loop {
            let found = character(at)?;
            let goes_on = text.get(at + 1).is_some_and(|next| *next != ']');
            before = match (found, before) {
                ('-', Some(first)) if goes_on => {
                    at += 1;
                    let mut last = character(at)?;
                    if last == '\\' {
                        at += 1;
                        last = character(at)?;
                    }
                    if first > last {
                        class.backwards.get_or_insert((first, last));
                    } else {
                        class.add(first, last);
                    }
                    None
                }
                ('[', _) if text.get(at + 1) == Some(&':') => match class.named(text, at)? {
                    Some(end) => {
                        at = end;
                        None
                    }
                    None => class.add('[', '['),
                },
                ('\\', _) => {
                    at += 1;
                    let escaped = character(at)?;
                    class.add(escaped, escaped)
                }
                _ => class.add(found, found),
            };
            at += 1;
            if character(at)? == ']' {
                class.ascii &= !bit('/');
                let is_empty = !class.negated && class.ascii == 0 && class.beyond.is_empty();
                return match class.backwards {
                    Some((first, last)) if is_empty => Err(GlobFault::Backwards(first, last)),
                    None if is_empty => Err(GlobFault::OnlySlash),
                    _ => Ok((class, at + 1)),
                };
            }
        }
    }

    /// `[:alpha:]` and its like at `start`: adds it and returns the place of its end; none if it only begins like one.
    fn named(&mut self, text: &[char], start: usize) -> Result<Option<usize>, GlobFault> {
        let name = start + 2;
        let length = text[name..].iter().position(|character| *character == ']');
        let end = name + length.ok_or(GlobFault::OpenClass)?;
        if end == name || text[end - 1] != ':' {
            return Ok(None);
        }
        let name: String = text[name..end - 1].iter().collect();
        let holds: fn(&char) -> bool = match name.as_str() {
            "alnum" => char::is_ascii_alphanumeric,
            "alpha" => char::is_ascii_alphabetic,
            "blank" => |character| matches!(character, ' ' | '\t'),
            "cntrl" => char::is_ascii_control,
            "digit" => char::is_ascii_digit,
            "graph" => char::is_ascii_graphic,
            "lower" => char::is_ascii_lowercase,
            "print" => |character| matches!(character, ' '..='~'),
            "punct" => char::is_ascii_punctuation,
            "space" => |character| matches!(character, '\t'..='\r' | ' '),
            "upper" => char::is_ascii_uppercase,
            "xdigit" => char::is_ascii_hexdigit,
            _ => return Err(GlobFault::UnknownClass(name)),
        };
        for character in ('\0'..='\x7f').filter(holds) {
            self.add(character, character);
        }
        Ok(Some(end))
    }

    /// Adds all from `first` to `last`; the last one is what a range could begin with.
    fn add(&mut self, first: char, last: char) -> Option<char> {
        for character in (first..=last).take_while(char::is_ascii) {
            self.ascii |= bit(character);
        }
        if !last.is_ascii() {
            self.beyond.push((first.max('\u{80}'), last));
        }
        Some(last)
    }

    /// Appends it as the library reads it: no escapes, "]" first, "-" last, nothing that negates at the beginning of a set that is not.
    pub(crate) fn write(&self, to: &mut String) {
        let has = |character: char| self.ascii & bit(character) != 0;
        let only_negating =
            !self.negated && self.beyond.is_empty() && self.ascii & !(bit('!') | bit('^')) == 0;
        if only_negating {
            to.push_str(match (has('!'), has('^')) {
                (true, true) => r"{\!,\^}",
                (true, false) => r"\!",
                (false, _) => r"\^",
            });
            return;
        }
        to.push_str(if self.negated { "[!" } else { "[" });
        // With nothing else to come first "-" does.
        let plain = |character: &char| !matches!(character, ']' | '-' | '!' | '^') && has(*character);
        let dash_first = !has(']') && self.beyond.is_empty() && !('\0'..='\x7f').any(|it| plain(&it));
        if has(']') {
            to.push(']');
        }
        if has('-') && dash_first {
            to.push('-');
        }
        to.extend(('\0'..='\x7f').filter(plain));
        for (first, last) in &self.beyond {
            // Writing to a string does not fail.
            let _ = if first == last {
                write!(to, "{first}")
            } else {
                write!(to, "{first}-{last}")
            };
        }
        to.extend(['!', '^'].into_iter().filter(|it| has(*it)));
        if self.negated {
            to.push('/');
        }
        if has('-') && !dash_first {
            to.push('-');
        }
        to.push(']');
    }
}

fn bit(ascii: char) -> u128 {
    1 << (ascii as u32 & 0x7f)
}
