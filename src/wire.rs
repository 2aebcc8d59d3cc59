//! From the API's numbers and stamps to the words and times of CLI.md. No documents and no decisions.

use outlast_proto::v1;

/// An enum of the API that has a word for each value.
pub(crate) trait Word: TryFrom<i32> + Copy {
    /// What the names of its values begin with in the .proto file.
    const PREFIX: &'static str;
    fn name(&self) -> &'static str;
    fn of_name(name: &str) -> Option<Self>;
}

macro_rules! words {
    ($($kind:ident = $prefix:literal),+ $(,)?) => {$(
        impl Word for v1::$kind {
            const PREFIX: &'static str = $prefix;
            fn name(&self) -> &'static str { self.as_str_name() }
            fn of_name(name: &str) -> Option<Self> { Self::from_str_name(name) }
        }
    )+};
}

words! {
    JobState = "JOB_STATE_",
    CompletionStatus = "COMPLETION_STATUS_",
    ItemOutcome = "ITEM_OUTCOME_",
    JobKind = "JOB_KIND_",
    AgentKind = "AGENT_KIND_",
    AgentState = "AGENT_STATE_",
    SelectionMethod = "SELECTION_METHOD_",
    Severity = "SEVERITY_",
    Stopped = "STOPPED_",
}

/// The word of a value: none for "unspecified", a word with the number for one this version does not know.
pub(crate) fn word<E: Word>(value: i32) -> Option<String> {
    if value == 0 {
        return None;
    }
    Some(match E::try_from(value) {
        Ok(known) => known.name().trim_start_matches(E::PREFIX).to_lowercase(),
        Err(_) => format!("unknown_{value}"),
    })
}

/// The value of a word.
pub(crate) fn of_word<E: Word>(word: &str) -> Option<E> {
    E::of_name(&format!("{}{}", E::PREFIX, word.to_uppercase()))
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
    use outlast_proto::{v1, words};

    use super::{Word, of_word, word};

    fn check<E: Word + Into<i32>>(expected: impl Iterator<Item = &'static str>) {
        for expected in expected {
            let value = of_word::<E>(expected).unwrap_or_else(|| panic!("{expected} is no value"));
            assert_eq!(word::<E>(value.into()).as_deref(), Some(expected));
        }
    }

    #[test]
    fn the_api_has_exactly_the_words_of_the_specification() {
        check::<v1::JobState>(words::JobState::ALL.iter().map(|w| w.word()));
        check::<v1::CompletionStatus>(words::CompletionStatus::ALL.iter().map(|w| w.word()));
        check::<v1::ItemOutcome>(words::ItemOutcome::ALL.iter().map(|w| w.word()));
        check::<v1::JobKind>(words::JobKind::ALL.iter().map(|w| w.word()));
        check::<v1::AgentKind>(words::AgentKind::ALL.iter().map(|w| w.word()));
        check::<v1::AgentState>(words::AgentState::ALL.iter().map(|w| w.word()));
        check::<v1::SelectionMethod>(words::SelectionMethod::ALL.iter().map(|w| w.word()));
        check::<v1::Severity>(words::Severity::ALL.iter().map(|w| w.word()));
        check::<v1::Stopped>(words::Stopped::ALL.iter().map(|w| w.word()));
    }

    #[test]
    fn unspecified_is_none_and_unknown_survives() {
        assert_eq!(word::<v1::JobState>(0), None);
        assert_eq!(word::<v1::JobState>(99).as_deref(), Some("unknown_99"));
    }
}
