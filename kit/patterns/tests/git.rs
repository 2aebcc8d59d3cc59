//! Real git says what a pattern is: each list of patterns against each path, `git check-ignore` against ours.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use outlast_patterns::Patterns;

/// One or more lines of a .gitignore each. Not among them: two stars right after the plain beginning of a pattern with a slash, as in `foo**/bar`.
/// gitignore's documentation has them as one star, and so have we; git itself lets them match slashes.
const LISTS: &[&str] = &[
    "*.tmp",
    "*.py{}",
    "*.{py,txt}",
    "{a,b}",
    "a{b",
    "a}b",
    "a",
    "/a",
    "a/",
    "/a/",
    "a/b",
    "/a/b",
    "a/b/",
    "a/*",
    "a/**",
    "**/a",
    "**/a/b",
    "a/**/b",
    "a/**/**/b",
    "a**b",
    "a***b",
    "**",
    "**/",
    "/**",
    "*",
    "/*",
    "*/",
    "*/b",
    "/*/b",
    "**/*",
    "?",
    "a?b",
    "a?c",
    "??",
    "[ab]",
    "[!ab]",
    "[^ab]",
    "[a-c]x",
    "[!a-c]x",
    "[]]",
    "[]a]",
    "[!]]",
    "[a-]",
    "[-a]",
    "[a-c-e]",
    "[z-a]",
    "[!z-a]",
    "[[]",
    "[[:alpha:]]",
    "[[:alnum:]]x",
    "[[:digit:]a]",
    "[![:digit:]]",
    "[[:space:]]",
    "[[:blank:]]",
    "[[:punct:]]",
    "[[:upper:]]",
    "[[:lower:]]",
    "[[:xdigit:]]",
    "[[:cntrl:]]",
    "[[:graph:]]",
    "[[:print:]]",
    "[[:foo:]]",
    "[[:alpha]",
    "[:alpha:]",
    "[[:]",
    "[a[:digit:]-z]",
    "[",
    "a[",
    "a[b",
    "[\\]]",
    "[\\a-c]",
    "[a-\\c]",
    "[a/]b",
    "a[/]b",
    "a[!x]b",
    "\\",
    "a\\",
    "\\a",
    "\\*",
    "\\?",
    "\\[",
    "\\[a]",
    "a\\*b",
    "\\\\",
    "\\#",
    "#",
    "#a",
    "\\#a",
    "\\!",
    "!",
    "\\!a",
    "!a",
    "a ",
    "a  ",
    "a\\ ",
    "a\\  ",
    " a",
    "a\t",
    "a \\",
    "a b",
    "\\ ",
    " ",
    "  ",
    "a\\\\ ",
    "/",
    "//",
    "//a",
    "a//b",
    "a/ ",
    "./a",
    "../a",
    "a/./b",
    "~",
    "~/a",
    ".*",
    ".*/",
    "/.*",
    "caf\u{e9}",
    "caf?",
    "caf??",
    "caf[\u{e9}]",
    "caf*",
    "\u{e9}*",
    "*\u{e9}",
    "*b",
    "*b/",
    "*.",
    "a*",
    "*a*",
    "*a*b*",
    "a*b*c",
    "*.tar.*",
    "a/*/b",
    "a/*/*/b",
    "a/?/b",
    "a?b/c",
    "*/*",
    "*/*/*",
    "**/*/b",
    "a/**/*",
    "a/**/",
    "**/a/**",
    "**/a/**/b",
    "a\\/b",
    "a/b\\/",
    "a\\/",
    "a*\\/b",
    "deep/**/x/*.tmp",
    "deep/**/x/",
    "/deep/*",
    "deep/*/x",
    "a\n!a",
    "!a\na",
    "*\n!a",
    "*\n!a/",
    "*\n!*/",
    "*\n!*/\n!*.tmp",
    "a/\n!a/b",
    "a/*\n!a/b",
    "a/**\n!a/b",
    "a/**\n!a/b/c",
    "*.tmp\n!/a/x.tmp",
    "/*\n!/a\n/a/*\n!/a/b",
    "!*.tmp\n*.tmp",
    "a\n#!a",
    "b\n\n a",
    "a*[",
    "*[ab]*",
    "[a-c]*[x-z]",
    "*\\\\",
    "a-b",
    "[a--]",
    "[--0]",
    "[,-.]",
    "[!-]",
    "[^-a]",
    "[a^]",
    "[a!]",
    "[\\^a]",
    "[\\!a]",
    "*?",
    "?*",
    "*??",
    "**?",
    "?**",
    "a/**b",
    "**b",
    "**b/c",
    "*/**",
    "*/**/b",
    "/**/b",
    "/a/**",
    "/**/",
    "a/***",
    "a/***/b",
    "***/b",
];

