//! The application: its state, what each thing that a person does leads to, and the page that is mounted on it.

mod ask;
mod devices;
mod files;
mod folder;
mod keep;
mod learned;
mod links;
mod load;

use std::{fmt::Display, rc::Rc, time::Duration};

use futures_channel::oneshot;
use leptos::prelude::*;
use swivel_core::{Component, plan::Operation};
use wasm_bindgen::JsCast;
use web_sys::{Blob, HashChangeEvent, KeyboardEvent, RequestCache};

use crate::{
    browser::{client::Client, model::ModelSource, window},
    device::{Device, Devices},
    offered::BUILT_IN,
    page_state::{Action, KeptModel, Loading, Memory, Notice, PageState, Theme},
    session::{Session, job::Job, map::Metric, recorded},
    view,
};
use folder::Folder;

/// Name of the model that comes with the page.
const SOLVER: &str = "solver";
/// How often a host is asked what is new in its folder, while the page can be seen.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Everything that the application holds; views see of it what is in [`PageState`].
#[derive(Clone, Copy)]
struct App {
    session: RwSignal<Session>,
    loading: RwSignal<Loading>,
    devices: RwSignal<Devices>,
    notice: RwSignal<Option<Notice>>,
    memory: RwSignal<Memory>,
    theme: RwSignal<Theme>,
    /// Models of the host beside the built-in one.
    models: RwSignal<Vec<String>>,
    /// Models that the browser keeps.
    kept: RwSignal<Vec<KeptModel>>,
    /// True if the host has no list of models.
    has_no_list: StoredValue<bool>,
    engine: StoredValue<Option<Rc<Client>>, LocalStorage>,
    source: StoredValue<ModelSource, LocalStorage>,
    /// Files of the model, as the worker that read them left them for another.
    files: StoredValue<Vec<(String, Blob)>, LocalStorage>,
    /// Dropping it gives up the model that is being loaded.
    still_loading: StoredValue<Option<oneshot::Sender<()>>, LocalStorage>,
    /// True while the loop of [`App::pump`] runs.
    is_pumping: StoredValue<bool>,
    /// What the loop has asked the engine; dropping it gives that up.
    asked: StoredValue<Option<Asked>, LocalStorage>,
    /// Counts models and devices that were asked for; what an older request brings is dropped.
    generation: StoredValue<u32>,
    /// What was seen of the host's folder of directions.
    folder: StoredValue<Folder>,
}

/// A job that the engine is at.
struct Asked {
    job: Job,
    /// Who waits for the answer waits as long as this is there.
    _still_wanted: oneshot::Sender<()>,
}

impl App {
    fn new(session: Session) -> Self {
        let wish = window::query("device").or_else(|| window::stored("device"));
        let wish = wish.and_then(|name| Device::named(&name));
        let address = window::query("model").unwrap_or_else(|| BUILT_IN.to_owned());
        let theme = window::stored("theme").map_or(Theme::Auto, |name| Theme::named(&name));
        Self {
            session: RwSignal::new(session),
            loading: RwSignal::new(Loading::Preparing),
            devices: RwSignal::new(Devices::untried(wish)),
            notice: RwSignal::new(None),
            memory: RwSignal::new(Memory::default()),
            theme: RwSignal::new(theme),
            models: RwSignal::new(Vec::new()),
            kept: RwSignal::new(Vec::new()),
            has_no_list: StoredValue::new(false),
            engine: StoredValue::new_local(None),
            source: StoredValue::new_local(ModelSource::at(&address)),
            files: StoredValue::new_local(Vec::new()),
            still_loading: StoredValue::new_local(None),
            is_pumping: StoredValue::new(false),
            asked: StoredValue::new_local(None),
            generation: StoredValue::new(0),
            folder: StoredValue::new(Folder::default()),
        }
    }

    /// What views read and call.
    fn page_state(self) -> PageState {
        let seconds_left = move |session: &Session| {
            let map = session.map.as_ref()?;
            map.seconds_left(window::now())
        };
        let table_seconds_left =
            move |session: &Session| session.flips.as_ref()?.seconds_left(window::now());
        PageState {
            session: self.session.read_only(),
            loading: self.loading.read_only(),
            devices: self.devices.read_only(),
            models: self.models.read_only(),
            kept: self.kept.read_only(),
            memory: self.memory.read_only(),
            seconds_left: Signal::derive(move || self.session.with(seconds_left)),
            table_seconds_left: Signal::derive(move || self.session.with(table_seconds_left)),
            theme: self.theme.read_only(),
            notice: self.notice,
            metric: RwSignal::new(Metric::default()),
            operation: RwSignal::new(Operation::INTERCHANGE),
            component: RwSignal::new(Component::BlockOutput),
            head: RwSignal::new(None),
            actions: Callback::new(move |action| self.act(action)),
        }
    }

