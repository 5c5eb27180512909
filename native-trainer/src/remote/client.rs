//! The side that asks: a backend for burn.

use std::{
    future,
    net::{TcpStream, ToSocketAddrs},
    panic::{self, AssertUnwindSafe},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use burn::tensor::{
    DType, Shape, StreamId, TensorData,
    backend::{DTypeUsageSet, DeviceId, DeviceOps, ExecutionError},
    read_sync,
};
use burn_ir::{OperationIr, TensorId, TensorIr};
use burn_router::{BackendRouter, MultiBackendBridge, RouterTensor, RunnerChannel, RunnerClient};
use tungstenite::{Message, WebSocket, client::client_with_config};

use super::{
    ComputeTask, Content, RequestId, Response, SessionId, Task, socket_config, to_message,
};

/// The backend that has others do its operations.
pub type RemoteBackend = BackendRouter<Channel>;

/// How long a server may take to answer when it is first spoken to.
const PATIENCE: Duration = Duration::from_secs(5);

/// Every server that was reached, by [`RemoteDevice`].
static CLIENTS: Mutex<Vec<Client>> = Mutex::new(Vec::new());

/// Reaches a server, or takes the connection that there is.
///
/// # Errors
/// - If nobody listens at the url (`ws://host:port`), or it is no such server.
pub fn connect(url: &str) -> Result<RemoteDevice> {
    let mut clients = lock(&CLIENTS);
    let known = clients
        .iter()
        .position(|client| client.shared.url == url && client.lost().is_none());
    if let Some(idx) = known {
        return Ok(RemoteDevice { idx });
    }
    let connection =
        Connection::open(url).with_context(|| format!("device `{url}` does not answer"))?;
    let idx = clients.len();
    clients.push(Client {
        shared: Arc::new(Shared {
            url: url.to_owned(),
            device: RemoteDevice { idx },
            n_tensors: AtomicU64::new(0),
            connection: Mutex::new(connection),
        }),
    });
    Ok(RemoteDevice { idx })
}

/// Works with a device; a connection that is lost on the way is one error, although burn panics where a tensor cannot be
/// read.
///
/// # Errors
/// - If the connection is lost; and whatever the work says.
pub fn guard<T>(device: &RemoteDevice, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let client = device.client();
    let hook = Arc::new(panic::take_hook());
    panic::set_hook(Box::new({
        let (client, hook) = (client.clone(), Arc::clone(&hook));
        move |info| {
            if client.lost().is_none() {
                hook(info);
            }
        }
    }));
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    panic::set_hook(Box::new(move |info| hook(info)));
    match (client.lost(), result) {
        (Some(reason), _) => bail!("device `{}` is lost: {reason}", client.shared.url),
        (None, Ok(result)) => result,
        (None, Err(cause)) => panic::resume_unwind(cause),
    }
}

/// A server that was reached, by its place among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoteDevice {
    idx: usize,
}

impl RemoteDevice {
    fn client(&self) -> Client {
        // A device is made only by `connect`, which puts its client there first.
        lock(&CLIENTS)[self.idx].clone()
    }
}

impl burn::prelude::DeviceOps for RemoteDevice {
    fn from_id(id: DeviceId) -> Self {
        Self {
            idx: usize::from(id.index_id),
        }
    }

    fn to_id(&self) -> DeviceId {
        DeviceId {
            type_id: 0,
            index_id: self.idx as u16,
        }
    }
}

impl DeviceOps for RemoteDevice {}

/// A connection, shared by the tensors that live at its other end.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    url: String,
    device: RemoteDevice,
    n_tensors: AtomicU64,
    connection: Mutex<Connection>,
}

impl Client {
    /// Why the connection is lost, if it is.
    fn lost(&self) -> Option<String> {
        lock(&self.shared.connection).lost.clone()
    }

    fn tell(&self, task: ComputeTask) {
        // What fails is kept by the connection, and told by what is read next.
        drop(lock(&self.shared.connection).tell(task));
    }

