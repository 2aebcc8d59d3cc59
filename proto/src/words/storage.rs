//! What is known against a storage unit, and whose fault a failure of storage is (F-02, F-18, F-19).

use super::word_enum;

word_enum!(
    /// Whether new backups go to a storage unit. What it holds can be restored in each of these, as far as it is reached.
    #[derive(Default)]
    UnitState {
        /// Nothing is known against it.
        #[default]
        Ok = "ok",
        /// Too little room: no backups until there is more (F-02).
        Full = "full",
        /// Something there was not what was stored: no backups until a check is clean (F-19).
        Suspect = "suspect",
        /// None of its media agents that are here can use it: others are preferred.
        Unavailable = "unavailable",
    }
);

word_enum!(
    /// What a failure of storage is about (F-18).
    StorageFault {
        /// The media agent cannot use the unit now; another one may.
        AtThisAgent = "at_this_agent",
        /// There is no room in the unit, whoever writes.
        Full = "full",
        /// Something there is not what was stored, or cannot be read, whoever looks.
        OfTheUnit = "of_the_unit",
    }
);
