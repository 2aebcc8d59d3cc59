//! What the members need on disk: certificates, configurations, the repository's password, the context of the command line.

use std::fmt::Write as _;
use std::path::Path;

use outlast_kit::authority::{Authority, Pem};
use outlast_kit::files::{create_folder, write_durably};
use outlast_kit::host::host_id_from;
use outlast_kit::identity::{Identity, Kind};

use super::error::DevError;
use super::layout::Layout;
use super::plan::{Member, Plan, Role};

/// Written last: with it the set of certificates is whole.
const CERTIFICATES_DONE: &str = "operator.pem";
/// Readable by everyone; what is secret is readable by its owner.
const OPEN: u32 = 0o644;
const SECRET: u32 = 0o600;

/// Writes what is missing; what a cluster once had stays as it is.
pub(crate) fn write(layout: &Layout, plan: &Plan) -> Result<(), DevError> {
    layout.create()?;
    if !layout.tls(CERTIFICATES_DONE).exists() {
        write_certificates(layout, plan)?;
    }
    if !layout.password().exists() {
        let password = format!(
            "{}{}",
            uuid::Uuid::new_v4().simple(),
            uuid::Uuid::new_v4().simple()
        );
        put(&layout.password(), &format!("{password}\n"), SECRET)?;
    }
    for member in &plan.members {
        let state = layout.state(&member.child);
        create_folder(&state, 0o755).map_err(DevError::io("cannot create", state))?;
        put(&layout.config(&member.child), &config(layout, plan, member), OPEN)?;
    }
    put(&layout.context(), &context(plan), OPEN)
}

fn put(path: &Path, text: &str, mode: u32) -> Result<(), DevError> {
    write_durably(path, text.as_bytes(), mode).map_err(DevError::io("cannot write", path))
}

fn write_certificates(layout: &Layout, plan: &Plan) -> Result<(), DevError> {
    let (authority, ca) = Authority::create()?;
    put(&layout.tls("ca.pem"), &ca.cert, OPEN)?;
    put(&layout.tls("ca-key.pem"), &ca.key, SECRET)?;
    for member in &plan.members {
        let kind = match member.role {
            Role::Primary => Kind::Primary,
            Role::MediaAgent => Kind::MediaAgent,
            Role::ClientAgent => Kind::ClientAgent,
        };
        put_pair(
            layout,
            &member.child,
            &authority.issue(&Identity {
                kind,
                name: member.name.clone(),
            })?,
        )?;
    }
    put_pair(
        layout,
        "operator",
        &authority.issue(&Identity {
            kind: Kind::Operator,
            name: "dev".into(),
        })?,
    )
}

fn put_pair(layout: &Layout, file: &str, pem: &Pem) -> Result<(), DevError> {
    put(&layout.tls(&format!("{file}-key.pem")), &pem.key, SECRET)?;
    put(&layout.tls(&format!("{file}.pem")), &pem.cert, OPEN)
}

fn config(layout: &Layout, plan: &Plan, member: &Member) -> String {
    let mut text = format!(
        "# Written by outlast dev at every start.\nname = {}\n",
        quote(&member.name)
    );
    let mut line = |key: &str, value: String| writeln!(text, "{key} = {value}").expect("writing to a string");
    line("data_dir", quote_path(&layout.state(&member.child)));
    // Each child is its own host, so that one machine can play many.
    line(
        "host_id",
        quote(&host_id_from(&format!(
            "{} {}",
            layout.root().display(),
            member.child
        ))),
    );
    if let Some(address) = member.address {
        line("listen", quote(&address.to_string()));
    }
    match member.role {
        Role::Primary => {
            let number = plan
                .of(Role::Primary)
                .position(|m| m.child == member.child)
                .unwrap_or(0)
                + 1;
            line("node_id", number.to_string());
        }
        Role::MediaAgent | Role::ClientAgent => line("primaries", primaries(plan)),
    }
    if member.role == Role::MediaAgent {
        line("pool", quote("default"));
    }
    text.push_str(&tls(
        &layout.tls("ca.pem"),
        &layout.tls(&format!("{}.pem", member.child)),
        &layout.tls(&format!("{}-key.pem", member.child)),
    ));
    match member.role {
        Role::Primary => text.push_str(&initial_members(plan)),
        Role::MediaAgent => {
            let (path, password) = (quote_path(&layout.storage()), quote_path(&layout.password()));
            write!(
                text,
                "\n[storage]\nunit = \"storage\"\npath = {path}\npassword_file = {password}\n"
            )
            .expect("writing to a string");
        }
        Role::ClientAgent => {}
    }
    text
}

fn context(plan: &Plan) -> String {
    let head = format!(
        "# The context of the command line: outlast --context FILE, or OUTLAST_CONTEXT.\nprimaries = {}\n",
        primaries(plan)
    );
    head + &tls(
        Path::new("tls/ca.pem"),
        Path::new("tls/operator.pem"),
        Path::new("tls/operator-key.pem"),
    )
}

fn primaries(plan: &Plan) -> String {
    let all: Vec<_> = plan
        .of(Role::Primary)
        .filter_map(|m| m.address)
        .map(|a| quote(&a.to_string()))
        .collect();
    format!("[{}]", all.join(", "))
}

fn tls(ca: &Path, cert: &Path, key: &Path) -> String {
    format!(
        "\n[tls]\nca = {}\ncert = {}\nkey = {}\n",
        quote_path(ca),
        quote_path(cert),
        quote_path(key)
    )
}

fn initial_members(plan: &Plan) -> String {
    let mut text = String::new();
    for (number, member) in plan.of(Role::Primary).enumerate() {
        let address = member.address.map(|a| a.to_string()).unwrap_or_default();
        let (name, address) = (quote(&member.name), quote(&address));
        write!(
            text,
            "\n[[initial_members]]\nnode_id = {}\nname = {name}\naddress = {address}\n",
            number + 1
        )
        .expect("writing to a string");
    }
    text
}

fn quote_path(path: &Path) -> String {
    quote(&path.to_string_lossy())
}

/// A TOML string.
fn quote(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
