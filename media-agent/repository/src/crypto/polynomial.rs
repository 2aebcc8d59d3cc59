//! A random irreducible polynomial over GF(2) of degree 53, which the format demands in the configuration.
//! We do not chunk with it; restic does, and refuses a repository whose polynomial is reducible. Called by `config`.

use crate::crypto::random;
use crate::error::Result;

const DEGREE: u32 = 53;

/// A random irreducible polynomial; bit i is the coefficient of x^i.
pub(super) fn random_irreducible() -> Result<u64> {
    loop {
        let bits = u64::from_le_bytes(random()?);
        // About one in 26 polynomials with a constant term is irreducible, so this ends soon.
        let candidate = (bits & ((1 << DEGREE) - 1)) | (1 << DEGREE) | 1;
        if is_irreducible(candidate) {
            return Ok(candidate);
        }
    }
}

/// Ben-Or's test: f is irreducible if it shares no factor with x^(2^i) - x for any i up to half its degree.
fn is_irreducible(f: u64) -> bool {
    let x = 2;
    let mut power = x;
    (1..=DEGREE / 2).all(|_| {
        power = multiply_modulo(power, power, f);
        gcd(f, power ^ x) == 1
    })
}

fn multiply_modulo(a: u64, mut b: u64, f: u64) -> u64 {
    let mut shifted = a;
    let mut product = 0;
    while b != 0 {
        if b & 1 == 1 {
            product ^= shifted;
        }
        b >>= 1;
        shifted <<= 1;
        if shifted >> DEGREE & 1 == 1 {
            shifted ^= f;
        }
    }
    product
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        while a != 0 && a.leading_zeros() <= b.leading_zeros() {
            a ^= b << (b.leading_zeros() - a.leading_zeros());
        }
        std::mem::swap(&mut a, &mut b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::{is_irreducible, random_irreducible};

    #[test]
    fn known_polynomials_are_judged_right() {
        assert!(is_irreducible(0x3d_a335_8b4d_c173));
        // x^53 + 1 has the factor x + 1; the product of two factors is reducible.
        assert!(!is_irreducible(1 << 53 | 1));
        assert!(!is_irreducible(1 << 53 | 1 << 1));
    }

    #[test]
    fn random_ones_are_of_the_right_degree() {
        for _ in 0..5 {
            assert_eq!(random_irreducible().unwrap() >> 53, 1);
        }
    }
}
