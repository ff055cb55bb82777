//! Passwords as argon2id hashes in PHC strings: made, and verified with stored parameters that are
//! capped before anything is allocated. Refuses (as [`Verdict::Damaged`], after as much work as an
//! honest check) every other algorithm, every string that is not exactly what it writes itself, and
//! every cost beyond the cap. Called by the pool's workers, and by the command line through
//! [`hash_blocking`].

use argon2::password_hash::phc::{Output, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::{Zeroize, Zeroizing};

const SALT_BYTES: usize = 16;
const OUTPUT_BYTES: usize = 32;

/// Stored memory may be this many times the configured one.
const CAP_MEMORY_TIMES: u32 = 4;
/// Stored memory up to this much is always taken. Unit: KiB.
const CAP_MEMORY_KIB: u32 = 256 * 1024;
/// Stored iterations up to these are always taken.
const CAP_ITERATIONS: u32 = 64;
/// More lanes than these are taken neither from the configuration nor from a stored hash.
const PARALLELISM_MAX: u32 = 16;

/// What one check costs. Any cost that argon2id can run: the configuration holds OWASP's minimum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    memory_kib: u32,
    iterations: u32,
    parallelism: u32,
}

/// Why a cost cannot be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("argon2id takes 1 to 16 lanes, at least 8 KiB of memory for each, and 1 iteration or more")]
pub struct CostError;

impl Cost {
    /// Takes memory (in KiB, 8 or more for each lane), iterations (1 or more) and lanes (1 to 16).
    pub fn new(memory_kib: u32, iterations: u32, parallelism: u32) -> Result<Self, CostError> {
        if parallelism > PARALLELISM_MAX {
            return Err(CostError);
        }
        let cost = Self { memory_kib, iterations, parallelism };
        cost.params(OUTPUT_BYTES).map(|_| cost).ok_or(CostError)
    }

    fn params(self, output_bytes: usize) -> Option<Params> {
        Params::new(self.memory_kib, self.iterations, self.parallelism, Some(output_bytes)).ok()
    }

    /// Whether a server that is configured with `self` runs a stored cost at all. What it writes
    /// itself it always runs, so a high setting cannot lock its own users out.
    fn permits(self, stored: Cost) -> bool {
        let memory_kib_max = self.memory_kib.saturating_mul(CAP_MEMORY_TIMES).max(CAP_MEMORY_KIB);
        stored.memory_kib <= memory_kib_max
            && stored.iterations <= self.iterations.max(CAP_ITERATIONS)
            && stored.parallelism <= PARALLELISM_MAX
    }
}

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The password is right; `weaker`: its hash costs less than is configured now.
    Match {
        /// Whether to store a new hash.
        weaker: bool,
    },
    /// The password is wrong.
    Mismatch,
    /// The stored hash is none, or asks for more than the cap or the machine's memory.
    Damaged,
}

/// Why a password could not be hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// The operating system gave no random bytes.
    #[error("the operating system gives no random bytes: {0}")]
    Random(#[from] getrandom::Error),
    /// The memory of one check could not be allocated.
    #[error(
        "there are not {0} KiB of memory for one password check: free some, or set \
         auth.argon2.memory_kib lower"
    )]
    Memory(u32),
}

/// Hashes a password for storage, as a PHC string with a random salt. Takes tens of milliseconds
/// and the cost's memory: for the command line, never for a task of the server.
pub fn hash_blocking(cost: Cost, password: &str) -> Result<String, HashError> {
    Verifier::new(cost)?.hash(password)
}

/// Runs checks one after the other in memory that it keeps. Every run of argon2 is counted.
pub struct Verifier {
    cost: Cost,
    blocks: Vec<Block>,
    runs: u64,
}

impl Verifier {
    /// Allocates the memory of one check.
    pub fn new(cost: Cost) -> Result<Self, HashError> {
        let mut verifier = Self { cost, blocks: Vec::new(), runs: 0 };
        if !verifier.reserve(cost) {
            return Err(HashError::Memory(cost.memory_kib));
        }
        Ok(verifier)
    }

