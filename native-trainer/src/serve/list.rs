//! Lists in JSON, as they are at the moment: never from a cache, and marked as this server's.

use axum::{
    http::{HeaderName, header},
    response::{IntoResponse, Response},
};

/// The header by which the page knows that its host is this server, and that lists change while it is open.
const MARK: HeaderName = HeaderName::from_static("swivel-serve");

/// An answer with a list.
pub fn answer(json: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
        (MARK, env!("CARGO_PKG_VERSION")),
    ];
    (headers, json).into_response()
}