const PATHS: &[&[u8]] = &[
    b"a",
    b"b",
    b"c",
    b"ab",
    b"axb",
    b"abc",
    b"a.tmp",
    b".tmp",
    b"x.py",
    b"x.py{}",
    b"x.{py,txt}",
    b"x.txt",
    b"{a,b}",
    b"a{b",
    b"a}b",
    b"foo/bar",
    b"foox/bar",
    b"foox/y/bar",
    b"foo/y/bar",
    b"]",
    b"[",
    b"[a",
    b"[a]",
    b"-",
    b"^",
    b"!",
    b"#",
    b"#a",
    b"!a",
    b" ",
    b"  ",
    b" a",
    b"a ",
    b"a  ",
    b"a\t",
    b"a b",
    b"*",
    b"?",
    b"a*b",
    b"\\",
    b"a\\",
    b"\\a",
    b"a\\b",
    b"~/a",
    b".x",
    b".x/a",
    b"1",
    b"9a",
    b"A",
    b"z",
    b"G",
    b"ax",
    b"zx",
    b"1x",
    b"caf\xc3\xa9",
    b"caf\xe9",
    b"\xc3\xa9x",
    b"\xe9",
    b"a\xff.tmp",
    b"a/b",
    b"a/c",
    b"a/b/c",
    b"a/x/b",
    b"a/x/y/b",
    b"a/x.tmp",
    b"b/a",
    b"b/a/b",
    b"b/x/a/c/b",
    b"ab/b",
    b"ab/c",
    b"a-b",
    b"axb/c",
    b"a/bx",
    b"a/bx/c",
    b"a/xb",
    b"deep/x/a.tmp",
    b"deep/1/2/x/a.tmp",
    b"deep/1/x",
    b"deep/y",
    b"x.tar.gz",
    b"a.",
    b"a.b.c",
    b"d/",
    b"a /b",
    b"e/a",
    b"e/b",
    b"e/d/c",
    b"\x01",
    b"\t",
    b",",
    b".",
    b"ba",
    b"bab",
    b"a\r",
    b"cy",
    b"ay",
    b"a[b",
    b"a/**",
    b"aXbYc",
    b"[:alpha:]",
];

/// What git answers for each path, in their order.
fn by_git(repository: &Path, list: &str) -> Vec<bool> {
    std::fs::write(repository.join(".git/info/exclude"), list).unwrap();
    let mut git = Command::new("git")
        .args([
            "-c",
            "core.excludesFile=",
            "check-ignore",
            "--no-index",
            "--stdin",
            "-z",
            "-v",
            "-n",
        ])
        .current_dir(repository)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("git is installed: apt-get install git");
    let mut stdin = git.stdin.take().unwrap();
    let asked: Vec<u8> = paths().flat_map(|path| [path, b"\0"].concat()).collect();
    let asking = std::thread::spawn(move || stdin.write_all(&asked).unwrap());
    let answer = git.wait_with_output().unwrap().stdout;
    asking.join().unwrap();
    // Four fields a path: source, line, pattern, path; an empty source where nothing matched.
    let fields: Vec<_> = answer.split(|byte| *byte == 0).collect();
    let answers: Vec<_> = fields.chunks_exact(4).collect();
    assert_eq!(
        answers.len(),
        paths().count(),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    answers
        .iter()
        .map(|fields| !fields[0].is_empty() && !fields[2].starts_with(b"!"))
        .collect()
}

/// As the walk asks: from the item on, and not below a directory that is left out.
fn by_us(patterns: &Patterns, path: &[u8], is_folder: bool) -> bool {
    let ends = path
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'/')
        .map(|(at, _)| at);
    let mut ends = ends;
    ends.any(|end| patterns.leaves_out(&path[..end], true)) || patterns.leaves_out(path, is_folder)
}

