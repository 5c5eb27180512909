//! What a cell shows in the picture that is chosen, and its marks.

use swivel_core::Site;

use super::{attention, cell::Painted, learned, lens, map};
use crate::session::{Cursor, Picture, Session, map::Metric};

/// Sites and base tokens that the cards that are on write to.
pub fn written(session: &Session) -> Vec<(Site, usize)> {
    let n_tokens = session.choices.base.ids.len();
    let places = session.active().map(|card| card.place);
    places
        .filter_map(|place| Some((place.site, place.position.resolve(n_tokens).ok()?)))
        .collect()
}

/// A cell with its marks; `written` is what [`written`] says.
pub fn paint(
    session: &Session,
    written: &[(Site, usize)],
    row: usize,
    position: usize,
    metric: Metric,
) -> Painted {
    let cell = Cursor {
        layer: row,
        position,
    };
    let painted = describe(session, row, position, metric);
    if matches!(session.picture, Picture::Attention | Picture::Learned(_)) {
        return painted;
    }
    let is_here = |(site, at): &(Site, usize)| (site.layer, *at) == (row, position);
    let is_reached = |(site, at): &(Site, usize)| site.reaches(*at, row, position);
    Painted {
        is_armed: written.iter().any(is_here),
        is_in_cone: written.iter().any(is_reached),
        is_cursor: session.cursor == cell,
        ..painted
    }
}

/// A cell without its marks.
pub fn describe(session: &Session, row: usize, position: usize, metric: Metric) -> Painted {
    let cell = Cursor {
        layer: row,
        position,
    };
    match session.picture {
        Picture::Attention => attention::paint(session, row, position),
        Picture::Map => map::paint(session, cell, metric),
        Picture::Lens => lens::paint(session, cell),
        Picture::Learned(_) => learned::paint(session, cell),
    }
}
