//! The help page of every status code (S-10), embedded so that no internet is needed. The pages are `docs/help/N.md`.
//!
//! Called by `help code`, by the job log and wherever an error names its page.

/// Every code with its page, in rising order.
const PAGES: &[(u16, &str)] = &[
    (0, include_str!("../docs/help/0.md")),
    (1, include_str!("../docs/help/1.md")),
    (13, include_str!("../docs/help/13.md")),
    (40, include_str!("../docs/help/40.md")),
    (41, include_str!("../docs/help/41.md")),
    (50, include_str!("../docs/help/50.md")),
    (58, include_str!("../docs/help/58.md")),
    (59, include_str!("../docs/help/59.md")),
    (71, include_str!("../docs/help/71.md")),
    (84, include_str!("../docs/help/84.md")),
    (129, include_str!("../docs/help/129.md")),
    (150, include_str!("../docs/help/150.md")),
    (156, include_str!("../docs/help/156.md")),
    (196, include_str!("../docs/help/196.md")),
    (1000, include_str!("../docs/help/1000.md")),
    (1101, include_str!("../docs/help/1101.md")),
    (1102, include_str!("../docs/help/1102.md")),
    (1103, include_str!("../docs/help/1103.md")),
    (1110, include_str!("../docs/help/1110.md")),
    (1111, include_str!("../docs/help/1111.md")),
    (1112, include_str!("../docs/help/1112.md")),
    (1150, include_str!("../docs/help/1150.md")),
    (1201, include_str!("../docs/help/1201.md")),
    (1202, include_str!("../docs/help/1202.md")),
    (2106, include_str!("../docs/help/2106.md")),
];

/// The page of a code.
pub(crate) fn page(code: u32) -> Option<&'static str> {
    PAGES
        .iter()
        .find(|(known, _)| u32::from(*known) == code)
        .map(|(_, page)| *page)
}

/// How to read the page of a code.
pub(crate) fn command(code: u32) -> String {
    format!("outlast help code {code}")
}

#[cfg(test)]
mod tests {
    use outlast_proto::words::CODES;

    use super::{PAGES, page};

    #[test]
    fn s10_every_code_has_a_page_and_every_page_a_code() {
        let codes: Vec<_> = CODES.iter().map(|entry| entry.code.0).collect();
        let pages: Vec<_> = PAGES.iter().map(|(code, _)| *code).collect();
        assert_eq!(pages, codes);
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/help");
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .map(|name| name.strip_suffix(".md").unwrap().parse::<u16>().unwrap())
            .collect();
        files.sort_unstable();
        assert_eq!(files, codes, "files in docs/help");
    }

    #[test]
    fn s10_pages_begin_with_code_and_meaning_and_are_short() {
        for entry in CODES {
            let page = page(u32::from(entry.code.0)).unwrap();
            let head = format!("# {}: {}", entry.code, entry.text);
            assert_eq!(page.lines().next(), Some(head.as_str()));
            let lines = page.lines().count();
            assert!((8..=20).contains(&lines), "page {} has {lines} lines", entry.code);
        }
    }
}
