//! The side that does what it is asked: a device of this machine, for others.

use std::{
    any::Any,
    collections::HashMap,
    net::{TcpListener, TcpStream},
    panic::{self, AssertUnwindSafe},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use burn::tensor::read_sync;
use burn_ir::BackendIr;
use burn_router::{Runner, RunnerClient};
use tungstenite::{
    Message, WebSocket, accept_hdr_with_config,
    handshake::server::{ErrorResponse, Request, Response as Accept},
    http::StatusCode,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use super::{ComputeTask, Content, Response, SessionId, Task, socket_config, to_message};
use crate::{interrupt, report::Report};

/// How long a client may take between its connection and its first message, or between its two sockets.
const PATIENCE: Duration = Duration::from_secs(10);

/// The most bytes of a reason that a closing WebSocket can carry.
const REASON_BYTES: usize = 123;

/// Serves a device until Ctrl-C. Every client has its own tensors, which go when it goes.
///
/// # Errors
/// - When interrupted.
pub fn serve<B: BackendIr>(device: B::Device, listener: TcpListener, report: Report) -> Result<()> {
    // What a client asks for may be wrong: burn panics, and the client is told why.
    panic::set_hook(Box::new(|_| {}));
    let waiting = Arc::new(Waiting::default());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { continue };
            let (device, waiting) = (device.clone(), Arc::clone(&waiting));
            thread::spawn(move || {
                let client = stream.peer_addr();
                if let (Err(error), Ok(client)) =
                    (attend::<B>(stream, device, &waiting, report), client)
                {
                    report.warn(format!("{client}: {error:#}"));
                }
            });
        }
    });
    loop {
        interrupt::check("clients that were at work lose their device")?;
        thread::sleep(Duration::from_millis(100));
    }
}

type Socket = WebSocket<TcpStream>;

/// Sockets for answers, until the client's other socket asks for one.
#[derive(Default)]
struct Waiting {
    sockets: Mutex<HashMap<SessionId, Socket>>,
    arrived: Condvar,
}

impl Waiting {
    fn put(&self, session: SessionId, socket: Socket) {
        let mut sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        sockets.insert(session, socket);
        self.arrived.notify_all();
    }

    fn take(&self, session: SessionId) -> Result<Socket> {
        let sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut sockets, _) = self
            .arrived
            .wait_timeout_while(sockets, PATIENCE, |sockets| !sockets.contains_key(&session))
            .unwrap_or_else(PoisonError::into_inner);
        sockets
            .remove(&session)
            .context("no socket for answers was opened")
    }
}

/// One socket of a client's, from its first byte to its last.
fn attend<B: BackendIr>(
    stream: TcpStream,
    device: B::Device,
    waiting: &Waiting,
    report: Report,
) -> Result<()> {
    let client = stream.peer_addr()?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut route = String::new();
    #[expect(clippy::result_large_err, reason = "the type is tungstenite's")]
    let check = |request: &Request, accept: Accept| {
        // A web page may open a WebSocket to any address that its reader can reach; no program but a browser says who asks.
        if request.headers().contains_key("origin") {
            let mut refusal = ErrorResponse::new(Some("not for web pages".to_owned()));
            *refusal.status_mut() = StatusCode::FORBIDDEN;
            return Err(refusal);
        }
        request.uri().path().clone_into(&mut route);
        Ok(accept)
    };
    let mut socket = accept_hdr_with_config(stream, check, Some(socket_config()))
        .map_err(|error| anyhow!("{error}"))?;
    let Some(Task::Init(session)) = read_task(&mut socket)? else {
        bail!("it did not say who it is");
    };
    socket.get_ref().set_read_timeout(None)?;
    match route.as_str() {
        "/response" => waiting.put(session, socket),
        "/request" => {
            let responses = waiting.take(session)?;
            report.line(format!("{client} came"));
            work::<B>(socket, responses, device)?;
            report.line(format!("{client} went"));
        }
        _ => bail!("unknown route `{route}`"),
    }
    Ok(())
}

/// Does what a client asks until it goes.
fn work<B: BackendIr>(
    mut requests: Socket,
    mut responses: Socket,
    device: B::Device,
) -> Result<()> {
    let runner = Runner::<B>::new(device);
    let result = panic::catch_unwind(AssertUnwindSafe(|| -> Result<()> {
        while let Some(Task::Compute(task, id)) = read_task(&mut requests)? {
            if let Some(content) = run(&runner, task) {
                responses.send(to_message(&Response { content, id })?)?;
            }
        }
        Ok(())
    }));
    let result = result.unwrap_or_else(|cause| Err(anyhow!("{}", first_line(cause.as_ref()))));
    if let Err(error) = &result {
        let mut reason = format!("the server could not go on: {error:#}");
        reason.truncate(reason.floor_char_boundary(REASON_BYTES));
        let frame = CloseFrame {
            code: CloseCode::Error,
            reason: reason.into(),
        };
        // The client may be gone.
        drop(responses.send(Message::Close(Some(frame))));
    }
    result
}

/// What a panic said, in one line.
fn first_line(cause: &(dyn Any + Send)) -> String {
    let text = match (cause.downcast_ref::<String>(), cause.downcast_ref::<&str>()) {
        (Some(text), _) => text,
        (None, Some(text)) => *text,
        (None, None) => "an operation failed",
    };
    text.lines().next().unwrap_or_default().to_owned()
}

/// Does one thing; the answer, if one is expected.
fn run<B: BackendIr>(runner: &Runner<B>, task: ComputeTask) -> Option<Content> {
    match task {
        ComputeTask::RegisterOperation(op) => {
            runner.register_op(*op);
            None
        }
        ComputeTask::RegisterTensor(id, data) => {
            runner.register_tensor_data_id(id, data);
            None
        }
        ComputeTask::Seed(seed) => {
            runner.seed(seed);
            None
        }
        ComputeTask::ReadTensor(tensor) => Some(Content::ReadTensor(read_sync(
            runner.read_tensor_async(tensor),
        ))),
        ComputeTask::SyncBackend => Some(Content::SyncBackend(runner.sync())),
        ComputeTask::DTypeUsage(dtype) => {
            Some(Content::DTypeUsage(runner.dtype_usage(dtype).as_u64()))
        }
    }
}

/// The next message; none when the client has gone.
fn read_task(socket: &mut Socket) -> Result<Option<Task>> {
    use tungstenite::{Error, error::ProtocolError};
    loop {
        match socket.read() {
            Ok(Message::Binary(bytes)) => {
                let task = rmp_serde::from_slice(&bytes).context("reading a message")?;
                return Ok(match task {
                    Task::Close(_) => None,
                    task => Some(task),
                });
            }
            Ok(Message::Close(_))
            | Err(
                Error::ConnectionClosed
                | Error::AlreadyClosed
                | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake),
            ) => return Ok(None),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
