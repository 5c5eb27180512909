//! Bytes from addresses and from files that a person chose.

use js_sys::{Array, Reflect, Uint8Array};
use serde::Deserialize;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    Blob, Cache, File, ReadableStreamDefaultReader, RequestCache, RequestInit, Response,
    WorkerGlobalScope,
};

use super::error_text;

/// Cache of files from other servers; those of this one are kept by `offline.js`.
const CACHE: &str = "swivel-models";

/// Bytes that have come, and bytes in all where the server says so.
pub type Progress<'a> = &'a dyn Fn(f64, Option<f64>);

/// Header of a host that goes on saying what is in its folders: `swivel serve`.
const LIVE: &str = "swivel-serve";

/// What is in a folder of this page's host.
pub struct Listing {
    /// File names.
    pub names: Vec<String>,
    /// True if the host looks into the folder each time, so that asking again is worth it.
    pub is_live: bool,
}

/// The list of a folder's files, `index.json`; `None` if the host keeps none.
///
/// # Errors
/// - if there is no answer, or another one than a list of names
pub async fn list(folder: &str, cache: RequestCache) -> Result<Option<Listing>, String> {
    let address = format!("{folder}/index.json");
    let failed = |error: String| format!("{address}: {error}");
    let listing = async {
        let Some(response) = get(&address, cache).await? else {
            return Ok(None);
        };
        let is_live = response.headers().has(LIVE)?;
        let bytes = read(&response, &|_, _| ()).await?;
        Ok::<_, JsValue>(Some((bytes, is_live)))
    };
    let Some((bytes, is_live)) = listing.await.map_err(|error| failed(error_text(&error)))? else {
        return Ok(None);
    };
    let names =
        serde_json::from_slice(&bytes.to_vec()).map_err(|error| failed(error.to_string()))?;
    Ok(Some(Listing { names, is_live }))
}

/// What the program computes that serves the page.
#[derive(Debug, Deserialize)]
pub struct Engines {
    /// Name of its device.
    pub device: String,
    /// Models that it has an engine for.
    pub models: Vec<String>,
}

/// What the host of the page computes; `None` if that is nothing.
pub async fn engines() -> Option<Engines> {
    let bytes = fetch("engines.json", &|_, _| ()).await.ok()??;
    serde_json::from_slice(&bytes.to_vec()).ok()
}

/// Address of the socket at which the host of the page answers questions about a model.
///
/// # Errors
/// - if the page has no address
pub fn socket_address(model: &str) -> Result<String, String> {
    let address = || {
        let window = web_sys::window().ok_or("no window")?;
        let path = format!("engine?model={}", js_sys::encode_uri_component(model));
        let url = web_sys::Url::new_with_base(&path, &window.location().href()?)?;
        url.set_protocol(match url.protocol().as_str() {
            "https:" => "wss:",
            _ => "ws:",
        });
        Ok::<_, JsValue>(url.href())
    };
    address().map_err(|error| error_text(&error))
}

/// Address of a file of a folder.
pub fn address_in(folder: &str, name: &str) -> String {
    format!("{folder}/{}", js_sys::encode_uri_component(name))
}

/// Fetches an address; `None` if the server does not have it.
///
/// # Errors
/// - if there is no answer, or another one than the file
pub async fn fetch(address: &str, progress: Progress<'_>) -> Result<Option<Uint8Array>, String> {
    fetch_js(address, progress)
        .await
        .map_err(|error| format!("{address}: {}", error_text(&error)))
}

async fn fetch_js(address: &str, progress: Progress<'_>) -> Result<Option<Uint8Array>, JsValue> {
    let window = web_sys::window().ok_or("no window")?;
    let origin = window.location().origin()?;
    let here = web_sys::Url::new_with_base(address, &window.location().href()?)?;
    let cache = match here.origin() == origin {
        true => None,
        false => open_cache().await,
    };
    if let Some(cache) = &cache
        && let Ok(response) = JsFuture::from(cache.match_with_str(&here.href())).await
        && let Ok(response) = response.dyn_into::<Response>()
    {
        return read(&response, progress).await.map(Some);
    }
    let Some(response) = get(&here.href(), RequestCache::Default).await? else {
        return Ok(None);
    };
    let bytes = read(&response, progress).await?;
    if let Some(cache) = cache {
        let copy = Response::new_with_opt_js_u8_array(Some(&bytes))?;
        // A full disk is no reason to fail.
        let _ = JsFuture::from(cache.put_with_str(&here.href(), &copy)).await;
    }
    Ok(Some(bytes))
}

/// Asks a server, from the page or from a worker.
///
/// # Errors
/// - if it cannot be reached, or the browser forbids it
pub async fn request(address: &str, how: &RequestInit) -> Result<Response, JsValue> {
    let answer = match js_sys::global().dyn_into::<WorkerGlobalScope>() {
        Ok(scope) => scope.fetch_with_str_and_init(address, how),
        Err(_) => {
            let window = web_sys::window().ok_or("no window")?;
            window.fetch_with_str_and_init(address, how)
        }
    };
    JsFuture::from(answer).await?.dyn_into()
}

/// The answer of a server; `None` if it does not have what is asked for.
async fn get(address: &str, cache: RequestCache) -> Result<Option<Response>, JsValue> {
    let how = RequestInit::new();
    how.set_cache(cache);
    let response = request(address, &how).await?;
    match response.status() {
        404 => Ok(None),
        _ if response.ok() => Ok(Some(response)),
        status => Err(format!("{status} {}", response.status_text()).into()),
    }
}

/// Cache Storage, where the page may use it.
async fn open_cache() -> Option<Cache> {
    let caches = web_sys::window()?.caches().ok()?;
    JsFuture::from(caches.open(CACHE))
        .await
        .ok()?
        .dyn_into()
        .ok()
}

async fn read(response: &Response, progress: Progress<'_>) -> Result<Uint8Array, JsValue> {
    // Of a compressed answer the header has the compressed size: then the size is not known.
    let headers = response.headers();
    let total = match headers.get("content-encoding")? {
        Some(_) => None,
        None => headers.get("content-length")?,
    };
    let total = total.and_then(|total| total.parse::<f64>().ok());
    let Some(stream) = response.body() else {
        return Ok(Uint8Array::new_with_length(0));
    };
    let reader: ReadableStreamDefaultReader = stream.get_reader().unchecked_into();
    let chunks = Array::new();
    let mut done = 0;
    progress(0.0, total);
    loop {
        let part = JsFuture::from(reader.read()).await?;
        if Reflect::get(&part, &"done".into())?.as_bool() == Some(true) {
            break;
        }
        let chunk: Uint8Array = Reflect::get(&part, &"value".into())?.dyn_into()?;
        done += chunk.length();
        chunks.push(&chunk);
        progress(f64::from(done), total);
    }
    let bytes = Uint8Array::new_with_length(done);
    let mut at = 0;
    for chunk in chunks.iter() {
        let chunk: Uint8Array = chunk.unchecked_into();
        bytes.set(&chunk, at);
        at += chunk.length();
    }
    Ok(bytes)
}

/// Bytes of a file that a person chose.
///
/// # Errors
/// - if the browser cannot read it any more
pub async fn read_file(file: &File) -> Result<Uint8Array, String> {
    let blob: &Blob = file.as_ref();
    let buffer = JsFuture::from(blob.array_buffer())
        .await
        .map_err(|error| format!("{}: {}", file.name(), error_text(&error)))?;
    Ok(Uint8Array::new(&buffer))
}
