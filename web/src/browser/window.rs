//! Small services of the window: clock, clipboard, address, what the person prefers.

use js_sys::{Array, Reflect};
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Document, Event, MessageChannel, Window};

use super::error_text;

/// The window; in it, this program is the page.
pub fn window() -> Option<Window> {
    web_sys::window()
}

/// The page's document; `None` in a worker.
pub fn document() -> Option<Document> {
    window()?.document()
}

/// Milliseconds since the page was opened.
pub fn now() -> f64 {
    window()
        .and_then(|window| window.performance())
        .map_or(0.0, |performance| performance.now())
}

/// A random seed.
pub fn seed() -> u64 {
    (js_sys::Math::random() * 9e15) as u64
}

/// Puts text on the clipboard.
///
/// # Errors
/// - if the browser does not allow it
pub async fn copy(text: &str) -> Result<(), String> {
    let window = window().ok_or("no window")?;
    JsFuture::from(window.navigator().clipboard().write_text(text))
        .await
        .map(drop)
        .map_err(|error| error_text(&error))
}

/// The address' fragment without `#`.
pub fn fragment() -> String {
    let hash = window().and_then(|window| window.location().hash().ok());
    hash.unwrap_or_default().trim_start_matches('#').to_owned()
}

/// The address without its fragment.
pub fn address() -> String {
    let address = window().and_then(|window| window.location().href().ok());
    let address = address.unwrap_or_default();
    address.split('#').next().unwrap_or_default().to_owned()
}

/// Changes the fragment without an entry in the history.
pub fn set_fragment(fragment: &str) {
    if let Some(history) = window().and_then(|window| window.history().ok()) {
        // An address that is too long stays as it was.
        let _ = history.replace_state_with_url(&JsValue::NULL, "", Some(&format!("#{fragment}")));
    }
}

/// A value of the address' query.
pub fn query(name: &str) -> Option<String> {
    let search = window()?.location().search().ok()?;
    web_sys::UrlSearchParams::new_with_str(&search)
        .ok()?
        .get(name)
}

/// Puts a value into the address' query, or takes it out, without an entry in the history.
pub fn set_query(name: &str, value: Option<&str>) {
    let set = || {
        let window = window()?;
        let url = web_sys::Url::new(&window.location().href().ok()?).ok()?;
        match value {
            Some(value) => url.search_params().set(name, value),
            None => url.search_params().delete(name),
        }
        let history = window.history().ok()?;
        let replaced = history.replace_state_with_url(&JsValue::NULL, "", Some(&url.href()));
        replaced.ok()
    };
    // An address that is too long stays as it was.
    let _ = set();
}

/// A setting that was kept from an earlier visit.
pub fn stored(name: &str) -> Option<String> {
    window()?.local_storage().ok()??.get_item(name).ok()?
}

/// Keeps a setting, where the browser allows it.
pub fn store(name: &str, value: &str) {
    if let Some(storage) = window().and_then(|window| window.local_storage().ok()?) {
        let _ = storage.set_item(name, value);
    }
}

/// Sets an attribute of the document's root.
pub fn set_root_attribute(name: &str, value: &str) {
    let root = document().and_then(|document| document.document_element());
    if let Some(root) = root {
        let _ = root.set_attribute(name, value);
    }
}

/// Calls back for every event of this name at the window, as long as the page is open.
pub fn listen(name: &str, call: impl Fn(Event) + 'static) {
    let listener = Closure::<dyn Fn(Event)>::new(call);
    if let Some(window) = window() {
        let _ = window.add_event_listener_with_callback(name, listener.as_ref().unchecked_ref());
    }
    listener.forget();
}

/// True while a person can see the page.
pub fn is_visible() -> bool {
    document().is_some_and(|document| !document.hidden())
}

/// Marks a moment for whoever measures the page.
pub fn mark(name: &str) {
    if let Some(performance) = window().and_then(|window| window.performance()) {
        let _ = performance.mark(name);
    }
}

