//! The thread of an engine: does what waits, one thing after the other, and makes the engine anew where it breaks.

#[cfg(test)]
mod tests;

use std::{
    any::Any,
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
};

use anyhow::Result;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use swivel_engine::{
    Failure, MOST_DIRECTIONS,
    protocol::{Cost, FromEngine, Request, Response},
};

use super::queue::{Queue, Work, refused};

/// An engine on some device.
pub trait Native {
    /// SHA-256 of the weight files.
    fn sha256(&self) -> &str;

    /// What is said first.
    fn loaded(&self) -> FromEngine;

    /// Takes a direction file.
    fn take_direction(&mut self, bytes: &[u8]) -> Result<(), Failure>;

    /// Whether the device still computes, after it failed.
    fn is_well(&self) -> bool;

    /// Answers a question of a tab.
    fn answer(
        &mut self,
        tab: u32,
        request: &Request,
        is_wanted: &dyn Fn() -> bool,
    ) -> Result<(Response, Cost), Failure>;

    /// Drops what is kept for a tab alone.
    fn forget(&mut self, tab: u32);
}

/// Does what waits until the engine cannot be made, or is another one than before.
pub fn run(queue: &Queue, make: impl Fn() -> Result<Box<dyn Native>>) {
    let ended = survive(|| work(queue, make)).unwrap_or_else(|fault| fault);
    queue.end(&ended);
}

/// Works until there is no engine; says why.
fn work(queue: &Queue, make: impl Fn() -> Result<Box<dyn Native>>) -> String {
    let make = || match survive(&make) {
        Ok(Ok(engine)) => Ok(engine),
        Ok(Err(error)) => Err(format!("{error:#}")),
        Err(fault) => Err(fault),
    };
    let mut engine = match make() {
        Ok(engine) => engine,
        Err(why) => return why,
    };
    queue.start(&engine.loaded());
    let mut directions: VecDeque<Vec<u8>> = VecDeque::new();
    loop {
        let died = match queue.next() {
            Work::Forget(tab) => survive(|| engine.forget(tab)),
            Work::Direction {
                tab,
                number,
                base64,
            } => survive(|| {
                let taken = match BASE64_STANDARD.decode(base64) {
                    Ok(bytes) => engine.take_direction(&bytes).map(|()| bytes),
                    Err(error) => return refuse(queue, (tab, number), &error.to_string()),
                };
                match taken {
                    Err(failure) => refuse(queue, (tab, number), &failure.to_string()),
                    Ok(bytes) => {
                        if !directions.contains(&bytes) {
                            directions.push_back(bytes);
                        }
                        if directions.len() > MOST_DIRECTIONS {
                            directions.pop_front();
                        }
                        queue.tell(tab, number, &FromEngine::Taken);
                    }
                }
            })
            .inspect_err(|fault| queue.tell(tab, number, &FromEngine::Died(fault.clone()))),
            Work::Ask { tab, request } => {
                let is_wanted = || queue.is_wanted();
                // A question may ask for numbers that are none; then it is the question that fails.
                let answer = survive(|| match engine.answer(tab, &request, &is_wanted) {
                    Err(Failure::Device(fault)) if !engine.is_well() => Err(fault),
                    answer => Ok(answer.map_err(|failure| failure.to_string())),
                });
                let (answer, died) = match answer.flatten() {
                    Ok(Ok((response, cost))) => (FromEngine::Answered(response, cost), Ok(())),
                    Ok(Err(why)) => (refused(&why), Ok(())),
                    Err(fault) => (FromEngine::Died(fault.clone()), Err(fault)),
                };
                queue.answer(&answer);
                died
            }
        };
        if died.is_err() {
            let sha256 = engine.sha256().to_owned();
            // The old model goes before the new one comes; one that broke may break once more.
            if let Err(fault) = survive(|| drop(engine)) {
                return fault;
            }
            engine = match make() {
                Ok(engine) if engine.sha256() == sha256 => engine,
                Ok(_) => return "the model's files are others by now".to_owned(),
                Err(why) => return why,
            };
            for bytes in &directions {
                if let Err(failure) = engine.take_direction(bytes) {
                    return failure.to_string();
                }
            }
        }
    }
}

fn refuse(queue: &Queue, (tab, number): (u32, u32), why: &str) {
    queue.tell(tab, number, &refused(why));
}

/// Does something that may panic: then the error is what it said.
fn survive<T>(job: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(job)).map_err(|payload: Box<dyn Any + Send>| {
        let text = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        text.unwrap_or_else(|| "a fault of the engine".to_owned())
    })
}
