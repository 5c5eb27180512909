//! Devices on other machines: a backend whose operations are done by a server, and that server.
//!
//! [burn-router](https://docs.rs/burn-router/0.21.0) writes tensor operations down and does them again; what is here
//! carries them over two WebSockets, in the messages of burn-remote 0.21, so that either end may be a program of burn's.
//! burn-remote itself is not used:
//! - Its server listens on every network interface, whatever is asked.
//! - Its clients share one table of tensors while each numbers its own from 0, so that two at a time compute with each
//!   other's.
//! - Its server takes no frame above 16 MiB, which is less than GPT-2's token embedding.
//! - Its client waits for ever once the server is gone.

mod client;
mod server;

pub use client::{RemoteBackend, connect, guard};
pub use server::serve;

use anyhow::{Context, Result};
use burn::tensor::{DType, StreamId, TensorData, backend::ExecutionError};
use burn_ir::{OperationIr, TensorId, TensorIr};
use serde::{Deserialize, Serialize};
use tungstenite::{Message, protocol::WebSocketConfig};

/// A message of the client.
#[derive(Debug, Deserialize, Serialize)]
enum Task {
    Compute(ComputeTask, RequestId),
    /// The first message of either socket.
    Init(SessionId),
    Close(SessionId),
}

/// What the server is asked to do.
#[derive(Debug, Deserialize, Serialize)]
enum ComputeTask {
    Seed(u64),
    RegisterOperation(Box<OperationIr>),
    RegisterTensor(TensorId, TensorData),
    ReadTensor(TensorIr),
    SyncBackend,
    DTypeUsage(DType),
}

/// Which client: a random number, which joins its two sockets.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
struct SessionId {
    id: u64,
}

/// Which request of the client's.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct RequestId {
    position: u64,
    stream_id: StreamId,
}

/// An answer of the server.
#[derive(Debug, Deserialize, Serialize)]
struct Response {
    content: Content,
    id: RequestId,
}

/// What is in an answer.
#[derive(Debug, Deserialize, Serialize)]
enum Content {
    ReadTensor(Result<TensorData, ExecutionError>),
    SyncBackend(Result<(), ExecutionError>),
    /// The bits of a `DTypeUsageSet`.
    DTypeUsage(u64),
}

/// A tensor is one message of one frame, however big it is.
fn socket_config() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(None)
        .max_frame_size(None)
}

fn to_message(value: &impl Serialize) -> Result<Message> {
    let bytes = rmp_serde::to_vec(value).context("encoding a message")?;
    Ok(Message::Binary(bytes.into()))
}
