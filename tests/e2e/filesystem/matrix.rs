//! The cases and the holes on the file systems that users have: from each to itself, to ours and from ours to it.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::kinds::{self, Disk};
use super::{cases, compare, holes, lost_by_restic, restores};
use crate::cluster::Cluster;
use crate::main_job::inside;

/// The restore points of a job, one for each item, in their order.
fn points(job: &Value) -> Vec<String> {
    assert_eq!(job["status"], "successful", "{job:#}");
    let items = job["items"].as_array().unwrap();
    let point = |item: &Value| item["restore_point"].as_str().unwrap().to_owned();
    items.iter().map(point).collect()
}

fn restored(cluster: &Cluster, point: &str, target: &Path, source: &Path) -> PathBuf {
    restores::restore(cluster, point, &[], target, &[], 0);
    inside(target, source)
}

#[test]
fn everything_comes_back_on_each_file_system() {
    let cluster = Cluster::start();
    let disks = kinds::mount_all(&cluster);
    let ours = cluster.place("ours");
    let mut mounted = vec![cases::make(&ours)];
    let mut sources = vec![ours.clone()];
    for disk in &disks {
        sources.push(disk.place("source"));
        mounted.push(cases::make(&disk.place("source")));
    }
    let items: Vec<&Path> = sources.iter().map(PathBuf::as_path).collect();
    cluster.apply_policy("disks", &items, "").expect(0);
    let points = points(&cluster.run_job("disks", 0));
    cluster.check_repository();
    for ((disk, source), point) in disks.iter().zip(&sources[1..]).zip(&points[1..]) {
        let name = disk.kind.name;
        eprintln!("--- {name}");
        let none: [&str; 0] = [];
        let back = restored(&cluster, point, &disk.place("back"), source);
        assert_eq!(
            compare::differences_but_for(source, &back, disk.kind.fractions),
            none,
            "{name}"
        );
        let to_ours = restored(&cluster, point, &cluster.place(&format!("from {name}")), source);
        assert_eq!(compare::differences(source, &to_ours), none, "{name}");
        from_ours(&cluster, disk, &ours, &points[0]);
        same_cases(disk, &ours, source);

        let by_restic = cluster.place(&format!("{name} by restic"));
        cluster.restic(&["restore", point, "--target", by_restic.to_str().unwrap()]);
        for line in compare::differences(source, &inside(&by_restic, source)) {
            assert!(lost_by_restic().contains(&line.as_str()), "{name}: {line}");
        }
    }
}

/// What this file system cannot hold is named by the restore, but for times: it makes the nearest of them that it has.
fn from_ours(cluster: &Cluster, disk: &Disk, ours: &Path, point: &str) {
    let missing: Vec<_> = disk
        .kind
        .cannot
        .iter()
        .filter_map(|row| row.strip_suffix(": missing")?.rsplit('/').next())
        .collect();
    let code = if missing.is_empty() { 0 } else { 3 };
    let target = disk.place("from ours");
    let job = restores::restore(cluster, point, &[], &target, &[], code);
    assert_eq!(restores::exceptions(cluster, &job), missing, "{}", disk.kind.name);
    let lost = compare::differences_but_for(ours, &inside(&target, ours), disk.kind.fractions);
    assert_eq!(lost, disk.kind.cannot, "{}", disk.kind.name);
}

/// No case is left out but those of which it is known.
fn same_cases(disk: &Disk, ours: &Path, source: &Path) {
    let (here, there) = (restores::listed(source), restores::listed(ours));
    let lacking: Vec<_> = there.iter().filter(|path| !here.contains(path)).collect();
    let known = disk.kind.cannot.iter();
    let known: Vec<_> = known.filter_map(|row| row.strip_suffix(": missing")).collect();
    assert_eq!(lacking, known, "{}", disk.kind.name);
}

#[test]
fn s01_holes_come_and_go_on_each_file_system() {
    let cluster = Cluster::start();
    let disks = kinds::mount_all(&cluster);
    if disks.is_empty() {
        return;
    }
    let sources: Vec<_> = disks.iter().map(|disk| disk.place("holes")).collect();
    for source in &sources {
        holes::make_whole(source);
        holes::make_huge(&source.join("huge"));
    }
    let items: Vec<&Path> = sources.iter().map(PathBuf::as_path).collect();
    cluster.apply_policy("holes", &items, "").expect(0);
    let before = points(&cluster.run_job("holes", 0));
    sources
        .iter()
        .for_each(|source| holes::punch(&source.join("punched")));
    let after = points(&cluster.run_job("holes", 0));
    for (number, disk) in disks.iter().enumerate() {
        let (source, name) = (&sources[number], disk.kind.name);
        eprintln!("--- {name}");
        let whole = restored(&cluster, &before[number], &disk.place("before"), source);
        holes::assert_whole(&whole);
        let pierced = restored(&cluster, &after[number], &disk.place("after"), source);
        let huge = |folder: &Path| holes::data(&folder.join("huge"));
        assert!(huge(source) == huge(&pierced), "{name}");
        let content = |folder: &Path| std::fs::read(folder.join("punched")).unwrap();
        assert!(content(source) == content(&pierced), "{name}");
        assert!(holes::has_hole(&pierced.join("punched")), "{name}");
        assert!(!holes::has_hole(&pierced.join("stays")), "{name}");
    }
}
