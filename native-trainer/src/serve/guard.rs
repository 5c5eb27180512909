//! Who is answered: browsers that reach this server by a name of this machine, for pages that it served itself.
//!
//! Binding 127.0.0.1 keeps other machines out, but not the pages of others in a browser on this one.
//! A page can point a name of its own at 127.0.0.1 (DNS rebinding), and then reads what it asks for: `Host` gives it away.
//! Or it asks 127.0.0.1 openly: `Origin` gives it away, and where a browser sends none, it keeps the answer from the page.
//! A WebSocket it would not keep from the page, but there browsers always send `Origin`.
//!
//! At any other address than localhost everyone on the network can ask: there every request needs the token that is in the
//! printed address, at first in the query, then in the cookie that the first answer sets.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use anyhow::{Context, Result};
use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

/// Bytes of a token.
const TOKEN_BYTES: usize = 16;

/// The names by which this server is reached, and what else is asked of who reaches it.
pub struct Guard {
    listening: SocketAddr,
    hosts: Vec<String>,
    token: Option<Token>,
}

/// What only those know who were told the address.
struct Token {
    digits: String,
    /// The name of its cookie: a cookie is sent to all ports of a host.
    cookie: String,
}

/// Why a request is not answered.
type Refusal = (StatusCode, String);

impl Guard {
    /// The guard of a server that listens there; `host` is the address that was asked for, where it was not localhost.
    ///
    /// # Errors
    /// - If the system has no randomness for a token.
    pub fn new(listening: SocketAddr, host: Option<&str>) -> Result<Self> {
        let port = listening.port();
        let ip = listening.ip();
        let here = ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned);
        let own = SocketAddr::new(ip, 0).to_string();
        let own = own.trim_end_matches(":0").to_owned();
        let given = host.map(|host| match host.contains(':') {
            true => format!("[{host}]"),
            false => host.to_owned(),
        });
        let mut names: Vec<String> = match ip.is_loopback() || ip.is_unspecified() {
            true => here.to_vec(),
            false => Vec::new(),
        };
        let machine = sysinfo::System::host_name().filter(|_| ip.is_unspecified());
        for name in given.into_iter().chain([own]).chain(machine) {
            if !names.contains(&name) && !name.is_empty() {
                names.push(name);
            }
        }
        let mut hosts: Vec<String> = names.iter().map(|name| format!("{name}:{port}")).collect();
        // What browsers leave out.
        if port == 80 {
            hosts.extend(names);
        }
        let token = match ip.is_loopback() {
            true => None,
            false => Some(Token::new(port)?),
        };
        Ok(Self {
            listening,
            hosts,
            token,
        })
    }

    /// What a browser on this machine opens.
    pub fn address(&self) -> String {
        let ip = self.listening.ip();
        let ip = match ip {
            IpAddr::V4(_) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
            IpAddr::V6(_) if ip.is_unspecified() => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
            ip => ip,
        };
        let host = SocketAddr::new(ip, self.listening.port());
        match &self.token {
            None => format!("http://{host}/"),
            Some(token) => format!("http://{host}/?token={}", token.digits),
        }
    }

    /// Whether other machines can reach it.
    pub fn is_public(&self) -> bool {
        self.token.is_some()
    }

    fn is_listed(&self, host: &[u8]) -> bool {
        let is_host = |here: &String| here.as_bytes().eq_ignore_ascii_case(host);
        self.hosts.iter().any(is_host)
    }

    fn has_host(&self, host: &[u8]) -> bool {
        // A name can be pointed here by anyone, an address cannot; one that listens at all addresses knows not all of them.
        let is_address = || {
            let port = self.listening.port();
            let host = str::from_utf8(host).unwrap_or_default();
            let with_port = host
                .parse()
                .is_ok_and(|host: SocketAddr| host.port() == port);
            let bare = host.trim_start_matches('[').trim_end_matches(']');
            with_port || port == 80 && bare.parse::<IpAddr>().is_ok()
        };
        self.is_listed(host) || self.listening.ip().is_unspecified() && is_address()
    }

    fn has_origin(&self, origin: &HeaderValue, host: &HeaderValue) -> bool {
        let from = origin.as_bytes().strip_prefix(b"http://");
        from.is_some_and(|from| self.is_listed(from) || from.eq_ignore_ascii_case(host.as_bytes()))
    }

    /// Where this request has the token.
    ///
    /// # Errors
    /// - What is said to who has none.
    fn admit(&self, request: &Request) -> Result<Shown, Refusal> {
        let headers = request.headers();
        let mut hosts = headers.get_all(header::HOST).iter();
        let host = match (hosts.next(), hosts.next()) {
            (Some(host), None) if self.has_host(host.as_bytes()) => Some(host),
            _ => None,
        };
        // `GET http://HOST/ …`, as to a proxy.
        let authority = request.uri().authority();
        let is_here = authority.is_none_or(|host| self.has_host(host.as_str().as_bytes()));
        let Some(host) = host.filter(|_| is_here) else {
            let why = format!(
                "This server is called {}, and answers to no other name.\n\
                 Where the port is forwarded, use the same number on both sides.\n",
                self.hosts.join(", ")
            );
            return Err((StatusCode::MISDIRECTED_REQUEST, why));
        };
        let shown = match &self.token {
            None => Shown::Needless,
            Some(token) => token.shown(request).ok_or_else(|| {
                let why = "Open this server by the address that it printed when it started, which ends with a token.\n";
                (StatusCode::FORBIDDEN, why.to_owned())
            })?,
        };
        let mut origins = headers.get_all(header::ORIGIN).iter();
        // A program of another machine can show the token, and then say where it comes from, too.
        let lacks_origin = self.is_public()
            && headers.contains_key(header::UPGRADE)
            && !headers.contains_key(header::ORIGIN);
        if lacks_origin || !origins.all(|origin| self.has_origin(origin, host)) {
            let why = "This server answers its own page, and no page of another address.\n";
            return Err((StatusCode::FORBIDDEN, why.to_owned()));
        }
        Ok(shown)
    }
}

