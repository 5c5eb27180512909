//! Swivel in the browser. Built by `cargo xtask page`; the same program is the page and, in a worker, the engine on the CPU.

#[cfg(target_arch = "wasm32")]
fn main() {
    use burn_flex::Flex;
    use swivel_web::{app, browser::worker};
    match worker::scope() {
        Some(scope) => worker::serve::<Flex>(&scope),
        None => app::mount(),
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn main() {
    println!("build the page with `cargo xtask page`");
}
