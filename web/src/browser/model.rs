//! Where a model comes from, and what the page itself needs of its files.

use std::rc::Rc;

use swivel_core::{
    Config, HeaderReader, Tokenizer, TokenizerError,
    hub::{ENDPOINT, HubId},
};
use web_sys::{Blob, File};

use super::{
    client::Opened,
    fetch::{self, fetch},
    files::{
        bytes::{Bytes, Origin},
        download::Download,
        model::{Source, is_gguf},
    },
    window,
};

/// Folder of the models that the page's host has.
pub const MODELS: &str = "models";

/// Where a model comes from; it can be read again, for another device.
#[derive(Clone)]
pub enum ModelSource {
    /// A folder on a server, in Hugging Face's layout.
    Folder(String),
    /// A GGUF file on a server.
    Gguf(String),
    /// A model of the Hugging Face Hub.
    Hub(HubId),
    /// Files that were dropped or chosen.
    Files(Vec<File>),
}

impl ModelSource {
    /// What a person means by an address, or by a name of the Hub. Folders of the page's own host are told from such a name by
    /// what they start with: `models/`, `/`, `./` or `../`.
    pub fn at(text: &str) -> Self {
        let is_own = [MODELS, ".", ".."]
            .iter()
            .any(|folder| text.split('/').next() == Some(folder));
        let id = HubId::of_address(text).or_else(|| HubId::parse(text));
        match id {
            Some(id) if !is_own => Self::Hub(id),
            _ if is_gguf(text) => Self::Gguf(text.to_owned()),
            _ => Self::Folder(text.to_owned()),
        }
    }

    /// What [`ModelSource::at`] reads as this one; `None` where there is no such text.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Folder(address) | Self::Gguf(address) => Some(address.clone()),
            Self::Hub(id) => Some(id.to_string()),
            Self::Files(_) => None,
        }
    }

    /// Last part of the folder's or the file's name.
    pub fn name(&self) -> String {
        match self {
            Self::Folder(address) | Self::Gguf(address) => {
                let path = address.split(['?', '#']).next().unwrap_or_default();
                let mut parts = path.trim_end_matches('/').rsplit('/');
                let name = parts.next().unwrap_or("model");
                let decoded = js_sys::decode_uri_component(name).ok();
                decoded.map_or_else(|| name.to_owned(), String::from)
            }
            Self::Hub(id) => {
                let path = id.file.as_ref().unwrap_or(&id.repository);
                path.rsplit('/').next().unwrap_or(path).to_owned()
            }
            Self::Files(files) => match files.iter().find(|file| is_gguf(&file.name())) {
                Some(file) => file.name(),
                None => "your files".to_owned(),
            },
        }
    }

    /// The same as a worker is told, and the blobs that go with it.
    pub fn for_worker(&self) -> (Source, Vec<Blob>) {
        match self {
            Self::Folder(address) => (Source::Folder(address.clone()), Vec::new()),
            Self::Gguf(address) => (Source::Gguf(address.clone()), Vec::new()),
            Self::Hub(id) => {
                let endpoint = window::query("hub").unwrap_or_else(|| ENDPOINT.to_owned());
                let id = id.to_string();
                (Source::Hub { endpoint, id }, Vec::new())
            }
            Self::Files(files) => {
                let names = files.iter().map(File::name).collect();
                let blobs = files.iter().map(|file| Blob::clone(file)).collect();
                (Source::Blobs(names), blobs)
            }
        }
    }

    /// The name under which the page's host lists the model, if it does.
    pub fn listed_name(&self) -> Option<String> {
        let name = self.name();
        match self {
            Self::Folder(address) | Self::Gguf(address)
                if *address == fetch::address_in(MODELS, &name) =>
            {
                Some(name)
            }
            _ => None,
        }
    }
}

/// What a model computes, and its tokens.
pub struct Description {
    /// Its config.
    pub config: Config,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
}

