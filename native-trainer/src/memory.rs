//! How long memory that is freed stays with the program.

/// Starts the program again in its own place, with freed memory kept ten times as long as mimalloc does, unless whoever started
/// it has chosen. Once a second, mimalloc gives back all that is free at that moment, in the midst of a run, and the system clears
/// each page of it anew: that is a quarter of a forward pass of a second. It can be told otherwise by the environment alone.
#[cfg(unix)]
pub fn keep() {
    use std::{env, os::unix::process::CommandExt, process::Command};

    /// What mimalloc reads, before `main` begins: after how many milliseconds it gives back what is free.
    const DELAY: &str = "MIMALLOC_PURGE_DELAY";
    const MILLISECONDS: &str = "10000";
    let mut args = env::args_os();
    if let (None, Ok(program), Some(name)) = (env::var_os(DELAY), env::current_exe(), args.next()) {
        // It returns only where that is not possible: then the program is slower.
        let _ = Command::new(program)
            .arg0(name)
            .args(args)
            .env(DELAY, MILLISECONDS)
            .exec();
    }
}

/// A program is not replaced by itself here.
#[cfg(not(unix))]
pub fn keep() {}
