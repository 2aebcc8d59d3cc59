//! Versions of the programs: which are too old, and between which a running attempt keeps its mark.
//!
//! Only reading and comparing. Used by `primary/core` for what is eligible, by the media agent when it meets a primary.

/// A program version, compared number by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Rises when much is new.
    pub major: u32,
    /// Rises when something is new.
    pub minor: u32,
    /// Rises when something was mended.
    pub patch: u32,
}

/// Between primaries of versions that begin so (major, minor), in either direction, running attempts keep their mark, beside
/// those of patch releases. A pair is declared by the release that brings the newer of the two, after the tests of R-13 ran between them.
const DECLARED: &[[(u32, u32); 2]] = &[];

impl Version {
    /// A version of three numbers.
    #[must_use]
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }

    /// Reads `1.2.3`, with or without something behind it; none for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let core = text.split(['-', '+']).next()?;
        let mut numbers = core.split('.').map(|number| number.parse().ok());
        let version = Self::new(numbers.next()??, numbers.next()??, numbers.next()??);
        numbers.next().is_none().then_some(version)
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Whether an attempt keeps its mark when the primary's version changes from one to the other: patch releases of one another,
/// and declared pairs. Versions that cannot be read, and what comes before a release (`1.2.0-rc1`), are compatible with themselves only.
#[must_use]
pub fn are_compatible(one: &str, other: &str) -> bool {
    are_declared(DECLARED, one, other)
}

fn are_declared(pairs: &[[(u32, u32); 2]], one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    let (Some(one), Some(other)) = (line_of(one), line_of(other)) else {
        return false;
    };
    one == other || pairs.contains(&[one, other]) || pairs.contains(&[other, one])
}

/// Of which versions it is a patch release, if it is a release.
fn line_of(text: &str) -> Option<(u32, u32)> {
    let is_release = !text.split('+').next()?.contains('-');
    let version = Version::parse(text).filter(|_| is_release)?;
    Some((version.major, version.minor))
}

#[cfg(test)]
mod tests {
    use super::{Version, are_compatible, are_declared};

    #[test]
    fn r11_versions_are_three_numbers() {
        for (text, version) in [
            ("1.2.3", Some(Version::new(1, 2, 3))),
            ("1.2.3-rc1", Some(Version::new(1, 2, 3))),
            ("1.2.3+linux", Some(Version::new(1, 2, 3))),
            ("1.2", None),
            ("1.2.3.4", None),
            ("1.2.x", None),
            ("1.2.-3", None),
            ("99999999999.0.0", None),
            ("", None),
        ] {
            assert_eq!(Version::parse(text), version, "{text}");
        }
        assert!(Version::new(0, 10, 0) > Version::new(0, 9, 9));
    }

    #[test]
    fn r13_patch_releases_are_compatible() {
        for (one, other, compatible) in [
            ("0.1.0", "0.1.0", true),
            ("0.1.0", "0.1.7", true),
            ("0.1.10", "0.1.9", true),
            ("0.1.0", "0.1.1+linux", true),
            ("0.1.0", "0.2.0", false),
            ("0.1.0", "1.1.0", false),
            ("1.9.9", "2.0.0", false),
            ("0.2.0-rc1", "0.2.0", false),
            ("0.2.0-rc1", "0.2.0-rc2", false),
            ("0.2.0-rc1", "0.2.0-rc1", true),
            ("0.1.0", "", false),
            ("", "0.1.0", false),
            ("0.1.0", "0.1", false),
            ("nonsense", "0.1.0", false),
            ("nonsense", "nonsense", true),
        ] {
            assert_eq!(are_compatible(one, other), compatible, "{one} {other}");
            assert_eq!(are_compatible(other, one), compatible, "{other} {one}");
        }
    }

    #[test]
    fn r13_declared_pairs_are_compatible_in_both_directions_and_no_further() {
        let pairs = [[(0, 1), (0, 2)], [(0, 2), (1, 0)]];
        for (one, other, compatible) in [
            ("0.1.5", "0.2.9", true),
            ("0.2.0", "1.0.0", true),
            ("0.1.0", "1.0.0", false),
            ("0.1.0", "0.3.0", false),
            ("0.1.0", "0.2.0-rc1", false),
        ] {
            assert_eq!(are_declared(&pairs, one, other), compatible, "{one} {other}");
            assert_eq!(are_declared(&pairs, other, one), compatible, "{other} {one}");
        }
    }
}
