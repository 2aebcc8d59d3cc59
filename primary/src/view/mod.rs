//! How state looks from outside: rows to messages, errors to statuses. No decisions.

pub(crate) mod agent;
pub(crate) mod alarm;
pub(crate) mod errors;
pub(crate) mod follow_up;
pub(crate) mod history;
pub(crate) mod job;
pub(crate) mod job_log;
mod settings;
pub(crate) mod storage;

pub(crate) use settings::settings;
