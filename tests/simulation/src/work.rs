//! Who there is, and what is to be backed up.

use outlast_proto::words::{AgentName, Policy, Seconds};

pub(crate) const MEDIA: usize = 2;
pub(crate) const CLIENTS: usize = 2;
pub(crate) const POLICIES: [&str; 3] = ["first", "second", "both"];

pub(crate) fn media_name(n: usize) -> AgentName {
    format!("media-{n}").parse().expect("a name")
}

pub(crate) fn client_name(n: usize) -> AgentName {
    format!("client-{n}").parse().expect("a name")
}

/// Which media agent has this name.
pub(crate) fn media_of(name: &str) -> Option<usize> {
    (0..MEDIA).find(|n| media_name(*n).as_str() == name)
}

/// One policy for each client, and one for both that is not resilient.
pub(crate) fn policies() -> Vec<Policy> {
    let policy = |name: &str, clients: &[usize], items: &[&str]| {
        let mut policy = Policy::with_defaults(
            name.parse().expect("a name"),
            clients.iter().map(|n| client_name(*n)).collect(),
            items.iter().map(|item| (*item).to_owned()).collect(),
            "default".parse().expect("a name"),
        );
        // Whatever clients do, no job is over for it.
        (policy.retry.delay, policy.retry.tries) = (Seconds(20), 1000);
        policy
    };
    let mut both = policy(POLICIES[2], &[0, 1], &["/srv"]);
    both.shape.multiplex = 2;
    vec![
        policy(POLICIES[0], &[0], &["/home", "/etc"]),
        policy(POLICIES[1], &[1], &["/var", "/opt", "/root"]),
        both,
    ]
}
