//! Paths of items as a policy file writes them. An item is one path: what looks like a pattern is refused, and a path that has such
//! characters in its name is written with backslashes before them.

/// What an item must not hold without a backslash.
const SPECIAL: [char; 3] = ['*', '?', '['];
/// What a backslash in front makes a plain character.
const ESCAPED: [char; 7] = ['*', '?', '[', ']', '{', '}', '\\'];

/// An item that looks like a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidItem(String);

impl std::fmt::Display for InvalidItem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidItem {}

/// The path that `written` stands for.
///
/// # Errors
/// [`InvalidItem`] if it has `*`, `?`, `[` or `{a,b}` without a backslash, with what to write instead.
pub fn item_path(written: &str) -> Result<String, InvalidItem> {
    let mut path = String::with_capacity(written.len());
    let mut rest = written.chars().peekable();
    let mut brace = None;
    while let Some(character) = rest.next() {
        match character {
            '\\' => match rest.next_if(|next| ESCAPED.contains(next)) {
                Some(escaped) => path.push(escaped),
                None => path.push('\\'),
            },
            _ if SPECIAL.contains(&character) => return Err(refused(written)),
            _ => {
                match (character, brace) {
                    ('{', _) => brace = Some(false),
                    (',', Some(_)) => brace = Some(true),
                    ('}', Some(true)) => return Err(refused(written)),
                    _ => {}
                }
                path.push(character);
            }
        }
    }
    Ok(path)
}

/// How a policy file writes `path`: [`item_path`] of it is `path`.
#[must_use]
pub fn written_item(path: &str) -> String {
    let mut written = String::with_capacity(path.len());
    let mut rest = path.chars().peekable();
    while let Some(character) = rest.next() {
        let is_special = SPECIAL.contains(&character) || character == '{';
        let is_escape = character == '\\' && rest.peek().is_some_and(|next| ESCAPED.contains(next));
        if is_special || is_escape {
            written.push('\\');
        }
        written.push(character);
    }
    written
}

fn refused(written: &str) -> InvalidItem {
    let above: Vec<&str> = written
        .split('/')
        .take_while(|part| !part.contains(SPECIAL) && !part.contains('{'))
        .collect();
    let above = above.join("/");
    let above = if above.is_empty() { "/" } else { &above };
    InvalidItem(format!(
        "{written:?} looks like a pattern, and an item is one path: write {above:?} and leave out by \"exclude\" what shall not be in it, or \
         name each path; if a name really has such characters, write {:?}",
        written_item(written)
    ))
}

#[cfg(test)]
mod tests {
    use super::{item_path, written_item};

    #[test]
    fn t90_an_item_is_a_path_and_no_pattern() {
        for (written, path) in [
            ("/home", Some("/home")),
            ("/home/*", None),
            ("/home/?", None),
            ("/home/[ab]", None),
            ("/srv/{a,b}/c", None),
            ("/srv/{a}/c", Some("/srv/{a}/c")),
            ("/srv/{/a,b", Some("/srv/{/a,b")),
            (r"/srv/Films \[HD]", Some("/srv/Films [HD]")),
            (r"/srv/\*", Some("/srv/*")),
            (r"/srv/\{a,b}", Some("/srv/{a,b}")),
            (r"/etc/a\x2db.mount", Some(r"/etc/a\x2db.mount")),
            (r"/srv/a\\*", None),
            (r"/srv/a\\\*", Some(r"/srv/a\*")),
            (r"/srv/a\", Some(r"/srv/a\")),
        ] {
            assert_eq!(item_path(written).ok().as_deref(), path, "{written}");
        }
        let refused = item_path("/home/*/mail").expect_err("a pattern").to_string();
        assert!(refused.contains("write \"/home\""), "{refused}");
        assert!(refused.contains(r#"write "/home/\\*/mail""#), "{refused}");
    }

    #[test]
    fn every_path_can_be_written() {
        let alphabet = ['a', '/', '*', '?', '[', ']', '{', ',', '}', '\\'];
        for mut number in 0..100_000_usize {
            let mut path = String::from("/");
            while number > 0 {
                path.push(alphabet[number % alphabet.len()]);
                number /= alphabet.len();
            }
            let written = written_item(&path);
            assert_eq!(item_path(&written).as_ref(), Ok(&path), "{written}");
        }
    }
}
