//! Weight files: their headers, and ranges of their bytes; none is ever in memory as a whole.

use std::{
    fs::File,
    io::{Cursor, Read, Seek, SeekFrom},
    ops::Range,
    path::PathBuf,
};

use anyhow::{Context, Result, ensure};
use swivel_core::{HeaderReader, StoredFile};

/// A weight file, on disk or in the program.
#[derive(Clone, Debug)]
pub enum WeightFile {
    /// It is read when it is needed.
    Disk(PathBuf),
    /// Its bytes.
    Memory(&'static [u8]),
}

/// An open weight file.
pub struct Reader {
    file: Box<dyn ReadSeek>,
    bytes: Vec<u8>,
}

trait ReadSeek: Read + Seek {}
impl<T: Read + Seek> ReadSeek for T {}

impl WeightFile {
    /// Opens it.
    ///
    /// # Errors
    /// - If it cannot be.
    pub fn open(&self) -> Result<Reader> {
        let file: Box<dyn ReadSeek> = match self {
            Self::Disk(path) => Box::new(File::open(path).with_context(|| self.reading())?),
            Self::Memory(bytes) => Box::new(Cursor::new(*bytes)),
        };
        let bytes = Vec::new();
        Ok(Reader { file, bytes })
    }

    /// What it holds; the tensors' values are not read.
    ///
    /// # Errors
    /// - If it cannot be read, or is no safetensors, GGUF or torch file.
    pub fn header(&self) -> Result<StoredFile> {
        let mut reader = self.open()?;
        let mut read = move || -> Result<StoredFile> {
            let mut header = HeaderReader::new(reader.file.seek(SeekFrom::End(0))?);
            while let Some(range) = header.wants() {
                header.give(reader.read(range)?)?;
            }
            Ok(header.finish()?)
        };
        read().with_context(|| self.reading())
    }

    /// What an error of reading it says first.
    pub fn reading(&self) -> String {
        match self {
            Self::Disk(path) => format!("reading {}", path.display()),
            Self::Memory(_) => "reading the weights of this program".to_owned(),
        }
    }
}

impl Reader {
    /// Some of its bytes.
    ///
    /// # Errors
    /// - If they cannot be read, or the file ends before them.
    pub fn read(&mut self, range: Range<u64>) -> Result<&[u8]> {
        let n_wanted = range.end - range.start;
        self.bytes.clear();
        self.file.seek(SeekFrom::Start(range.start))?;
        (&mut self.file)
            .take(n_wanted)
            .read_to_end(&mut self.bytes)?;
        let found = self.bytes.len() as u64;
        ensure!(
            found == n_wanted,
            "expected bytes {} to {}, found {found} of them: the file became shorter",
            range.start,
            range.end
        );
        Ok(&self.bytes)
    }
}
