//! Opens files to read them: what is no file blocks nobody, and who holds a lease on a file is waited for.
//!
//! An open that may not block fails on a file under a lease (`fcntl` `F_SETLEASE`, as Samba takes them for its clients), but a fifo
//! blocks an open that may. Used by backups, and by restores for files of their own.

use std::os::fd::{AsFd, OwnedFd};

use outlast_kit::calls::{fstat, openat};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::beneath::open_quietly;
use super::paths::by_descriptor;

/// Opens what `path` names in `folder`, never through a link in its last part, leaving no trace. For a lease it waits as long as the
/// kernel gives its holder, `/proc/sys/fs/lease-break-time` (45 s).
pub(crate) fn open_to_read(folder: impl AsFd, path: &[u8], more: OFlags) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | more;
    let opened = open_quietly(&folder, path, flags | OFlags::NOFOLLOW | OFlags::NONBLOCK);
    if !matches!(opened, Err(Errno::AGAIN)) {
        return opened;
    }
    // What this descriptor is of cannot be exchanged any more.
    let path_only = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let itself = openat(&folder, path, path_only, Mode::empty())?;
    if FileType::from_raw_mode(fstat(&itself)?.st_mode) != FileType::RegularFile {
        return opened;
    }
    loop {
        match open_quietly(CWD, by_descriptor(&itself).as_bytes(), flags) {
            Err(Errno::INTR) => {}
            opened => return opened,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _};
    use std::os::unix::ffi::OsStrExt as _;
    use std::process::{Child, Command, Stdio};

    use outlast_kit::calls::mknodat;
    use rustix::fs::{CWD, FileType, Mode, OFlags};

    use super::open_to_read;

    /// Holds a lease on the file until somebody else wants it, and a little longer.
    const HOLDER: &str = "
import fcntl, signal, sys, time
file = open(sys.argv[1], 'r+b')
def asked(*_):
    time.sleep(0.3)
    file.write(b'flushed')
    file.flush()
    fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    sys.exit()
signal.signal(signal.SIGIO, asked)
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print('held', flush=True)
while True:
    signal.pause()
";

    struct Holder(Child);

    impl Drop for Holder {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn t90_a_file_under_a_lease_is_opened_when_its_holder_lets_go() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        std::fs::write(&path, b"cached.").unwrap();
        let mut child = Command::new("python3");
        child.args(["-c", HOLDER]).arg(&path);
        let mut holder = Holder(child.stdout(Stdio::piped()).spawn().unwrap());
        let mut line = String::new();
        let mut said = BufReader::new(holder.0.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        assert_eq!(line, "held\n");
        let folder = std::fs::File::open(temp.path()).unwrap();
        let opened = open_to_read(&folder, b"file", OFlags::empty()).unwrap();
        let mut content = String::new();
        std::fs::File::from(opened).read_to_string(&mut content).unwrap();
        assert_eq!(content, "flushed", "what its holder had still to write is there");
    }

    #[test]
    fn f17_what_is_no_file_blocks_nobody_and_links_are_not_followed() {
        let temp = tempfile::tempdir().unwrap();
        let fifo = temp.path().join("fifo");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(open_to_read(CWD, fifo.as_os_str().as_bytes(), OFlags::empty()).is_ok());
        let link = temp.path().join("link");
        std::os::unix::fs::symlink("fifo", &link).unwrap();
        assert!(open_to_read(CWD, link.as_os_str().as_bytes(), OFlags::empty()).is_err());
    }
}
