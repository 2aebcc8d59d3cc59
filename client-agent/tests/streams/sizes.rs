//! A file is read to its end, whatever its file system says of its length.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use outlast_proto::v1::FileEnd;
use outlast_test_filesystems::{Odd, can_mount, mount};

use crate::backup::{DONE, backup};
use crate::limits::excepted;
use crate::media_agent::{Script, Told, nodes};
use crate::trees::noise;

/// Of each file its content as it is kept, and its end.
fn files(told: &Told) -> HashMap<String, (Vec<u8>, FileEnd)> {
    let stored = &told.items[0];
    let read = nodes(&stored.entries)
        .into_iter()
        .filter_map(|node| Some((node, stored.ends.get(&node.number)?.clone())));
    read.map(|(node, end)| {
        let name = String::from_utf8_lossy(&node.name).into_owned();
        (name, (told.content(0, node.number), end))
    })
    .collect()
}

/// As with `direct_io`: mounts of clouds that do not know a length say 0, and others remember an old one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t90_s02_a_file_that_holds_more_than_its_size_is_stored_whole() {
    if !can_mount() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let (backing, at) = (temp.path().join("backing"), temp.path().join("odd"));
    fs::create_dir(&backing).unwrap();
    fs::create_dir(&at).unwrap();
    let odd = Odd::new();
    let rows = [
        ("empty", 0, 0, ""),
        ("right", 12, 12, ""),
        ("of no size", 12, 0, ""),
        ("of half a size", 12, 5, ""),
        ("one more", 12, 11, ""),
        ("longer than a slab, of no size", 20 << 20, 0, ""),
        ("a slab, of no size", 8 << 20, 0, ""),
        ("longer than a slab, of a small one", 20 << 20, 10, ""),
        ("longer than a slab, of a long one", 20 << 20, 9 << 20, ""),
        ("shorter", 12, 20, "changed while it was read"),
        ("shorter and long", 9 << 20, 20 << 20, "changed while it was read"),
    ];
    for (name, length, said, _) in rows {
        fs::write(backing.join(name), noise(7, length)).unwrap();
        odd.says(name, said);
    }
    let mounted = mount(&backing, &at, odd).unwrap();
    let (outcome, told) = backup(mounted.path(), &[], Script::default()).await;
    assert_eq!(outcome.unwrap(), DONE);
    let files = files(&told);
    let found = excepted(&told.items[0].exceptions);
    for (name, length, said, reason) in rows {
        let (content, end) = &files[name];
        assert!(*content == noise(7, length), "{name}: {} bytes", content.len());
        assert_eq!((end.size, end.skipped), (length as u64, false), "{name}");
        assert!(
            end.young || said == length as u64,
            "{name}: it is read again next time"
        );
        let told: Vec<_> = found
            .iter()
            .filter(|(of, _)| *of == name)
            .map(|(_, why)| *why)
            .collect();
        let expected: Vec<_> = Some(reason)
            .into_iter()
            .filter(|reason| !reason.is_empty())
            .collect();
        assert_eq!(told, expected, "{name}");
    }
}

/// Lengths mean nothing there: 0 in /proc, a page in /sys.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t90_s02_what_an_item_within_proc_or_sys_holds_is_kept() {
    for (item, names) in [
        (
            "/proc/sys/kernel",
            &["hostname", "ostype", "osrelease", "version", "pid_max"][..],
        ),
        ("/proc/version", &["version"]),
        ("/sys/kernel/mm/transparent_hugepage", &["hpage_pmd_size"]),
    ] {
        let (outcome, told) = backup(Path::new(item), &[], Script::default()).await;
        assert_eq!(outcome.unwrap(), DONE, "{item}");
        assert_eq!(told.items[0].end.as_ref().unwrap().error, None, "{item}");
        let files = files(&told);
        for name in names {
            let path = if item.ends_with(name) {
                item.into()
            } else {
                Path::new(item).join(name)
            };
            let expected = fs::read(&path).unwrap();
            assert!(!expected.is_empty());
            assert_eq!(files[*name].0, expected, "{}", path.display());
            let found = excepted(&told.items[0].exceptions);
            assert!(!found.iter().any(|(of, _)| of == name), "{found:?}");
        }
    }
}

/// It has eight bytes for each page there could be: a quarter of a terabyte.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t90_s14d_a_file_of_proc_that_does_not_end_is_named() {
    let item = format!("/proc/{}/pagemap", std::process::id());
    let (outcome, told) = backup(Path::new(&item), &[], Script::default()).await;
    assert_eq!(outcome.unwrap(), DONE);
    let found = excepted(&told.items[0].exceptions);
    let reason = "it is left out: it has no end within 64 MiB, and its file system says that it has 0 bytes";
    assert_eq!(found, [("pagemap", reason)]);
    assert!(told.items[0].ends.values().all(|end| end.skipped));
}
