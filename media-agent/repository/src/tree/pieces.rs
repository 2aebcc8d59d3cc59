//! Cuts the JSON text of a tree into the texts of its entries, holding only what is needed for one. The ids of a file's content,
//! which can be millions, are taken out of its text on the way: half of the memory, and never both forms.
//! What an entry says is `decode`'s. Used by `reader`.

use std::io::Read;

use crate::error::Damage;
use crate::id::BlobId;

/// As much is read at once.
const BLOCK: usize = 128 << 10;
/// An id in a list, with its quotes.
const ID: usize = 66;

/// The text and how far it was cut.
#[derive(Debug)]
pub(super) struct Pieces<R> {
    text: R,
    buffer: Vec<u8>,
    /// What of the buffer is used up.
    start: usize,
    place: Place,
}

/// One entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    /// Its JSON, in which the content begins after `content`.
    pub(super) text: &'a [u8],
    pub(super) content: Vec<BlobId>,
}

/// What of an entry's own members was read last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Other,
    /// A text that may be the name of the content.
    Content,
    /// And the colon behind it.
    ContentColon,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before everything.
    Begin,
    /// In the list of entries, before the first and before any other.
    First,
    Further,
    /// Behind everything.
    End,
}

impl<R: Read> Pieces<R> {
    pub(super) fn new(text: R) -> Pieces<R> {
        Pieces {
            text,
            buffer: Vec::new(),
            start: 0,
            place: Place::Begin,
        }
    }

    pub(super) fn text(&self) -> &R {
        &self.text
    }

