//! One tab: its frames to the engine's queue, the engine's answers to the tab.

use std::{future::pending, time::Duration};

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use swivel_engine::protocol::ToEngine;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc::UnboundedReceiver},
    task::spawn_blocking,
    time::{Instant, interval, timeout},
};

use super::queue::{Seat, frame, refused};

/// Most bytes of a message.
pub const MOST_BYTES: usize = 16 << 20;

/// Bytes that are read at once.
pub const BUFFER_BYTES: usize = 16 << 10;

/// A tab is asked so often whether it is there.
const BEAT: Duration = Duration::from_secs(10);

/// A tab from which nothing came for so long, or that takes nothing, is gone.
const SILENCE: Duration = Duration::from_secs(30);

/// A tab that is closed gets so long to read why.
const LINGER: Duration = Duration::from_secs(1);

/// A longer message is read beside the server's thread.
const LONG_BYTES: usize = 64 << 10;

/// Most bytes of the reason for which a socket is closed, by the protocol.
const REASON_BYTES: usize = 123;

/// Serves a tab until it closes, or tells it why there is no engine; `place` is given back then.
pub async fn serve(
    mut socket: WebSocket,
    seat: Result<Seat, String>,
    mut answers: UnboundedReceiver<String>,
    place: OwnedSemaphorePermit,
) {
    let closing = match seat {
        Ok(seat) => talk(&mut socket, &seat, &mut answers).await,
        Err(why) => {
            let refused = frame(0, &refused(&why));
            match send(&mut socket, Message::text(refused)).await {
                Ok(()) => closing(close_code::ERROR, &why),
                Err(gone) => gone,
            }
        }
    };
    drop(place);
    let Some(closing) = closing else { return };
    if send(&mut socket, Message::Close(Some(closing)))
        .await
        .is_ok()
    {
        // A connection that is dropped before all of it was read takes back what was said last.
        let rest = async {
            while let Some(Ok(message)) = socket.recv().await {
                if let Message::Close(_) = message {
                    return;
                }
            }
            pending().await
        };
        let _ = timeout(LINGER, rest).await;
    }
}

/// Why a socket is closed; `None` where the tab is gone.
type Closing = Option<CloseFrame>;

fn closing(code: u16, why: &str) -> Closing {
    let reason = &why[..why.floor_char_boundary(REASON_BYTES)];
    let reason = reason.into();
    Some(CloseFrame { code, reason })
}

async fn send(socket: &mut WebSocket, message: Message) -> Result<(), Closing> {
    match timeout(SILENCE, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(None),
    }
}

async fn talk(
    socket: &mut WebSocket,
    seat: &Seat,
    answers: &mut UnboundedReceiver<String>,
) -> Closing {
    let mut beat = interval(BEAT);
    let mut heard = Instant::now();
    loop {
        let next = tokio::select! {
            biased;
            answer = answers.recv() => match answer {
                Some(answer) => send(socket, Message::text(answer)).await,
                None => Err(closing(close_code::ERROR, "the engine is gone")),
            },
            _ = beat.tick() => match heard.elapsed() < SILENCE {
                true => send(socket, Message::Ping(Default::default())).await,
                false => Err(None),
            },
            message = socket.recv() => {
                heard = Instant::now();
                match message {
                    None => Err(None),
                    Some(Ok(message)) => hear(seat, message).await,
                    Some(Err(error)) => {
                        let why = error.to_string();
                        let is_size = why.contains("too long");
                        let code = if is_size { close_code::SIZE } else { close_code::PROTOCOL };
                        Err(closing(code, &why))
                    }
                }
            }
        };
        if let Err(closing) = next {
            return closing;
        }
    }
}

/// Does what a message says, unless it ends the conversation.
async fn hear(seat: &Seat, message: Message) -> Result<(), Closing> {
    let text = match message {
        Message::Text(text) => text,
        // What is due to them is sent with the next read.
        Message::Ping(_) | Message::Pong(_) | Message::Close(_) => return Ok(()),
        Message::Binary(_) => return Err(closing(close_code::UNSUPPORTED, "expected text")),
    };
    let Some((number, message)) = parts(&text) else {
        let why = "expected [number, message] or [number]";
        return Err(closing(close_code::POLICY, why));
    };
    let Some(message) = message else {
        seat.take_back(number);
        return Ok(());
    };
    let message = if message.len() < LONG_BYTES {
        read(message)
    } else {
        let text = text.clone();
        let read = move || parts(&text).and_then(|(_, message)| message.map(read));
        let read = spawn_blocking(read).await.ok().flatten();
        read.unwrap_or_else(|| Err("it could not be read".to_owned()))
    };
    match message {
        Ok(ToEngine::Direction(base64)) => seat.give(number, base64),
        Ok(ToEngine::Ask(request)) => seat.ask(number, request),
        Err(why) => seat.refuse(number, &why),
    }
    Ok(())
}

/// The number of a frame and its message, where it has one.
fn parts(frame: &str) -> Option<(u32, Option<&str>)> {
    let inner = frame.trim().strip_prefix('[')?.strip_suffix(']')?;
    let (number, message) = match inner.split_once(',') {
        None => (inner, None),
        Some((number, message)) => (number, Some(message)),
    };
    Some((number.trim().parse().ok()?, message))
}

fn read(message: &str) -> Result<ToEngine, String> {
    serde_json::from_str(message).map_err(|error| error.to_string())
}