    /// Carries out what a person does.
    fn act(self, action: Action) {
        match action {
            Action::Edit(change) => self.edit(change),
            Action::TryEdit(change) => self.try_edit(change),
            Action::NewPair => self.try_edit(|session| session.new_pair(window::seed())),
            Action::Scan(operation, at) => {
                self.edit(|session| session.start_map(operation, at, window::now()));
            }
            Action::TryPairs => self.try_edit(|session| session.start_flips(window::now())),
            Action::ListModels => self.list_models(),
            Action::OpenListed(name) => self.open_listed(&name),
            Action::ForgetKept(address) => self.forget_kept(address),
            Action::OpenBuiltIn => self.open_listed(SOLVER),
            Action::OpenQuestion(question) => self.open_question(question),
            Action::OpenFiles(files) => self.open_files(files),
            Action::OpenAddress(address) => self.open_address(address),
            Action::LoadAgain => self.load_model(),
            Action::CancelLoading => self.cancel_loading(),
            Action::Wish(device) => self.wish(device),
            Action::Share => self.share(),
            Action::Keep(kept, of, format) => self.keep(kept, of, format),
            Action::CopyCode => self.copy_code(),
            Action::TurnTheme => self.turn_theme(),
        }
    }

    /// Does something to the session and asks the engine for what is out of date then.
    fn edit<T>(self, change: impl FnOnce(&mut Session) -> T) -> T {
        let (result, has_history) = self
            .session
            .try_update(|session| (change(session), session.has_history()[0]))
            .unwrap_or_else(|| unreachable!("the page's state lives as long as the page"));
        if has_history {
            window::set_fragment(&self.session.with_untracked(Session::fragment));
        }
        self.pump();
        result
    }

    /// The same, where it can fail: the cause becomes the notice.
    fn try_edit<E: Display>(self, change: impl FnOnce(&mut Session) -> Result<(), E>) {
        match self.edit(change) {
            Ok(()) => self.notice.update(|notice| {
                notice.take_if(|notice| !notice.is_of_device);
            }),
            Err(error) => self.complain(error.to_string()),
        }
    }

    /// Says that something went wrong.
    fn complain(self, text: impl Into<String>) {
        self.notify(true, false, text.into());
    }

    /// Says that something is wrong with where the model was to run.
    fn complain_of_device(self, text: impl Into<String>) {
        self.notify(true, true, text.into());
    }

    /// Says what happened.
    fn tell(self, text: impl Into<String>) {
        self.notify(false, false, text.into());
    }

    fn notify(self, is_problem: bool, is_of_device: bool, text: String) {
        self.notice.set(Some(Notice {
            is_problem,
            is_of_device,
            text,
        }));
    }

    fn turn_theme(self) {
        let next = self.theme.get_untracked().next();
        window::store("theme", next.name());
        show_theme(next);
        self.theme.set(next);
    }
}

fn show_theme(theme: Theme) {
    window::set_root_attribute("data-theme", theme.name());
}

/// Shows the page and starts everything.
pub fn mount() {
    let (question, model) = (window::query("question"), window::query("model"));
    let asked_for = recorded::asked_for(question.as_deref(), model.as_deref(), &window::fragment());
    let session = match Session::of_question(asked_for) {
        Ok(session) => session,
        Err(error) => wasm_bindgen::throw_str(&error.to_string()),
    };
    let Some(root) = window::document()
        .and_then(|document| document.get_element_by_id("app"))
        .and_then(|root| root.dyn_into::<web_sys::HtmlElement>().ok())
    else {
        wasm_bindgen::throw_str("index.html has no element `app`");
    };
    root.set_text_content(None);
    std::panic::set_hook(Box::new(|info| window::stopped(&info.to_string())));
    let app = App::new(session);
    show_theme(app.theme.get_untracked());
    let page = app.page_state();
    mount_to(root, move || view::page::page(page)).forget();
    window::mark("swivel-painted");
    window::listen("hashchange", move |event| {
        if event.is_instance_of::<HashChangeEvent>() {
            app.open_fragment();
        }
    });
    window::listen("keydown", move |event| {
        if let Some(event) = event.dyn_ref::<KeyboardEvent>() {
            undo_by_key(app, event);
        }
    });
    match model {
        Some(_) => app.load_model(),
        None => app.load_model_of_question(asked_for),
    }
    app.open_learned(RequestCache::Default);
    window::listen("visibilitychange", move |_| app.look_again());
    set_interval(move || app.look_into_folder(), LOOK_EVERY);
}

/// Ctrl-Z and Ctrl-Shift-Z or Ctrl-Y, outside of text fields, which have their own.
fn undo_by_key(app: App, event: &KeyboardEvent) {
    let is_typing = event
        .target()
        .and_then(|target| target.dyn_into::<web_sys::Element>().ok())
        .is_some_and(|element| {
            let is_text = element.matches("textarea, input[type=text], input[type=url]");
            is_text.unwrap_or(false)
        });
    if is_typing || !(event.ctrl_key() || event.meta_key()) {
        return;
    }
    match (event.key().to_lowercase().as_str(), event.shift_key()) {
        ("z", false) => {
            event.prevent_default();
            app.edit(Session::undo);
        }
        ("z", true) | ("y", _) => {
            event.prevent_default();
            app.edit(Session::redo);
        }
        _ => {}
    }
}
