//! Names: any bytes, as the text Go's `strconv.Quote` makes of them, without the quotation marks.
//! JSON's own escapes come on top, in `encode` and `decode`, which alone call this.

/// Appends the quoted form of a name.
pub(super) fn quote(name: &[u8], out: &mut String) {
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            quote_char(c, out);
        }
        for byte in chunk.invalid() {
            push_hex(out, "\\x", u32::from(*byte), 2);
        }
    }
}

/// The name a quoted form stands for; nothing if Go would refuse it.
pub(super) fn unquote(text: &str) -> Option<Vec<u8>> {
    if !text.bytes().any(|b| matches!(b, b'\\' | b'"' | b'\n')) {
        return Some(text.as_bytes().to_vec());
    }
    let mut name = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '"' | '\n' => return None,
            '\\' => rest = unescape(rest, &mut name)?,
            _ => push_char(c, &mut name),
        }
    }
    Some(name)
}

fn quote_char(c: char, out: &mut String) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        ' '..='~' => out.push(c),
        '\u{7}' => out.push_str("\\a"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\u{b}' => out.push_str("\\v"),
        '\0'..='\u{1f}' | '\u{7f}' => push_hex(out, "\\x", u32::from(c), 2),
        _ if is_printable(c) => out.push(c),
        '\0'..='\u{ffff}' => push_hex(out, "\\u", u32::from(c), 4),
        _ => push_hex(out, "\\U", u32::from(c), 8),
    }
}

/// Letters, marks, numbers, punctuation and symbols. The standard library has the table but shows it only through
/// `escape_debug`, where a preceding letter keeps combining marks from being escaped for another reason.
fn is_printable(c: char) -> bool {
    let mut bytes = [b'a'; 5];
    let length = 1 + c.encode_utf8(&mut bytes[1..]).len();
    std::str::from_utf8(&bytes[..length]).is_ok_and(|text| text.escape_debug().nth(1) == Some(c))
}

fn push_hex(out: &mut String, prefix: &str, number: u32, digits: u32) {
    out.push_str(prefix);
    for digit in (0..digits).rev() {
        out.push(char::from_digit(number >> (4 * digit) & 15, 16).expect("four bits are one digit"));
    }
}

/// Takes one escape, of which the backslash is gone, from the front of `rest`; gives what follows it.
fn unescape<'a>(rest: &'a str, name: &mut Vec<u8>) -> Option<&'a str> {
    let code = rest.chars().next()?;
    let after = &rest[code.len_utf8()..];
    let simple = match code {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' => b'\\',
        '"' => b'"',
        'x' => {
            let (number, after) = take_number(after, 2, 16)?;
            name.push(u8::try_from(number).ok()?);
            return Some(after);
        }
        '0'..='7' => {
            let (number, after) = take_number(rest, 3, 8)?;
            name.push(u8::try_from(number).ok()?);
            return Some(after);
        }
        'u' | 'U' => {
            let (number, after) = take_number(after, if code == 'u' { 4 } else { 8 }, 16)?;
            push_char(char::from_u32(number)?, name);
            return Some(after);
        }
        _ => return None,
    };
    name.push(simple);
    Some(after)
}

fn take_number(text: &str, digits: usize, radix: u32) -> Option<(u32, &str)> {
    let (number, rest) = text.split_at_checked(digits)?;
    let valid = number.chars().all(|digit| digit.is_digit(radix));
    valid
        .then(|| u32::from_str_radix(number, radix).ok())
        .flatten()
        .map(|number| (number, rest))
}

fn push_char(c: char, name: &mut Vec<u8>) {
    name.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::{quote, unquote};

    #[test]
    fn names_are_quoted_as_go_quotes_them() {
        let rows: [(&[u8], &str); 12] = [
            (b"plain name.txt", "plain name.txt"),
            (
                b"\"quoted\" \\back\\ 'single'",
                "\\\"quoted\\\" \\\\back\\\\ 'single'",
            ),
            (b"new\nline\ttab\rreturn", "new\\nline\\ttab\\rreturn"),
            (b"\x07\x08\x0b\x0c\x00\x1b\x7f", "\\a\\b\\v\\f\\x00\\x1b\\x7f"),
            (b"\xff\xfe latin \xe4", "\\xff\\xfe latin \\xe4"),
            ("ünïcödé 日本 😀".as_bytes(), "ünïcödé 日本 😀"),
            ("a\u{301}".as_bytes(), "a\u{301}"),
            ("\u{301}".as_bytes(), "\u{301}"),
            (
                "\u{a0}\u{ad}\u{200b}\u{2028}\u{feff}".as_bytes(),
                "\\u00a0\\u00ad\\u200b\\u2028\\ufeff",
            ),
            (
                "\u{e000}\u{10ffff}\u{fffd}".as_bytes(),
                "\\ue000\\U0010ffff\u{fffd}",
            ),
            (b"\xe6\x97", "\\xe6\\x97"),
            (b"\xed\xa0\x80", "\\xed\\xa0\\x80"),
        ];
        for (name, text) in rows {
            let mut quoted = String::new();
            quote(name, &mut quoted);
            assert_eq!(quoted, text);
            assert_eq!(unquote(&quoted).as_deref(), Some(name), "{text}");
        }
    }

    #[test]
    fn every_pair_of_bytes_round_trips() {
        for first in 0..=255u8 {
            for second in 0..=255u8 {
                let mut quoted = String::new();
                quote(&[first, second], &mut quoted);
                assert_eq!(unquote(&quoted).unwrap(), [first, second]);
            }
        }
    }

    #[test]
    fn other_texts_are_understood_or_refused_as_go_does() {
        assert_eq!(unquote("\\101\\u00e4\\U0001F600").unwrap(), "Aä😀".as_bytes());
        for bad in [
            "\"",
            "\\",
            "\\x",
            "\\x1",
            "\\xg0",
            "\\400",
            "\\ud800",
            "\\U00110000",
            "\\q",
            "\\'",
            "a\nb",
            "\\é",
            "\\x+1",
        ] {
            assert_eq!(unquote(bad), None, "{bad}");
        }
    }
}
