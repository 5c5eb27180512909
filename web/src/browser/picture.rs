//! A part of the page as a picture file: what is drawn in it, as SVG, and as PNG of three times the pixels.
//!
//! The elements are walked as the browser has laid them out: what has a ground or a border becomes a rectangle, each line of text a
//! text of the same width, so that the picture is what was seen, and needs neither the page's styles nor its fonts.

mod pen;

use std::fmt::Write as _;

use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    Blob, BlobPropertyBag, CanvasRenderingContext2d, Document, Element, HtmlAnchorElement,
    HtmlCanvasElement, HtmlImageElement, Url,
};

use super::{error_text, window::document};
use pen::{Pen, escaped, property, style_of};

/// Room around the picture, and the height of a line below it, pixels.
const MARGIN: f64 = 12.0;
const LINE: f64 = 18.0;
/// Pixels of a PNG to one of the page.
const PNG_SCALE: f64 = 3.0;

/// A picture as text, and its size in pixels.
pub struct Drawing {
    /// The file.
    pub svg: String,
    size: [f64; 2],
}

/// An element as a picture, with lines of text below it.
///
/// # Errors
/// - what the browser says where it draws nothing
pub fn draw(element: &Element, caption: &[String]) -> Result<Drawing, String> {
    let document = element
        .owner_document()
        .ok_or("the page has no document any more")?;
    let canvas = canvas(&document, [1.0, 1.0])?;
    let frame = element.get_bounding_client_rect();
    let mut pen = Pen {
        colours: context(&canvas)?,
        document,
        origin: [frame.left() - MARGIN, frame.top() - MARGIN],
        shapes: String::new(),
        ends: [0.0; 2],
    };
    pen.element(element).map_err(|error| error_text(&error))?;
    let style = style_of(element).map_err(|error| error_text(&error))?;
    let colour = pen.colour(&property(&style, "color"));
    let colour = colour.unwrap_or_else(|| "#000000".to_owned());
    let font = property(&style, "font-family");
    let mut at = pen.ends[1] + MARGIN;
    for line in caption {
        at += LINE;
        let _ = write!(
            pen.shapes,
            "<text x=\"{MARGIN}\" y=\"{at:.1}\" font-size=\"12\" font-family=\"{}\" fill=\"{}\">{}</text>",
            escaped(&font),
            colour,
            escaped(line)
        );
        // About what letters of this size take.
        pen.ends[0] = pen.ends[0].max(MARGIN + 6.6 * line.chars().count() as f64);
    }
    let [width, height] = [pen.ends[0] + MARGIN, at + MARGIN];
    let body = pen.document.body().ok_or("the page has no body any more")?;
    let ground = style_of(&body).map_err(|error| error_text(&error))?;
    let ground = pen.colour(&property(&ground, "background-color"));
    let title = escaped(&caption.join("; "));
    let svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\"><title>{title}</title><rect width=\"100%\" height=\"100%\" fill=\"{}\"/>{}</svg>\n",
        ground.unwrap_or_else(|| "#ffffff".to_owned()),
        pen.shapes
    );
    Ok(Drawing {
        svg,
        size: [width, height],
    })
}

impl Drawing {
    /// The same in pixels.
    ///
    /// # Errors
    /// - what the browser says where it cannot draw
    pub async fn png(&self) -> Result<Blob, String> {
        let document = document().ok_or("the page has no document any more")?;
        let image = HtmlImageElement::new().map_err(|error| error_text(&error))?;
        let encoded = js_sys::encode_uri_component(&self.svg);
        image.set_src(&format!("data:image/svg+xml;charset=utf-8,{encoded}"));
        JsFuture::from(image.decode())
            .await
            .map_err(|error| error_text(&error))?;
        let size = self.size.map(|side| (side * PNG_SCALE).round());
        let canvas = canvas(&document, size)?;
        let [width, height] = size;
        context(&canvas)?
            .draw_image_with_html_image_element_and_dw_and_dh(&image, 0.0, 0.0, width, height)
            .map_err(|error| error_text(&error))?;
        let promise = js_sys::Promise::new(&mut |done, failed| {
            let give = wasm_bindgen::closure::Closure::once_into_js(move |blob: JsValue| {
                let _ = done.call1(&JsValue::NULL, &blob);
            });
            if let Err(error) = canvas.to_blob(give.unchecked_ref()) {
                let _ = failed.call1(&JsValue::NULL, &error);
            }
        });
        let blob = JsFuture::from(promise)
            .await
            .map_err(|error| error_text(&error))?;
        blob.dyn_into()
            .map_err(|_| "the picture is too large for a PNG; the SVG has all of it".to_owned())
    }
}

/// Has the browser keep a file.
///
/// # Errors
/// - what the browser says where it does not
pub fn save(name: &str, file: &Blob) -> Result<(), String> {
    let text = |error: JsValue| error_text(&error);
    let document = document().ok_or("the page has no document any more")?;
    let address = Url::create_object_url_with_blob(file).map_err(text)?;
    let link = document.create_element("a").map_err(text)?;
    let link: HtmlAnchorElement = link.unchecked_into();
    link.set_href(&address);
    link.set_download(name);
    link.click();
    Url::revoke_object_url(&address).map_err(text)
}

/// Text as a file of this type.
///
/// # Errors
/// - what the browser says where it makes none
pub fn file_of(text: &str, kind: &str) -> Result<Blob, String> {
    let parts = js_sys::Array::of1(&JsValue::from_str(text));
    let options = BlobPropertyBag::new();
    options.set_type(kind);
    Blob::new_with_str_sequence_and_options(&parts, &options).map_err(|error| error_text(&error))
}

fn canvas(document: &Document, [width, height]: [f64; 2]) -> Result<HtmlCanvasElement, String> {
    let canvas = document
        .create_element("canvas")
        .map_err(|error| error_text(&error))?;
    let canvas: HtmlCanvasElement = canvas.unchecked_into();
    canvas.set_width(width as u32);
    canvas.set_height(height as u32);
    Ok(canvas)
}

fn context(canvas: &HtmlCanvasElement) -> Result<CanvasRenderingContext2d, String> {
    let context = canvas
        .get_context("2d")
        .map_err(|error| error_text(&error))?;
    let context = context.ok_or("the browser draws no pictures")?;
    Ok(context.unchecked_into())
}
