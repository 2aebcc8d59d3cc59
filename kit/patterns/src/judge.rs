//! What is said of an exclude pattern when a policy is applied: patterns that leave nothing out, or not what was meant, and the
//! right spelling. Policies that are kept already are not judged.

use ignore::gitignore::GitignoreBuilder;

use crate::glob::MOST_BYTES;
use crate::list::{Patterns, added};
use crate::pattern::Line;

/// What is wrong with the first bad one of `patterns`, or with all of them together.
///
/// # Errors
/// What to say to whoever applies them.
pub fn check(patterns: &[String], items: &[String]) -> Result<(), String> {
    for pattern in patterns {
        if let Some(fault) = fault(pattern, items) {
            return Err(format!("{pattern:?} {fault}"));
        }
    }
    match Patterns::new(patterns).1.first() {
        Some(_) => Err("the patterns are more than can be matched at once; leave some out, or shorten their sets of characters".to_owned()),
        None => Ok(()),
    }
}

/// What is wrong with `pattern` in a policy with these items (plain paths), and what would be right.
fn fault(pattern: &str, items: &[String]) -> Option<String> {
    if pattern.len() > MOST_BYTES {
        return Some(format!("is longer than {MOST_BYTES} bytes"));
    }
    if pattern.contains(['\n', '\0']) {
        return Some("is more than one line; each pattern is a text of its own".to_owned());
    }
    let Some(line) = Line::of(pattern) else {
        return Some(format!(
            "begins with \"#\", which is a comment and leaves nothing out; for the character write {:?}",
            format!("\\{pattern}")
        ));
    };
    if line.body.is_empty() {
        return Some("names nothing; what is left out as a whole is no item".to_owned());
    }
    home(&line, items)
        .or_else(|| parts(&line))
        .or_else(|| {
            let fault = match added(&mut GitignoreBuilder::new(""), pattern) {
                Ok(added) => added?.backwards?,
                Err(fault) => fault,
            };
            Some(format!("cannot be used: {fault}"))
        })
        .or_else(|| {
            // From "/" on it is right as it is.
            let from_the_top = items.iter().any(|item| item == "/");
            items
                .iter()
                .filter(|_| !from_the_top)
                .find_map(|item| below(&line, item))
        })
}

/// The single patterns that `*.{a,b}` would stand for in a shell; here braces are characters.
#[must_use]
pub fn alternation(pattern: &str) -> Option<Vec<String>> {
    let (before, rest) = pattern.split_once('{')?;
    let (inner, after) = rest.split_once('}')?;
    let is_plain = inner.contains(',') && !inner.contains('{') && !before.ends_with('\\');
    is_plain.then(|| {
        let one = |part| format!("{before}{part}{after}");
        inner.split(',').map(one).collect()
    })
}

/// The shell's words for a home directory.
fn home(line: &Line<'_>, items: &[String]) -> Option<String> {
    let (first, rest) = line.body.split_once('/').unwrap_or((line.body, ""));
    if !first.starts_with('~') && !matches!(first, "$HOME" | "${HOME}") || (rest.is_empty() && first != "~") {
        return None;
    }
    let rest = if rest.is_empty() { "FOLDER" } else { rest };
    let (item, path) = match items.first().map_or("/home", String::as_str) {
        "/" => ("/", format!("/home/USER/{rest}")),
        "/home" => ("/home", format!("/USER/{rest}")),
        item => (item, format!("/{rest}")),
    };
    let spelling = line.like(&path);
    Some(format!(
        "begins with \"{first}\", which is no home directory here: patterns are read from the item on, so with item {item:?} write {spelling:?}; if a name \
         really begins like this, put a backslash before it"
    ))
}

/// Parts no path has.
fn parts(line: &Line<'_>) -> Option<String> {
    let body = line.body;
    let inner = body.strip_prefix('/').unwrap_or(body);
    if inner.split('/').any(|part| part == "..") {
        return Some(
            "leads back up by \"..\", which matches nothing; name the place itself, from the item on"
                .to_owned(),
        );
    }
    if !inner.split('/').any(|part| matches!(part, "" | ".")) {
        return None;
    }
    let kept: Vec<_> = inner
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .collect();
    if kept.is_empty() {
        return Some("names nothing; what is left out as a whole is no item".to_owned());
    }
    let spelling = line.like(&format!("/{}", kept.join("/")));
    Some(format!(
        "has a part that is empty or \".\" and so matches nothing; write {spelling:?}"
    ))
}

