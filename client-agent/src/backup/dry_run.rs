//! A dry run: the walks of a policy's items, as a backup makes them, into lists instead of a stream. Nothing is read but directories
//! (and, as in a backup, the `config` of what may be the repository), and nothing is kept.
//!
//! Blocks; run by `dry_runs` on a thread of its own.

use std::sync::Arc;

use outlast_kit::shutdown::Shutdown;
use outlast_proto::v1::{DryRunPart, DryRunQuestion};
use tokio::sync::mpsc::unbounded_channel;

use super::budget::Stopping;
use super::event::Event;
use super::health::Health;
use super::lister::{Lister, Wanted};
use super::repository::OwnRepository;
use super::walker::Walker;
use crate::host::owners::Owners;
use crate::progress::Progress;

/// What is asked.
pub(crate) struct DryRun {
    items: Vec<String>,
    exclude: Vec<String>,
    own: Option<OwnRepository>,
    wanted: Wanted,
}

impl DryRun {
    pub(crate) fn of_question(question: DryRunQuestion) -> Self {
        let policy = question.policy.unwrap_or_default();
        Self {
            items: policy.items,
            exclude: policy.exclude,
            own: OwnRepository::of_message(&question.repository_config_sha256),
            wanted: Wanted {
                left_out_only: question.left_out_only,
                most: question.most_entries.unwrap_or(u64::MAX),
            },
        }
    }

    /// Walks item after item and hands on what is found, until the end, `stop`, or until `send` says that nobody wants it; whether that was
    /// everything.
    pub(crate) fn run(
        mut self,
        progress: &Progress,
        stop: &Shutdown,
        mut send: impl FnMut(DryRunPart) -> bool,
    ) -> bool {
        let owners = Arc::default();
        for item in std::mem::take(&mut self.items) {
            let part = self.item(item, &owners, (progress, stop), &mut |part| {
                if send(part) { Ok(()) } else { Err(Stopping) }
            });
            if !part.is_ok_and(&mut send) {
                return false;
            }
        }
        true
    }

    /// The last part of the item.
    fn item(
        &mut self,
        item: String,
        owners: &Arc<Owners>,
        (progress, stop): (&Progress, &Shutdown),
        send: &mut super::lister::Send<'_>,
    ) -> Result<DryRunPart, Stopping> {
        let (told, mut events) = unbounded_channel();
        let health = Arc::new(Health::new(told.clone(), stop.clone()));
        let walker = Walker {
            path: item.clone(),
            exclude: self.exclude.clone(),
            own: self.own.clone(),
            health: Arc::clone(&health),
            owners: Arc::clone(owners),
            place: progress.place(),
            events: told,
        };
        let mut lister = Lister::new(item, &mut self.wanted, &health, send);
        walker.work(&mut lister);
        let mut part = lister.end();
        let (mut error, mut has_ended) = (None, false);
        while let Ok(event) = events.try_recv() {
            match event {
                Event::Failed(failed) => error = Some(failed),
                Event::Remark(path, remark) => part.remarks.push(format!("{path} {remark}")),
                Event::WalkEnded { .. } => has_ended = true,
                // Of readers and workers, which a dry run has none of.
                _ => {}
            }
        }
        if has_ended && error.is_none() && health.is_in_doubt() {
            error = health.verdict();
        }
        if stop.has_begun() || !(has_ended || error.is_some()) {
            return Err(Stopping);
        }
        if let Some(ended) = &mut part.item_ended {
            ended.error = error;
        }
        Ok(part)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::process::CommandExt as _;
    use std::path::Path;
    use std::process::Command;

    use outlast_kit::clock::SystemClock;
    use outlast_kit::shutdown::Shutdown;
    use outlast_proto::v1::{DryRunEntry, DryRunItem, DryRunPart, DryRunQuestion, EntryFate, Policy};

    use super::DryRun;
    use crate::progress::Progress;

    fn question(item: &Path, exclude: &[&str]) -> DryRunQuestion {
        DryRunQuestion {
            policy: Some(Policy {
                items: vec![item.to_str().unwrap().to_owned()],
                exclude: exclude.iter().map(|pattern| (*pattern).to_owned()).collect(),
                ..Policy::default()
            }),
            ..DryRunQuestion::default()
        }
    }

    /// All entries, and the end of the last item.
    fn run(question: DryRunQuestion) -> (Vec<DryRunEntry>, DryRunItem) {
        let progress = Progress::new(SystemClock::shared());
        let mut parts: Vec<DryRunPart> = Vec::new();
        let is_whole = DryRun::of_question(question).run(&progress, &Shutdown::new(), |part| {
            parts.push(part);
            true
        });
        assert!(is_whole);
        let ended = parts.last().and_then(|part| part.item_ended.clone()).unwrap();
        (parts.into_iter().flat_map(|part| part.entries).collect(), ended)
    }

    fn of(entries: &[DryRunEntry], fate: EntryFate) -> Vec<(String, String)> {
        let found = entries.iter().filter(|entry| entry.fate() == fate);
        found
            .map(|entry| (entry.path.clone(), format!("{}{}", entry.pattern, entry.reason)))
            .collect()
    }

    #[test]
    fn t90_what_is_taken_and_left_out_is_listed_with_the_reason() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("root");
        fs::create_dir_all(root.join("a/.cache/deep")).unwrap();
        fs::write(root.join("a/kept"), b"four").unwrap();
        fs::write(root.join("a/x.tmp"), b"x").unwrap();
        fs::write(root.join("empty"), b"").unwrap();
        std::os::unix::fs::symlink("a", root.join("link")).unwrap();
        let patterns = ["**/.cache/", "*.tmp"];
        let (entries, ended) = run(question(&root, &patterns));
        let at = |name: &str| format!("{}{name}", root.to_str().unwrap());
        let taken = of(&entries, EntryFate::Taken).into_iter().map(|(path, _)| path);
        let expected = ["", "/a", "/a/kept", "/empty", "/link"].map(at);
        assert_eq!(taken.collect::<Vec<_>>(), expected);
        let left_out = [
            (at("/a/.cache"), patterns[0].to_owned()),
            (at("/a/x.tmp"), patterns[1].to_owned()),
        ];
        assert_eq!(of(&entries, EntryFate::LeftOut), left_out);
        let numbers = (
            ended.files,
            ended.directories,
            ended.bytes,
            ended.left_out,
            ended.exceptions,
        );
        assert_eq!(numbers, (3, 2, 4, 2, 0));
        assert_eq!(ended.error, None);

        // What is not listed is counted.
        let few = DryRunQuestion {
            most_entries: Some(1),
            left_out_only: true,
            ..question(&root, &patterns)
        };
        let (entries, again) = run(few);
        assert_eq!(of(&entries, EntryFate::LeftOut), left_out[..1]);
        assert_eq!((entries.len(), again), (1, ended));

        // An item that is a file, and one that is not there.
        let (entries, ended) = run(question(&root.join("a/kept"), &[]));
        assert_eq!((entries[0].path.clone(), ended.files), (at("/a/kept"), 1));
        let (entries, ended) = run(question(&root.join("none"), &[]));
        assert_eq!(
            (entries.len(), ended.error.map(|error| error.code)),
            (0, Some(71))
        );
        let (entries, ended) = run(question(Path::new("/proc"), &[]));
        assert_eq!((ended.directories, ended.exceptions), (1, 1));
        assert!(entries[1].reason.contains("view into the kernel"), "{entries:?}");
    }

