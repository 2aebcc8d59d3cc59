//! The tokens that are outstanding: each is taken once, in time, or never.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Secret;
use crate::identity::Identity;

/// Of one client: as many as it may have streams.
const MOST_OUTSTANDING: usize = 64;

#[derive(Clone)]
pub(super) struct Tokens {
    lifetime: Duration,
    outstanding: Arc<Mutex<HashMap<Secret, Outstanding>>>,
}

struct Outstanding {
    identity: Identity,
    proof: Secret,
    until: Instant,
}

impl Tokens {
    pub(super) fn new(lifetime: Duration) -> Self {
        Self {
            lifetime,
            outstanding: Arc::default(),
        }
    }

    /// A new token and the proof that belongs to it; none if the client has too many, or there is no randomness.
    pub(super) fn issue(&self, identity: &Identity) -> Option<(Secret, Secret)> {
        let (token, proof) = (secret()?, secret()?);
        let now = Instant::now();
        let mut outstanding = self.lock();
        outstanding.retain(|_, other| other.until > now);
        let of_client = |other: &&Outstanding| other.identity == *identity;
        if outstanding.values().filter(of_client).count() >= MOST_OUTSTANDING {
            return None;
        }
        let new = Outstanding {
            identity: identity.clone(),
            proof,
            until: now + self.lifetime,
        };
        outstanding.insert(token, new);
        Some((token, proof))
    }

    /// Whose token it is, and the proof; after that it is nobody's.
    pub(super) fn take(&self, token: &Secret) -> Option<(Identity, Secret)> {
        let taken = self.lock().remove(token)?;
        (Instant::now() < taken.until).then_some((taken.identity, taken.proof))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Secret, Outstanding>> {
        self.outstanding.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn secret() -> Option<Secret> {
    let mut secret = Secret::default();
    getrandom::fill(&mut secret).ok()?;
    Some(secret)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{MOST_OUTSTANDING, Tokens};
    use crate::identity::{Identity, Kind};

    fn client(name: &str) -> Identity {
        Identity {
            kind: Kind::ClientAgent,
            name: name.to_owned(),
        }
    }

    #[test]
    fn a_token_is_taken_once_and_in_time() {
        let tokens = Tokens::new(Duration::from_secs(3600));
        let (token, proof) = tokens.issue(&client("laptop")).unwrap();
        assert_eq!(tokens.take(&proof), None);
        assert_eq!(tokens.take(&[0; 32]), None);
        assert_eq!(tokens.take(&token), Some((client("laptop"), proof)));
        assert_eq!(tokens.take(&token), None);

        let tokens = Tokens::new(Duration::ZERO);
        let (token, _) = tokens.issue(&client("laptop")).unwrap();
        assert_eq!(tokens.take(&token), None);
    }

    #[test]
    fn a_client_has_so_many_tokens_and_takes_none_from_others() {
        let tokens = Tokens::new(Duration::from_secs(3600));
        let first = tokens.issue(&client("laptop")).unwrap().0;
        for _ in 1..MOST_OUTSTANDING {
            tokens.issue(&client("laptop")).unwrap();
        }
        assert_eq!(tokens.issue(&client("laptop")), None);
        tokens.issue(&client("tower")).unwrap();
        tokens.take(&first).unwrap();
        tokens.issue(&client("laptop")).unwrap();
        // Those that nobody came with make room in time.
        let tokens = Tokens::new(Duration::ZERO);
        for _ in 0..2 * MOST_OUTSTANDING {
            tokens.issue(&client("laptop")).unwrap();
        }
        assert_eq!(tokens.lock().len(), 1);
    }
}
