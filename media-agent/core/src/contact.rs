//! what an attempt ends with that is not resilient, or not marked yet, and has no primary. When, `attempt` says.

use std::time::Duration;

/// The fault of an attempt that has no mark when its grace is over; `may_get_mark`: it was dispatched as resilient.
#[must_use]
pub fn lost(grace: Duration, may_get_mark: bool) -> crate::Fault {
    let why = if may_get_mark {
        "before the attempt was marked as resilient"
    } else {
        "and the job is not resilient"
    };
    crate::Fault::broken(format!("no primary answered for {} s {why}", grace.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::lost;
    use std::time::Duration;

    #[test]
    fn t90_r03_a_job_that_has_no_mark_yet_is_not_called_not_resilient() {
        for (may_get_mark, said) in [
            (
                true,
                "no primary answered for 20 s before the attempt was marked as resilient",
            ),
            (false, "no primary answered for 20 s and the job is not resilient"),
        ] {
            assert_eq!(lost(Duration::from_secs(20), may_get_mark).text, said);
        }
    }
}
