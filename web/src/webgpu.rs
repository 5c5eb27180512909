//! The engine on WebGPU, in a worker of the page. Built by `cargo xtask page`.

#[cfg(target_arch = "wasm32")]
fn main() {
    use burn_wgpu::Wgpu;
    use swivel_web::browser::worker;
    if let Some(scope) = worker::scope() {
        worker::serve::<Wgpu>(&scope);
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn main() {
    println!("build the page with `cargo xtask page`");
}
