//! What the fuzzer drives: every message of the API, and how messages become words. Only in builds for fuzzing and in this
//! crate's own tests; called by `fuzz/` and by the test below.

use prost::Message;

use crate::{v1, words};

#[cfg(test)]
#[path = "../../fuzz/mutations.rs"]
mod mutations;

/// Name, real inputs, what is done with an input.
pub type Target = (&'static str, fn() -> Vec<Vec<u8>>, fn(&[u8]));

pub const TARGETS: &[Target] = &[
    ("messages", messages, message),
    ("policy_message", policies, policy),
];

type Decode = fn(&[u8]);

macro_rules! decoders {
    ($($message:ident),+ $(,)?) => { &[$(decode::<v1::$message>),+] };
}

/// Every message that a process gets from the network.
const DECODERS: &[Decode] = decoders![
    // Cluster, agents, pools.
    InitRequest,
    InitResponse,
    JoinRequest,
    JoinResponse,
    RemoveRequest,
    RemoveResponse,
    TransferLeaderRequest,
    TransferLeaderResponse,
    GetSettingsRequest,
    Settings,
    ChangeSettingsRequest,
    ClusterStatusRequest,
    ClusterStatus,
    ListAgentsRequest,
    ListAgentsResponse,
    GetAgentRequest,
    Agent,
    ListPoolsRequest,
    ListPoolsResponse,
    GetPoolRequest,
    Pool,
    // Jobs, histories, policies, restore points.
    RunJobRequest,
    RestoreRequest,
    RunJobResponse,
    GetJobRequest,
    ListJobsRequest,
    ListJobsResponse,
    Job,
    JobDetails,
    GetJobLogRequest,
    JobLog,
    ListHistoriesRequest,
    ListHistoriesResponse,
    ApplyPolicyRequest,
    ApplyPolicyResponse,
    GetPolicyRequest,
    PolicyView,
    ListPoliciesRequest,
    ListPoliciesResponse,
    DeletePolicyRequest,
    DeletePolicyResponse,
    ListRestorePointsRequest,
    ListRestorePointsResponse,
    ListFilesRequest,
    ListFilesResponse,
    ErrorDetail,
    ListRulesResponse,
    GetRuleRequest,
    ApplyRulesRequest,
    ApplyRulesResponse,
    EnableRuleRequest,
    DeleteRuleRequest,
    // Sessions, data streams, Raft.
    AgentMessage,
    PrimaryMessage,
    SignedTicket,
    Ticket,
    BackupUp,
    BackupDown,
    RestoreUp,
    RestoreDown,
    RaftFrame,
];

/// The first byte says which message the rest is. What is understood is the same after it was written and read again, and
/// takes memory in proportion.
fn message(input: &[u8]) {
    let Some((which, bytes)) = input.split_first() else {
        return;
    };
    DECODERS[usize::from(*which) % DECODERS.len()](bytes);
    words_of(bytes);
}

fn decode<M: Message + Default + PartialEq>(bytes: &[u8]) {
    let Ok(read) = M::decode(bytes) else { return };
    let written = read.encode_to_vec();
    let again = M::decode(written.as_slice()).expect("just written");
    // Numbers that are none differ from themselves; their bytes do not.
    assert!(again == read || again.encode_to_vec() == written);
}

/// The conversions that every process makes at its edges.
fn words_of(bytes: &[u8]) {
    if let Ok(message) = v1::AttemptRef::decode(bytes)
        && let Ok(id) = words::AttemptId::of_message(Some(&message))
    {
        assert_eq!(words::AttemptId::of_message(Some(&id.to_ref())), Ok(id));
    }
    if let Ok(message) = v1::Counters::decode(bytes) {
        assert_eq!(v1::Counters::from(words::Counters::from(&message)), message);
    }
    if let Ok(message) = prost_types::Timestamp::decode(bytes) {
        let word = words::Timestamp::from(&message);
        let again = words::Timestamp::from(&prost_types::Timestamp::from(word));
        assert_eq!(again, word);
    }
    if let Ok(Some(id)) = words::SnapshotId::from_wire("field", bytes) {
        assert_eq!(id.to_wire().as_ref(), bytes);
    }
    if let Ok(message) = v1::Rule::decode(bytes)
        && let Ok(rule) = words::Rule::try_from(message)
    {
        assert_eq!(words::Rule::try_from(v1::Rule::from(&rule)), Ok(rule));
    }
    if let Ok(message) = v1::History::decode(bytes) {
        let _ = words::CompletionStatus::from_wire(message.status).map(words::CompletionStatus::to_wire);
        let _ = words::Stopped::from_wire(message.stopped);
    }
}

fn messages() -> Vec<Vec<u8>> {
    let number = |decoder: Decode| {
        let place = DECODERS
            .iter()
            .position(|other| std::ptr::fn_addr_eq(*other, decoder));
        u8::try_from(place.expect("it is in the list")).expect("the list is short")
    };
    let tagged = |which: u8, bytes: Vec<u8>| [vec![which], bytes].concat();
    let counters = v1::Counters {
        bytes: u64::MAX,
        ..v1::Counters::default()
    };
    let moment = prost_types::Timestamp {
        seconds: 5,
        nanos: -1,
    };
    let [up, down] = data_messages();
    vec![
        tagged(number(decode::<v1::BackupUp>), up),
        tagged(number(decode::<v1::RestoreDown>), down),
        tagged(number(decode::<v1::AgentMessage>), session_message()),
        tagged(number(decode::<v1::Ticket>), ticket_message()),
        tagged(0, attempt().encode_to_vec()),
        tagged(1, counters.encode_to_vec()),
        tagged(2, moment.encode_to_vec()),
        tagged(3, vec![9; 32]),
    ]
}

fn attempt() -> v1::AttemptRef {
    v1::AttemptRef {
        job: "7".into(),
        attempt: 2,
        nonce: 5,
    }
}

/// Entries on their way up and down.
fn data_messages() -> [Vec<u8>; 2] {
    let node = v1::Node {
        number: 1,
        name: b"name".as_slice().into(),
        r#type: v1::NodeType::File.into(),
        size: 3,
        modified: Some(v1::FileTime {
            seconds: -5,
            nanos: 7,
        }),
        xattrs: vec![v1::ExtendedAttribute {
            name: b"user.a".as_slice().into(),
            value: b"v".as_slice().into(),
        }],
        ..v1::Node::default()
    };
    let kinds = [
        v1::entry::Kind::Enter(node.clone()),
        v1::entry::Kind::Node(node),
        v1::entry::Kind::Leave(v1::LeaveDirectory {}),
    ];
    let entries = v1::Entries {
        entries: kinds.map(|kind| v1::Entry { kind: Some(kind) }).into(),
    };
    let up = v1::BackupUp {
        sequence: 1,
        received: 2,
        body: Some(v1::backup_up::Body::Entries(entries.clone())),
    };
    let down = v1::RestoreDown {
        sequence: 1,
        received: 2,
        body: Some(v1::restore_down::Body::Entries(entries)),
    };
    [up.encode_to_vec(), down.encode_to_vec()]
}

fn session_message() -> Vec<u8> {
    let ended = v1::AttemptEnded {
        status_code: 1,
        counters: Some(v1::Counters {
            files: 1,
            ..v1::Counters::default()
        }),
        ..v1::AttemptEnded::default()
    };
    let event = v1::JournalEvent {
        sequence: 3,
        at: Some(words::Timestamp(1_700_000_000_000_000).into()),
        attempt: Some(attempt()),
        what: Some(v1::journal_event::What::Ended(ended)),
        writer: 7,
    };
    let events = v1::JournalEvents {
        journal_id: "j".into(),
        events: vec![event],
        sent_at: Some(words::Timestamp(1_700_000_000_000_001).into()),
    };
    let body = Some(v1::agent_message::Body::Journal(events));
    v1::AgentMessage { body }.encode_to_vec()
}

fn ticket_message() -> Vec<u8> {
    let ticket = v1::Ticket {
        attempt: Some(attempt()),
        policy: Some(policy_message()),
        items: vec![v1::TicketItem {
            path: "/home".into(),
            ..v1::TicketItem::default()
        }],
        ..v1::Ticket::default()
    };
    ticket.encode_to_vec()
}

/// What becomes a policy becomes the same policy again, and is judged.
fn policy(input: &[u8]) {
    let Ok(message) = v1::Policy::decode(input) else {
        return;
    };
    let Ok(word) = words::Policy::try_from(message) else {
        return;
    };
    let again = words::Policy::try_from(v1::Policy::from(&word)).expect("made from a policy");
    assert_eq!(again, word);
    let _ = word.validate();
}

fn policy_message() -> v1::Policy {
    v1::Policy {
        name: "home".into(),
        r#type: "standard".into(),
        clients: vec!["client-1".into()],
        items: vec!["/home/".into(), "/etc".into()],
        exclude: vec!["*.tmp".into()],
        limits: Some(v1::Limits {
            cancel_from: "schedule".into(),
            ..v1::Limits::default()
        }),
        schedules: vec![v1::Schedule {
            name: "nightly".into(),
            cron: Some("*/15 1-5 * jan mon,tue".into()),
            window: Some("23:00-06:00".into()),
            ..v1::Schedule::default()
        }],
        retention: Some(v1::Retention {
            daily: 7,
            weekly: 4,
            monthly: 12,
        }),
        ..v1::Policy::default()
    }
}

fn policies() -> Vec<Vec<u8>> {
    vec![policy_message().encode_to_vec()]
}

#[test]
fn messages_stand_changed_bytes() {
    mutations::exercise(TARGETS, 4000);
}
