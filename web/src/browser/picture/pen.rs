//! The pen: walks elements as the browser has laid them out, and writes what it sees.

use std::fmt::Write as _;

use wasm_bindgen::{JsCast, JsValue};
use web_sys::{CanvasRenderingContext2d, CssStyleDeclaration, Document, DomRect, Element, Node};

use crate::browser::window::window;

/// What is not part of a picture: what a person works with, and what is there for readers alone.
const CONTROLS: &str = ".bar, select, input, label, details, .keep, .for-readers, .detail > :not(p), \
     button:not(.flips-rows button)";
/// Where a line of text stands in its box, of its height.
const BASELINE: f64 = 0.79;

/// What was drawn so far.
pub struct Pen {
    /// The page's.
    pub document: Document,
    /// A pixel, in which colours are read.
    pub colours: CanvasRenderingContext2d,
    /// Of the picture, in the window.
    pub origin: [f64; 2],
    /// What was drawn.
    pub shapes: String,
    /// Right and lower end of what was drawn.
    pub ends: [f64; 2],
}

impl Pen {
    /// Draws an element and all that is in it.
    ///
    /// # Errors
    /// - what the browser says of one that has no style
    pub fn element(&mut self, element: &Element) -> Result<(), JsValue> {
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
    pub fn colour(&self, css: &str) -> Option<String> {
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

/// The style of an element, as it is computed.
///
/// # Errors
/// - if it has none
pub fn style_of(element: &Element) -> Result<CssStyleDeclaration, JsValue> {
    let style = window().and_then(|window| window.get_computed_style(element).ok().flatten());
    style.ok_or_else(|| JsValue::from_str("the element has no style"))
}

/// A property of a style.
pub fn property(style: &CssStyleDeclaration, name: &str) -> String {
    style.get_property_value(name).unwrap_or_default()
}

fn number(style: &CssStyleDeclaration, name: &str) -> f64 {
    let text = property(style, name);
    text.trim_end_matches("px").parse().unwrap_or(0.0)
}

/// Text inside a file of marks.
pub fn escaped(text: &str) -> String {
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