    #[test]
    fn t90_the_content_of_a_view_into_the_kernel_is_left_out_and_said() {
        let (entries, ended) = run(question(Path::new("/"), &["/*", "!/proc"]));
        let found = of(&entries, EntryFate::LeftOut);
        let proc = found.iter().find(|(path, _)| path == "/proc").unwrap();
        assert!(proc.1.contains("view into the kernel"), "{proc:?}");
        assert_eq!(ended.directories, 2);
    }

    #[test]
    fn t90_a_walk_that_nobody_waits_for_goes_no_further() {
        let temp = tempfile::tempdir().unwrap();
        for number in 0..2000 {
            fs::write(temp.path().join(format!("{number:0200}")), b"x").unwrap();
        }
        let progress = Progress::new(SystemClock::shared());
        let mut parts = 0;
        let is_whole =
            DryRun::of_question(question(temp.path(), &[])).run(&progress, &Shutdown::new(), |part| {
                parts += 1;
                assert!(part.entries.len() < 200, "parts are small");
                parts < 2
            });
        assert_eq!((is_whole, parts), (false, 2));
        let stop = Shutdown::new();
        stop.begin();
        let is_whole = DryRun::of_question(question(temp.path(), &[])).run(&progress, &stop, |_| panic!());
        assert!(!is_whole);
    }

    /// Run by the test below, as a user that may not read everything.
    #[test]
    fn as_nobody() {
        let Ok(root) = std::env::var("OUTLAST_TEST_AS_NOBODY") else {
            return;
        };
        let root = Path::new(&root);
        let (entries, ended) = run(question(root, &[]));
        let found = of(&entries, EntryFate::Exception);
        let reasons: Vec<_> = found
            .iter()
            .map(|(path, reason)| (path.as_str(), reason.as_str()))
            .collect();
        let (secret, closed) = (root.join("secret"), root.join("closed"));
        assert_eq!(
            reasons,
            [
                (
                    closed.to_str().unwrap(),
                    "the directory cannot be read: Permission denied (os error 13)"
                ),
                (
                    secret.to_str().unwrap(),
                    "cannot be opened: Permission denied (os error 13)"
                ),
            ]
        );
        // A directory that cannot be read is kept, empty.
        assert_eq!((ended.files, ended.directories, ended.exceptions), (1, 2, 2));
    }

    #[test]
    fn t90_what_cannot_be_read_is_said_without_opening_it() {
        if !rustix::process::geteuid().is_root() {
            return eprintln!("NOT RUN: only root can become somebody else");
        }
        let temp = tempfile::tempdir().unwrap();
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        };
        mode(temp.path(), 0o755);
        let (root, program) = (temp.path().join("root"), temp.path().join("test"));
        fs::create_dir_all(root.join("closed/below")).unwrap();
        mode(&root.join("closed"), 0o700);
        fs::write(root.join("open"), b"x").unwrap();
        fs::write(root.join("secret"), b"x").unwrap();
        mode(&root.join("secret"), 0o600);
        fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        mode(&program, 0o755);
        let ran = Command::new(&program)
            .args(["--exact", "backup::dry_run::tests::as_nobody"])
            .env("OUTLAST_TEST_AS_NOBODY", &root)
            .uid(65534)
            .gid(65534)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success() && said.contains("1 passed"), "{said}");
    }
}
