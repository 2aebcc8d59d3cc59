//! A future whose panic is an error. Called by `Tasks`, and where a task cannot be one of a daemon's `Tasks`.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use super::planted;

/// What the future of the task `name` gives.
///
/// # Errors
/// The words of its panic; what it said and where is on standard error.
pub async fn caught<F: Future>(name: &str, future: F) -> Result<F::Output, String> {
    let mut future = pin!(future);
    poll_fn(|context| {
        // A future that panicked is not polled again.
        let poll = AssertUnwindSafe(|| {
            planted::go_off(name);
            future.as_mut().poll(context)
        });
        match catch_unwind(poll) {
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(panic) => Poll::Ready(Err(words(&*panic))),
        }
    })
    .await
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".to_owned())
}
