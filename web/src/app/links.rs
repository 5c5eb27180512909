//! The view as a link and as code: opened from the address, put on the clipboard.

use leptos::prelude::*;
use wasm_bindgen_futures::spawn_local;

use super::App;
use crate::{browser::window, session::Session};

impl App {
    /// Opens what the address' fragment holds, if it holds something.
    pub(super) fn open_fragment(self) {
        let fragment = window::fragment();
        if fragment.is_empty() || self.session.with_untracked(Session::fragment) == fragment {
            return;
        }
        let opened = self
            .session
            .try_update(|session| session.open_fragment(&fragment));
        if let Some(Err(cause)) = opened {
            self.complain(format!("This link cannot be opened: {cause}."));
        }
        self.pump();
    }

    /// Puts a link to the view on the clipboard and in the address.
    pub(super) fn share(self) {
        let fragment = self.session.with_untracked(Session::fragment);
        window::set_fragment(&fragment);
        let link = format!("{}#{fragment}", window::address());
        spawn_local(async move {
            let kb = link.len() as f64 / 1000.0;
            match window::copy(&link).await {
                Ok(()) => self.tell(format!(
                    "Link copied ({kb:.1} KB). It holds the prompts, what is switched on, and the view."
                )),
                Err(_) => self.tell("The link is in the address bar: copy it from there."),
            }
        });
    }

    /// Puts pyvene code that does the same on the clipboard.
    pub(super) fn copy_code(self) {
        let code = self.session.with_untracked(Session::as_code);
        spawn_local(async move {
            match window::copy(&code).await {
                Ok(()) => self.tell("Copied: a Python script that does the same with pyvene."),
                Err(cause) => self.complain(format!("The code could not be copied: {cause}")),
            }
        });
    }
}
