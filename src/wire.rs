//! From the API's numbers and stamps to the words and times of CLI.md. No documents and no decisions.

use outlast_proto::words;

/// An enum that has a word for each value.
pub(crate) trait Word: Copy + 'static {
    /// Every value.
    const ALL: &'static [Self];
    fn from_wire(number: i32) -> Option<Self>;
    fn word(self) -> &'static str;
}

macro_rules! has_words {
    ($($name:ident),+ $(,)?) => {$(
        impl Word for words::$name {
            const ALL: &'static [Self] = words::$name::ALL;
            fn from_wire(number: i32) -> Option<Self> { words::$name::from_wire(number) }
            fn word(self) -> &'static str { words::$name::word(self) }
        }
    )+};
}

has_words!(
    JobState,
    CompletionStatus,
    ItemOutcome,
    JobKind,
    AgentKind,
    AgentAdmin,
    AgentState,
    UnitState,
    SelectionMethod,
    Severity,
    Stopped,
    Overwrite,
);

/// The word of a value: none for "unspecified", a word with the number for one this version does not know.
pub(crate) fn word<W: Word>(number: i32) -> Option<String> {
    match W::from_wire(number) {
        Some(known) => Some(known.word().to_owned()),
        None if number == 0 => None,
        None => Some(format!("unknown_{number}")),
    }
}

/// A moment; none for one that is not given or cannot be.
pub(crate) fn time(stamp: Option<&prost_types::Timestamp>) -> Option<jiff::Timestamp> {
    stamp.and_then(|stamp| jiff::Timestamp::new(stamp.seconds, stamp.nanos).ok())
}

/// A moment as the API has it.
pub(crate) fn stamp(time: jiff::Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: time.as_second(),
        nanos: time.subsec_nanosecond(),
    }
}

/// Empty texts of the API mean "none".
pub(crate) fn text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use outlast_proto::words::{CompletionStatus, JobState};

    use super::word;

    #[test]
    fn values_become_words() {
        for (number, expected) in [
            (0, None),
            (5, Some("waiting_for_retry")),
            (8, Some("done")),
            (99, Some("unknown_99")),
        ] {
            assert_eq!(word::<JobState>(number).as_deref(), expected);
        }
        let word = word::<CompletionStatus>(CompletionStatus::CanceledTimedOut.to_wire());
        assert_eq!(word.as_deref(), Some("canceled_timed_out"));
    }
}
