//! One glob of gitignore, written as the library that matches reads it, or why it can match nothing.
//!
//! The library is ripgrep's: where it differs from git, the pattern is respelled. Braces are characters in git and mean
//! alternatives there; a set that is not closed matches nothing in git and is taken by its characters there; and so on.

use std::fmt;

use crate::class::Class;

/// Bytes one pattern may have.
pub(crate) const MOST_BYTES: usize = 4096;

/// Why a glob matches nothing, or surely not what was meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GlobFault {
    /// `[abc`
    OpenClass,
    /// `[[:letter:]]`
    UnknownClass(String),
    /// `abc\`
    LastBackslash,
    /// `a//b`
    EmptyPart,
    /// `[z-a]`
    Backwards(char, char),
    /// `[/]`
    OnlySlash,
    /// More than is read.
    TooLong,
    /// What the library says of it.
    Other(String),
}

impl fmt::Display for GlobFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GlobFault::OpenClass => f.write_str(
                "\"[\" begins a set of characters and no \"]\" ends it; for the character write \"\\[\"",
            ),
            GlobFault::UnknownClass(name) => write!(
                f,
                "there is no class of characters \"[:{name}:]\"; there are alnum, alpha, blank, cntrl, digit, graph, lower, \
                 print, punct, space, upper and xdigit"
            ),
            GlobFault::LastBackslash => {
                f.write_str("\"\\\" at the end has nothing to stand before; for the character write \"\\\\\"")
            }
            GlobFault::EmptyPart => {
                f.write_str("two slashes have nothing between them, and no path has that")
            }
            GlobFault::Backwards(first, last) => {
                let (first, last) = (first.escape_debug(), last.escape_debug());
                write!(
                    f,
                    "from \"{first}\" to \"{last}\" there is nothing; write \"[{last}-{first}]\""
                )
            }
            GlobFault::OnlySlash => {
                f.write_str("a set of characters matches no slash; write the slash without brackets")
            }
            GlobFault::TooLong => write!(f, "it is longer than {MOST_BYTES} bytes"),
            GlobFault::Other(said) => f.write_str(said),
        }
    }
}

/// A glob as the library reads it.
pub(crate) struct Respelled {
    pub(crate) glob: String,
    /// A range in it that holds nothing, though the glob as a whole may match.
    pub(crate) backwards: Option<GlobFault>,
}

/// `glob`, which is what stands between "!" and the slash at the end, as the library reads it.
pub(crate) fn respelled(glob: &str) -> Result<Respelled, GlobFault> {
    if glob.len() > MOST_BYTES {
        return Err(GlobFault::TooLong);
    }
    if glob.contains("//") || glob.ends_with('/') {
        return Err(GlobFault::EmptyPart);
    }
    // With a slash anywhere, also within a set, it counts from the item on. Said here, not left to the library: sets get and lose slashes.
    let (start, glob) = match glob.strip_prefix('/') {
        Some(rest) => ("/", rest),
        None if glob.contains('/') => ("/", glob),
        None => ("**/", glob),
    };
    let mut spelled = String::with_capacity(glob.len() + 8);
    spelled.push_str(start);
    let mut backwards = None;
    let text: Vec<char> = glob.chars().collect();
    let mut at = 0;
    while let Some(character) = text.get(at) {
        at = match character {
            '*' => stars(&text, at, &mut spelled),
            '?' => {
                spelled.push('?');
                at + 1
            }
            '[' => {
                let (class, next) = Class::parse(&text, at)?;
                class.write(&mut spelled);
                let fault = |(first, last)| GlobFault::Backwards(first, last);
                backwards = backwards.or(class.backwards.map(fault));
                next
            }
            '\\' => {
                match text.get(at + 1) {
                    None => return Err(GlobFault::LastBackslash),
                    Some('/') => spelled.push('/'),
                    Some(escaped) => literal(*escaped, &mut spelled),
                }
                at + 2
            }
            character => {
                literal(*character, &mut spelled);
                at + 1
            }
        };
    }
    Ok(Respelled {
        glob: spelled,
        backwards,
    })
}

/// One or more stars from `start` on: two of them only where they stand between slashes. Returns where the rest begins.
fn stars(text: &[char], start: usize, to: &mut String) -> usize {
    let count = text[start..].iter().take_while(|it| **it == '*').count();
    let end = start + count;
    let begins = start == 0 || text[start - 1] == '/';
    let ends = matches!(text.get(end), None | Some('/'));
    to.push_str(if count > 1 && begins && ends { "**" } else { "*" });
    end
}

fn literal(character: char, to: &mut String) {
    // The library drops blanks at the end of a line, but not within a set.
    if character.is_whitespace() {
        to.extend(['[', character, ']']);
        return;
    }
    if "*?[]{},!#\\".contains(character) {
        to.push('\\');
    }
    to.push(character);
}
