//! S-14b: index files that are lost or damaged are noticed, and what the packs hold is made known again; what is lost for good is
//! named. Judged by plain restic.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::path::{Path, PathBuf};

use support::harm::{backed_up, details, files, restored};
use support::home::{ITEM, home, with_backup};
use support::source::{Source, dir, file};
use support::world::{RunningAgent, World};

fn index_files(world: &World) -> Vec<PathBuf> {
    let files = std::fs::read_dir(world.storage().join("index")).unwrap();
    files.map(|file| file.unwrap().path()).collect()
}

/// Something else, which shares nothing with the first backup.
fn other() -> Source {
    dir([("other.txt", file("other"))])
}

async fn backup(world: &World, agent: &RunningAgent, job: u64, parent: &[u8], source: &Source) -> Vec<u8> {
    let mut ticket = world.ticket(job, 1, &[Path::new(ITEM)]);
    ticket.items[0].parent_snapshot = parent.to_vec().into();
    backed_up(world, agent, &ticket, source).await
}

async fn comes_back(world: &World, agent: &RunningAgent, job: u64, snapshot: &[u8]) {
    let (found, code) = restored(world, agent, job, snapshot).await;
    assert_eq!(code, 0, "job {job}");
    assert!(found == files(&home()), "job {job}");
}

/// Removes or damages the index files, so that the first backup can be read by nobody.
fn harm(world: &World, is_lost: bool) -> Vec<PathBuf> {
    let files = index_files(world);
    for file in &files {
        if is_lost {
            std::fs::remove_file(file).unwrap();
        } else {
            let mut bytes = std::fs::read(file).unwrap();
            let at = bytes.len() / 2;
            bytes[at] ^= 1;
            std::fs::write(file, bytes).unwrap();
        }
    }
    assert!(!world.restic(&["check"]).status.success());
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_s14b_what_index_files_named_that_are_lost_is_known_again() {
    for (is_up, restores_first) in [(true, false), (true, true), (false, false), (false, true)] {
        let row = format!("up: {is_up}, a restore first: {restores_first}");
        let (world, mut agent, first) = with_backup().await;
        if is_up {
            harm(&world, true);
        } else {
            agent.stop().await;
            harm(&world, true);
            agent = world.agent("media-1").await;
        }
        if restores_first {
            comes_back(&world, &agent, 2, &first).await;
        }
        let second = backup(&world, &agent, 3, &first, &other()).await;
        let said = details(&world, 3).await;
        if restores_first {
            assert_eq!(said, Vec::<String>::new(), "{row}");
        } else {
            assert!(
                said.len() == 2
                    && said[0].contains("index files are lost")
                    && said[1].contains("in a new index file"),
                "{row}: {said:?}"
            );
        }
        comes_back(&world, &agent, 4, &first).await;
        backup(&world, &agent, 5, &second, &home()).await;
        assert_eq!(details(&world, 5).await, Vec::<String>::new(), "{row}");
        agent.stop().await;
        world.assert_clean();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_s14b_damaged_index_files_stop_nothing_and_are_named() {
    let (world, agent, first) = with_backup().await;
    agent.stop().await;
    let damaged = harm(&world, false);
    let agent = world.agent("media-1").await;
    let second = backup(&world, &agent, 2, &first, &other()).await;
    agent.stop().await;
    let agent = world.agent("media-1").await;
    comes_back(&world, &agent, 3, &first).await;
    backup(&world, &agent, 4, &second, &home()).await;
    for job in [2, 4] {
        let said = details(&world, job).await.join("\n");
        for file in &damaged {
            let name = file.file_name().unwrap().to_str().unwrap();
            assert!(
                said.contains(name) && said.contains("restic repair index"),
                "{job}: {said}"
            );
        }
    }
    // What they named is in new ones.
    damaged
        .iter()
        .for_each(|file| std::fs::remove_file(file).unwrap());
    let third = backup(&world, &agent, 5, &first, &home()).await;
    assert_eq!(details(&world, 5).await, Vec::<String>::new());
    comes_back(&world, &agent, 6, &third).await;
    comes_back(&world, &agent, 7, &first).await;
    agent.stop().await;
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_s14b_what_is_lost_with_its_index_is_named() {
    let (world, agent, first) = with_backup().await;
    harm(&world, true);
    std::fs::remove_dir_all(world.storage().join("data")).unwrap();
    std::fs::create_dir(world.storage().join("data")).unwrap();
    let (_, code) = restored(&world, &agent, 2, &first).await;
    assert_ne!(code, 0);
    let second = backup(&world, &agent, 3, &first, &other()).await;
    let said = details(&world, 3).await;
    let id: String = first.iter().map(|byte| format!("{byte:02x}")).collect();
    for (words, count) in [
        ("index files are lost", 1),
        ("restic repair index", 1),
        ("may not be restored wholly", 1),
        (&id, 1),
    ] {
        let found = said.iter().filter(|text| text.contains(words)).count();
        assert_eq!(found, count, "{words}: {said:?}");
    }
    // The same again: what is wrong is said, and who suffers not once more.
    backup(&world, &agent, 4, &second, &home()).await;
    let said = details(&world, 4).await;
    assert!(said.iter().any(|text| text.contains("still lead to")), "{said:?}");
    agent.stop().await;
}