/// Lets the browser do what waits, as to deliver messages; in a window and in a worker. A timer would wait for some
/// milliseconds, a message to oneself does not.
///
/// # Errors
/// - if the browser has no channels
pub async fn turn() -> Result<(), JsValue> {
    let channel = MessageChannel::new()?;
    let (sender, receiver) = (channel.port1(), channel.port2());
    let arrived = js_sys::Promise::new(&mut |resolve, _| receiver.set_onmessage(Some(&resolve)));
    sender.post_message(&JsValue::NULL)?;
    JsFuture::from(arrived).await?;
    receiver.set_onmessage(None);
    sender.close();
    Ok(())
}

/// Waits for some milliseconds; in a window and in a worker.
pub async fn sleep(ms: f64) {
    let waited = js_sys::Promise::new(&mut |resolve, _| {
        let set = Reflect::get(&js_sys::global(), &"setTimeout".into());
        let set = set.and_then(|set| set.dyn_into::<js_sys::Function>());
        let is_set = set.and_then(|set| set.call2(&JsValue::NULL, &resolve, &ms.into()));
        if is_set.is_err() {
            // Without a clock there is no waiting.
            let _ = resolve.call0(&JsValue::NULL);
        }
    });
    // Nobody rejects it.
    let _ = JsFuture::from(waited).await;
}

/// Bytes of this program's memory.
pub fn memory_bytes() -> f64 {
    let buffer = Reflect::get(&wasm_bindgen::memory(), &"buffer".into());
    let length = buffer.and_then(|buffer| Reflect::get(&buffer, &"byteLength".into()));
    length
        .ok()
        .and_then(|length| length.as_f64())
        .unwrap_or(0.0)
}

/// Says on the page that this program has stopped, which is a fault of ours.
pub fn stopped(cause: &str) {
    web_sys::console::error_1(&cause.into());
    let notice = document().and_then(|document| {
        let notice = document.create_element("p").ok()?;
        notice.set_class_name("notice problem stopped");
        let text = format!(
            "Swivel has stopped, by a fault of its own: {cause}. Reload the page; the address holds what you did."
        );
        notice.set_text_content(Some(&text));
        notice.set_attribute("role", "alert").ok()?;
        document.body()?.prepend_with_node_1(&notice).ok()
    });
    if notice.is_none() {
        set_root_attribute("data-stopped", cause);
    }
}

/// True if the browser knows WebGPU.
pub fn has_webgpu() -> bool {
    let gpu = window().map(|window| Reflect::get(&window.navigator(), &"gpu".into()));
    matches!(gpu, Some(Ok(gpu)) if gpu.is_object())
}

/// Registers `offline.js`, which keeps what the page fetched; then tells it what the page fetched before, and what workers
/// did.
pub async fn keep_for_offline(by_workers: Vec<String>) {
    // Without it (a private window, an old browser) the page works, but not offline.
    let _ = register(by_workers).await;
}

async fn register(by_workers: Vec<String>) -> Result<(), JsValue> {
    let window = window().ok_or("no window")?;
    let container = window.navigator().service_worker();
    if container.is_undefined() {
        return Ok(());
    }
    JsFuture::from(container.register("offline.js")).await?;
    let ready = JsFuture::from(container.ready()?).await?;
    let registration: web_sys::ServiceWorkerRegistration = ready.dyn_into()?;
    let addresses = Array::of1(&address().into());
    for address in by_workers {
        addresses.push(&address.into());
    }
    let performance = window.performance().ok_or("no clock")?;
    for entry in performance.get_entries_by_type("resource").iter() {
        let name = Reflect::get(&entry, &"name".into())?;
        if let Some(name) = name.as_string()
            && name.starts_with(&window.location().origin()?)
        {
            addresses.push(&name.into());
        }
    }
    match registration.active() {
        Some(worker) => worker.post_message(&addresses),
        None => Ok(()),
    }
}
