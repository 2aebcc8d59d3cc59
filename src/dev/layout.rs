//! Where everything of a `dev` cluster lies (CLI.md).

use std::path::{Path, PathBuf};

use outlast_kit::files::create_folder;

use super::error::DevError;

/// The folder of one `dev` cluster.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The folder, made absolute: children do not share our working directory.
    pub(crate) fn new(root: &Path) -> Result<Self, DevError> {
        let root = std::path::absolute(root).map_err(DevError::io("cannot find", root))?;
        Ok(Self { root })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Who there is, and their ports.
    pub(crate) fn plan(&self) -> PathBuf {
        self.root.join("dev.toml")
    }

    /// The children's pids.
    pub(crate) fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    pub(crate) fn pid(&self, child: &str) -> PathBuf {
        self.root.join("run").join(format!("{child}.pid"))
    }

    pub(crate) fn log(&self, child: &str) -> PathBuf {
        self.root.join("log").join(format!("{child}.log"))
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.root.join("log")
    }

    /// A child's configuration.
    pub(crate) fn config(&self, child: &str) -> PathBuf {
        self.root.join("config").join(format!("{child}.toml"))
    }

    /// A child's own state.
    pub(crate) fn state(&self, child: &str) -> PathBuf {
        self.root.join("state").join(child)
    }

    /// A file of the certificates' folder.
    pub(crate) fn tls(&self, file: &str) -> PathBuf {
        self.root.join("tls").join(file)
    }

    /// The context of the command line.
    pub(crate) fn context(&self) -> PathBuf {
        self.root.join("client.toml")
    }

    /// The restic repository.
    pub(crate) fn storage(&self) -> PathBuf {
        self.root.join("storage")
    }

    pub(crate) fn password(&self) -> PathBuf {
        self.root.join("repository-password")
    }

    /// Makes the folders.
    pub(crate) fn create(&self) -> Result<(), DevError> {
        for folder in ["run", "log", "config", "state", "tls"] {
            let path = self.root.join(folder);
            create_folder(&path, 0o755).map_err(DevError::io("cannot create", path))?;
        }
        Ok(())
    }
}