    fn ask(&self, task: ComputeTask) -> Result<Content, ExecutionError> {
        let answer = lock(&self.shared.connection).ask(task);
        answer.map_err(|error| ExecutionError::WithContext {
            reason: format!("{error:#}"),
        })
    }
}

impl RunnerClient for Client {
    type Device = RemoteDevice;

    fn register_op(&self, op: OperationIr) {
        self.tell(ComputeTask::RegisterOperation(Box::new(op)));
    }

    fn read_tensor_async(
        &self,
        tensor: TensorIr,
    ) -> Pin<Box<dyn Future<Output = Result<TensorData, ExecutionError>> + Send>> {
        let data = match self.ask(ComputeTask::ReadTensor(tensor)) {
            Ok(Content::ReadTensor(data)) => data,
            Ok(other) => Err(unexpected(&other)),
            Err(error) => Err(error),
        };
        Box::pin(future::ready(data))
    }

    fn sync(&self) -> Result<(), ExecutionError> {
        match self.ask(ComputeTask::SyncBackend)? {
            Content::SyncBackend(result) => result,
            other => Err(unexpected(&other)),
        }
    }

    fn create_empty_handle(&self) -> TensorId {
        TensorId::new(self.shared.n_tensors.fetch_add(1, Ordering::Relaxed))
    }

    fn register_tensor_data(&self, data: TensorData) -> RouterTensor<Self> {
        let id = self.create_empty_handle();
        let (shape, dtype) = (data.shape.clone(), data.dtype);
        self.tell(ComputeTask::RegisterTensor(id, data));
        RouterTensor::new(id, shape, dtype, self.clone())
    }

    fn device(&self) -> RemoteDevice {
        self.shared.device.clone()
    }

    fn seed(&self, seed: u64) {
        self.tell(ComputeTask::Seed(seed));
    }

    fn dtype_usage(&self, dtype: DType) -> DTypeUsageSet {
        match self.ask(ComputeTask::DTypeUsage(dtype)) {
            Ok(Content::DTypeUsage(bits)) => DTypeUsageSet::from_u64_truncated(bits),
            _ => DTypeUsageSet::empty(),
        }
    }
}

fn unexpected(content: &Content) -> ExecutionError {
    ExecutionError::WithContext {
        reason: format!("the server gave another answer than was asked for: {content:?}"),
    }
}

/// The two sockets to a server.
struct Connection {
    requests: WebSocket<TcpStream>,
    responses: WebSocket<TcpStream>,
    n_requests: u64,
    /// Why nothing can be sent any more.
    lost: Option<String>,
}

impl Connection {
    fn open(url: &str) -> Result<Self> {
        let session = Task::Init(SessionId { id: rand::random() });
        let open = |route| {
            let mut socket = open_socket(url, route)?;
            socket.send(to_message(&session)?)?;
            anyhow::Ok(socket)
        };
        Ok(Self {
            requests: open("request")?,
            responses: open("response")?,
            n_requests: 0,
            lost: None,
        })
    }

    /// Sends a task, sooner or later.
    fn tell(&mut self, task: ComputeTask) -> Result<RequestId> {
        if let Some(reason) = &self.lost {
            bail!("{reason}");
        }
        let id = RequestId {
            position: self.n_requests,
            stream_id: StreamId::current(),
        };
        self.n_requests += 1;
        let message = to_message(&Task::Compute(task, id))?;
        match self.requests.write(message) {
            Ok(()) => Ok(id),
            Err(error) => {
                let error = self.parting_words().unwrap_or_else(|| lost(error));
                Err(self.lose(error))
            }
        }
    }

    /// Sends a task now, and everything before it, and waits for the answer.
    fn ask(&mut self, task: ComputeTask) -> Result<Content> {
        let id = self.tell(task)?;
        self.answer(id).map_err(|error| self.lose(error))
    }

