//! Paged lists: a page's token is the key of its last row.

use outlast_proto::v1::Page;
use tonic::Status;

const DEFAULT_SIZE: usize = 200;
const MAX_SIZE: usize = 1000;

/// What a caller asked for.
pub(crate) struct Paging<K> {
    /// Rows at most.
    pub(crate) size: usize,
    /// The last row of the page before.
    pub(crate) after: Option<K>,
}

impl<K> Paging<K> {
    /// Reads a request's page; `parse` reads the key from a token.
    pub(crate) fn parse(page: Option<Page>, parse: impl FnOnce(&str) -> Option<K>) -> Result<Self, Status> {
        let page = page.unwrap_or_default();
        let size = match page.size as usize {
            0 => DEFAULT_SIZE,
            size => size.min(MAX_SIZE),
        };
        let after = match page.token.as_str() {
            "" => None,
            token => {
                Some(parse(token).ok_or_else(|| Status::invalid_argument("page.token: is not one of ours"))?)
            }
        };
        Ok(Self { size, after })
    }

    /// Takes one page out of `rows`, and the token of the next if there is more.
    pub(crate) fn take<T>(
        &self,
        rows: impl Iterator<Item = T>,
        token: impl Fn(&T) -> String,
    ) -> (Vec<T>, String) {
        let mut rows: Vec<T> = rows.take(self.size + 1).collect();
        if rows.len() <= self.size {
            return (rows, String::new());
        }
        rows.truncate(self.size);
        let next = rows.last().map(token).unwrap_or_default();
        (rows, next)
    }
}
