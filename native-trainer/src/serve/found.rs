//! A file that was found, as the server reads it.

use std::{
    borrow::Cow,
    fs::{self, File},
    future::{Ready, ready},
    io::{self, Cursor, SeekFrom},
    path::Path,
    pin::Pin,
    task::{Context as Task, Poll},
    time::SystemTime,
};

use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};
use tower_http::services::fs as served;

/// Names in a folder, none where there is no folder.
pub fn names_in(folder: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}

/// A file inside this program.
pub struct EmbeddedFile {
    /// What it holds.
    pub bytes: Cow<'static, [u8]>,
    /// When it was built.
    pub modified: SystemTime,
}

/// A file that was found, ready to be read.
pub struct Found {
    bytes: Box<dyn Bytes>,
    facts: Facts,
}

trait Bytes: AsyncRead + AsyncSeek + Unpin + Send + Sync {}

impl<T: AsyncRead + AsyncSeek + Unpin + Send + Sync> Bytes for T {}

/// What is said about a file; its tag is made of it.
#[derive(Clone, Copy)]
pub struct Facts {
    is_folder: bool,
    n_bytes: u64,
    modified: SystemTime,
}

impl Found {
    /// The regular file at a path below a folder, unless a link leads out of the folder.
    pub fn inside(folder: &Path, path: &str) -> Option<Self> {
        let folder = folder.canonicalize().ok()?;
        let path = folder.join(path).canonicalize().ok()?;
        match path.starts_with(folder) {
            true => Self::at(&path),
            false => None,
        }
    }

    /// The regular file at a path.
    pub fn at(path: &Path) -> Option<Self> {
        // A pipe would be waited for when it is opened.
        if !path.is_file() {
            return None;
        }
        let file = File::open(path).ok()?;
        let metadata = file.metadata().ok()?;
        Some(Self {
            facts: Facts {
                is_folder: false,
                n_bytes: metadata.len(),
                modified: metadata.modified().ok()?,
            },
            bytes: Box::new(tokio::fs::File::from_std(file)),
        })
    }

    /// A file inside this program.
    pub fn embedded(EmbeddedFile { bytes, modified }: EmbeddedFile) -> Self {
        Self {
            facts: Facts {
                is_folder: false,
                n_bytes: bytes.len() as u64,
                modified,
            },
            bytes: Box::new(Cursor::new(bytes)),
        }
    }

    /// What is said about it.
    pub fn facts(&self) -> Facts {
        self.facts
    }

    /// The root, whose `index.html` is asked for next.
    pub fn folder() -> Self {
        Self {
            facts: Facts {
                is_folder: true,
                n_bytes: 0,
                modified: SystemTime::UNIX_EPOCH,
            },
            bytes: Box::new(tokio::io::empty()),
        }
    }
}

impl served::File for Found {
    type Metadata = Facts;
    type MetadataFuture<'a> = Ready<io::Result<Facts>>;

    fn metadata(&self) -> Self::MetadataFuture<'_> {
        ready(Ok(self.facts))
    }
}

impl served::Metadata for Facts {
    fn is_dir(&self) -> bool {
        self.is_folder
    }

    fn modified(&self) -> io::Result<SystemTime> {
        Ok(self.modified)
    }

    fn len(&self) -> u64 {
        self.n_bytes
    }
}

impl AsyncRead for Found {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.bytes).poll_read(task, to)
    }
}

impl AsyncSeek for Found {
    fn start_seek(mut self: Pin<&mut Self>, to: SeekFrom) -> io::Result<()> {
        Pin::new(&mut self.bytes).start_seek(to)
    }

    fn poll_complete(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<io::Result<u64>> {
        Pin::new(&mut self.bytes).poll_complete(task)
    }
}
