//! What the reader needs of the world: texts by path. The edge and the tests each have their own.

/// Files by absolute path; `-` is standard input.
pub trait Files {
    /// A file's text.
    ///
    /// # Errors
    /// [`FileError`]
    fn read(&self, path: &str) -> Result<String, FileError>;

    /// Whether there is anything.
    fn exists(&self, path: &str) -> bool;

    /// Whether there is a folder.
    fn is_folder(&self, path: &str) -> bool;
}

/// Why a file can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// There is none.
    #[error("there is no such file")]
    Missing,
    /// It is a folder.
    #[error("it is a folder")]
    Folder,
    /// It is a pipe or a device, which may never end.
    #[error("it is not a regular file")]
    NotAFile,
    /// It is too large for a compose file.
    #[error("it has {bytes} bytes, and at most {most} are read")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        most: u64,
    },
    /// It is not UTF-8.
    #[error("it is not UTF-8 text: byte {byte} of line {line} is not a character's")]
    NotText {
        /// The line, from 1.
        line: usize,
        /// The byte in it, from 1.
        byte: usize,
    },
    /// Anything else, in the system's words.
    #[error("{0}")]
    Other(String),
}

impl FileError {
    /// The diagnostic's code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "missing-file",
            Self::TooLarge { .. } => "too-large",
            Self::NotText { .. } => "not-utf-8",
            Self::Folder | Self::NotAFile | Self::Other(_) => "unreadable-file",
        }
    }

    /// What to do.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Missing => "check the path",
            Self::Folder => "name a file in it",
            Self::NotAFile => "write it into a file first, or give it to standard input with `-f -`",
            Self::TooLarge { .. } => "is it the right file?",
            Self::NotText { .. } => "save the file as UTF-8",
            Self::Other(_) => "check the path and its permissions",
        }
    }
}

/// Text of bytes, or where they are none.
///
/// # Errors
/// [`FileError::NotText`]
pub fn text(bytes: Vec<u8>) -> Result<String, FileError> {
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        let start = good.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        FileError::NotText { line, byte: good.len() - start + 1 }
    })
}