    fn answer(&mut self, id: RequestId) -> Result<Content> {
        if let Err(error) = self.requests.flush() {
            return Err(self.parting_words().unwrap_or_else(|| lost(error)));
        }
        loop {
            let bytes = match self.responses.read().map_err(lost)? {
                Message::Binary(bytes) => bytes,
                Message::Close(Some(frame)) if !frame.reason.is_empty() => {
                    bail!("{}", frame.reason)
                }
                Message::Close(_) => bail!("the server closed the connection"),
                _ => continue,
            };
            let response: Response =
                rmp_serde::from_slice(&bytes).context("reading an answer of the server")?;
            if response.id != id {
                bail!("the server answered another question than was asked");
            }
            return Ok(response.content);
        }
    }

    /// What a server that gave up said before it went.
    fn parting_words(&mut self) -> Option<anyhow::Error> {
        let socket = self.responses.get_ref();
        socket.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
        loop {
            if let Message::Close(frame) = self.responses.read().ok()? {
                let reason = frame?.reason;
                return (!reason.is_empty()).then(|| anyhow!("{reason}"));
            }
        }
    }

    fn lose(&mut self, error: anyhow::Error) -> anyhow::Error {
        let reason = self.lost.insert(format!("{error:#}"));
        anyhow!("{reason}")
    }
}

fn lost(error: tungstenite::Error) -> anyhow::Error {
    use tungstenite::{Error, error::ProtocolError};
    match error {
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            anyhow!("the server closed the connection")
        }
        Error::Io(error) => error.into(),
        error => anyhow!("{error}"),
    }
}

fn open_socket(url: &str, route: &str) -> Result<WebSocket<TcpStream>> {
    let authority = url.trim_start_matches("ws://");
    let mut result = Err(anyhow!("it has no address"));
    for address in authority.to_socket_addrs().context("looking up its name")? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                result = Ok(stream);
                break;
            }
            Err(error) => result = Err(error.into()),
        }
    }
    let stream = result?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let (socket, _) = client_with_config(format!("{url}/{route}"), stream, Some(socket_config()))
        .map_err(|error| anyhow!("{error}"))
        .context("it is no `serve-device`")?;
    socket.get_ref().set_read_timeout(None)?;
    Ok(socket)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How burn-router finds clients.
#[derive(Clone)]
pub struct Channel;

impl RunnerChannel for Channel {
    type Device = RemoteDevice;
    type Bridge = Bridge;
    type Client = Client;
    type FloatElem = f32;
    type IntElem = i32;
    type BoolElem = u32;

    fn name(device: &RemoteDevice) -> String {
        format!("remote {}", device.client().shared.url)
    }

    fn init_client(device: &RemoteDevice) -> Client {
        device.client()
    }

    fn get_tensor_handle(tensor: &TensorIr, client: &Client) -> TensorData {
        read(client, tensor.clone())
    }

    fn register_tensor(
        client: &Client,
        data: TensorData,
        _: Shape,
        _: DType,
    ) -> RouterTensor<Client> {
        client.register_tensor_data(data)
    }
}

/// Tensors go from one server to another by way of this machine.
pub struct Bridge;

impl MultiBackendBridge for Bridge {
    type TensorHandle = TensorData;
    type Device = RemoteDevice;

    fn change_backend_float(data: TensorData, _: Shape, _: &RemoteDevice) -> TensorData {
        data
    }

    fn change_backend_int(data: TensorData, _: Shape, _: &RemoteDevice) -> TensorData {
        data
    }

    fn change_backend_bool(data: TensorData, _: Shape, _: &RemoteDevice) -> TensorData {
        data
    }
}

#[expect(
    clippy::panic,
    reason = "the trait has no errors; `guard` makes it one"
)]
fn read(client: &Client, tensor: TensorIr) -> TensorData {
    match read_sync(client.read_tensor_async(tensor)) {
        Ok(data) => data,
        Err(error) => panic!("{error}"),
    }
}
