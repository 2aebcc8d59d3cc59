//! A mirror that is mounted; it goes when its value goes, also when a test fails, and when the process is killed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use fuser::{BackgroundSession, Config, MountOption, SessionACL};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::guard::Guard;
use crate::layer::Layer;
use crate::nodes::Nodes;
use crate::opened::Opened;
use crate::served::Served;

/// Operations that can be under way at once. More than those that a layer holds up, or everything stands still.
const THREADS: usize = 8;
/// How long somebody may still have a file open when it goes.
const BUSY: Duration = Duration::from_secs(2);

/// `backing` seen through a layer at `at`. Files are served by threads of this process; those threads only ever touch the
/// backing folder, so a test may use the mount as any other folder. A file of it that is open when the process ends by
/// itself would keep the process: let the mount go after its files.
pub struct Mounted {
    at: PathBuf,
    layer: Arc<dyn Layer>,
    session: Option<BackgroundSession>,
    guard: Guard,
}

/// Needs root and `/dev/fuse`.
pub fn mount(backing: &Path, at: &Path, layer: impl Layer) -> io::Result<Mounted> {
    allow_many_files();
    let layer = Arc::new(layer);
    let at = at.canonicalize()?;
    let served = Served {
        nodes: Nodes::new(backing)?,
        opened: Opened::default(),
        layer: layer.clone(),
    };
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName("outlast-test".to_owned()),
        MountOption::DefaultPermissions,
        MountOption::Dev,
        MountOption::Suid,
    ];
    config.acl = SessionACL::All;
    config.n_threads = Some(THREADS);
    let guard = Guard::of(&at)?;
    let session = fuser::spawn_mount(served, &at, &config)?;
    Ok(Mounted {
        at,
        layer,
        session: Some(session),
        guard,
    })
}

/// Each inode that the kernel knows takes a file of this process.
fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, wanted) {
        eprintln!(
            "a mirror may run out of files: raising their number to {:?}: {error}",
            limit.maximum
        );
    }
}

impl Mounted {
    pub fn path(&self) -> &Path {
        &self.at
    }

    fn unmount(&mut self) {
        let deadline = Instant::now() + BUSY;
        loop {
            match unmount(&self.at, UnmountFlags::empty()) {
                Err(Errno::BUSY) if Instant::now() < deadline => sleep(Duration::from_millis(20)),
                // Somebody else did it.
                Ok(()) | Err(Errno::INVAL) => return self.guard.is_unmounted(),
                Err(error) => {
                    eprintln!("{}: unmounted by force: {error}", self.at.display());
                    break;
                }
            }
        }
        // What is under way fails with ENOTCONN.
        match unmount(&self.at, UnmountFlags::FORCE | UnmountFlags::DETACH) {
            Ok(()) => self.guard.is_unmounted(),
            Err(error) => eprintln!("{}: not unmounted: {error}", self.at.display()),
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.layer.ending();
        self.unmount();
        let Some(session) = self.session.take() else {
            return;
        };
        let deadline = Instant::now() + BUSY;
        while !session.guard.is_finished() && Instant::now() < deadline {
            sleep(Duration::from_millis(5));
        }
        if session.guard.is_finished() {
            if let Err(error) = session.join() {
                eprintln!("{}: the mirror ended with an error: {error}", self.at.display());
            }
        } else {
            eprintln!(
                "{}: something still has the mount that is gone",
                self.at.display()
            );
        }
    }
}
