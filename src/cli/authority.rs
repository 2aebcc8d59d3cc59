//! `authority`: the cluster's certificate authority, as files in a folder. Needs no cluster.
//!
//! Until members enrol by themselves, this is how they get their certificates. `dev` has a folder like it of its own.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use outlast_kit::authority::{Authority, Pem};
use outlast_kit::files::{create_folder, write_durably};
use outlast_kit::identity::{Identity, Kind};
use serde::Serialize;

use super::Invocation;
use crate::error::CliError;

#[derive(Debug, Subcommand)]
pub(crate) enum AuthorityCommand {
    /// Make the certificate authority of a new cluster: ca.pem, and ca-key.pem, which never leaves the folder
    Create {
        #[arg(long, value_name = "DIR")]
        folder: PathBuf,
    },
    /// Make a certificate: NAME.pem and NAME-key.pem, for the host NAME runs on
    Issue {
        #[arg(value_parser = ["primary", "media-agent", "client-agent", "operator"])]
        kind: String,
        name: String,
        #[arg(long, value_name = "DIR")]
        folder: PathBuf,
    },
}

/// The files that were made.
#[derive(Debug, Serialize)]
struct MadeDocument {
    certificate: PathBuf,
    key: PathBuf,
}

pub(super) fn run(command: &AuthorityCommand, invocation: &Invocation<'_>) -> Result<(), CliError> {
    let made = match command {
        AuthorityCommand::Create { folder } => create(folder)?,
        AuthorityCommand::Issue { kind, name, folder } => {
            let kind = Kind::from_word(kind).ok_or_else(|| CliError::NoSuchCommand {
                command: kind.clone(),
            })?;
            issue(
                folder,
                &Identity {
                    kind,
                    name: name.clone(),
                },
            )?
        }
    };
    invocation.output.one(&made, |made| {
        format!("{}\n{}\n", made.certificate.display(), made.key.display())
    })
}

fn create(folder: &Path) -> Result<MadeDocument, CliError> {
    create_folder(folder, 0o755).map_err(io(folder))?;
    let (_, ca) = Authority::create()?;
    put(folder, "ca", &ca)
}

fn issue(folder: &Path, identity: &Identity) -> Result<MadeDocument, CliError> {
    // The names the cluster accepts, so that nobody finds out later.
    let is_name = identity.name.parse::<outlast_proto::words::AgentName>();
    is_name.map_err(|error| CliError::BadName {
        reason: error.to_string(),
    })?;
    let read = |file: &str| {
        let path = folder.join(file);
        std::fs::read_to_string(&path).map_err(io(&path))
    };
    let ca = Pem {
        cert: read("ca.pem")?,
        key: read("ca-key.pem")?,
    };
    let pem = Authority::load(&ca)?.issue(identity)?;
    put(folder, &identity.name, &pem)
}

fn put(folder: &Path, name: &str, pem: &Pem) -> Result<MadeDocument, CliError> {
    let made = MadeDocument {
        certificate: folder.join(format!("{name}.pem")),
        key: folder.join(format!("{name}-key.pem")),
    };
    for path in [&made.key, &made.certificate] {
        if path.exists() {
            return Err(CliError::Exists { path: path.clone() });
        }
    }
    write_durably(&made.key, pem.key.as_bytes(), 0o600).map_err(io(&made.key))?;
    write_durably(&made.certificate, pem.cert.as_bytes(), 0o644).map_err(io(&made.certificate))?;
    Ok(made)
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> CliError {
    let path = path.to_owned();
    move |source| CliError::File { path, source }
}
