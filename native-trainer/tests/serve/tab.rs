//! A tab of the page with its socket to an engine, what it asks, and what it expects.

use std::{env, io::Read as _, net::TcpStream};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use swivel_engine::{direction_name, protocol::Answer as Table};
use tungstenite::{
    ClientRequestBuilder, Error, Message, WebSocket, client::IntoClientRequest,
    protocol::CloseFrame,
};

use crate::server::Server;

pub const OP5: &[u8] = include_bytes!("../../../web/examples/op5.safetensors");

pub fn recorded() -> Value {
    serde_json::from_str(include_str!("../../../web/examples/programs.json")).unwrap()
}

pub fn base64(bytes: &[u8]) -> String {
    let url = swivel_core::plan::data_url(bytes);
    url.split_once(',').unwrap().1.to_owned()
}

/// A number from the environment, for runs that take longer.
pub fn setting(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// A tab of a page that was served here.
pub struct Tab {
    pub socket: WebSocket<TcpStream>,
    pub loaded: Value,
}

impl Tab {
    pub fn connect(
        server: &Server,
        query: &str,
        origin: Option<&str>,
    ) -> Result<WebSocket<TcpStream>, (u16, String)> {
        let uri = format!("ws://127.0.0.1:{}/engine?{query}", server.port);
        let mut request = ClientRequestBuilder::new(uri.parse().unwrap());
        if let Some(origin) = origin {
            request = request.with_header("Origin", origin);
        }
        let request = request.into_client_request().unwrap();
        let stream = server.connect();
        stream.set_nodelay(true).unwrap();
        match tungstenite::client(request, stream) {
            Ok((socket, _)) => Ok(socket),
            Err(tungstenite::HandshakeError::Failure(Error::Http(response))) => {
                let status = response.status().as_u16();
                let body = response.into_body().unwrap_or_default();
                Err((status, String::from_utf8(body).unwrap()))
            }
            Err(error) => panic!("{error}"),
        }
    }

    #[track_caller]
    pub fn of(server: &Server, query: &str) -> Self {
        let origin = format!("http://127.0.0.1:{}", server.port);
        let socket = Self::connect(server, query, Some(&origin)).unwrap();
        let mut tab = Self {
            socket,
            loaded: Value::Null,
        };
        let (number, loaded) = tab.hear();
        assert_eq!(number, 0);
        tab.loaded = loaded;
        tab
    }

    #[track_caller]
    pub fn open(server: &Server) -> Self {
        let tab = Self::of(server, "model=solver");
        assert!(tab.loaded["Loaded"].is_object(), "{}", tab.loaded);
        tab
    }

    pub fn send_text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).unwrap();
    }

    pub fn send(&mut self, number: u32, message: &Value) {
        self.send_text(&json!([number, message]).to_string());
    }

    /// The next frame, or how the server closed.
    pub fn next(&mut self) -> Result<(u32, Value), Option<CloseFrame>> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    return Ok(serde_json::from_str(&text).unwrap());
                }
                Ok(Message::Close(why)) => return Err(why),
                Ok(_) => {}
                Err(Error::ConnectionClosed | Error::AlreadyClosed | Error::Protocol(_)) => {
                    return Err(None);
                }
                Err(Error::Io(error)) if error.kind() != std::io::ErrorKind::WouldBlock => {
                    return Err(None);
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[track_caller]
    pub fn hear(&mut self) -> (u32, Value) {
        self.next().unwrap()
    }

    /// The code and the reason with which the server closed.
    #[track_caller]
    pub fn closed(&mut self) -> (u16, String) {
        let why = self.next().unwrap_err().expect("no reason");
        (why.code.into(), why.reason.to_string())
    }

    #[track_caller]
    pub fn give_op5(&mut self) {
        self.send(1, &json!({"Direction": base64(OP5)}));
        assert_eq!(self.hear(), (1, json!("Taken")));
    }

    /// The answer to a question and what it cost.
    #[track_caller]
    pub fn ask(&mut self, number: u32, question: &Value) -> (Value, f64) {
        self.send(number, &json!({ "Ask": question }));
        let (found, answer) = self.hear();
        assert_eq!(found, number);
        let answered = &answer["Answered"];
        assert!(answered.is_array(), "{answer}");
        let cost = &answered[1];
        assert!(cost["bytes"].as_f64().unwrap() > 1e6, "{cost}");
        (answered[0].clone(), cost["ms"].as_f64().unwrap())
    }
}

