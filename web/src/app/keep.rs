//! Parts of the page become files.

use leptos::prelude::*;
use wasm_bindgen_futures::spawn_local;

use super::App;
use crate::{
    browser::{picture, window},
    page_state::Format,
    session::kept::Kept,
};

impl App {
    /// Has the browser keep a part of the page; `of` is its element's selector.
    pub(super) fn keep(self, kept: Kept, of: &'static str, format: Format) {
        spawn_local(async move {
            let (name, caption) = self
                .session
                .with_untracked(|session| (session.kept_name(kept), session.caption()));
            let file = match format {
                Format::Csv => {
                    let csv = self.session.with_untracked(|session| session.csv(kept));
                    picture::file_of(&csv, "text/csv;charset=utf-8")
                }
                Format::Svg | Format::Png => drawn(of, &caption, format).await,
            };
            let name = format!("{name}.{}", format.ending());
            let saved = file.and_then(|file| picture::save(&name, &file));
            match saved {
                Ok(()) => self.tell(format!("Saved {name}.")),
                Err(cause) => self.complain(format!("The picture was not saved: {cause}.")),
            }
        });
    }
}

async fn drawn(of: &str, caption: &[String], format: Format) -> Result<web_sys::Blob, String> {
    let element =
        window::document().and_then(|document| document.query_selector(of).ok().flatten());
    let element = element.ok_or("there is nothing to see yet")?;
    let drawing = picture::draw(&element, caption)?;
    match format {
        Format::Png => drawing.png().await,
        _ => picture::file_of(&drawing.svg, "image/svg+xml"),
    }
}
