//! Targets that go away, or whose path comes to lead elsewhere, while they are restored to (S-14e).

use std::fs;
use std::path::Path;
use std::process::Command;

use outlast_client_agent::attempt::Ends;
use outlast_proto::v1::Overwrite;
use outlast_test_filesystems::{At, Odd, can_mount, mount};

use crate::media_agent::{MediaAgent, Script, restore_ticket};
use crate::restore::one_file;

/// What `--to` says when `change` came while a file was written.
async fn restored_while(change: impl FnOnce(&Path, &Path)) -> Option<(u32, String)> {
    let temp = tempfile::tempdir().unwrap();
    let [backing, at] = ["backing", "at"].map(|name| temp.path().join(name));
    for folder in [&backing, &at] {
        fs::create_dir(folder).unwrap();
    }
    let odd = Odd::new();
    let mounted = mount(&backing, &at, odd.clone()).unwrap();
    let to = at.join("to");
    fs::create_dir(&to).unwrap();
    // The first one is the test of the target.
    let hang = odd.hangs(At::anywhere().calls(&["write"]).after(1));
    let agent = MediaAgent::new(Script {
        restores: one_file(b"file"),
        ..Script::default()
    });
    let ticket = restore_ticket(&to, Overwrite::Never);
    let run = async { agent.run(&ticket, Ends::default()).await.unwrap() };
    let changes = async {
        let hang = tokio::task::spawn_blocking(move || {
            hang.wait();
            hang
        });
        let hang = hang.await.unwrap();
        change(&at, &to);
        hang.release();
    };
    tokio::time::timeout(std::time::Duration::from_secs(300), async {
        tokio::join!(run, changes)
    })
    .await
    .expect("the restore ends");
    drop(mounted);
    let error = agent.told().restored.unwrap().error?;
    assert!(error.text.starts_with(to.to_str().unwrap()), "{}", error.text);
    Some((error.code, error.text))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t90_s14e_a_target_that_its_path_does_not_lead_to_any_more_is_1201() {
    if !can_mount() {
        return;
    }
    let moved = |_: &Path, to: &Path| fs::rename(to, to.with_extension("moved")).unwrap();
    let replaced = |at: &Path, to: &Path| {
        moved(at, to);
        fs::create_dir(to).unwrap();
    };
    let unmounted = |at: &Path, to: &Path| {
        assert!(
            Command::new("umount")
                .arg("--lazy")
                .arg(at)
                .status()
                .unwrap()
                .success()
        );
        fs::create_dir(to).unwrap();
    };
    for (what, said) in [
        (restored_while(moved).await, "nothing is there any more"),
        (restored_while(replaced).await, "another folder is there by now"),
        (
            restored_while(unmounted).await,
            "another file system is there by now",
        ),
    ] {
        let (code, text) = what.expect("it is an error");
        assert_eq!(code, 1201, "{text}");
        assert!(text.contains(said), "{text}");
    }
    assert_eq!(restored_while(|_, _| ()).await, None);
}
