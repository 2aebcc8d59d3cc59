//! What a media agent decides, without what it does: no files, no network, no clock, no tasks.
//!
//! [`Ledger`] is the journal without its disk, [`Known`] what its records say of attempts, [`Fold`] what
//! is left out of one that grows too large; [`Roster`] says which attempt may
//! run, [`attempt`] in which order one lives, [`backup`] in which its work is done, [`Ending`] how one ends, [`survey`] what the storage unit's word makes of one that was left open, [`session`] how the
//! journal goes to a leader. Called by `outlast-media-agent`, which does what is decided here, and by the simulation.

pub mod attempt;
pub mod backup;
pub mod contact;
mod ending;
mod exceptions;
mod fault;
mod finished;
mod fold;
pub mod kept;
mod known;
mod ledger;
mod record;
mod roster;
pub mod session;
pub mod stamps;
pub mod survey;
mod tally;
mod writers;

pub use ending::{Done, End, Ending, Halt};
pub use exceptions::ExceptionLog;
pub use fault::{Fault, shorten, told_by_client};
pub use finished::{Finished, FoundItem};
pub use fold::{FOLD_FROM, Fold};
pub use known::{Known, Standing};
pub use ledger::{Gap, Ledger};
pub use outlast_proto::words::AttemptId;
pub use record::{NewEvent, NewRecord, Record};
pub use roster::{Greeting, Judged, Roster, Showing, Stream};
pub use tally::Tally;
pub use writers::Writers;
