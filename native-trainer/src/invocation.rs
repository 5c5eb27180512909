//! How the program was started, so that a command that it names can be typed as it stands.

use std::env;

/// The command line that runs this program with these arguments: by cargo where cargo started it (it says so to the programs
/// that it runs), else by the name that was typed.
pub fn command(args: &[String]) -> String {
    let typed = env::args().next();
    let program = match env::var_os("CARGO") {
        Some(_) => by_cargo(),
        None => vec![typed.as_deref().unwrap_or("swivel")],
    };
    let args = args.iter().map(String::as_str);
    let words: Vec<&str> = program.into_iter().chain(args).collect();
    // A word with a NUL byte cannot have been typed, nor be a file's name.
    shlex::try_join(words.iter().copied()).unwrap_or_else(|_| words.join(" "))
}

/// The build that is running: without its features, cargo would make another one.
fn by_cargo() -> Vec<&'static str> {
    let features = [
        ("cuda", cfg!(feature = "cuda")),
        ("wgpu", cfg!(feature = "wgpu")),
    ];
    let features = features
        .into_iter()
        .filter(|(_, is_built)| *is_built)
        .flat_map(|(name, _)| ["--features", name]);
    let cargo = ["cargo", "run", "--release", "-p", "native-trainer"];
    cargo.into_iter().chain(features).chain(["--"]).collect()
}
