//! Modes: the repository has the bits of Go's `os.FileMode`, the system those of `st_mode`.
//! Only the translation. Called by whoever backs up or restores.

const TYPE_MASK: u32 = 0o170_000;

/// `st_mode` type bits and the Go bits for the same type.
const TYPES: [(u32, u32); 7] = [
    (0o100_000, 0),
    (0o040_000, 1 << 31),
    (0o120_000, 1 << 27),
    (0o060_000, 1 << 26),
    (0o020_000, 1 << 26 | 1 << 21),
    (0o010_000, 1 << 25),
    (0o140_000, 1 << 24),
];

/// Set-user-id, set-group-id, sticky: `st_mode` bit and Go bit.
const SPECIAL: [(u32, u32); 3] = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];

/// Go marks what is none of the above.
const GO_IRREGULAR: u32 = 1 << 19;

/// The `mode` of a node for an entry with this `st_mode`.
pub fn go_mode_from_st_mode(st_mode: u32) -> u32 {
    let kind = TYPES
        .iter()
        .find(|(st, _)| st_mode & TYPE_MASK == *st)
        .map_or(GO_IRREGULAR, |(_, go)| *go);
    let special = SPECIAL
        .iter()
        .filter(|(st, _)| st_mode & st != 0)
        .fold(0, |all, (_, go)| all | go);
    st_mode & 0o777 | kind | special
}

/// The `st_mode` (type, special bits, permissions) that a node's `mode` stands for.
pub fn st_mode_from_go_mode(mode: u32) -> u32 {
    let type_bits = TYPES.iter().fold(0, |all, (_, go)| all | go);
    let kind = TYPES
        .iter()
        .find(|(_, go)| mode & type_bits == *go)
        .map_or(0, |(st, _)| *st);
    let special = SPECIAL
        .iter()
        .filter(|(_, go)| mode & go != 0)
        .fold(0, |all, (st, _)| all | st);
    mode & 0o777 | kind | special
}

#[cfg(test)]
mod tests {
    use super::{go_mode_from_st_mode, st_mode_from_go_mode};

    #[test]
    fn modes_translate_both_ways() {
        let rows = [
            (0o100_644, 0o644),
            (0o104_755, 1 << 23 | 0o755),
            (0o102_755, 1 << 22 | 0o755),
            (0o041_777, 1 << 31 | 1 << 20 | 0o777),
            (0o120_777, 1 << 27 | 0o777),
            (0o060_660, 1 << 26 | 0o660),
            (0o020_666, 1 << 26 | 1 << 21 | 0o666),
            (0o010_600, 1 << 25 | 0o600),
            (0o140_755, 1 << 24 | 0o755),
        ];
        for (st, go) in rows {
            assert_eq!(go_mode_from_st_mode(st), go, "{st:o}");
            assert_eq!(st_mode_from_go_mode(go), st, "{go:o}");
        }
        assert_eq!(go_mode_from_st_mode(0o150_000), 1 << 19);
    }
}
