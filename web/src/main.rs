//! Swivel in the browser. Built by `cargo xtask page`; the same program is the page and, in a worker, the engine.

#[cfg(target_arch = "wasm32")]
fn main() {
    use swivel_web::{app, browser::worker};
    match worker::scope() {
        Some(scope) => worker::serve(&scope),
        None => app::mount(),
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn main() {
    println!("build the page with `cargo xtask page`");
}