/// A pattern that begins with the path of an item, which is where patterns begin by themselves.
fn below(line: &Line<'_>, item: &str) -> Option<String> {
    let body = line.body.strip_prefix('/')?;
    let mut rest = body.split('/').peekable();
    for (number, part) in item.split('/').skip(1).enumerate() {
        let pattern = *rest.peek()?;
        if number > 0 && pattern == "**" {
            break;
        }
        // The first part by name: "/*/x" is about what lies in every item.
        if pattern != part && (number == 0 || pattern != "*") {
            return None;
        }
        rest.next();
    }
    let rest: Vec<_> = rest.collect();
    if rest.is_empty() {
        return Some(format!(
            "is the item {item:?} itself; what shall not be backed up is no item"
        ));
    }
    let spelling = line.like(&format!("/{}", rest.join("/")));
    Some(format!(
        "begins with the item {item:?}, but patterns are read from the item on: write {spelling:?}; if {item:?} really holds such a path, \
         write it without the first slash"
    ))
}

#[cfg(test)]
mod tests {
    use super::{alternation, fault};

    #[test]
    fn t90_patterns_that_leave_nothing_out_are_refused_with_the_right_spelling() {
        for (items, pattern, said) in [
            (&["/home"][..], "*.tmp", None),
            (&["/home"], "**/.cache", None),
            (&["/home"], "/me/cache", None),
            (&["/home"], "*.py{}", None),
            (&["/home"], "$RECYCLE.BIN/", None),
            (&["/home"], "~$*.docx", None),
            (&["/home"], r"\~/x", None),
            (&["/home"], r"\#x", None),
            (&["/home"], "/home/me/cache", Some("write \"/me/cache\"")),
            (
                &["/etc", "/home"],
                "/home/me/cache/",
                Some("write \"/me/cache/\""),
            ),
            (&["/home"], "!/home/me/keep", Some("write \"!/me/keep\"")),
            (&["/home"], "/home/*/cache", Some("write \"/*/cache\"")),
            (&["/home/me"], "/home/*/cache", Some("write \"/cache\"")),
            (&["/home/me"], "/home/**/cache", Some("write \"/**/cache\"")),
            (&["/home/me"], "/*/cache", None),
            (&["/home/me"], "/home", None),
            (&["/home"], "/homes/x", None),
            (&["/home"], "home/me", None),
            (&["/home"], "/home/", Some("is the item")),
            (&["/"], "/home/me/cache", None),
            (&["/", "/home"], "/home/me/cache", None),
            (&["/home"], "./x", Some("write \"/x\"")),
            (&["/home"], "!a/./x/", Some("write \"!/a/x/\"")),
            (&["/home"], "a//x", Some("write \"/a/x\"")),
            (&["/home"], "//", Some("names nothing")),
            (&["/home"], "../x", Some("leads back up")),
            (&["/home"], "~/x", Some("write \"/USER/x\"")),
            (&["/"], "~/x/", Some("write \"/home/USER/x/\"")),
            (&["/home/me"], "~/x", Some("write \"/x\"")),
            (&["/home/me"], "~me/x", Some("write \"/x\"")),
            (&["/home/me"], "$HOME/x", Some("write \"/x\"")),
            (&["/home"], "#x", Some(r##"write "\\#x""##)),
            (&["/home"], "", Some("names nothing")),
            (&["/home"], "  ", Some("names nothing")),
            (&["/home"], "!", Some("names nothing")),
            (&["/home"], "/", Some("names nothing")),
            (&["/home"], "[z-a]", Some("write \"[a-z]\"")),
            (&["/home"], "x[!z-a]", Some("write \"[a-z]\"")),
            (&["/home"], "a[b", Some("write \"\\[\"")),
            (&["/home"], "[[:letter:]]", Some("alpha")),
            (&["/home"], "a\\", Some("nothing to stand before")),
            (&["/home"], "a[/]b", Some("matches no slash")),
            (&["/home"], "a\nb", Some("more than one line")),
        ] {
            let items: Vec<_> = items.iter().map(|item| (*item).to_owned()).collect();
            let found = fault(pattern, &items);
            match said {
                None => assert_eq!(found, None, "{pattern:?}"),
                Some(said) => {
                    let found = found.unwrap_or_else(|| panic!("{pattern:?} was taken"));
                    assert!(found.contains(said), "{pattern:?}: {found}");
                }
            }
        }
        assert!(fault(&"x".repeat(5000), &[]).is_some_and(|said| said.contains("longer")));
    }

    #[test]
    fn braces_that_mean_something_elsewhere_are_noticed() {
        assert_eq!(
            alternation("/x/*.{tmp,bak}"),
            Some(vec!["/x/*.tmp".to_owned(), "/x/*.bak".to_owned()])
        );
        for pattern in ["*.tmp", "*.py{}", "{a}", r"\{a,b}", "a,b}", "}a,b{"] {
            assert_eq!(alternation(pattern), None, "{pattern}");
        }
    }
}
