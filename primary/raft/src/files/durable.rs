//! Replacing a file so that after a power cut either the old or the new content is there. Used for every small file
//! of the data directory.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use outlast_kit::files::{close, sync_folder};

/// Writes `content` beside `path`, makes it durable, and renames it over `path`.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    close(file)?;
    fs::rename(&beside, path)?;
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}
