//! S-14b: damage that a restore names is stored anew by the next backup, whichever media agent makes it.

use std::collections::BTreeSet;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::cluster::Cluster;
use crate::tree;

fn packs(cluster: &Cluster) -> BTreeSet<PathBuf> {
    let folders = std::fs::read_dir(cluster.data_dir().join("storage/data")).unwrap();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
    files.map(|file| file.unwrap().path()).collect()
}

fn flip(pack: &Path) {
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(pack)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 1000).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 1000).unwrap();
}

fn cut(pack: &Path) {
    let file = std::fs::File::options().write(true).open(pack).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
}

fn delete(pack: &Path) {
    std::fs::remove_file(pack).unwrap();
}

/// Restores into a folder of its own.
fn restore(cluster: &Cluster, point: &str, name: &str, code: i32) -> PathBuf {
    let to = cluster.place(name);
    let args = ["restore", point, "--to", to.to_str().unwrap(), "--wait"];
    cluster.try_run(&args).expect(code);
    to
}

#[test]
fn t90_s14b_what_a_restore_names_as_damaged_is_stored_anew() {
    let cluster = Cluster::start();
    type Harm = fn(&Path);
    let harms: [(&str, Harm, bool); 3] = [
        ("flip", flip, true),
        ("cut", cut, false),
        ("delete", delete, true),
    ];
    for (number, (name, harm, is_full)) in (1..).zip(harms) {
        let source = cluster.place(&format!("source-{name}"));
        std::fs::write(source.join("a file"), tree::noise(3 << 20, number)).unwrap();
        cluster.apply_policy(name, &[&source], "").expect(0);
        let before = packs(&cluster);
        let point_of =
            |job: &serde_json::Value| job["items"][0]["restore_point"].as_str().unwrap().to_owned();
        let first = point_of(&cluster.run_job(name, 0));
        let after = packs(&cluster);
        let new = after.difference(&before);
        let pack = new
            .max_by_key(|pack| std::fs::metadata(pack).unwrap().len())
            .unwrap();
        harm(pack);
        // Nothing else is in it: nothing could be restored.
        restore(&cluster, &first, &format!("damaged-{name}"), 1);
        let mut args = vec!["-o", "json", "job", "run", name, "--wait"];
        args.extend(is_full.then_some("--full"));
        let job = cluster.try_run(&args).expect(0).json();
        let details = cluster
            .run(&["job", "details", job["id"].as_str().unwrap()])
            .stdout;
        assert!(details.contains("stored anew"), "{details}");
        for (point, place) in [(point_of(&job), "second"), (first, "first")] {
            let to = restore(&cluster, &point, &format!("{place}-{name}"), 0);
            tree::assert_same(&source, &to.join(source.strip_prefix("/").unwrap()));
        }
    }
}
