//! A part of the page as a picture file: what is drawn in it, as SVG, and as PNG of three times the pixels.
//!
//! The elements are walked as the browser has laid them out: what has a ground or a border becomes a rectangle, each line of text a
//! text of the same width, so that the picture is what was seen, and needs neither the page's styles nor its fonts.

use std::fmt::Write as _;

use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    Blob, BlobPropertyBag, CanvasRenderingContext2d, CssStyleDeclaration, Document, DomRect,
    Element, HtmlAnchorElement, HtmlCanvasElement, HtmlImageElement, Node, Url,
};

use super::{error_text, window::window};

/// What is not part of a picture: what a person works with, and what is there for readers alone.
const CONTROLS: &str = ".bar, select, input, label, details, .keep, .for-readers, .detail > :not(p), \
     button:not(.flips-rows button)";
/// Room around the picture, and the height of a line below it, pixels.
const MARGIN: f64 = 12.0;
const LINE: f64 = 18.0;
/// Pixels of a PNG to one of the page.
const PNG_SCALE: f64 = 3.0;
/// Where a line of text stands in its box, of its height.
const BASELINE: f64 = 0.79;

/// A picture as text, and its size in pixels.
pub struct Drawing {
    /// The file.
    pub svg: String,
    size: [f64; 2],
}

/// What was drawn so far.
struct Pen {
    document: Document,
    colours: CanvasRenderingContext2d,
    origin: [f64; 2],
    shapes: String,
    /// Right and lower end of what was drawn.
    ends: [f64; 2],
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
        let document = window()
            .and_then(|window| window.document())
            .ok_or("the page has no document any more")?;
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
    let document = window()
        .and_then(|window| window.document())
        .ok_or("the page has no document any more")?;
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

fn style_of(element: &Element) -> Result<CssStyleDeclaration, JsValue> {
    let style = window().and_then(|window| window.get_computed_style(element).ok().flatten());
    style.ok_or_else(|| JsValue::from_str("the element has no style"))
}

fn property(style: &CssStyleDeclaration, name: &str) -> String {
    style.get_property_value(name).unwrap_or_default()
}

fn number(style: &CssStyleDeclaration, name: &str) -> f64 {
    let text = property(style, name);
    text.trim_end_matches("px").parse().unwrap_or(0.0)
}

impl Pen {
    fn element(&mut self, element: &Element) -> Result<(), JsValue> {
        let style = style_of(element)?;
        let is_hidden = property(&style, "display") == "none"
            || property(&style, "visibility") == "hidden"
            || element.matches(CONTROLS)?;
        if is_hidden {
            return Ok(());
        }
        match element.tag_name().as_str() {
            "line" => self.line(element, &style),
            "rect" => {
                let ground = self.colour(&property(&style, "fill"));
                let line = self.colour(&property(&style, "stroke"));
                let stroke = line.map(|line| (line, number(&style, "stroke-width")));
                self.rectangle(
                    &element.get_bounding_client_rect(),
                    ground,
                    stroke,
                    number(&style, "rx"),
                );
            }
            _ => self.boxed(element, &style),
        }
        let children = element.child_nodes();
        for idx in 0..children.length() {
            let Some(child) = children.get(idx) else {
                continue;
            };
            match child.dyn_ref::<Element>() {
                Some(child) => self.element(child)?,
                None if child.node_type() == Node::TEXT_NODE => self.text(&child, &style)?,
                None => {}
            }
        }
        Ok(())
    }

