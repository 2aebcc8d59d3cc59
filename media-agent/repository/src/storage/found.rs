//! What is found where a repository should be, in words that name it and say what to do. Never "initialise": it may be somebody
//! else's, or ours and not mounted.
//! Used by errors and by whoever looks at a location.

use std::fmt;
use std::path::PathBuf;

/// What file systems, and the systems that look into them, put at the top of a volume or into folders by themselves.
const HARMLESS: [&str; 24] = [
    "lost+found",
    ".snapshot",
    ".snapshots",
    "#snapshot",
    "~snapshot",
    ".zfs",
    "#recycle",
    "@recycle",
    "@eadir",
    "@tmp",
    ".ds_store",
    ".appledouble",
    ".apdisk",
    ".fseventsd",
    ".spotlight-v100",
    ".temporaryitems",
    ".trashes",
    "system volume information",
    "$recycle.bin",
    "recycler",
    "thumbs.db",
    "desktop.ini",
    "aquota.user",
    "aquota.group",
];
const HARMLESS_BEGINNINGS: [&str; 3] = [".trash-", ".nfs", "._"];

/// What is at a location instead of the repository that should be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// No such directory.
    Nothing,
    /// Something that is no directory.
    NoDirectory,
    /// An empty directory, as a mount point is without its file system.
    Empty,
    /// Folders of a repository without its configuration.
    NoConfig,
    /// Other files.
    Foreign { entry: String },
    /// The key file that opened the repository is not there, but so many others are.
    NoKey { name: Option<String>, others: usize },
    /// Another repository; its id, if our password opens it.
    Other { id: Option<String> },
    /// The same repository, but not the directory that is in use.
    MountedAnew,
    /// The repository, with something else in the place of one of its folders.
    MountedOver { folder: PathBuf },
}

/// Whether a name is one of those that come by themselves and mean nothing.
pub(crate) fn is_harmless(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    HARMLESS.contains(&&*name) || HARMLESS_BEGINNINGS.iter().any(|begin| name.starts_with(begin))
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Found::Nothing => f.write_str("there is no such directory; check the path and mount the storage"),
            Found::NoDirectory => f.write_str("it is not a directory; check the path"),
            Found::Empty => f.write_str("the directory is empty; is its file system mounted?"),
            Found::NoConfig => f.write_str(
                "folders of a repository are there but its file \"config\" is not; bring that file back from a copy",
            ),
            Found::Foreign { entry } => write!(
                f,
                "other files are there ({entry:?}); check the path and what is mounted there"
            ),
            Found::NoKey { name, others } => {
                match name {
                    Some(name) => write!(f, "its key file {} is gone", name.get(..8).unwrap_or(name))?,
                    None => f.write_str("it has no key file")?,
                }
                match others {
                    0 => f.write_str(", and nothing in it can be read without; bring the folder \"keys\" back from a copy"),
                    others => write!(
                        f,
                        " ({others} other there); bring it back from a copy, or if the password was changed, write the new one \
                         into the password file and restart the media agent"
                    ),
                }
            }
            Found::Other { id: Some(id) } => write!(
                f,
                "another repository is there ({}); mount the right one",
                id.get(..8).unwrap_or(id)
            ),
            Found::Other { id: None } => f.write_str(
                "another repository is there: the key of the one that was here does not open its \"config\"; mount the right one",
            ),
            Found::MountedOver { folder } => write!(
                f,
                "another file system or folder lies over its folder {}, and hides the packs in it; unmount that",
                folder.display()
            ),
            Found::MountedAnew => f.write_str(
                "it was mounted anew or replaced by a copy while it was in use; the next attempt uses what is there then",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_harmless;

    #[test]
    fn what_comes_by_itself_is_told_from_what_somebody_put_there() {
        for name in [
            ".DS_Store",
            "@eaDir",
            "System Volume Information",
            "lost+found",
            ".snapshot",
            "#recycle",
            ".Trash-1000",
            ".fseventsd",
            "Thumbs.db",
            "desktop.ini",
            ".nfs000000000123",
            "$RECYCLE.BIN",
            "._config",
        ] {
            assert!(is_harmless(name), "{name}");
        }
        for name in [
            "holiday.jpg",
            "config.bak",
            "Trash-1000",
            "nfs",
            "keys",
            ".git",
            ".snap",
        ] {
            assert!(!is_harmless(name), "{name}");
        }
    }
}