/// What the page asks for when op5 is switched on, or no direction.
pub fn question([base, source]: [&[u32]; 2], is_on: bool) -> Value {
    let mut plan = json!({"version": 1, "base": {"ids": [base]}});
    if is_on {
        plan["sources"] = json!([{"ids": [source]}]);
        let op = json!({"type": "low_rank", "direction": direction_name(OP5)});
        plan["interventions"] = json!([{
            "layer": 2, "component": "block_output", "source": 0,
            "base_positions": [["last"]], "source_positions": [["last"]], "op": op,
        }]);
    }
    json!({"plan": plan, "read": {"Answer": {"beside": source}}})
}

pub fn recorded_pair() -> [Vec<u32>; 2] {
    let recorded = recorded();
    ["base", "source"].map(|run| serde_json::from_value(recorded[run]["ids"].clone()).unwrap())
}

pub fn recorded_question(is_on: bool) -> Value {
    let [base, source] = recorded_pair();
    question([&base, &source], is_on)
}

/// As long as the model takes, and new to its engine.
pub fn long_question(rng: &mut ChaCha8Rng) -> Value {
    let ids: Vec<u32> = (0..256).map(|_| rng.random_range(0..922)).collect();
    question([&ids, &ids], false)
}

pub fn table(response: &Value) -> Table {
    serde_json::from_value(response["Answer"].clone()).unwrap()
}

#[track_caller]
pub fn check_equal(found: &Table, expected: &Table, tolerance: f32) {
    assert_eq!(found.top, expected.top);
    assert_eq!(found.pair, expected.pair);
    let near = |one: f32, other: f32| {
        assert!((one - other).abs() <= tolerance, "{found:?}\n{expected:?}");
    };
    near(found.kl, expected.kl);
    for (found, expected) in found.differences.iter().zip(expected.differences) {
        near(*found, expected);
    }
    assert_eq!(found.rows.len(), expected.rows.len());
    for (found, expected) in found.rows.iter().zip(&expected.rows) {
        assert_eq!(found.id, expected.id);
        for (found, expected) in found.scores.iter().zip(expected.scores) {
            near(found.logit, expected.logit);
            near(found.probability, expected.probability);
        }
    }
}

/// Bytes of the server's memory that are in use.
#[cfg(target_os = "linux")]
pub fn resident(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.process.id())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap();
    let kb = line.split_whitespace().nth(1).unwrap();
    kb.parse::<u64>().unwrap() * 1024
}

#[cfg(not(target_os = "linux"))]
pub fn resident(_: &Server) -> u64 {
    0
}

/// Names of the server's threads.
#[cfg(target_os = "linux")]
pub fn threads(server: &Server) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.process.id())).unwrap();
    let names =
        tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap());
    names.collect()
}

/// It goes on, and never panicked.
#[track_caller]
pub fn check_sound(mut server: Server) {
    server.check_alive();
    let mut tab = Tab::open(&server);
    tab.give_op5();
    let (answer, _) = tab.ask(2, &recorded_question(true));
    let expected = table(&json!({"Answer": recorded()["answer"]}));
    check_equal(&table(&answer), &expected, 1e-3);
    server.process.kill().unwrap();
    let mut stderr = String::new();
    let mut pipe = server.process.stderr.take().unwrap();
    pipe.read_to_string(&mut stderr).unwrap();
    assert!(!stderr.contains("panicked"), "{stderr}");
}
