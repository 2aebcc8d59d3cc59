//! DESIGN 3: a newer cluster version comes into force when all members speak it, and who does not speak it takes no part.
#![allow(clippy::unwrap_used, reason = "tests; a script is read from top to bottom")]

mod support;

use outlast_kit::errors::with_causes;
use support::Group;

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_version_rises_with_the_last_member_and_an_older_one_stops() {
    // A group has the version that its founder speaks.
    let mut group = Group::start([1, 1, 1]).await;
    group.leader("a leader", |_| true).await;
    group.until_version(1).await;
    for node in [1, 2] {
        group.stop_node(node).await;
        group.start_node(node, 2).await;
        group.until_version(1).await;
    }
    // The last member is upgraded.
    group.stop_node(3).await;
    group.start_node(3, 2).await;
    group.until_version(2).await;
    // And set back: it must not apply what it does not understand.
    group.stop_node(3).await;
    group.start_node(3, 1).await;
    let error = with_causes(&group.ended(3).await.unwrap_err());
    assert!(
        error.contains("the group's version is 2, and this program speaks 1 at most"),
        "{error}"
    );
    group.leader_of(&[1, 2], "the others to go on", |_| true).await;
    group.start_node(3, 2).await;
    group.until_version(2).await;
    group.stop().await;
}
