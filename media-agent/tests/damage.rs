//! S-14b: what was read as damaged or missing counts as absent from then on, over restarts and for every media agent of the
//! storage unit; content is stored anew, and the job's details say so and name what still suffers. Judged by plain restic.
//! What is damaged while a job runs is in `damage_meanwhile`.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::path::Path;

use outlast_repository::BlobKind;
use support::harm::{Harm, backed_up, details, do_harm, files, pack, repair_with_restic, restored};
use support::home::{ITEM, home, with_backup};
use support::source::{dir, file};
use support::world::World;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Who {
    TheSame,
    AfterARestart,
    /// One that has nothing of the first but the storage unit.
    AnotherAgent,
}

/// What is damaged is read only with all the data, and is all that is wrong.
fn restic_names_only(world: &World, pack: &Path) {
    let checked = world.restic(&["check", "--read-data"]);
    let said = String::from_utf8_lossy(&checked.stderr);
    let wrong: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("Pack ID does not match"))
        .collect();
    assert!(!checked.status.success() && wrong.len() == 1, "{said}");
    assert!(
        wrong[0].contains(pack.file_name().unwrap().to_str().unwrap()),
        "{said}"
    );
    assert!(!said.contains("error for tree"), "{said}");
}

async fn damage_is_healed(harm: Harm, is_data: bool, is_full: bool, who: Who) {
    let row = format!("{harm:?}, data: {is_data}, full: {is_full}, {who:?}");
    let (world, mut agent, first) = with_backup().await;
    let kind = if is_data { BlobKind::Data } else { BlobKind::Tree };
    let pack = pack(&world, kind);
    do_harm(&pack, harm);
    let (files_back, code) = restored(&world, &agent, 2, &first).await;
    assert_ne!(code, 0, "{row}");
    assert_ne!(files_back, files(&home()), "{row}");
    match who {
        Who::TheSame => {}
        Who::AfterARestart => {
            agent.stop().await;
            agent = world.agent("media-1").await;
        }
        Who::AnotherAgent => {
            agent.stop().await;
            std::fs::remove_dir_all(world.dir.path().join("data-media-1")).unwrap();
            agent = world.agent("media-1").await;
        }
    }
    let mut ticket = world.ticket(3, 1, &[Path::new(ITEM)]);
    ticket.full = is_full;
    if !is_full {
        ticket.items[0].parent_snapshot = first.clone().into();
    }
    let second = backed_up(&world, &agent, &ticket, &home()).await;
    let said = details(&world, 3).await;
    assert!(
        said.iter().any(|text| text.contains("count as absent")),
        "{row}: {said:?}"
    );
    assert!(
        said.iter().any(|text| text.contains("stored anew, because")),
        "{row}: {said:?}"
    );
    assert!(
        !said
            .iter()
            .any(|text| text.contains("may not be restored wholly")),
        "{row}: {said:?}"
    );
    for (job, snapshot) in [(4, &second), (5, &first)] {
        let (files_back, code) = restored(&world, &agent, job, snapshot).await;
        assert_eq!(code, 0, "{row}");
        assert!(files_back == files(&home()), "{row}");
    }
    // A later backup has nothing to tell and nothing to do.
    let mut ticket = world.ticket(6, 1, &[Path::new(ITEM)]);
    ticket.items[0].parent_snapshot = second.clone().into();
    backed_up(&world, &agent, &ticket, &home()).await;
    assert_eq!(details(&world, 6).await, Vec::<String>::new(), "{row}");
    // Restic says what is wrong with the old pack, and no more; without it all is well.
    if harm == Harm::Flip {
        restic_names_only(&world, &pack);
    } else {
        repair_with_restic(&world, &pack);
        let out = world.dir.path().join("out");
        world.restic_restore(&second, &out);
        world.restic_restore(&first, &out);
        let big = std::fs::read(out.join("srv/home/big.bin")).unwrap();
        assert!(big == files(&home())["/srv/home/big.bin"], "{row}");
    }
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_s14b_a_flipped_pack_is_stored_anew() {
    for (is_data, is_full, who) in [
        (true, true, Who::TheSame),
        (true, false, Who::AfterARestart),
        (true, true, Who::AnotherAgent),
        (false, true, Who::AfterARestart),
        (false, false, Who::TheSame),
    ] {
        damage_is_healed(Harm::Flip, is_data, is_full, who).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_s14b_a_cut_pack_is_stored_anew() {
    for (is_data, is_full, who) in [
        (true, true, Who::TheSame),
        (true, false, Who::AnotherAgent),
        (false, true, Who::AfterARestart),
        (false, false, Who::TheSame),
    ] {
        damage_is_healed(Harm::Cut, is_data, is_full, who).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_s14b_a_missing_pack_is_stored_anew() {
    for (is_data, is_full, who) in [
        (true, true, Who::AfterARestart),
        (true, false, Who::TheSame),
        (false, true, Who::TheSame),
        (false, false, Who::AnotherAgent),
    ] {
        damage_is_healed(Harm::Delete, is_data, is_full, who).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_s14b_missing_packs_are_found_without_a_restore() {
    let (world, agent, first) = with_backup().await;
    do_harm(&pack(&world, BlobKind::Data), Harm::Delete);
    let mut ticket = world.ticket(2, 1, &[Path::new(ITEM)]);
    ticket.items[0].parent_snapshot = first.clone().into();
    let second = backed_up(&world, &agent, &ticket, &home()).await;
    let (files_back, code) = restored(&world, &agent, 3, &second).await;
    assert_eq!(code, 0);
    assert!(files_back == files(&home()));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_s14b_restore_points_that_stay_damaged_are_named_once() {
    let (world, agent, first) = with_backup().await;
    do_harm(&pack(&world, BlobKind::Data), Harm::Delete);
    // The large files are gone at the source.
    let source = dir([("notes", dir([("a.txt", file("a".repeat(5000)))]))]);
    let ticket = world.ticket(2, 1, &[Path::new(ITEM)]);
    let second = backed_up(&world, &agent, &ticket, &source).await;
    let said = details(&world, 2).await;
    let id: String = first.iter().map(|byte| format!("{byte:02x}")).collect();
    let named: Vec<&String> = said
        .iter()
        .filter(|text| text.contains("may not be restored wholly"))
        .collect();
    assert_eq!(named.len(), 1, "{said:?}");
    assert!(
        named[0].contains(&id) && named[0].contains(ITEM) && named[0].contains("/srv/home/big.bin"),
        "{named:?}"
    );
    let mut ticket = world.ticket(3, 1, &[Path::new(ITEM)]);
    ticket.items[0].parent_snapshot = second.into();
    backed_up(&world, &agent, &ticket, &source).await;
    let said = details(&world, 3).await;
    assert_eq!(
        said.len(),
        1,
        "what counts as absent, and not again who suffers: {said:?}"
    );
    agent.stop().await;
}