impl Description {
    /// Reads what a worker found.
    ///
    /// # Errors
    /// - if a file is missing, or is not what its name says
    pub fn of(opened: &Opened) -> Result<Self, String> {
        let find = |wanted: &str| {
            let mut files = opened.described_by.iter();
            let found = files.find(|(name, _)| name == wanted);
            found.map(|(_, bytes)| &**bytes)
        };
        match find("config.json") {
            Some(config) => Self::of_files(
                config,
                find("tokenizer.json"),
                find("vocab.json").zip(find("merges.txt")),
            ),
            None => match opened.described_by.first() {
                Some((name, start)) => {
                    Self::of_gguf(start, opened.n_bytes).map_err(|error| format!("{name}: {error}"))
                }
                None => Err("config.json is missing".to_owned()),
            },
        }
    }

    fn of_files(
        config: &[u8],
        tokenizer: Option<&[u8]>,
        vocab_and_merges: Option<(&[u8], &[u8])>,
    ) -> Result<Self, String> {
        let failed = |error: TokenizerError| error.to_string();
        let tokenizer = match (tokenizer, vocab_and_merges) {
            (Some(json), _) => Tokenizer::from_json(json).map_err(failed)?,
            (None, Some((vocab, merges))) => {
                let merges = str::from_utf8(merges).map_err(|_| "merges.txt is not text")?;
                Tokenizer::from_vocab_and_merges(vocab, merges).map_err(failed)?
            }
            (None, None) => return Err("tokenizer.json is missing".to_owned()),
        };
        Ok(Self {
            config: Config::from_json(config).map_err(|error| error.to_string())?,
            tokenizer,
        })
    }

    fn of_gguf(start: &[u8], n_bytes: u64) -> Result<Self, String> {
        let mut reader = HeaderReader::new(n_bytes);
        while let Some(range) = reader.wants() {
            let bytes = start.get(range.start as usize..range.end as usize);
            let bytes = bytes.ok_or("its start is not whole")?;
            reader.give(bytes).map_err(|error| error.to_string())?;
        }
        Self::of_stored(reader)
    }

    /// Of a GGUF file whose header was read.
    fn of_stored(reader: HeaderReader) -> Result<Self, String> {
        let stored = reader.finish().map_err(|error| error.to_string())?;
        Ok(Self {
            config: Config::from_gguf(&stored).map_err(|error| error.to_string())?,
            tokenizer: Tokenizer::from_gguf(&stored.metadata).map_err(|error| error.to_string())?,
        })
    }

    /// Reads what the page's host has in a GGUF file, weights left out.
    ///
    /// # Errors
    /// - if it is missing, or no such file
    pub async fn in_file(address: &str) -> Result<Self, String> {
        let download = Download::start(address, false, None, Rc::new(|_, _| ())).await?;
        let download = download.ok_or_else(|| format!("{address}: there is no such file"))?;
        let mut bytes = Bytes::new(Origin::Download(download));
        let mut reader = HeaderReader::new(bytes.n_bytes());
        let mut part = Vec::new();
        while let Some(range) = reader.wants() {
            bytes.read(&range, &mut part).await?;
            reader.give(&part).map_err(|error| error.to_string())?;
        }
        Self::of_stored(reader)
    }

    /// Reads what the page's host has in a folder, weights left out.
    ///
    /// # Errors
    /// - if a file is missing, or is not what its name says
    pub async fn in_folder(folder: &str) -> Result<Self, String> {
        let get = async |name: &str| {
            let bytes = fetch(&format!("{folder}/{name}"), &|_, _| ()).await?;
            Ok::<_, String>(bytes.map(|bytes| bytes.to_vec()))
        };
        let config = get("config.json").await?;
        let config = config.ok_or_else(|| format!("{folder} has no config.json"))?;
        if let Some(tokenizer) = get("tokenizer.json").await? {
            return Self::of_files(&config, Some(&tokenizer), None);
        }
        let parts = get("vocab.json").await?.zip(get("merges.txt").await?);
        let parts = parts.as_ref().map(|(vocab, merges)| (&**vocab, &**merges));
        Self::of_files(&config, None, parts)
    }
}