    /// The next entry; nothing at the end.
    pub(super) fn next_entry(&mut self) -> Result<Option<Piece<'_>>, Damage> {
        if self.place == Place::Begin {
            self.expect(b'{')?;
            self.find_entries(false)?;
        }
        if self.place == Place::End {
            return Ok(None);
        }
        match self.peek()? {
            b']' => {
                self.start += 1;
                self.find_entries(true)?;
                return Ok(None);
            }
            b',' if self.place == Place::Further => {
                self.start += 1;
                self.peek()?;
            }
            _ if self.place == Place::First => {}
            _ => return Err(unexpected()),
        }
        self.place = Place::Further;
        let mut content = Vec::new();
        let length = self.value(Some(&mut content))?;
        let entry = self.start..self.start + length;
        self.start = entry.end;
        let text = &self.buffer[entry];
        Ok(Some(Piece { text, content }))
    }

    /// Passes over the members of the outer object up to the list of entries; a second list is an error.
    fn find_entries(&mut self, mut is_further: bool) -> Result<(), Damage> {
        let had_entries = is_further;
        loop {
            match self.peek()? {
                b'}' => {
                    self.start += 1;
                    self.place = Place::End;
                    return match self.peek() {
                        Err(_) if self.start == self.buffer.len() => Ok(()),
                        _ => Err(unexpected()),
                    };
                }
                b',' if is_further => self.start += 1,
                _ if is_further => return Err(unexpected()),
                _ => {}
            }
            is_further = true;
            if self.peek()? != b'"' {
                return Err(unexpected());
            }
            let length = self.value(None)?;
            let key: String = serde_json::from_slice(&self.buffer[self.start..self.start + length])
                .map_err(Damage::malformed)?;
            let is_list = key == "nodes";
            self.start += length;
            self.expect(b':')?;
            if is_list && had_entries {
                return Err(unexpected());
            }
            if is_list && self.peek()? == b'[' {
                self.start += 1;
                self.place = Place::First;
                return Ok(());
            }
            self.peek()?;
            self.start += self.value(None)?;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), Damage> {
        if self.peek()? != byte {
            return Err(unexpected());
        }
        self.start += 1;
        Ok(())
    }

    /// The next byte that is no white space; it stays.
    fn peek(&mut self) -> Result<u8, Damage> {
        loop {
            match self.buffer.get(self.start) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.start += 1,
                Some(byte) => return Ok(*byte),
                None => self.fill()?,
            }
        }
    }

    /// The length of the JSON value that begins here; afterwards all of it is in the buffer, but for what went into `content`.
    fn value(&mut self, mut content: Option<&mut Vec<BlobId>>) -> Result<usize, Damage> {
        let (mut length, mut depth) = (0, 0usize);
        // Where the text that it stands in began.
        let (mut text, mut is_escaped) = (None, false);
        let mut member = Member::Other;
        loop {
            let Some(&byte) = self.buffer.get(self.start + length) else {
                self.fill()?;
                continue;
            };
            if let Some(begin) = text {
                length += 1;
                match byte {
                    _ if is_escaped => is_escaped = false,
                    b'\\' => is_escaped = true,
                    b'"' => {
                        text = None;
                        let whole = &self.buffer[self.start + begin..self.start + length];
                        if depth == 1 && whole == b"\"content\"" {
                            member = Member::Content;
                        }
                        if depth == 0 {
                            return Ok(length);
                        }
                    }
                    _ => {}
                }
                continue;
            }
            let before = std::mem::replace(&mut member, Member::Other);
            match byte {
                b'"' => text = Some(length),
                b'[' if depth == 1 && before == Member::ContentColon => {
                    depth = 2;
                    if let Some(content) = content.as_deref_mut() {
                        self.take_ids(length + 1, content)?;
                    }
                }
                b'{' | b'[' => depth += 1,
                // The end of what is around a number or a word.
                b'}' | b']' | b',' | b':' if depth == 0 => return Ok(length),
                b'}' | b']' => {
                    depth -= 1;
                    if depth == 0 {
                        return Ok(length + 1);
                    }
                }
                b':' if before == Member::Content => member = Member::ContentColon,
                b' ' | b'\n' | b'\r' | b'\t' => member = before,
                _ => {}
            }
            length += 1;
        }
    }

    /// Takes ids out of the list whose first element is `from` behind the start, up to what is anything else. As long as the list is one
    /// without them: what follows is another element, or the list's end.
    fn take_ids(&mut self, from: usize, ids: &mut Vec<BlobId>) -> Result<(), Damage> {
        let mut taken = 0;
        loop {
            let at = self.start + from + taken;
            if self.buffer.get(at).is_some_and(|byte| *byte != b'"') {
                break;
            }
            // A list of ids ends with two brackets at least.
            let Some(next) = self.buffer.get(at..at + ID + 2) else {
                self.forget(from, std::mem::take(&mut taken));
                self.fill()?;
                continue;
            };
            let separator = match next[ID..] {
                [b']', _] => 0,
                [b',', b'"'] => 1,
                _ => break,
            };
            let Some(id) = quoted_id(&next[..ID]) else { break };
            ids.push(id);
            taken += ID + separator;
            if separator == 0 {
                break;
            }
        }
        self.forget(from, taken);
        Ok(())
    }

    /// Takes bytes out of the text.
    fn forget(&mut self, from: usize, count: usize) {
        let from = self.start + from;
        self.buffer.drain(from..from + count);
    }

    /// Reads on, behind what is not used up.
    fn fill(&mut self) -> Result<(), Damage> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let length = self.buffer.len();
        self.buffer.resize(length + BLOCK, 0);
        let read = self.text.read(&mut self.buffer[length..]);
        let count = read.as_ref().map_or(0, |count| *count);
        self.buffer.truncate(length + count);
        match read {
            Err(error) => Err(Damage::malformed(error)),
            Ok(0) => Err(Damage::malformed("the tree ends in the middle")),
            Ok(_) => Ok(()),
        }
    }
}

