//! The index in memory: 53 to 59 bytes a blob, and some 100 a pack.
//! No files, no locks; `index` guards it. Called only from there.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher, RandomState};

use crate::id::{BlobId, BlobKind, IndexId, PackId};
use crate::index::IndexLoad;
use crate::index::blobs::Blobs;
use crate::index::trust::{Distrust, Trust};
use crate::pack::{PackedBlob, file_size};

/// Where a blob is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) pack: PackId,
    pub(crate) offset: u32,
    pub(crate) length: u32,
    pub(crate) compressed_from: Option<u32>,
}

/// `Location` with the pack as a number. `plain` is zero if the blob is not compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) pack: u32,
    pub(super) offset: u32,
    pub(super) length: u32,
    pub(super) plain: u32,
}

struct Pack {
    id: PackId,
    /// How many loaded index files name it.
    files: u32,
    /// Of its file, judged by its blobs; zero if index files differ about them.
    size: u64,
    trust: Trust,
}

const NOT_SEEN: u64 = u64::MAX;

/// What is not there, or not as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flawed {
    /// Packs that are missing or shorter than they should be.
    pub absent_packs: usize,
    /// Packs in which blobs are damaged.
    pub damaged_packs: usize,
    /// Blobs that are nowhere else.
    pub lost: usize,
}

pub(super) struct Table {
    data: Blobs,
    trees: Blobs,
    /// Second and further places of blobs that were stored more than once, kept for when the first one goes.
    duplicates: HashMap<(BlobKind, BlobId), Vec<Place>, IdHasher>,
    packs: Vec<Pack>,
    pack_numbers: HashMap<PackId, u32>,
    files: HashMap<IndexId, Vec<u32>>,
    distrust: Distrust,
}

impl Table {
    pub(super) fn new() -> Table {
        let hasher = IdHasher::random();
        Table {
            data: Blobs::new(hasher.clone()),
            trees: Blobs::new(hasher.clone()),
            duplicates: HashMap::with_hasher(hasher),
            packs: Vec::new(),
            pack_numbers: HashMap::new(),
            files: HashMap::new(),
            distrust: Distrust::default(),
        }
    }

    pub(super) fn files(&self) -> HashSet<IndexId> {
        self.files.keys().copied().collect()
    }

    /// Whether a copy is there that is not known to be damaged.
    pub(super) fn contains(&self, kind: BlobKind, id: &BlobId) -> bool {
        self.good_place(kind, id).is_some()
    }

    /// Whether the blob is known, and no copy of it is there that is not damaged.
    pub(super) fn is_lost(&self, kind: BlobKind, id: &BlobId) -> bool {
        self.blobs(kind).get(id).is_some() && self.good_place(kind, id).is_none()
    }

    pub(super) fn location(&self, kind: BlobKind, id: &BlobId) -> Option<Location> {
        let place = self.good_place(kind, id).or_else(|| self.blobs(kind).get(id));
        place.map(|place| self.to_location(place))
    }

    /// Good ones first: one that is known to be damaged is tried only for want of another.
    pub(super) fn locations(&self, kind: BlobKind, id: &BlobId) -> Vec<Location> {
        let mut places: Vec<&Place> = self.places(kind, id).collect();
        places.sort_by_key(|place| !self.is_good(place, kind, id));
        places.into_iter().map(|place| self.to_location(place)).collect()
    }

    fn places(&self, kind: BlobKind, id: &BlobId) -> impl Iterator<Item = &Place> {
        let first = self.blobs(kind).get(id);
        let others = first.and_then(|_| self.duplicates.get(&(kind, *id)));
        first.into_iter().chain(others.into_iter().flatten())
    }

    fn good_place(&self, kind: BlobKind, id: &BlobId) -> Option<&Place> {
        let first = self.blobs(kind).get(id)?;
        if self.is_good(first, kind, id) {
            return Some(first);
        }
        self.places(kind, id).find(|place| self.is_good(place, kind, id))
    }

    fn is_good(&self, place: &Place, kind: BlobKind, id: &BlobId) -> bool {
        let pack = &self.packs[place.pack as usize];
        match pack.trust {
            Trust::All => true,
            Trust::Some => !self.distrust.is_named(&pack.id, kind, id),
            Trust::None => false,
        }
    }

    /// A blob was read as damaged. Whether that is news, and whether its pack is given up because of it.
    pub(super) fn distrust_blob(&mut self, pack: PackId, kind: BlobKind, id: BlobId) -> (bool, bool) {
        let known = self.distrust.blob(pack, kind, id);
        self.weigh(pack);
        known
    }

    /// Nothing in the pack is to be trusted. Whether that is news.
    pub(super) fn distrust_pack(&mut self, pack: PackId) -> bool {
        let is_news = self.distrust.pack(pack);
        self.weigh(pack);
        is_news
    }

