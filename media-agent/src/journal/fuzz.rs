//! What the fuzzer drives of the journal: opening a folder whose one file is the input. Called by `crate::fuzz`.

use std::path::PathBuf;

use outlast_proto::v1::journal_event::What;
use outlast_proto::v1::{AttemptMarked, ItemEnded, SignedTicket, Ticket};
use outlast_proto::words::{Attempt, AttemptId, JobId, JobNonce, Timestamp};
use prost::Message as _;

use super::format::{FRAME_HEAD, HEADER_LENGTH, Header, fill_head};
use super::segment::file_name;
use super::store::Store;
use outlast_media_core::kept::{ClosedJob, Fence, KeptState, KeptWriter, OpenAttempt};
use outlast_media_core::{NewEvent, NewRecord, Record};

const NUMBER: u64 = 3;

fn header(first_sequence: u64) -> Header {
    Header {
        journal: uuid::Uuid::from_u128(7),
        number: NUMBER,
        first_sequence,
    }
}

/// A folder in memory, if the host has one, for this process alone.
fn folder() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    let base = if memory.is_dir() {
        memory
    } else {
        std::env::temp_dir()
    };
    let thread = format!("{:?}", std::thread::current().id());
    base.join(format!("outlast-fuzz-{}-{thread}", std::process::id()))
}

/// An even first byte: the rest is a file. An odd one: the first sequence in 8 bytes, then payloads of frames, each behind
/// its length in 2 bytes, and the checksums are made right. A journal that opens is one that can be used.
pub(crate) fn journal(input: &[u8]) {
    let Some((mode, rest)) = input.split_first() else {
        return;
    };
    let content = if mode % 2 == 0 {
        rest.to_vec()
    } else {
        framed(rest)
    };
    let dir = folder();
    std::fs::create_dir_all(&dir).expect("there is a folder for temporary files");
    std::fs::write(dir.join(file_name(NUMBER)), content).expect("there is room");
    if let Ok(mut store) = Store::open(&dir, 1) {
        let _ = store.known().open_attempts();
        let before = store.last();
        let events = store.read(1, 1000).unwrap_or_default();
        assert!(events.len() as u64 <= before);
        let id = AttemptId {
            job: JobId(1),
            nonce: JobNonce(1),
            attempt: Attempt(1),
        };
        let event = NewEvent {
            at: Timestamp(1),
            id,
            what: What::Marked(AttemptMarked::default()),
        };
        if store.append(vec![NewRecord::Event(event)]).is_ok() {
            assert_eq!(store.last(), before + 1);
            let _ = store.acknowledge(before + 1);
            drop(store);
            Store::open(&dir, 1).expect("what was written is read again");
        }
    }
    std::fs::remove_dir_all(&dir).expect("it was made above");
}

fn framed(input: &[u8]) -> Vec<u8> {
    let Some((first, mut rest)) = input.split_first_chunk::<8>() else {
        return Vec::new();
    };
    let header = header(u64::from_le_bytes(*first));
    let mut file = header.encode().to_vec();
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let (payload, after) = after.split_at(usize::from(u16::from_le_bytes(*length)).min(after.len()));
        let mut frame = vec![0; FRAME_HEAD];
        frame.extend_from_slice(payload);
        fill_head(&header, file.len() as u64, &mut frame);
        file.extend_from_slice(&frame);
        rest = after;
    }
    file
}

pub(crate) fn journals() -> Vec<Vec<u8>> {
    let attempt = Some(
        AttemptId {
            job: JobId(7),
            nonce: JobNonce(3),
            attempt: Attempt(2),
        }
        .to_ref(),
    );
    let ticket = Ticket {
        attempt: attempt.clone(),
        ..Ticket::default()
    };
    let ticket = SignedTicket {
        ticket: ticket.encode_to_vec().into(),
        signature: vec![1; 64].into(),
    };
    let event = |sequence, what| {
        Record::Event(outlast_proto::v1::JournalEvent {
            sequence,
            at: None,
            attempt: attempt.clone(),
            what: Some(what),
            writer: 7,
        })
    };
    let kept = KeptState {
        acknowledged: 4,
        open: vec![OpenAttempt {
            attempt: attempt.clone(),
            ticket: Some(ticket.clone()),
            items: vec![ItemEnded::default()],
            exceptions: 3,
            resilient: true,
            primary_version: "0.1.0".to_owned(),
        }],
        jobs: vec![ClosedJob {
            nonce: 4,
            job: 3,
            ..ClosedJob::default()
        }],
        newest_micros: 99,
        writers: vec![KeptWriter { first: 1, writer: 7 }],
    };
    let frames = [
        vec![Record::Kept(kept)],
        vec![
            Record::Admitted(ticket),
            event(5, What::Marked(AttemptMarked::default())),
        ],
        vec![
            event(6, What::ItemEnded(ItemEnded::default())),
            Record::Acknowledged(5),
        ],
        vec![Record::Fenced(Fence {
            attempt,
            at_micros: 100,
        })],
    ];
    let header = header(5);
    let mut file = header.encode().to_vec();
    let mut parts = 5u64.to_le_bytes().to_vec();
    for frame in &frames {
        let (bytes, _) = super::format::encode_frame(&header, file.len() as u64, frame);
        file.extend_from_slice(&bytes);
        let payload = &bytes[FRAME_HEAD..];
        parts.extend(u16::try_from(payload.len()).expect("it is short").to_le_bytes());
        parts.extend_from_slice(payload);
    }
    assert!(file.len() > HEADER_LENGTH);
    vec![[vec![0], file].concat(), [vec![1], parts].concat()]
}
