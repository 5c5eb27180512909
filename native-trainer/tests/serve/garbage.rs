//! Frames that no page would send: too large, or wrong in one of many ways. They are refused, and nothing stays of them.

use std::{collections::BTreeMap, io::Write as _, time::Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use swivel_engine::direction_name;
use tungstenite::Message;

use crate::{
    server::Place,
    tab::{OP5, Tab, base64, check_sound, question, recorded_question, resident, setting},
};

#[test]
fn a_message_that_is_too_large_closes_the_socket() {
    let place = Place::new();
    let server = place.serve(&[]);
    let mut tab = Tab::open(&server);
    tab.give_op5();
    let before = resident(&server);
    for (is_whole, n_claimed) in [
        (true, 1_u64 << 30),
        (true, u64::MAX >> 1),
        (true, (16 << 20) + 1),
        (false, 1 << 20),
    ] {
        let origin = format!("http://127.0.0.1:{}", server.port);
        let socket = Tab::connect(&server, "model=solver", Some(&origin)).unwrap();
        let mut tab = Tab {
            socket,
            loaded: Value::Null,
        };
        assert_eq!(tab.hear().0, 0);
        // A frame as the client would not send it: final or not, text, masked with zeros.
        let first: u8 = if is_whole { 0x81 } else { 0x01 };
        let mut bytes = vec![first, 0xff];
        bytes.extend(n_claimed.to_be_bytes());
        bytes.extend([0; 4]);
        let stream = tab.socket.get_mut();
        stream.write_all(&bytes).unwrap();
        if is_whole {
            let _ = stream.write_all(&[b' '; 1 << 16]);
        } else {
            // Parts that do not end.
            let part = vec![b' '; n_claimed as usize];
            let _ = stream.write_all(&part);
            bytes[0] = 0;
            for _ in 0..20 {
                let _ = stream
                    .write_all(&bytes)
                    .and_then(|()| stream.write_all(&part));
            }
        }
        let (code, why) = tab.closed();
        assert!(code == 1009 && why.contains("too long"), "{code} {why}");
    }
    // Just below the limit, it is read, and said what is wrong with it.
    let text = format!("[5,\"{}\"]", "a".repeat((16 << 20) - 20));
    tab.send_text(&text);
    let (number, answer) = tab.hear();
    assert!(number == 5 && answer["Refused"].is_string());
    let many = vec![5_u32; 4_000_000];
    tab.send(6, &json!({"Ask": question([&many, &many[..5]], false)}));
    let (number, answer) = tab.hear();
    assert!(number == 6 && answer["Refused"].is_string(), "{answer}");
    let grown = resident(&server).saturating_sub(before);
    println!("a message of 16 MiB left {} MiB", grown >> 20);
    assert!(grown < 256 << 20, "{grown} bytes");
    check_sound(server);
}

/// What no page would send.
struct Garbage {
    rng: ChaCha8Rng,
}

impl Garbage {
    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.rng.random_range(0..from.len())]
    }

    fn number(&mut self) -> Value {
        let small = self.rng.random_range(-3..300);
        let any: i64 = self.rng.random();
        self.pick(&[
            json!(small),
            json!(small % 4),
            json!(any),
            json!(any as f64 * 1e30),
            json!(0.5),
            json!(u64::MAX),
            json!(1e39),
            json!(-1e-320),
        ])
        .clone()
    }

    fn junk(&mut self) -> Value {
        let number = self.number();
        let n = self.rng.random_range(0..20);
        let text: String = (0..n).map(|_| self.rng.random::<char>()).collect();
        self.pick(&[
            number.clone(),
            json!(null),
            json!(true),
            json!(text),
            json!([]),
            json!({}),
            json!([[number]]),
            json!(vec![number.clone(); n]),
            json!(["last", number]),
            json!({"ids": [[number]]}),
            json!({"Ask": text}),
            json!({"type": "zero"}),
        ])
        .clone()
    }

    fn ids(&mut self) -> Vec<u32> {
        let n = match self.rng.random_range(0..50) {
            0 => self.rng.random_range(250..260),
            1 => 0,
            _ => self.rng.random_range(1..12),
        };
        let most = if self.rarely(20) { 1000 } else { 922 };
        (0..n).map(|_| self.rng.random_range(0..most)).collect()
    }

    /// True once in `n` times.
    fn rarely(&mut self, n: u32) -> bool {
        self.rng.random_range(0..n) == 0
    }

    /// A question that is all right more often than not.
    fn question(&mut self) -> Value {
        let base = self.ids();
        let mut source = self.ids();
        if !self.rarely(6) {
            source.resize(base.len().max(1), 5);
        }
        let n = base.len().max(1) as i64;
        let heads = [
            "head_query_output",
            "head_key_output",
            "head_attention_value_output",
        ];
        let streams = [
            "block_input",
            "block_output",
            "block_middle",
            "attention_output",
            "attention_value_output",
            "query_output",
            "mlp_activation",
            "mlp_output",
            "resid_post",
        ];
        let odd = [
            "attention_weight",
            "attention_score",
            "final_norm",
            "embedding",
            "logits",
            "",
        ];
        let component = match self.rng.random_range(0..20) {
            0 => *self.pick(&odd),
            1..6 => *self.pick(&heads),
            _ => *self.pick(&streams),
        };
        let layer = if self.rarely(20) {
            3
        } else {
            self.rng.random_range(0..3)
        };
        let mut positions: Vec<i64> = match self.rng.random_range(0..3) {
            0 => (0..n).collect(),
            _ => vec![self.rng.random_range(0..n)],
        };
        if self.rarely(10) {
            positions.push(self.rng.random_range(-n - 1..n + 1));
        }
        let kind = match self.rng.random_range(0..20) {
            0 => "other",
            1..8 => "low_rank",
            _ => *self.pick(&["interchange", "zero", "add", "subtract"]),
        };
        let mut op = json!({ "type": kind });
        if kind == "low_rank" {
            let url = swivel_core::plan::data_url(OP5);
            op["direction"] = match self.rng.random_range(0..10) {
                0 => json!("no.safetensors"),
                1..3 => json!(url),
                _ => json!(direction_name(OP5)),
            };
        }
        if self.rarely(6) {
            op["strength"] = self.number();
        }
        if self.rarely(8) {
            op["dims"] = json!([self.rng.random_range(0..70)]);
        }
        let mut intervention = json!({"layer": layer, "component": component, "op": op});
        if !self.rarely(20) {
            intervention["base_positions"] = json!([positions]);
        }
        if heads.contains(&component) != self.rarely(20) {
            intervention["unit"] = json!("h.pos");
            intervention["heads"] = json!([self.rng.random_range(0..5)]);
        }
        let mut plan = json!({"version": 1, "base": {"ids": [base]}});
        if kind == "interchange" || kind == "low_rank" || self.rarely(20) {
            intervention["source"] = json!(u32::from(self.rarely(20)));
            plan["sources"] = json!([{"ids": [source]}]);
        } else if kind != "zero" {
            let width = match component {
                _ if self.rarely(20) => 7,
                "mlp_activation" => 256,
                _ if heads.contains(&component) => 16,
                _ => 64,
            };
            let value = *self.pick(&[0.0, 1.0, -1e3, 1e30, 3e38]);
            intervention["values"] = json!([vec![value; width]]);
        }
        plan["interventions"] = json!([intervention]);
        match self.rng.random_range(0..40) {
            0 => plan["interventions"] = json!([]),
            1 => plan["mode"] = json!("serial"),
            2 => plan["record"] = json!([{"layer": layer, "component": component}]),
            3 => plan["interventions"] = json!([intervention, intervention]),
            _ => {}
        }
        let pair = [if self.rarely(20) { 930 } else { 9 }, 3];
        let position = self.rng.random_range(0..n + 1);
        let read = self
            .pick(&[
                json!({"Answer": {"beside": source}}),
                json!({"Lens": {"layer": layer, "pair": pair}}),
                json!({"Attention": {"layer": layer, "position": position}}),
                json!({"Each": {"pair": pair}}),
            ])
            .clone();
        json!({"Ask": {"plan": plan, "read": read}})
    }

    /// Something else at a random place.
    fn mutate(&mut self, value: &mut Value) {
        let n = match value {
            Value::Array(list) => list.len(),
            Value::Object(fields) => fields.len(),
            _ => 0,
        };
        if n == 0 || self.rng.random_range(0..8) == 0 {
            *value = self.junk();
            return;
        }
        let idx = self.rng.random_range(0..n);
        let within = match value {
            Value::Array(list) => &mut list[idx],
            Value::Object(fields) => fields.values_mut().nth(idx).unwrap(),
            _ => return,
        };
        self.mutate(within);
    }

    fn bytes(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        for _ in 0..self.rng.random_range(1..5) {
            if bytes.is_empty() {
                break;
            }
            let at = self.rng.random_range(0..bytes.len());
            match self.rng.random_range(0..4) {
                0 => bytes[at] = self.rng.random(),
                1 => bytes.truncate(at),
                2 => drop(bytes.remove(at)),
                _ => bytes.extend_from_within(at..(at + 20).min(bytes.len())),
            }
        }
        bytes
    }

    /// A frame, and whether it is sure to be answered under its number.
    fn frame(&mut self, number: u32) -> (String, bool) {
        let kind = self.rng.random_range(0..100);
        let message = match kind {
            0..40 => self.question(),
            40..65 => {
                let mut question = self.question();
                for _ in 0..self.rng.random_range(1..3) {
                    self.mutate(&mut question);
                }
                question
            }
            65..75 => self.junk(),
            75..80 => {
                let bytes = self.bytes(OP5.to_vec());
                json!({"Direction": base64(&bytes)})
            }
            80..82 => json!({"Direction": self.junk()}),
            82..84 => return (format!("[{number},{}", "[".repeat(2000)), false),
            84..87 => return (format!("[{}]", self.number()), false),
            _ => {
                let text = json!([number, self.question()]).to_string();
                let bytes = self.bytes(text.into_bytes());
                return (String::from_utf8_lossy(&bytes).into_owned(), false);
            }
        };
        (json!([number, message]).to_string(), true)
    }
}