    /// The pack is missing or cut, or is whole again. Whether that is news.
    pub(super) fn set_absent(&mut self, pack: PackId, is_absent: bool) -> bool {
        let is_news = self.distrust.set_absent(pack, is_absent);
        self.weigh(pack);
        is_news
    }

    fn weigh(&mut self, pack: PackId) {
        if let Some(number) = self.pack_numbers.get(&pack) {
            self.packs[*number as usize].trust = self.distrust.of(&pack);
        }
    }

    pub(super) fn is_absent(&self, pack: &PackId) -> bool {
        self.distrust.is_absent(pack)
    }

    /// All packs that index files name, and the size their files should have; zero: not known.
    pub(super) fn expected_packs(&self) -> HashMap<PackId, u64> {
        let named = self.packs.iter().filter(|pack| pack.files > 0);
        named.map(|pack| (pack.id, pack.size)).collect()
    }

    pub(super) fn expected_size(&self, pack: &PackId) -> u64 {
        let number = self.pack_numbers.get(pack);
        number.map_or(0, |number| self.packs[*number as usize].size)
    }

    /// Takes a look at every blob if there is damage; otherwise at the packs only.
    pub(super) fn flawed(&self) -> Flawed {
        let named = || {
            self.packs
                .iter()
                .filter(|pack| pack.files > 0 && pack.trust != Trust::All)
        };
        let flawed_packs = named().count();
        let absent_packs = named().filter(|pack| self.is_absent(&pack.id)).count();
        let lost = |kind| {
            let all = self.blobs(kind).ids();
            all.filter(|id| self.good_place(kind, id).is_none()).count()
        };
        Flawed {
            absent_packs,
            damaged_packs: flawed_packs - absent_packs,
            lost: if flawed_packs == 0 {
                0
            } else {
                lost(BlobKind::Data) + lost(BlobKind::Tree)
            },
        }
    }

    /// Adds what an index file says. A file that is there already changes nothing.
    pub(super) fn add_file(&mut self, file: IndexId, packs: &[(PackId, Vec<PackedBlob>)]) {
        if self.files.contains_key(&file) {
            return;
        }
        let mut numbers = Vec::with_capacity(packs.len());
        for (id, blobs) in packs {
            let number = self.pack_number(*id);
            numbers.push(number);
            let size = file_size(blobs);
            let pack = &mut self.packs[number as usize];
            pack.size = if pack.size == NOT_SEEN || pack.size == size {
                size
            } else {
                0
            };
            for blob in blobs {
                self.add_blob(number, blob);
            }
        }
        numbers.sort_unstable();
        numbers.dedup();
        for &number in &numbers {
            self.packs[number as usize].files += 1;
        }
        self.files.insert(file, numbers);
    }

    /// Forgets index files, and the blobs of packs that no other file names.
    pub(super) fn remove_files(&mut self, files: &[IndexId]) {
        for number in files.iter().filter_map(|file| self.files.remove(file)).flatten() {
            self.packs[number as usize].files -= 1;
        }
        let packs = &self.packs;
        let alive = |place: &Place| packs[place.pack as usize].files > 0;
        self.data.retain(alive);
        self.trees.retain(alive);
        self.pack_numbers
            .retain(|_, number| packs[*number as usize].files > 0);
        for places in self.duplicates.values_mut() {
            places.retain(alive);
        }
        let unused = HashMap::with_hasher(self.duplicates.hasher().clone());
        for ((kind, id), places) in std::mem::replace(&mut self.duplicates, unused) {
            places
                .into_iter()
                .for_each(|place| self.add_place(kind, id, place));
        }
    }

    pub(super) fn load(&self) -> IndexLoad {
        let per_pack = size_of::<Pack>() + size_of::<(PackId, u32)>() + size_of::<u32>() + 1;
        IndexLoad {
            files: self.files.len(),
            blobs: self.data.len() + self.trees.len(),
            bytes_in_memory: self.data.bytes_in_memory()
                + self.trees.bytes_in_memory()
                + self.packs.capacity() * per_pack
                + self.duplicates.capacity()
                    * (size_of::<(BlobKind, BlobId, Vec<Place>)>() + size_of::<Place>()),
        }
    }

    fn blobs(&self, kind: BlobKind) -> &Blobs {
        match kind {
            BlobKind::Data => &self.data,
            BlobKind::Tree => &self.trees,
        }
    }

    fn to_location(&self, place: &Place) -> Location {
        Location {
            pack: self.packs[place.pack as usize].id,
            offset: place.offset,
            length: place.length,
            compressed_from: (place.plain != 0).then_some(place.plain),
        }
    }

    fn pack_number(&mut self, id: PackId) -> u32 {
        let trust = self.distrust.of(&id);
        *self.pack_numbers.entry(id).or_insert_with(|| {
            let number = u32::try_from(self.packs.len()).expect("fewer than 2^32 packs");
            self.packs.push(Pack {
                id,
                files: 0,
                size: NOT_SEEN,
                trust,
            });
            number
        })
    }

