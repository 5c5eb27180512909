//! Who is answered: browsers that reach this server by a name of this machine, for pages that it served itself.
//!
//! Binding 127.0.0.1 keeps other machines out, but not the pages of others in a browser on this one.
//! A page can point a name of its own at 127.0.0.1 (DNS rebinding), and then reads what it asks for: `Host` gives it away.
//! Or it asks 127.0.0.1 openly: `Origin` gives it away, and where a browser sends none, it keeps the answer from the page.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

/// The names by which this server is reached.
pub struct Names {
    port: u16,
    hosts: Vec<String>,
}

impl Names {
    /// The names of this machine, with a port.
    pub fn new(port: u16) -> Self {
        const HERE: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];
        let mut hosts = HERE.map(|name| format!("{name}:{port}")).to_vec();
        // What browsers leave out.
        if port == 80 {
            hosts.extend(HERE.map(str::to_owned));
        }
        Self { port, hosts }
    }

    fn has_host(&self, host: &[u8]) -> bool {
        let is_host = |here: &String| here.as_bytes().eq_ignore_ascii_case(host);
        self.hosts.iter().any(is_host)
    }

    fn has_origin(&self, origin: &HeaderValue) -> bool {
        let host = origin.as_bytes().strip_prefix(b"http://");
        host.is_some_and(|host| self.has_host(host))
    }

    /// Why a request is not answered.
    fn refusal(&self, request: &Request) -> Option<(StatusCode, String)> {
        let headers = request.headers();
        let mut hosts = headers.get_all(header::HOST).iter();
        let asks_here = match (hosts.next(), hosts.next()) {
            (Some(host), None) => self.has_host(host.as_bytes()),
            _ => false,
        };
        // `GET http://HOST/ …`, as to a proxy.
        let authority = request.uri().authority();
        if !asks_here || authority.is_some_and(|host| !self.has_host(host.as_str().as_bytes())) {
            let why = format!(
                "This server is called localhost:{0} and 127.0.0.1:{0}, and answers to no other name.\n\
                 Where the port is forwarded, use the same number on both sides.\n",
                self.port
            );
            return Some((StatusCode::MISDIRECTED_REQUEST, why));
        }
        let mut origins = headers.get_all(header::ORIGIN).iter();
        if !origins.all(|origin| self.has_origin(origin)) {
            let why = "This server answers its own page, and no page of another address.\n";
            return Some((StatusCode::FORBIDDEN, why.to_owned()));
        }
        None
    }
}

/// Refuses what comes from elsewhere, and says about every answer what holds for all.
pub async fn guard(State(names): State<Arc<Names>>, mut request: Request, next: Next) -> Response {
    let mut response = match names.refusal(&request) {
        Some(refusal) => refusal.into_response(),
        None => {
            // Part of a file that has changed since is no part of the one that was asked for: then it is sent whole.
            if request.headers().contains_key(header::IF_RANGE) {
                request.headers_mut().remove(header::RANGE);
            }
            next.run(request).await
        }
    };
    let headers = response.headers_mut();
    // What was rebuilt is seen; what was not is not sent again.
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-cache"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        "cross-origin-resource-policy",
        HeaderValue::from_static("same-origin"),
    );
    response
}
