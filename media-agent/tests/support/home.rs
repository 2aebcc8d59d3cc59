//! A home directory, and a world with a backup of it.

use std::path::Path;

use outlast_kit::identity::Kind;

use super::client::BackupStream;
use super::source::{Source, dir, file, noise};
use super::world::{RunningAgent, World};

pub(crate) const ITEM: &str = "/srv/home";

pub(crate) fn home() -> Source {
    dir([
        ("big.bin", file(noise(3, 2_200_000))),
        ("empty", file([])),
        (
            "notes",
            dir([("a.txt", file("a".repeat(5000))), ("ä.txt", file("umlaut"))]),
        ),
        ("twin.bin", file(noise(3, 2_200_000))),
    ])
}

/// A world with one agent and one good backup; its snapshot.
pub(crate) async fn with_backup() -> (World, RunningAgent, Vec<u8>) {
    let world = World::new().await;
    let agent = world.agent("media-1").await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let ticket = world.ticket(1, 1, &[Path::new(ITEM)]);
    let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
    stream.welcome().await;
    let (.., snapshot) = stream.item(0, &home(), "home").await;
    assert_eq!(stream.over().await.code, 0);
    world.primary.end_of(1, 1).await;
    (world, agent, snapshot)
}