    /// Hashes with the configured cost and a random salt. The result is a PHC string.
    pub fn hash(&mut self, password: &str) -> Result<String, HashError> {
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt)?;
        Ok(self.hash_with_salt(password, &salt))
    }

    /// Checks `password` against a stored PHC string by exactly one run of argon2. Without a stored
    /// one the run costs as much as configured, and is a mismatch.
    pub fn verify(&mut self, stored: Option<&str>, password: &str) -> Verdict {
        let Some(stored) = stored else {
            self.run_in_vain(password);
            return Verdict::Mismatch;
        };
        match Stored::parse(stored, self.cost).filter(|stored| self.reserve(stored.cost)) {
            Some(stored) => self.compare(&stored, password),
            None => {
                self.run_in_vain(password);
                Verdict::Damaged
            }
        }
    }

    /// How often argon2 ran since this was asked last.
    pub(super) fn take_runs(&mut self) -> u64 {
        std::mem::take(&mut self.runs)
    }

    fn hash_with_salt(&mut self, password: &str, salt: &[u8; SALT_BYTES]) -> String {
        let output = self.run(self.cost, password, salt, OUTPUT_BYTES);
        let params = self.cost.params(OUTPUT_BYTES).expect("a cost was checked when made");
        PasswordHash {
            algorithm: argon2::ARGON2ID_IDENT,
            version: Some(Version::V0x13.into()),
            params: (&params).try_into().expect("three numbers fit into a PHC string"),
            salt: Some(Salt::new(salt).expect("16 bytes are a salt")),
            hash: Some(output),
        }
        .to_string()
    }

    fn compare(&mut self, stored: &Stored, password: &str) -> Verdict {
        let output = self.run(stored.cost, password, &stored.salt, stored.output.len());
        self.shrink();
        // `Output` compares in constant time.
        if output != stored.output {
            return Verdict::Mismatch;
        }
        Verdict::Match { weaker: stored.is_weaker_than(self.cost) }
    }

    fn run_in_vain(&mut self, password: &str) {
        self.run(self.cost, password, &[0; SALT_BYTES], OUTPUT_BYTES);
    }

    /// The one place that runs argon2. The blocks hold enough for `cost`.
    fn run(&mut self, cost: Cost, password: &str, salt: &[u8], output_bytes: usize) -> Output {
        self.runs += 1;
        let params = cost.params(output_bytes).expect("a cost was checked when made");
        let (used, lane) = (params.block_count(), params.block_count() / params.p_cost() as usize);
        let mut output = Zeroizing::new([0; Output::MAX_LENGTH]);
        let output = &mut output[..output_bytes];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(password.as_bytes(), salt, output, &mut self.blocks)
            .expect("salt, output and memory have lengths that argon2 takes");
        // A lane begins with fast hashes of the password, and one iteration leaves them there.
        for lane in self.blocks[..used].chunks_exact_mut(lane) {
            lane.iter_mut().take(2).for_each(Zeroize::zeroize);
        }
        Output::new(output).expect("as long as a stored output, or 32 bytes")
    }

    /// Makes room for `cost`; false if the machine has none.
    fn reserve(&mut self, cost: Cost) -> bool {
        let wanted = cost.params(OUTPUT_BYTES).map_or(0, |params| params.block_count());
        let missing = wanted.saturating_sub(self.blocks.len());
        if self.blocks.try_reserve_exact(missing).is_err() {
            return false;
        }
        self.blocks.resize(wanted.max(self.blocks.len()), Block::new());
        true
    }

    /// Gives back what a costlier stored hash took.
    fn shrink(&mut self) {
        let kept = self.cost.params(OUTPUT_BYTES).map_or(0, |params| params.block_count());
        if self.blocks.len() > kept {
            self.blocks.truncate(kept);
            self.blocks.shrink_to_fit();
        }
    }
}

/// A stored hash that may be run.
struct Stored {
    cost: Cost,
    salt: Salt,
    output: Output,
}

impl Stored {
    /// Reads a PHC string. None unless it is argon2id, version 19, with all of its parameters in
    /// the only order, within the cap, and written in the only way.
    fn parse(text: &str, configured: Cost) -> Option<Self> {
        let phc = PasswordHash::new(text).ok()?;
        if phc.algorithm != argon2::ARGON2ID_IDENT
            || phc.version != Some(Version::V0x13.into())
            || phc.to_string() != text
        {
            return None;
        }
        let numbers: Vec<_> =
            phc.params.iter().map(|(name, value)| (name, value.decimal())).collect();
        let [(m, Ok(memory_kib)), (t, Ok(iterations)), (p, Ok(parallelism))] = numbers[..] else {
            return None;
        };
        if [m.as_str(), t.as_str(), p.as_str()] != ["m", "t", "p"] {
            return None;
        }
        let cost = Cost::new(memory_kib, iterations, parallelism).ok()?;
        let (salt, output) = (phc.salt?, phc.hash?);
        configured.permits(cost).then_some(Self { cost, salt, output })
    }