    /// Ground and border of an element.
    fn boxed(&mut self, element: &Element, style: &CssStyleDeclaration) {
        let ground = self.colour(&property(style, "background-color"));
        let frame = element.get_bounding_client_rect();
        let sides = ["top", "right", "bottom", "left"];
        let border = |side: &str| {
            let width = number(style, &format!("border-{side}-width"));
            let is_drawn = property(style, &format!("border-{side}-style")) != "none";
            (width, is_drawn && width > 0.0)
        };
        let outline = number(style, "outline-width");
        let is_outlined = outline > 0.0 && property(style, "outline-style") != "none";
        let stroke = match sides.iter().all(|side| border(side).1) {
            true => self.stroke(style, "border-top-color", border("top").0),
            false if is_outlined => self.stroke(style, "outline-color", outline),
            false => None,
        };
        let is_framed = stroke.is_some();
        let radius = number(style, "border-top-left-radius");
        self.rectangle(&frame, ground, stroke, radius);
        if is_framed {
            return;
        }
        for side in sides {
            let (width, is_drawn) = border(side);
            let colour = self.colour(&property(style, &format!("border-{side}-color")));
            let (Some(colour), true) = (colour, is_drawn) else {
                continue;
            };
            let [left, top] = [frame.left(), frame.top()];
            let [right, bottom] = [frame.right(), frame.bottom()];
            let [x, y, w, h] = match side {
                "top" => [left, top, right - left, width],
                "bottom" => [left, bottom - width, right - left, width],
                "left" => [left, top, width, bottom - top],
                _ => [right - width, top, width, bottom - top],
            };
            if let Ok(side) = DomRect::new_with_x_and_y_and_width_and_height(x, y, w, h) {
                self.rectangle(&side, Some(colour), None, 0.0);
            }
        }
    }

    fn stroke(&self, style: &CssStyleDeclaration, name: &str, width: f64) -> Option<(String, f64)> {
        Some((self.colour(&property(style, name))?, width))
    }

    fn rectangle(
        &mut self,
        frame: &DomRect,
        ground: Option<String>,
        stroke: Option<(String, f64)>,
        radius: f64,
    ) {
        if (ground.is_none() && stroke.is_none()) || frame.width() * frame.height() == 0.0 {
            return;
        }
        let inset = stroke.as_ref().map_or(0.0, |(_, width)| width / 2.0);
        let [x, y] = self.at(frame.left() + inset, frame.top() + inset);
        let [width, height] = [frame.width(), frame.height()].map(|side| side - 2.0 * inset);
        let ground = ground.unwrap_or_else(|| "none".to_owned());
        let _ = write!(
            self.shapes,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"{:.1}\" fill=\"{ground}\"",
            width.max(0.0),
            height.max(0.0),
            radius.min(height / 2.0).max(0.0),
        );
        if let Some((colour, width)) = stroke {
            let _ = write!(
                self.shapes,
                " stroke=\"{colour}\" stroke-width=\"{width:.1}\""
            );
        }
        self.shapes.push_str("/>");
        self.reach(x + width + inset, y + height + inset);
    }

    fn line(&mut self, element: &Element, style: &CssStyleDeclaration) {
        let Some(colour) = self.colour(&property(style, "stroke")) else {
            return;
        };
        let end = |name: &str| {
            let text = element.get_attribute(name);
            text.and_then(|text| text.parse::<f64>().ok())
                .unwrap_or(0.0)
        };
        let frame = element.get_bounding_client_rect();
        let [left, top] = self.at(frame.left(), frame.top());
        let [right, bottom] = self.at(frame.right(), frame.bottom());
        let falls = (end("x2") - end("x1")) * (end("y2") - end("y1")) >= 0.0;
        let [from, to] = match falls {
            true => [top, bottom],
            false => [bottom, top],
        };
        let _ = write!(
            self.shapes,
            "<line x1=\"{left:.1}\" y1=\"{from:.1}\" x2=\"{right:.1}\" y2=\"{to:.1}\" stroke=\"{colour}\" stroke-width=\"{:.1}\"/>",
            number(style, "stroke-width")
        );
        self.reach(right, bottom);
    }

