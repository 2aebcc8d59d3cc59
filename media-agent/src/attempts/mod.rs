//! The attempts that run here: who may start, who is told to end, how each comes to its one end.
//!
//! `manager` is the owner of the list; `conduct` does what the core's machine says of one attempt, `preparing` gets what it needs before it begins,
//! `working` is its mark and its work; `link` one stream with its client, `line`
//! the conversation over one stream after another, `entrance` where they come in; `wire` what the blocking engines (`backup`, `restore`) see of it; `control` how an attempt is told to end; `progress` what
//! it has done so far; `record` journals what happens, `ending` the last events. `survey` settles what an earlier process left open.

mod conduct;
mod control;
mod ending;
mod entrance;
mod line;
mod link;
mod manager;
mod panicked;
mod preparing;
mod progress;
mod record;
mod survey;
mod wire;
mod working;

pub(crate) use control::Control;
pub(crate) use link::{AnyLink, Ends, Link};
pub(crate) use manager::AttemptManager;
pub(crate) use progress::{Progress, counters_message};
pub(crate) use record::Recorder;
pub(crate) use survey::settle_open_attempts;
pub(crate) use wire::Wire;

pub(crate) use outlast_media_core::{Done, End, Greeting};