/// As `encode` writes it.
fn quoted_id(text: &[u8]) -> Option<BlobId> {
    let digits = text.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn unexpected() -> Damage {
    Damage::malformed("the tree is no list of entries")
}

#[cfg(test)]
mod tests {
    use super::{BLOCK, Piece, Pieces};
    use crate::id::BlobId;

    /// Gives one byte at a time, so that everything is cut everywhere.
    struct Slow<'a>(&'a [u8]);

    impl std::io::Read for Slow<'_> {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            let Some((byte, rest)) = self.0.split_first() else {
                return Ok(0);
            };
            (into[0], self.0) = (*byte, rest);
            Ok(1)
        }
    }

    fn entries(text: &str) -> Option<Vec<String>> {
        let mut pieces = Pieces::new(Slow(text.as_bytes()));
        let mut found = Vec::new();
        while let Some(Piece { text, content }) = pieces.next_entry().ok()? {
            assert_eq!(content, []);
            found.push(String::from_utf8(text.to_vec()).unwrap());
        }
        assert!(pieces.next_entry().unwrap().is_none());
        Some(found)
    }

    #[test]
    fn entries_are_cut_where_they_end() {
        for (text, expected) in [
            (r#"{"nodes":[]}"#, Some(vec![])),
            ("{\"nodes\":[{\"a\":1}]}\n", Some(vec![r#"{"a":1}"#])),
            (
                r#" { "nodes" : [ {"a":"]}\"\\"} , {} ] } "#,
                Some(vec![r#"{"a":"]}\"\\"}"#, "{}"]),
            ),
            (
                r#"{"x":[1,{"nodes":[7]}],"y":5,"nodes":[{"a":[[]]}],"z":"}"}"#,
                Some(vec![r#"{"a":[[]]}"#]),
            ),
            (r#"{"n\u006fdes":[{}]}"#, Some(vec!["{}"])),
            (r#"{"nodes":null}"#, Some(vec![])),
            (r#"{}"#, Some(vec![])),
            ("", None),
            ("[]", None),
            (r#"{"nodes":[{}"#, None),
            (r#"{"nodes":[{} {}]}"#, None),
            (r#"{"nodes":[{},]}"#, Some(vec!["{}", ""])),
            (r#"{"nodes":[,{}]}"#, Some(vec!["", "{}"])),
            (r#"{"nodes":[{}]} x"#, None),
            (r#"{"nodes":[{}] "x":1}"#, None),
            (r#"{"nodes":[{}],"nodes":[]}"#, None),
        ] {
            let expected = expected.map(|texts: Vec<&str>| texts.into_iter().map(str::to_owned).collect());
            assert_eq!(entries(text), expected, "{text}");
        }
    }
    /// What is left of an entry's text, and how many ids were taken out of it.
    fn piece(text: &str) -> Option<(String, usize)> {
        // Behind what is no id there may be less than one.
        let tree = format!("{{\"nodes\":[{text}]}}{}", " ".repeat(100));
        let mut pieces = Pieces::new(Slow(tree.as_bytes()));
        let Piece { text, content } = pieces.next_entry().ok()??;
        let found = (String::from_utf8(text.to_vec()).unwrap(), content.len());
        assert!(content.iter().all(|id| *id == BlobId::of(b"x")));
        Some(found)
    }

    #[test]
    fn t90_b07_ids_are_taken_out_of_the_text_of_a_file() {
        let id = format!("\"{}\"", BlobId::of(b"x"));
        let upper = id.to_ascii_uppercase();
        for (text, rest, ids) in [
            (r#"{"content":[],"a":1}"#, r#"{"content":[],"a":1}"#, 0),
            (r#"{"a":1,"content":[I]}"#, r#"{"a":1,"content":[]}"#, 1),
            (
                r#"{"content" : [I,I,I],"a":[I]}"#,
                r#"{"content" : [],"a":[I]}"#,
                3,
            ),
            // Not a list of ids, as far as it is none: the text is no other one than before.
            (r#"{"content":[I,I,]}"#, r#"{"content":[I,]}"#, 1),
            (r#"{"content":[I,"x"]}"#, r#"{"content":["x"]}"#, 1),
            (r#"{"content":[I, I]}"#, r#"{"content":[I, I]}"#, 0),
            (r#"{"content":[[I]]}"#, r#"{"content":[[I]]}"#, 0),
            (r#"{"content":null,"a":[I]}"#, r#"{"content":null,"a":[I]}"#, 0),
            // Another member.
            (r#"{"a":"content","b":[I]}"#, r#"{"a":"content","b":[I]}"#, 0),
            (r#"{"a":{"content":[I]}}"#, r#"{"a":{"content":[I]}}"#, 0),
            (r#"{"a content":[I]}"#, r#"{"a content":[I]}"#, 0),
            (r#"{"\"content":[I]}"#, r#"{"\"content":[I]}"#, 0),
        ] {
            let (text, rest) = (text.replace('I', &id), rest.replace('I', &id));
            assert_eq!(piece(&text), Some((rest, ids)), "{text}");
        }
        assert!(piece(&format!("{{\"content\":[{upper}]}}")).is_some());
    }

    #[test]
    fn t90_b07_a_list_of_ids_is_never_in_the_buffer_as_a_whole() {
        let id = format!("\"{}\"", BlobId::of(b"x"));
        let ids = vec![id.as_str(); 100_000].join(",");
        let text = format!("{{\"nodes\":[{{\"content\":[{ids}]}},{{}}]}}");
        let mut pieces = Pieces::new(text.as_bytes());
        let Piece { text, content } = pieces.next_entry().unwrap().unwrap();
        assert_eq!((text, content.len()), (&b"{\"content\":[]}"[..], 100_000));
        assert!(
            pieces.buffer.capacity() < 4 * BLOCK,
            "{}",
            pieces.buffer.capacity()
        );
        assert_eq!(pieces.next_entry().unwrap().unwrap().text, b"{}");
    }
}
