//! The tag of a compressed answer is not that of the file.
//!
//! A browser that keeps the compressed one, asks for a part, and is told by the file's tag that nothing changed, cuts the
//! part out of what is compressed; RFC 9110, 8.8.3.3, gives each its own. What compresses knows no tags, so it is done here.

use axum::{
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::Response,
};

/// How the tag of a compressed answer ends.
const END: &str = "-gzip\"";

/// Gives compressed answers a tag of their own, and knows it again.
pub async fn tag(mut request: Request, next: Next) -> Response {
    let headers = request.headers_mut();
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let is_compressed_again = !headers.contains_key(header::RANGE)
        && text(header::ACCEPT_ENCODING).is_some_and(|accepted| accepted.contains("gzip"));
    let known = text(header::IF_NONE_MATCH)
        .filter(|tags| is_compressed_again && tags.contains(END))
        .and_then(|tags| HeaderValue::try_from(tags.replace(END, "\"")).ok());
    let is_known = known.is_some();
    if let Some(known) = known {
        headers.insert(header::IF_NONE_MATCH, known);
    }

    let mut response = next.run(request).await;
    let is_compressed = response.headers().contains_key(header::CONTENT_ENCODING)
        || is_known && response.status() == StatusCode::NOT_MODIFIED;
    if is_compressed
        && let Some(tag) = response.headers_mut().get_mut(header::ETAG)
        && let Some(of_file) = tag.to_str().ok().and_then(|tag| tag.strip_suffix('"'))
        && let Ok(own) = HeaderValue::try_from(format!("{of_file}{END}"))
    {
        *tag = own;
    }
    response
}