    /// Lanes are no measure of strength; a short salt or output is.
    fn is_weaker_than(&self, configured: Cost) -> bool {
        self.cost.memory_kib < configured.memory_kib
            || self.cost.iterations < configured.iterations
            || self.salt.len() < SALT_BYTES
            || self.output.len() < OUTPUT_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(memory_kib: u32, iterations: u32, parallelism: u32) -> Cost {
        Cost::new(memory_kib, iterations, parallelism).unwrap()
    }

    fn verifier(cost: Cost) -> Verifier {
        Verifier::new(cost).unwrap()
    }

    #[test]
    fn a_hash_matches_its_password_alone() {
        let mut verifier = verifier(cost(32, 1, 2));
        let stored = verifier.hash("open sesame").unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=32,t=1,p=2$"), "{stored}");
        assert_eq!(verifier.take_runs(), 1);
        let right = verifier.verify(Some(&stored), "open sesame");
        assert_eq!(right, Verdict::Match { weaker: false });
        assert_eq!(verifier.verify(Some(&stored), "open sesamf"), Verdict::Mismatch);
        assert_eq!(verifier.verify(None, "open sesame"), Verdict::Mismatch);
        assert_eq!(verifier.take_runs(), 3);
        assert_ne!(stored, verifier.hash("open sesame").unwrap(), "salts differ");
    }

    /// What other implementations wrote is verified: a vector of the reference implementation.
    #[test]
    fn a_hash_of_the_reference_implementation_matches() {
        let stored = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$\
                      nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        let verdict = verifier(cost(8, 1, 1)).verify(Some(stored), "password");
        assert_eq!(verdict, Verdict::Match { weaker: true }, "its salt is short");
    }

    #[test]
    fn a_hash_that_costs_less_than_configured_is_weaker() {
        let stored = hash_blocking(cost(32, 2, 1), "x").unwrap();
        for (configured, weaker) in [
            (cost(32, 2, 1), false),
            (cost(32, 2, 4), false),
            (cost(16, 1, 1), false),
            (cost(64, 2, 1), true),
            (cost(32, 3, 1), true),
        ] {
            let verdict = verifier(configured).verify(Some(&stored), "x");
            assert_eq!(verdict, Verdict::Match { weaker }, "{configured:?}");
        }
    }

    #[test]
    fn what_is_damaged_or_too_costly_costs_one_configured_run() {
        let mut verifier = verifier(cost(16, 1, 1));
        let good = verifier.hash("x").unwrap();
        verifier.take_runs();
        let swapped = |from: &str, to: &str| good.replacen(from, to, 1);
        for damaged in [
            String::new(),
            "x".to_owned(),
            // 41 characters are no base64; 42 may be that of a shorter output.
            good[..good.len() - 2].to_owned(),
            format!("{good}="),
            format!("{good}$"),
            swapped("argon2id", "argon2i"),
            swapped("v=19", "v=16"),
            swapped("$v=19", ""),
            swapped("m=16,t=1,p=1", "t=1,m=16,p=1"),
            swapped("m=16,t=1,p=1", "m=16,t=1"),
            swapped("p=1", "p=1,data=AA"),
            swapped("m=16", "m=016"),
            swapped("m=16", "m=1048576"),
            swapped("m=16", "m=4294967295"),
            swapped("m=16", "m=4294967296"),
            swapped("t=1", "t=65"),
            swapped("t=1", "t=0"),
            swapped("m=16,t=1,p=1", "m=256,t=1,p=17"),
        ] {
            assert_eq!(verifier.verify(Some(&damaged), "x"), Verdict::Damaged, "{damaged}");
            assert_eq!(verifier.take_runs(), 1, "{damaged}");
            assert_eq!(verifier.blocks.len(), 16, "{damaged}");
        }
    }

    #[test]
    fn the_cap_follows_the_configuration() {
        let small = cost(19_456, 2, 1);
        assert!(small.permits(cost(256 * 1024, 64, 16)));
        assert!(!small.permits(cost(256 * 1024 + 1, 64, 16)));
        let large = cost(128 * 1024, 100, 1);
        assert!(large.permits(cost(512 * 1024, 100, 1)));
        assert!(!large.permits(cost(512 * 1024 + 1, 100, 1)));
        assert!(!large.permits(cost(512 * 1024, 101, 1)));
    }

    #[test]
    fn memory_taken_for_a_costlier_hash_is_given_back() {
        let stored = hash_blocking(cost(64, 1, 1), "x").unwrap();
        let mut verifier = verifier(cost(16, 1, 1));
        assert_eq!(verifier.verify(Some(&stored), "x"), Verdict::Match { weaker: false });
        assert_eq!(verifier.blocks.len(), 16);
    }

    #[test]
    fn costs_that_cannot_run_are_refused() {
        for (memory_kib, iterations, parallelism) in
            [(7, 1, 1), (15, 1, 2), (8, 0, 1), (8, 1, 0), (4096, 1, 17), (0, 0, 0)]
        {
            assert_eq!(Cost::new(memory_kib, iterations, parallelism), Err(CostError));
        }
    }
}
