//! Directions and sweep results that were learned where the page comes from are opened, also those that come later.

use leptos::prelude::*;
use wasm_bindgen_futures::spawn_local;
use web_sys::RequestCache;

use super::App;
use crate::{
    browser::{
        fetch::{self, fetch},
        window,
    },
    session::Session,
};

/// Folder of what was learned where the page comes from.
const LEARNED: &str = "directions";

impl App {
    /// Opens the directions and sweep results of the host's folder, where it lists them; where it is `swivel serve`, also those
    /// that come while the page is open. What was opened stays, whatever becomes of the file.
    pub(super) fn open_learned(self, cache: RequestCache) {
        if self.folder.try_update_value(|folder| folder.start()) != Some(true) {
            return;
        }
        spawn_local(async move {
            let result = self.read_folder(cache).await;
            self.folder
                .update_value(|folder| folder.end(result.is_ok()));
        });
    }

    /// What did not fit the model before may fit this one; a direction of a head needs one to be there.
    pub(super) fn retry_refused(self) {
        let had_some = self
            .folder
            .try_update_value(|folder| folder.forget_refused());
        if had_some == Some(true) {
            self.open_learned(RequestCache::Default);
        }
    }

    async fn read_folder(self, cache: RequestCache) -> Result<(), String> {
        let Some(list) = fetch::list(LEARNED, cache).await? else {
            return Ok(());
        };
        self.folder
            .update_value(|folder| folder.is_live = list.is_live);
        for name in list.names {
            if self.folder.with_value(|folder| folder.is_known(&name)) {
                continue;
            }
            let address = fetch::address_in(LEARNED, &name);
            // One that is gone already is no loss.
            let Some(bytes) = fetch(&address, &|_, _| ()).await? else {
                continue;
            };
            let size = |session: &Session| (session.directions.len(), session.sweeps.len());
            let before = self.session.with_untracked(size);
            let opened = self.edit(|session| session.open_file(&name, &bytes.to_vec()));
            if let Ok(opened) = &opened
                && cache == RequestCache::NoStore
                && self.session.with_untracked(size) != before
            {
                self.tell(format!("New: {name}, {}.", self.describe(*opened)));
            }
            self.folder
                .update_value(|folder| folder.insert(name, opened.is_ok()));
        }
        Ok(())
    }

    /// Asks a host that can say so what is new in its folder.
    pub(super) fn look_into_folder(self) {
        let is_due = self.folder.try_update_value(|folder| folder.pass_turn());
        if is_due == Some(true) && window::is_visible() {
            self.open_learned(RequestCache::NoStore);
        }
    }

    /// A person looks at the page again, or away from it: the host is asked at once, also one that did not answer.
    pub(super) fn look_again(self) {
        self.folder.update_value(|folder| folder.end_rest());
        self.look_into_folder();
    }
}
