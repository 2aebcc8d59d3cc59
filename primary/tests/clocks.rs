//! DESIGN 3: a leader whose clock is off those of the others hands leadership over.
#![allow(clippy::unwrap_used, reason = "tests; a script is read from top to bottom")]

mod support;

use support::{Group, name};

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_clock_is_off_hands_over_and_one_of_few_seconds_does_not() {
    let group = Group::start([1; 3]).await;
    // Within what is tolerated.
    group.set_clock(2, -50);
    group.make_leader_for_good(2).await;
    // In the middle of its term.
    group.set_clock(2, -7200);
    group.leader("another leader", |leader| leader != name(2)).await;
    // Whoever is made the leader with a wrong clock gives it up at once.
    group.transfer(2).await;
    group
        .leader("another leader again", |leader| leader != name(2))
        .await;
    group.set_clock(2, 0);
    group.make_leader_for_good(2).await;
    group.stop().await;
}
