//! A storage unit that is not there is told before a job needs it.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use outlast_media_agent::Timing;
use support::home::with_backup;
use support::world::World;

async fn is_told(world: &World, is_there: bool) {
    let looked = |problem: String| match is_there {
        true => problem.is_empty(),
        false => {
            problem.contains("does not hold repository") && problem.contains("there is no such directory")
        }
    };
    (world.primary)
        .wait_for("what is said of the storage unit", |p| {
            looked(p.storage_problem())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_s14a_a_storage_unit_that_is_not_there_is_told_before_a_job_needs_it() {
    let (world, agent, _) = with_backup().await;
    agent.stop().await;
    let (storage, away) = (world.storage(), world.dir.path().join("away"));
    std::fs::rename(&storage, &away).unwrap();
    let timing = Timing {
        storage_look: Duration::from_millis(50),
        ..Timing::default()
    };
    let agent = world.agent_with("media-1", timing).await;
    is_told(&world, false).await;
    for _ in 0..2 {
        // While it runs, and nobody asks for it.
        std::fs::rename(&away, &storage).unwrap();
        is_told(&world, true).await;
        std::fs::rename(&storage, &away).unwrap();
        is_told(&world, false).await;
    }
    agent.stop().await;
    // Where nobody looks the coming and going of primaries makes it look.
    let agent = world.agent("media-1").await;
    is_told(&world, false).await;
    std::fs::rename(&away, &storage).unwrap();
    world.primary.end_session().await;
    is_told(&world, true).await;
    agent.stop().await;
}
