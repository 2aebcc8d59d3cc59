//! What an operator does with a node that may not take part any more, in the words of the command line. Called by `node`
//! and `api`.

use outlast_raft::{Exclusion, StartError};

use crate::config::Config;

/// Why this node may not take part, and what to do.
pub(crate) fn of_exclusion(exclusion: &Exclusion, config: &Config) -> String {
    let name = &config.name;
    let enter = enter(config);
    match exclusion {
        Exclusion::LostDisk { .. } => {
            format!("{exclusion}; to bring it back: `outlast cluster remove {name}`; {enter}")
        }
        Exclusion::Removed { .. } => format!(
            "{exclusion} and takes part no more: stop this process; to bring the host back: empty {}; {enter}",
            folder(config)
        ),
        Exclusion::Diverged { .. } => format!(
            "{exclusion}. Choose one of the two, and keep a copy of {0} whatever you choose. To keep the group's history, without what only \
             this node has: `outlast cluster remove {name}`; empty {0}; {enter}. To keep this node's: stop all primaries; put the copy that \
             the others were set back to into their folders again; start this node and one of the others, and the rest when `outlast \
             cluster status` shows that this node leads; what the group has acknowledged since it was set back is lost then",
            folder(config)
        ),
        Exclusion::Unknown { .. } => format!("{exclusion}; to take it in: {enter}"),
    }
}

/// Why this node does not start, and what to do; `None` if that needs no more words.
pub(crate) fn of_start(error: &StartError, config: &Config) -> Option<String> {
    let lost = matches!(
        error,
        StartError::LostState { .. } | StartError::DamagedLog { .. }
    );
    lost.then(|| {
        format!(
            "{error}: `outlast cluster remove {}`; empty {}; {}",
            config.name,
            folder(config),
            enter(config)
        )
    })
}

fn enter(config: &Config) -> String {
    let me = config.me();
    let members = if config.initial_members.is_empty() {
        ""
    } else {
        "take initial_members out and "
    };
    format!(
        "in this node's file {members}set node_id to a number N never used in this cluster; start it; \
         `outlast cluster join --node-id N --name {} --address {}`",
        me.name, me.address
    )
}

fn folder(config: &Config) -> String {
    config.data_dir.display().to_string()
}