/// Where a request showed the token.
enum Shown {
    Needless,
    InCookie,
    InQuery(HeaderValue),
}

impl Token {
    fn new(port: u16) -> Result<Self> {
        let mut bytes = [0; TOKEN_BYTES];
        getrandom::fill(&mut bytes).context("asking the system for a random token")?;
        Ok(Self {
            digits: swivel_core::hex(&bytes),
            cookie: format!("swivel-{port}"),
        })
    }

    /// Takes as long for any token of the right length.
    fn is(&self, shown: &str) -> bool {
        let digits = self.digits.bytes().zip(shown.bytes());
        let n_wrong = digits.fold(0, |wrong, (one, other)| wrong | (one ^ other));
        shown.len() == self.digits.len() && n_wrong == 0
    }

    fn shown(&self, request: &Request) -> Option<Shown> {
        let mut fields = request.uri().query().unwrap_or_default().split('&');
        if fields.any(|field| field.strip_prefix("token=").is_some_and(|it| self.is(it))) {
            let cookie = format!(
                "{}={}; Path=/; HttpOnly; SameSite=Strict",
                self.cookie, self.digits
            );
            return HeaderValue::try_from(cookie).ok().map(Shown::InQuery);
        }
        let is_in = self.is_in_cookie(request.headers());
        is_in.then_some(Shown::InCookie)
    }

    fn is_in_cookie(&self, headers: &HeaderMap) -> bool {
        let cookies = headers.get_all(header::COOKIE).iter();
        let mut cookies = cookies
            .filter_map(|cookies| cookies.to_str().ok())
            .flat_map(|cookies| cookies.split(';'))
            .filter_map(|cookie| cookie.trim().split_once('='));
        cookies.any(|(name, value)| name == self.cookie && self.is(value))
    }
}

/// Refuses what comes from elsewhere, and says about every answer what holds for all.
pub async fn guard(State(guard): State<Arc<Guard>>, mut request: Request, next: Next) -> Response {
    let (mut response, cookie) = match guard.admit(&request) {
        Err(refusal) => (refusal.into_response(), None),
        Ok(shown) => {
            // Part of a file that has changed since is no part of the one that was asked for: then it is sent whole.
            if request.headers().contains_key(header::IF_RANGE) {
                request.headers_mut().remove(header::RANGE);
            }
            let cookie = match shown {
                Shown::InQuery(cookie) => Some(cookie),
                Shown::Needless | Shown::InCookie => None,
            };
            (next.run(request).await, cookie)
        }
    };
    let headers = response.headers_mut();
    if let Some(cookie) = cookie {
        headers.insert(header::SET_COOKIE, cookie);
    }
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
