//! The built page in a real Chromium: a file server, a browser of its own for every test, and a person's hands.
//!
//! ```no_run
//! use std::time::Duration;
//! use swivel_e2e::{Browser, Gpu, Server};
//!
//! let server = Server::start();
//! let browser = Browser::start(Gpu::Off);
//! let page = browser.page(&server);
//! page.open("/");
//! page.wait_text("h1", Duration::from_secs(10), |text| text == "Swivel");
//! page.assert_clean_console();
//! ```
//!
//! The helpers panic where they are called: a test reads as what a person does, and its failure names the selector,
//! what the page logged, and a screenshot.

mod browser;
mod page;
mod program;
mod server;

pub use browser::{Browser, Gpu};
pub use page::Page;
pub use program::Program;
pub use server::{Manners, Overlay, Request, Server, checkout, dist};
pub use thirtyfour::Key;
