//! What views read, as signals, and what a person can do, as [`Action`]s; who carries them out is not known here.

use std::fmt::Display;

use leptos::prelude::*;
use swivel_core::{Component, plan::Operation};
use web_sys::File;

use crate::{
    device::{Device, Devices},
    session::{Session, kept::Kept, map::Metric},
};

/// How far the model is.
#[derive(Clone, Debug, PartialEq)]
pub enum Loading {
    /// A file is on its way.
    Fetching {
        /// Its name.
        name: String,
        /// Bytes that have come.
        done: f64,
        /// Bytes in all.
        total: Option<f64>,
        /// Bytes in a second, once that can be said.
        speed: Option<f64>,
    },
    /// Nobody has asked for it yet.
    Waiting,
    /// The files are there, the device takes them.
    Preparing,
    /// It runs.
    Live,
    /// It does not, and why.
    Failed(String),
}

/// A model that the browser keeps for the next visit.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptModel {
    /// What opens it: a name of the Hub, or an address.
    pub name: String,
    /// By which it is forgotten.
    pub address: String,
    /// Its bytes.
    pub n_bytes: f64,
    /// False while a part of it is still to come.
    pub is_whole: bool,
}

/// A sentence in the notice line.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// True if something went wrong.
    pub is_problem: bool,
    /// True if it stays when something is changed that works: it is about the device, not about a change.
    pub is_of_device: bool,
    /// What.
    pub text: String,
}

/// Memory that is held, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Memory {
    /// By the engine.
    pub engine: f64,
    /// By the page itself.
    pub page: f64,
}

/// Colours of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    /// As the system says.
    Auto,
    /// Light on dark.
    Dark,
    /// Dark on light.
    Light,
}

impl Theme {
    /// All, in the order in which a person turns through them.
    const ALL: [Self; 3] = [Self::Auto, Self::Dark, Self::Light];

    /// Its name in settings and styles.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Dark => "dark",
            Self::Light => "light",
        }
    }

    /// The one of this name; what the system says where there is none.
    pub fn named(name: &str) -> Self {
        let mut all = Self::ALL.into_iter();
        all.find(|theme| theme.name() == name).unwrap_or(Self::Auto)
    }

    /// The one that follows it.
    pub fn next(self) -> Self {
        let mut all = Self::ALL.into_iter().cycle().skip_while(|own| *own != self);
        all.nth(1).unwrap_or(self)
    }
}

/// A change of the session, which may say how it went.
pub type Change<T> = Box<dyn FnOnce(&mut Session) -> T>;

/// What kind of file a part of the page becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A drawing.
    Svg,
    /// Pixels.
    Png,
    /// Numbers.
    Csv,
}

impl Format {
    /// What the file's name ends with.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Svg => "svg",
            Self::Png => "png",
            Self::Csv => "csv",
        }
    }
}

/// Something that a person does.
pub enum Action {
    /// Changes the session; what is out of date then is asked for.
    Edit(Change<()>),
    /// The same, where it can fail: the cause becomes the notice.
    TryEdit(Change<Result<(), String>>),
    /// Takes a random pair of prompts.
    NewPair,
    /// Does an operation at every cell, to this value, in this head or in all.
    Scan(&'static Operation, (Component, Option<usize>)),
    /// Tries the direction that is on in many pairs.
    TryPairs,
    /// Looks which models the host of the page has, and which the browser keeps.
    ListModels,
    /// Opens one of them.
    OpenListed(String),
    /// Throws away what the browser keeps of the model at this address.
    ForgetKept(String),
    /// Opens the model that comes with the page.
    OpenBuiltIn,
    /// Shows a question of the gallery, by its number.
    OpenQuestion(usize),
    /// Opens files that were dropped or chosen.
    OpenFiles(Vec<File>),
    /// Opens what is at an address.
    OpenAddress(String),
    /// Tries once more to open the model that could not be opened.
    LoadAgain,
    /// Gives up the model that is being loaded.
    CancelLoading,
    /// Wishes for a device; `None` leaves it to the measurement.
    Wish(Option<Device>),
    /// Copies a link to the view.
    Share,
    /// Keeps a part of the page as a file; its element is the selector's.
    Keep(Kept, &'static str, Format),
    /// Copies code that does what is on the page.
    CopyCode,
    /// Takes the next colours.
    TurnTheme,
}

/// Everything that views read and do.
#[derive(Clone, Copy)]
pub struct PageState {
    /// What the person chose and what came back.
    pub session: ReadSignal<Session>,
    /// How far the model is.
    pub loading: ReadSignal<Loading>,
    /// Where it runs.
    pub devices: ReadSignal<Devices>,
    /// Models of the page's host beside the one that comes with the page.
    pub models: ReadSignal<Vec<String>>,
    /// Models that the browser keeps.
    pub kept: ReadSignal<Vec<KeptModel>>,
    /// Memory that is held.
    pub memory: ReadSignal<Memory>,
    /// Seconds until the map that was started is done, at the pace so far.
    pub seconds_left: Signal<Option<f64>>,
    /// The same of the table of pairs.
    pub table_seconds_left: Signal<Option<f64>>,
    /// Colours.
    pub theme: ReadSignal<Theme>,
    /// A sentence for everybody: what just happened, or went wrong.
    pub notice: RwSignal<Option<Notice>>,
    /// What cells of the map say.
    pub metric: RwSignal<Metric>,
    /// What is done at a cell, and scanned.
    pub operation: RwSignal<&'static Operation>,
    /// To which value.
    pub component: RwSignal<Component>,
    /// In which head; `None` in all.
    pub head: RwSignal<Option<usize>>,
    /// Carries out what a person does.
    pub actions: Callback<Action>,
}

impl PageState {
    /// Has something done.
    pub fn act(self, action: Action) {
        self.actions.run(action);
    }

    /// [`Action::Edit`].
    pub fn edit<T>(self, change: impl FnOnce(&mut Session) -> T + 'static) {
        self.act(Action::Edit(Box::new(move |session: &mut Session| {
            change(session);
        })));
    }

    /// [`Action::TryEdit`].
    pub fn try_edit<E: Display>(
        self,
        change: impl FnOnce(&mut Session) -> Result<(), E> + 'static,
    ) {
        self.act(Action::TryEdit(Box::new(move |session: &mut Session| {
            change(session).map_err(|error| error.to_string())
        })));
    }

    /// What is chosen to be done at a cell, to which value, in which head.
    fn chosen(self) -> (&'static Operation, (Component, Option<usize>)) {
        let at = (self.component.get_untracked(), self.head.get_untracked());
        (self.operation.get_untracked(), at)
    }

    /// Does what is chosen at the cell under the cursor.
    pub fn arm(self) {
        let (operation, at) = self.chosen();
        self.edit(move |session| session.arm_cell(operation, at, session.cursor));
    }

    /// Does what is chosen at every cell.
    pub fn scan(self) {
        let (operation, at) = self.chosen();
        self.act(Action::Scan(operation, at));
    }
}
