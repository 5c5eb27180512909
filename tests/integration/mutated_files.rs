//! Weight files of which most are wrong, in all three formats: each is read, or refused in one short line, at once and in memory
//! of its own size; what is read lies inside the file.
//!
//! `SWIVEL_FILES` is how many are tried of each format, `SWIVEL_SEED` the seed of the first; each has one of its own, and is made
//! again from that alone.

mod gguf;
mod mutator;
mod pickle;
mod safetensors;

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    panic::{self, AssertUnwindSafe},
    time::{Duration, Instant},
};

use swivel_core::{FileFormat, StoredFile};

use crate::weight_files::{header, one_tensor, with_pickle};
use mutator::Mutator;

/// Bytes of a message.
const LONGEST: usize = 2000;
/// Time for a file, also where other tests keep the machine busy.
const SLOWEST: Duration = Duration::from_secs(2);
/// Bytes of memory for a file of no length, and how many more for each byte of one.
const MEMORY: [u64; 2] = [1 << 16, 200];

/// What becomes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Refused,
    Read,
}

fn read(file: &[u8]) -> End {
    match header(file) {
        Ok(stored) => {
            check_read(&stored, file);
            End::Read
        }
        Err(error) => {
            let message = error.to_string();
            assert!(!message.trim().is_empty(), "{error:?}");
            assert!(message.len() <= LONGEST, "{message}");
            assert!(!message.chars().any(char::is_control), "{message:?}");
            End::Refused
        }
    }
}

/// Every tensor has a name of its own, and as many bytes inside the file as its shape says.
fn check_read(stored: &StoredFile, file: &[u8]) {
    let mut names = BTreeSet::new();
    for tensor in &stored.tensors {
        assert!(names.insert(&tensor.name), "{}", tensor.name);
        let n_values: usize = tensor.shape.iter().product();
        let n_bytes = tensor.dtype.n_bytes(n_values as u64);
        let range = tensor.bytes.start as usize..tensor.bytes.end as usize;
        assert_eq!(n_bytes, Some(range.len() as u64), "{}", tensor.name);
        assert!(range.end <= file.len(), "{}", tensor.name);
    }
    for tensor in &stored.unread {
        assert!(names.insert(&tensor.name), "{}", tensor.name);
        assert_ne!(stored.format, FileFormat::Gguf);
    }
}

/// The same, within time and memory.
fn read_within_bounds(file: &[u8]) -> End {
    let started = Instant::now();
    let mut end = End::Refused;
    let memory = allocation_counter::measure(|| end = read(file));
    let took = started.elapsed();
    assert!(took < SLOWEST, "{took:?}");
    let (used, n_bytes) = (memory.bytes_max, file.len());
    let most = MEMORY[0] + MEMORY[1] * n_bytes as u64;
    assert!(used < most, "{used} bytes for a file of {n_bytes}");
    end
}

/// A number from the environment, for runs that take longer.
fn setting(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[track_caller]
fn check_mutated(format: &str, file: impl Fn(&mut Mutator) -> Vec<u8>) {
    let first = setting("SWIVEL_SEED", 0);
    let n_files = setting("SWIVEL_FILES", 5_000);
    let mut ends: BTreeMap<End, u64> = BTreeMap::new();
    let started = Instant::now();
    for seed in first..first + n_files {
        let file = file(&mut Mutator::new(seed));
        let read = AssertUnwindSafe(|| read_within_bounds(&file));
        let end = panic::catch_unwind(read).unwrap_or_else(|cause| {
            let n_bytes = file.len();
            println!("SWIVEL_SEED={seed} SWIVEL_FILES=1 makes this {format} file of {n_bytes} bytes again");
            panic::resume_unwind(cause)
        });
        *ends.entry(end).or_default() += 1;
    }
    let took = started.elapsed().as_secs_f64();
    println!(
        "{format}: seeds {first} to {}, {ends:?}, {took:.1} s",
        first + n_files - 1
    );
    // Mutations that leave nothing right, or nothing wrong, would try little.
    for end in [End::Refused, End::Read] {
        let found = ends.get(&end).copied().unwrap_or_default();
        assert!(n_files < 1000 || found > n_files / 20, "{format}: {ends:?}");
    }
}

#[test]
fn mutated_gguf_files_are_read_or_refused() {
    check_mutated("GGUF", gguf::file);
}

#[test]
fn mutated_safetensors_are_read_or_refused() {
    check_mutated("safetensors", safetensors::file);
}

#[test]
fn mutated_torch_files_are_read_or_refused() {
    check_mutated("torch", pickle::file);
}

/// Values, names and tensors may each be as many as a pickle is long.
#[test]
fn long_pickles_cost_no_more_than_their_length() {
    const N: u32 = 100_000;
    let tensor = one_tensor(0, [2, 2], [2, 1]);
    let [before, after] = [tensor.len() - 2, tensor.len() - 1];
    // One tensor under many names.
    let mut many = [&tensor[..before], b"q\0s("].concat();
    for idx in 0..N {
        many.extend([&b"X\x06\0\0\0"[..], format!("{idx:06x}").as_bytes(), b"h\0"].concat());
    }
    many.extend([b"u", &tensor[after..]].concat());
    for (pickle, expected) in [
        (many, End::Read),
        (b"}".repeat(1 << 20), End::Refused),
        (b"(".repeat(1 << 20), End::Refused),
        (b"}\x94".repeat(1 << 19), End::Refused),
        (b")\x85".repeat(1 << 19), End::Refused),
        (b"(t".repeat(1 << 19), End::Refused),
        (b"K\0".repeat(1 << 22), End::Refused),
        (b"N".repeat(1 << 24), End::Refused),
    ] {
        assert_eq!(read_within_bounds(&with_pickle(&pickle)), expected);
    }
}