fn paths() -> impl Iterator<Item = &'static [u8]> {
    // What would be the folder itself, or a name with a slash at its end, is not asked for.
    PATHS
        .iter()
        .copied()
        .filter(|path| *path != b"." && !path.ends_with(b"/"))
}

/// The paths that exist are directories: git asks the disk for what a slash at the end is about.
fn compare(folders: bool) {
    let temp = tempfile::tempdir().unwrap();
    let made = Command::new("git")
        .args(["init", "-q"])
        .current_dir(temp.path())
        .status();
    assert!(made.expect("git is installed: apt-get install git").success());
    std::fs::create_dir_all(temp.path().join(".git/info")).unwrap();
    let is_folder = |path: &[u8]| {
        let on_the_way = paths()
            .any(|other| other.len() > path.len() && other.starts_with(path) && other[path.len()] == b'/');
        folders || on_the_way
    };
    for path in paths().filter(|path| is_folder(path)) {
        std::fs::create_dir_all(temp.path().join(OsStr::from_bytes(path))).unwrap();
    }
    let mut wrong = Vec::new();
    for list in LISTS {
        let lines: Vec<_> = list.split('\n').map(str::to_owned).collect();
        let (patterns, _) = Patterns::new(&lines);
        for (path, ignored) in paths().zip(by_git(temp.path(), list)) {
            if by_us(&patterns, path, is_folder(path)) != ignored {
                wrong.push(format!("{list:?} {}: git {ignored}", path.escape_ascii()));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn t90_patterns_are_what_git_says_of_files() {
    compare(false);
}

#[test]
fn t90_patterns_are_what_git_says_of_directories() {
    compare(true);
}

/// Lists made at random of the characters that mean something, so that what nobody thought of is asked, too.
#[test]
fn t90_patterns_made_at_random_are_what_git_says() {
    let temp = tempfile::tempdir().unwrap();
    let made = Command::new("git")
        .args(["init", "-q"])
        .current_dir(temp.path())
        .status();
    assert!(made.expect("git is installed: apt-get install git").success());
    std::fs::create_dir_all(temp.path().join(".git/info")).unwrap();
    let alphabet = [
        "a", "b", "*", "**", "/", "?", "[", "]", "!", "-", "\\", "{", "}", " ", "**/", "/**", "[a-", "[!",
        "^", "[:", ":]", ".",
    ];
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    let on_the_way = |path: &[u8]| {
        paths().any(|other| other.len() > path.len() && other.starts_with(path) && other[path.len()] == b'/')
    };
    for path in paths().filter(|path| on_the_way(path)) {
        std::fs::create_dir_all(temp.path().join(OsStr::from_bytes(path))).unwrap();
    }
    let mut wrong = Vec::new();
    for _ in 0..300 {
        let pattern: String = (0..=random(7))
            .map(|_| alphabet[random(alphabet.len())])
            .collect();
        // See `LISTS`; and two stars before an escaped slash are to git two before none.
        let (plain, stars) = pattern.split_at(pattern.find(['*', '?', '[', '\\']).unwrap_or(pattern.len()));
        let is_odd =
            stars.starts_with("**") && pattern.contains('/') && !plain.is_empty() && !plain.ends_with('/');
        if is_odd || pattern.contains("**\\/") {
            continue;
        }
        let (patterns, _) = Patterns::new(std::slice::from_ref(&pattern));
        for (path, ignored) in paths().zip(by_git(temp.path(), &pattern)) {
            if by_us(&patterns, path, on_the_way(path)) != ignored {
                wrong.push(format!("{pattern:?} {}: git {ignored}", path.escape_ascii()));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}