    /// The lines of a text, word by word as they are laid out.
    fn text(&mut self, node: &Node, style: &CssStyleDeclaration) -> Result<(), JsValue> {
        let text = node.text_content().unwrap_or_default();
        let range = self.document.create_range()?;
        let mut line: Option<(String, [f64; 4])> = None;
        let mut start = 0;
        for word in text.split_inclusive(char::is_whitespace) {
            let n_units = word.encode_utf16().count() as u32;
            let said = word.trim_end();
            let n_said = said.encode_utf16().count() as u32;
            range.set_start(node, start)?;
            range.set_end(node, start + n_said)?;
            start += n_units;
            let frame = range.get_bounding_client_rect();
            if n_said == 0 || frame.width() == 0.0 {
                continue;
            }
            let own = [frame.left(), frame.top(), frame.right(), frame.bottom()];
            match &mut line {
                Some((words, [_, top, right, bottom])) if (*top - own[1]).abs() < 2.0 => {
                    words.push(' ');
                    words.push_str(said);
                    (*right, *bottom) = (own[2], own[3]);
                }
                _ => {
                    if let Some((words, frame)) = line.replace((said.to_owned(), own)) {
                        self.words(&words, frame, style);
                    }
                }
            }
        }
        if let Some((words, frame)) = line {
            self.words(&words, frame, style);
        }
        Ok(())
    }

    fn words(
        &mut self,
        words: &str,
        [left, top, right, bottom]: [f64; 4],
        style: &CssStyleDeclaration,
    ) {
        let colour = match property(style, "fill") {
            // In a drawing of the page text is filled, elsewhere it has a colour.
            fill if property(style, "text-anchor") == "middle" => fill,
            _ => property(style, "color"),
        };
        let Some(colour) = self.colour(&colour) else {
            return;
        };
        let [x, y] = self.at(left, top + BASELINE * (bottom - top));
        let _ = write!(
            self.shapes,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" textLength=\"{:.1}\" lengthAdjust=\"spacingAndGlyphs\" font-family=\"{}\" font-size=\"{}\" font-weight=\"{}\" fill=\"{colour}\">{}</text>",
            right - left,
            escaped(&property(style, "font-family")),
            // Where a drawing is scaled, so is its text.
            escaped(&self.font_size(style, bottom - top)),
            escaped(&property(style, "font-weight")),
            escaped(words)
        );
        let [right, bottom] = self.at(right, bottom);
        self.reach(right, bottom);
    }

    /// Text of a drawing that is scaled is as high as its box says.
    fn font_size(&self, style: &CssStyleDeclaration, height: f64) -> String {
        match property(style, "text-anchor") == "middle" {
            true => format!("{:.1}px", height / 1.17),
            false => property(style, "font-size"),
        }
    }

    /// A point of the window as one of the picture.
    fn at(&self, x: f64, y: f64) -> [f64; 2] {
        [x - self.origin[0], y - self.origin[1]]
    }

    fn reach(&mut self, right: f64, bottom: f64) {
        self.ends = [self.ends[0].max(right), self.ends[1].max(bottom)];
    }

    /// A colour as every program reads it; `None` of one that is not seen.
    fn colour(&self, css: &str) -> Option<String> {
        if css.is_empty() || css == "none" {
            return None;
        }
        self.colours.clear_rect(0.0, 0.0, 1.0, 1.0);
        self.colours.set_fill_style_str(css);
        self.colours.fill_rect(0.0, 0.0, 1.0, 1.0);
        let pixel = self.colours.get_image_data(0.0, 0.0, 1.0, 1.0).ok()?;
        match pixel.data()[..] {
            [_, _, _, 0] => None,
            [red, green, blue, 255] => Some(format!("#{red:02x}{green:02x}{blue:02x}")),
            [red, green, blue, alpha] => {
                let alpha = f64::from(alpha) / 255.0;
                Some(format!("rgba({red},{green},{blue},{alpha:.3})"))
            }
            _ => None,
        }
    }
}

/// Text inside a file of marks.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // Not allowed in such a file at all.
            c if c < ' ' && c != '\n' && c != '\t' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
