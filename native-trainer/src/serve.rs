//! The server behind `swivel serve`: the page, models and learned directions, for browsers of this machine.

mod engine;
mod found;
mod guard;
mod list;
mod offer;
mod page;
mod tag;

use std::{pin::pin, sync::Arc, time::Duration};

use axum::{
    Router, extract::State, http::StatusCode, middleware, response::Response, routing::get,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::watch};
use tower_http::{
    CompressionLevel,
    compression::{
        CompressionLayer,
        predicate::{NotForContentType, Predicate, SizeAbove},
    },
    services::ServeDir,
};

use crate::interrupt;
pub use engine::Engines;
pub use guard::Guard;
use guard::guard;
pub use offer::Offer;
pub use page::Page;
use tag::tag;

/// A connection that has not sent the head of a request for so long is closed; answers may take as long as they take.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// Most bytes of a request's head.
const HEAD_BYTES: usize = 64 << 10;

/// Answers that are on their way when the program is ended get so long.
const GRACE: Duration = Duration::from_secs(1);

/// Every path that is answered.
pub fn router(offer: Offer, engines: Engines, guarded: Guard) -> Router {
    // Weights do not get smaller, and whoever fetches them wants to know their length.
    let compressed = SizeAbove::new(1024)
        .and(NotForContentType::IMAGES)
        .and(NotForContentType::const_new("application/octet-stream"));
    Router::new()
        .route(
            "/directions/index.json",
            get(|State(offer): State<Offer>| names(move || offer.directions())),
        )
        .route(
            "/models/index.json",
            get(|State(offer): State<Offer>| names(move || offer.models())),
        )
        .with_state(offer.clone())
        .merge(engines.router())
        .fallback_service(ServeDir::with_backend("", offer))
        .layer(
            CompressionLayer::new()
                .quality(CompressionLevel::Fastest)
                .compress_when(compressed),
        )
        .layer(middleware::from_fn(tag))
        .layer(middleware::from_fn_with_state(Arc::new(guarded), guard))
}

/// A list of names, made anew for each who asks.
async fn names(
    names: impl FnOnce() -> Vec<String> + Send + 'static,
) -> Result<Response, StatusCode> {
    let names = tokio::task::spawn_blocking(names).await;
    let names = names.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(list::answer(serde_json::Value::from(names).to_string()))
}

/// Answers until Ctrl-C.
pub async fn run(listener: TcpListener, router: Router) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES);
    let (end, ended) = watch::channel(());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = interrupt::pressed() => break,
        };
        let Ok((stream, _)) = accepted else {
            // Too many files are open, or the other side is gone already: neither is helped by trying at once.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        // An answer of the engine is short, and waited for.
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone());
        let connection = http
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut ended = ended.clone();
        tokio::spawn(async move {
            let mut connection = pin!(connection);
            // A browser that goes away in the middle of an answer is nobody's failure.
            tokio::select! {
                _ = connection.as_mut() => return,
                _ = ended.changed() => connection.as_mut().graceful_shutdown(),
            }
            let _ = connection.await;
        });
    }
    drop((listener, ended));
    let _ = end.send(());
    // Whoever reads on after that reads from a server that is gone.
    let _ = tokio::time::timeout(GRACE, end.closed()).await;
}