    fn add_blob(&mut self, pack: u32, blob: &PackedBlob) {
        let plain = blob.compressed_from.unwrap_or(0);
        self.add_place(
            blob.kind,
            blob.id,
            Place {
                pack,
                offset: blob.offset,
                length: blob.length,
                plain,
            },
        );
    }

    fn add_place(&mut self, kind: BlobKind, id: BlobId, place: Place) {
        let blobs = match kind {
            BlobKind::Data => &mut self.data,
            BlobKind::Tree => &mut self.trees,
        };
        if blobs.insert(id, place).is_none_or(|first| first == place) {
            return;
        }
        let others = self.duplicates.entry((kind, id)).or_default();
        if !others.contains(&place) {
            others.push(place);
        }
    }
}

/// Identifiers are checksums already, so mixing two words of them with a secret is enough; the secret keeps clients
/// from choosing chunks that all fall into one place of the table.
#[derive(Clone)]
pub(crate) struct IdHasher {
    secret: u64,
}

pub(crate) struct IdHash(u64);

impl IdHasher {
    pub(crate) fn random() -> IdHasher {
        IdHasher {
            secret: RandomState::new().hash_one(0),
        }
    }
}

impl BuildHasher for IdHasher {
    type Hasher = IdHash;

    fn build_hasher(&self) -> IdHash {
        IdHash(self.secret)
    }
}

impl Hasher for IdHash {
    fn write(&mut self, bytes: &[u8]) {
        for word in bytes.as_chunks::<8>().0.iter().take(2) {
            let product = u128::from(self.0 ^ u64::from_le_bytes(*word)) * 0x9e37_79b9_7f4a_7c15_u128;
            self.0 = (product ^ (product >> 64)) as u64;
        }
    }

    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::Table;
    use crate::id::{BlobId, BlobKind, IndexId, PackId};
    use crate::pack::PackedBlob;

    fn blob(n: u32) -> PackedBlob {
        let id = BlobId::of(&n.to_le_bytes());
        PackedBlob {
            kind: BlobKind::Data,
            id,
            offset: n,
            length: 100,
            compressed_from: Some(n + 1),
        }
    }

    #[test]
    fn what_several_files_say_is_joined_and_taken_apart() {
        let (pack_a, pack_b) = (PackId::of(b"a"), PackId::of(b"b"));
        let (file_1, file_2) = (IndexId::of(b"1"), IndexId::of(b"2"));
        let mut table = Table::new();
        table.add_file(file_1, &[(pack_a, vec![blob(1), blob(2)])]);
        table.add_file(file_1, &[(pack_b, vec![blob(9)])]);
        table.add_file(
            file_2,
            &[(pack_a, vec![blob(1), blob(2)]), (pack_b, vec![blob(2), blob(3)])],
        );
        assert_eq!(table.load().blobs, 3);
        assert_eq!(table.locations(BlobKind::Data, &blob(2).id).len(), 2);
        assert!(!table.contains(BlobKind::Tree, &blob(2).id));

        table.remove_files(&[file_1]);
        assert_eq!(table.load().blobs, 3);
        table.add_file(file_1, &[(pack_a, vec![blob(1), blob(2)])]);
        table.remove_files(&[file_2]);
        assert_eq!(table.load().blobs, 2);
        assert!(!table.contains(BlobKind::Data, &blob(3).id));
        assert_eq!(table.locations(BlobKind::Data, &blob(2).id)[0].pack, pack_a);
    }

    #[test]
    fn a_blob_stored_twice_survives_the_loss_of_its_first_place() {
        let mut table = Table::new();
        table.add_file(IndexId::of(b"1"), &[(PackId::of(b"a"), vec![blob(1)])]);
        table.add_file(IndexId::of(b"2"), &[(PackId::of(b"b"), vec![blob(1)])]);
        table.remove_files(&[IndexId::of(b"1")]);
        assert_eq!(
            table.locations(BlobKind::Data, &blob(1).id)[0].pack,
            PackId::of(b"b")
        );
    }

    /// 16 chunks of 1 MiB to a pack, as in a repository of large files; just below and just above where tables grow.
    #[test]
    fn a_blob_takes_less_than_a_hundred_bytes() {
        for count in [100_000, 196_608, 196_609, 300_000] {
            let mut table = Table::new();
            let blobs: Vec<_> = (0..count).map(blob).collect();
            let packs = blobs.chunks(16).zip(0u32..);
            let packs: Vec<_> = packs
                .map(|(blobs, n)| (PackId::of(&n.to_le_bytes()), blobs.to_vec()))
                .collect();
            table.add_file(IndexId::of(b"1"), &packs);
            let load = table.load();
            assert_eq!(load.blobs, count as usize);
            let each = load.bytes_in_memory / load.blobs;
            assert!(each < 100, "{each} bytes for each of {count}");
        }
    }
}
