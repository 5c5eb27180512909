//! Swivel's page: what it shows and what computes it. What needs no browser is tested on any machine.

pub mod device;
pub mod offered;
pub mod ranges;
pub mod session;
pub mod waiting;

#[cfg(target_arch = "wasm32")]
pub mod app;
#[cfg(target_arch = "wasm32")]
pub mod browser;
#[cfg(target_arch = "wasm32")]
mod page_state;
#[cfg(target_arch = "wasm32")]
mod view;
