//! Replacing a file so that after a power cut either the old or the new content is there. Used for every small file
//! of the data directory.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Writes `content` beside `path`, makes it durable, and renames it over `path`.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
