//! How a password file is read: exactly as restic reads one, so that the same file opens the same repository with both.
//!
//! A byte order mark says how the text is encoded (UTF-8, UTF-16), and white space at both ends does not count; everything else does,
//! line ends in the middle among it. Used by `config`.

/// The password in a file with this content; `None` if there is none in it.
///
/// # Errors
/// What is neither UTF-8 nor marked as UTF-16 is no text.
pub(crate) fn parse(content: &[u8]) -> Result<Option<String>, std::string::FromUtf8Error> {
    let text = match content {
        [0xef, 0xbb, 0xbf, text @ ..] => String::from_utf8(text.to_vec())?,
        [0xff, 0xfe, text @ ..] => utf16(text, u16::from_le_bytes),
        [0xfe, 0xff, text @ ..] => utf16(text, u16::from_be_bytes),
        text => String::from_utf8(text.to_vec())?,
    };
    let password = text.trim();
    Ok((!password.is_empty()).then(|| password.to_owned()))
}

fn utf16(text: &[u8], unit: fn([u8; 2]) -> u16) -> String {
    let units: Vec<u16> = text
        .chunks_exact(2)
        .map(|pair| unit([pair[0], pair[1]]))
        .collect();
    String::from_utf16_lossy(&units)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::{Command, Output};

    use outlast_repository::{LocalStorage, Password, Repository};

    use super::parse;

    fn restic(repository: &Path, password_file: &Path, command: &[&str]) -> Output {
        let mut restic = Command::new("restic");
        restic.arg("--no-cache").arg("-r").arg(repository);
        restic.arg("--password-file").arg(password_file).args(command);
        restic.output().expect("restic is installed")
    }

    #[test]
    fn t90_a_password_file_is_read_as_restic_reads_it() {
        let utf16 = |order: fn(u16) -> [u8; 2]| {
            let units = "\u{feff}secret\r\n".encode_utf16();
            units.flat_map(order).collect::<Vec<u8>>()
        };
        let (little, big) = (utf16(u16::to_le_bytes), utf16(u16::to_be_bytes));
        let files: [(&[u8], &str); 8] = [
            (b"secret", "secret"),
            (b"secret\n", "secret"),
            (b" \t secret \r\n\n", "secret"),
            ("\u{feff}secret\n".as_bytes(), "secret"),
            ("\u{a0}se cret\u{2003}\n".as_bytes(), "se cret"),
            (b"first\nsecond\n", "first\nsecond"),
            (&little, "secret"),
            (&big, "secret"),
        ];
        for (content, password) in files {
            assert_eq!(parse(content).unwrap().as_deref(), Some(password), "{content:?}");
            // restic makes the repository, this reads it.
            let folder = tempfile::tempdir().unwrap();
            let (file, repository) = (folder.path().join("password"), folder.path().join("repository"));
            std::fs::write(&file, content).unwrap();
            let made = restic(&repository, &file, &["init"]);
            assert!(made.status.success(), "{content:?}: {made:?}");
            let storage = std::sync::Arc::new(LocalStorage::new(&repository));
            let opened = Repository::open(storage, &Password::new(password.to_owned()));
            assert!(opened.is_ok(), "{content:?}: {opened:?}");
        }
        for empty in [&b""[..], b"\n", b" \r\n\t", &[0xef, 0xbb, 0xbf]] {
            assert_eq!(parse(empty).unwrap(), None, "{empty:?}");
        }
        assert!(parse(b"\xff\xffsecret").is_err());
    }
}
