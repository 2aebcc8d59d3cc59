//! Mistakes that can be planted, to show that the simulation finds them. They live in the model around the pure machines (its
//! disks, its leader, its nodes); nothing a real daemon is built of can be switched.

/// Which mistakes are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mistakes {
    /// The media agent's journal is not synced before it is acted upon.
    pub no_fsync: bool,
    /// Packs are not synced before an index names them.
    pub no_pack_sync: bool,
    /// The leader takes every submission for a new one.
    pub no_deduplication: bool,
    /// The leader asks an agent for all events that the agent does not know to be recorded, and takes each for a new one.
    pub no_event_deduplication: bool,
    /// The leader acknowledges events when it has written them to its own log.
    pub acknowledge_before_commit: bool,
    /// A node applies what it learns at once in the order of time stamps, not of the log.
    pub decide_by_clock: bool,
    /// The client answers before its ticket is on disk.
    pub forget_highest_attempt: bool,
    /// The media agent ends resilient attempts, too, when it has no primary.
    pub give_up_without_primary: bool,
    /// The media agent looks at the numbers of events only, not at who wrote them.
    pub trust_numbers: bool,
    /// The leader welcomes agents without asking whether it still leads.
    pub welcome_unconfirmed: bool,
}
