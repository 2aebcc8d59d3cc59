//! The context file: which cluster the command line talks to, and as whom. No connection is opened here.

use std::path::{Path, PathBuf};

use outlast_kit::config::{ConfigError, load};
use outlast_kit::tls::TlsFiles;
use serde::Deserialize;

use crate::error::CliError;

/// Endpoints and identity.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    /// `host:port` of every primary.
    pub(crate) primaries: Vec<String>,
    /// Certificates; relative paths count from the context file.
    pub(crate) tls: TlsFiles,
}

impl Context {
    /// Reads `given`, else `~/.config/outlast/client.toml`. Variables are `OUTLAST_CLIENT__KEY`.
    pub(crate) fn load(given: Option<&Path>) -> Result<Self, CliError> {
        let path = match given {
            Some(path) => path.to_owned(),
            None => default_path().ok_or(CliError::NoHome)?,
        };
        let mut context: Context = load(&path, "client").map_err(|error| match error {
            ConfigError::Unreadable { path, source } if source.kind() == std::io::ErrorKind::NotFound => {
                CliError::NoContext { path }
            }
            other => CliError::Config(other),
        })?;
        if context.primaries.is_empty() {
            return Err(CliError::NoPrimaries { path });
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        let tls = &mut context.tls;
        for file in [&mut tls.ca, &mut tls.cert, &mut tls.key] {
            // An absolute path replaces the folder when joined.
            *file = folder.join(&*file);
        }
        Ok(context)
    }
}

fn default_path() -> Option<PathBuf> {
    std::env::home_dir()
        .filter(|home| !home.as_os_str().is_empty())
        .map(|home| home.join(".config/outlast/client.toml"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Context;

    #[test]
    fn certificates_lie_beside_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("client.toml");
        let text = "primaries = [\"a:1\"]\n[tls]\nca = \"ca.pem\"\ncert = \"/x/c.pem\"\nkey = \"k/k.pem\"\n";
        std::fs::write(&file, text).unwrap();
        let context = Context::load(Some(&file)).unwrap();
        assert_eq!(context.primaries, ["a:1"]);
        assert_eq!(context.tls.ca, folder.path().join("ca.pem"));
        assert_eq!(context.tls.cert, Path::new("/x/c.pem"));
        assert_eq!(context.tls.key, folder.path().join("k/k.pem"));
    }

    #[test]
    fn a_context_without_primaries_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("client.toml");
        std::fs::write(
            &file,
            "primaries = []\n[tls]\nca = \"a\"\ncert = \"b\"\nkey = \"c\"\n",
        )
        .unwrap();
        let sentence = Context::load(Some(&file)).unwrap_err().to_string();
        assert!(sentence.contains("names no address"), "{sentence}");
    }
}
