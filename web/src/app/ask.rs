//! What is out of date is asked of the engine; an engine that died is replaced.

use std::{pin::pin, rc::Rc};

use futures_channel::oneshot;
use futures_util::future::{Either, select};
use leptos::prelude::*;
use wasm_bindgen_futures::spawn_local;

use super::{App, Asked};
use crate::{
    browser::{client::Problem, window},
    device::Device,
    page_state::{Loading, Memory},
    session::{Session, job::Job},
};

impl App {
    /// Asks the engine for what is out of date, one thing after the other, until nothing is; what it is at is given up if
    /// something else is wanted more by now.
    pub(super) fn pump(self) {
        if self.is_pumping.get_value() {
            let is_wanted = |job: &Job| self.session.with_untracked(|session| session.wants(job));
            let asked =
                |asked: &Option<Asked>| asked.as_ref().is_none_or(|own| is_wanted(&own.job));
            if !self.asked.with_value(asked) {
                self.asked.set_value(None);
            }
            return;
        }
        self.is_pumping.set_value(true);
        spawn_local(async move {
            loop {
                let Some(engine) = self.engine.get_value() else {
                    break;
                };
                let Some(job) = self.session.with_untracked(Session::next_job) else {
                    break;
                };
                let (still_wanted, given_up) = oneshot::channel();
                self.asked.set_value(Some(Asked {
                    job: job.clone(),
                    _still_wanted: still_wanted,
                }));
                let file = |name: &str| self.direction_file(name);
                let answer = pin!(engine.ask(job.request.clone(), file));
                let result = match select(answer, given_up).await {
                    Either::Left((result, _)) => result,
                    Either::Right(_) => continue,
                };
                let is_same = self
                    .engine
                    .with_value(|own| own.as_ref().is_some_and(|own| Rc::ptr_eq(own, &engine)));
                match result {
                    Ok((response, cost)) => {
                        self.session
                            .update(|session| session.take(&job, response, cost.ms));
                        self.memory.set(Memory {
                            engine: cost.bytes,
                            page: window::memory_bytes(),
                        });
                    }
                    Err(Problem::Refused(cause)) => {
                        self.session.update(|session| session.refuse(&job, &cause));
                    }
                    // An engine that was replaced while it was asked is no loss.
                    Err(Problem::Died(_)) if !is_same => {}
                    Err(Problem::Died(cause)) => {
                        self.engine_died(&cause);
                        break;
                    }
                }
            }
            self.asked.set_value(None);
            self.is_pumping.set_value(false);
        });
    }

    /// The file of a direction that a plan names.
    pub(super) fn direction_file(self, name: &str) -> Option<Vec<u8>> {
        self.session
            .with_untracked(|session| session.direction_file(name).map(<[u8]>::to_vec))
    }

    /// Goes on on the CPU, where that is another device; else says so and waits for the person.
    fn engine_died(self, cause: &str) {
        self.engine.set_value(None);
        let text = match self.devices.with_untracked(|devices| devices.current) {
            Device::WebGpu => format!(
                "The graphics device failed: {cause}. Nothing is lost: the page goes on on the CPU."
            ),
            Device::Machine => format!(
                "The machine stopped answering: {cause}. Nothing is lost: the page fetches the model, to go on in this tab."
            ),
            Device::Cpu => {
                let text = format!("The engine stopped: {cause}");
                self.loading.set(Loading::Failed(text));
                return;
            }
        };
        self.devices.update(|devices| devices.fall_back(cause));
        self.complain_of_device(text);
        self.load_model();
    }
}
