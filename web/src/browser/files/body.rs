//! The body of a server's answer, as it comes.

use std::rc::Rc;

use js_sys::{Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{ReadableStreamDefaultReader, Response};

use crate::{browser::error_text, ranges::Trouble};

/// Hears how many bytes of the file are there.
pub type Progress = Rc<dyn Fn(u64, Option<u64>)>;

/// What is still to come of an answer.
#[derive(Default)]
pub struct Body {
    reader: Option<ReadableStreamDefaultReader>,
    /// What came and was not taken, the first first.
    rest: Vec<Uint8Array>,
}

impl Body {
    /// What an answer brings.
    pub fn of(response: &Response) -> Self {
        let stream = response.body();
        Self {
            reader: stream.map(|stream| stream.get_reader().unchecked_into()),
            rest: Vec::new(),
        }
    }

    /// What comes next; `None` at the end.
    async fn next(&mut self) -> Result<Option<Uint8Array>, Trouble> {
        let Some(reader) = &self.reader else {
            return Ok(None);
        };
        let broken = |error: JsValue| Trouble::Passing(error_text(&error));
        let part = JsFuture::from(reader.read()).await.map_err(broken)?;
        let get = |name: &str| Reflect::get(&part, &name.into()).map_err(broken);
        match get("done")?.as_bool() {
            Some(true) => Ok(None),
            _ => Ok(Some(get("value")?.unchecked_into())),
        }
    }

    /// So many bytes, or what there is of them; `count` hears of each part.
    ///
    /// # Errors
    /// - [`Trouble::Passing`] if the connection breaks.
    pub async fn take(
        &mut self,
        n_bytes: u32,
        mut count: impl FnMut(u32),
    ) -> Result<Uint8Array, Trouble> {
        let bytes = Uint8Array::new_with_length(n_bytes);
        let mut at = 0;
        let mut rest = std::mem::take(&mut self.rest).into_iter();
        while at < n_bytes {
            let part = match rest.next() {
                Some(part) => part,
                None => match self.next().await? {
                    Some(part) => part,
                    None => break,
                },
            };
            let n_own = part.length().min(n_bytes - at);
            bytes.set(&part.subarray(0, n_own), at);
            at += n_own;
            count(n_own);
            if n_own < part.length() {
                self.rest.push(part.subarray(n_own, part.length()));
            }
        }
        self.rest.extend(rest);
        Ok(bytes.subarray(0, at))
    }

    /// Reads all and keeps it to be taken; how many bytes that are.
    ///
    /// # Errors
    /// - [`Trouble::Passing`] if the connection breaks.
    pub async fn read_all(&mut self, progress: &Progress) -> Result<u64, Trouble> {
        let mut n_bytes = 0;
        while let Some(part) = self.next().await? {
            n_bytes += u64::from(part.length());
            progress(n_bytes, None);
            self.rest.push(part);
        }
        Ok(n_bytes)
    }
}