/// Questions at random, most of them wrong, some not even a question: each is answered or refused, and nothing stays of them.
#[test]
fn garbage_is_refused_and_leaves_nothing() {
    let seed = setting("SWIVEL_SEED", 0);
    let n_frames = setting("SWIVEL_FRAMES", 50_000);
    println!("SWIVEL_SEED={seed} SWIVEL_FRAMES={n_frames}");
    let mut garbage = Garbage {
        rng: ChaCha8Rng::seed_from_u64(seed),
    };
    let place = Place::new();
    let server = place.serve(&[]);
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    let mut warm = 0;
    let started = Instant::now();
    let mut tab = Tab::open(&server);
    tab.give_op5();
    let mut n_sent = 0;
    let mut is_warm = false;
    while n_sent < n_frames {
        // One that is waited for, or several at once, so that they meet each other, and one that is answered in any case.
        let n = match garbage.rng.random_range(0..4) {
            0 => garbage.rng.random_range(1..8),
            _ => 1,
        };
        let frames: Vec<(String, bool)> = (0..n).map(|idx| garbage.frame(1000 + idx)).collect();
        n_sent += u64::from(n);
        let is_binary = garbage.rng.random_range(0..200) == 0;
        let is_sure = n == 1 && frames[0].1 && !is_binary;
        for (frame, _) in &frames {
            let message = match is_binary {
                true => Message::binary(frame.clone().into_bytes()),
                false => Message::text(frame.clone()),
            };
            // Closed already, by the one before.
            let _ = tab.socket.send(message);
        }
        if !is_sure {
            let last = json!([7, {"Ask": recorded_question(n % 2 == 0)}]);
            let _ = tab.socket.send(Message::text(last.to_string()));
        }
        loop {
            match tab.next() {
                Ok((7, answer)) => {
                    assert!(answer["Answered"].is_array(), "{answer}\nafter {frames:#?}");
                    break;
                }
                Ok((number, answer)) => {
                    let kind = match &answer {
                        Value::Object(fields) => fields.keys().next().unwrap().clone(),
                        other => other.to_string(),
                    };
                    assert_ne!(kind, "Died", "{answer}\nafter {frames:#?}");
                    *kinds.entry(kind).or_default() += 1;
                    if is_sure && number == 1000 {
                        break;
                    }
                }
                Err(why) => {
                    let why = why.map_or("no reason".to_owned(), |why| why.reason.to_string());
                    *kinds.entry(format!("closed: {why}")).or_default() += 1;
                    tab = Tab::open(&server);
                    break;
                }
            }
        }
        if !is_warm && n_sent >= n_frames / 4 {
            is_warm = true;
            warm = resident(&server);
        }
    }
    let after = resident(&server);
    println!(
        "{n_sent} frames in {:.1} s; {} MiB after a quarter of them, {} MiB after all",
        started.elapsed().as_secs_f64(),
        warm >> 20,
        after >> 20
    );
    println!("{kinds:#?}");
    assert!(after < warm + (48 << 20), "{warm} {after}");
    check_sound(server);
}
