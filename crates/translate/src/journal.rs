//! The journal: every answer that was ever paid for, by content, in one SQLite file.
//!
//! An answer is filed under (engine, from, to, BLAKE3 of the source segment), so an identical segment is
//! asked once, across runs and data sets. The source text is kept beside it: the journal can be read, and
//! turned into a translation memory, without the data set.
//!
//! WAL with `synchronous = FULL`: an answer is on the disk before the run goes on. `NORMAL` would survive
//! `kill -9` too, but a power cut could take the last answers, and those were paid for; answers arrive in
//! batches, so the price is one `fsync` per group of requests.
//!
//! A journal is open in one process at a time: two runs that share one would both ask what is in neither.

use crate::LanguagePair;
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;

/// The version of the schema below. Raise it with a step in [`MIGRATIONS`].
const SCHEMA_VERSION: i64 = 2;

/// What turns a journal of version n (from 1) into one of version n + 1.
const MIGRATIONS: [&str; 1] = [
    // How an answer was come by, and how the requests of a run were planned.
    "ALTER TABLE translation ADD COLUMN note TEXT NOT NULL DEFAULT '';
     CREATE TABLE plan (key BLOB PRIMARY KEY, held BLOB NOT NULL) STRICT, WITHOUT ROWID;",
];

/// "TLMJ": tells a journal from any other SQLite file.
const APPLICATION_ID: i64 = 0x544C_4D4A;

const SCHEMA: &str = "
    CREATE TABLE scope (
        id              INTEGER PRIMARY KEY,
        engine          TEXT NOT NULL,
        source_language TEXT NOT NULL,
        target_language TEXT NOT NULL,
        UNIQUE (engine, source_language, target_language)
    ) STRICT;
    CREATE TABLE translation (
        scope       INTEGER NOT NULL REFERENCES scope (id),
        source_hash BLOB NOT NULL,
        source      TEXT NOT NULL,
        target      TEXT NOT NULL,
        stored_at   INTEGER NOT NULL DEFAULT (unixepoch()),
        note        TEXT NOT NULL DEFAULT '',
        PRIMARY KEY (scope, source_hash)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE plan (key BLOB PRIMARY KEY, held BLOB NOT NULL) STRICT, WITHOUT ROWID;
";

#[derive(Debug, Error)]
pub enum JournalError {
    #[error("the journal {path} is in use by another process")]
    InUse { path: PathBuf },
    #[error(
        "the journal {path} has schema version {found}; this program knows versions up to {SCHEMA_VERSION}"
    )]
    Newer { path: PathBuf, found: i64 },
    #[error("{path} is no translation journal: {found}")]
    NotAJournal { path: PathBuf, found: String },
    #[error("cannot use the journal {path}: {source}")]
    Sqlite { path: PathBuf, source: rusqlite::Error },
    #[error("cannot make the folder of the journal {path}: {source}")]
    Folder { path: PathBuf, source: std::io::Error },
}

impl JournalError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            JournalError::InUse { .. } => Some("wait for the other run to end, or name another --journal"),
            JournalError::Newer { .. } => Some("use the newer program that wrote it, or another --journal"),
            JournalError::NotAJournal { .. } => Some("name another file with --journal"),
            JournalError::Sqlite { .. } | JournalError::Folder { .. } => None,
        }
    }
}

/// Under whose name answers are filed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    pub engine: String,
    pub pair: LanguagePair,
}

/// An answer as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub target: String,
    /// How the answer was come by, if that took more than one plain request; else empty.
    pub note: String,
}

/// An open journal; closing the process, however it ends, lets go of it.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    connection: Connection,
}

impl Journal {
    /// Open the journal at `path`, making it if there is none.
    ///
    /// # Errors
    /// Another process has it, a newer program wrote it, it is another kind of file, or SQLite fails.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder)
                .map_err(|source| JournalError::Folder { path: path.to_path_buf(), source })?;
        }
        let named = |source| named(path, source);
        let mut connection = Connection::open(path).map_err(named)?;
        // A process that was just killed may need a moment to let go of its lock.
        connection.busy_timeout(Duration::from_millis(500)).map_err(named)?;
        // Exclusive mode keeps the lock from the first write to the end; set before WAL is entered, it also
        // needs no shared-memory file. The empty write transaction takes the lock now rather than later.
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE").map_err(named)?;
        let fresh = check_identity(&connection, path)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(named)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(named)?;
        let transaction =
            connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(named)?;
        if fresh {
            transaction.execute_batch(SCHEMA).map_err(named)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(named)?;
        } else {
            let version: i64 =
                transaction.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(named)?;
            let done = usize::try_from(version - 1).unwrap_or(0);
            for migration in MIGRATIONS.iter().skip(done) {
                transaction.execute_batch(migration).map_err(named)?;
            }
        }
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION).map_err(named)?;
        transaction.commit().map_err(named)?;
        Ok(Journal { path: path.to_path_buf(), connection })
    }

    /// The stored target of each source, in order.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn targets(&self, scope: &Scope, sources: &[&str]) -> Result<Vec<Option<String>>, JournalError> {
        let answers = self.answers(scope, sources)?;
        Ok(answers.into_iter().map(|answer| Some(answer?.target)).collect())
    }

    /// The stored answer to each source, in order.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn answers(&self, scope: &Scope, sources: &[&str]) -> Result<Vec<Option<Stored>>, JournalError> {
        let named = |source| named(&self.path, source);
        let id: Option<i64> = self
            .connection
            .query_row(
                "SELECT id FROM scope WHERE engine = ?1 AND source_language = ?2 AND target_language = ?3",
                params![scope.engine, scope.pair.from, scope.pair.to],
                |row| row.get(0),
            )
            .optional()
            .map_err(named)?;
        let Some(id) = id else { return Ok(vec![None; sources.len()]) };
        let mut find = self
            .connection
            .prepare("SELECT target, note FROM translation WHERE scope = ?1 AND source_hash = ?2")
            .map_err(named)?;
        let answer = |source: &&str| {
            let stored = |row: &rusqlite::Row<'_>| Ok(Stored { target: row.get(0)?, note: row.get(1)? });
            find.query_row(params![id, hash(source)], stored).optional().map_err(named)
        };
        sources.iter().map(answer).collect()
    }

    /// Store (source, target, note) triples, all or none; they are on the disk when this returns.
    ///
    /// # Errors
    /// SQLite fails, for example because the disk is full.
    pub fn store(&mut self, scope: &Scope, answers: &[(&str, &str, &str)]) -> Result<(), JournalError> {
        let path = &self.path;
        let named = |source| named(path, source);
        let transaction = self.connection.transaction().map_err(named)?;
        {
            let mut file = transaction
                .prepare_cached(
                    "INSERT INTO scope (engine, source_language, target_language) VALUES (?1, ?2, ?3)
                     ON CONFLICT DO UPDATE SET engine = engine RETURNING id",
                )
                .map_err(named)?;
            let id: i64 = file
                .query_row(params![scope.engine, scope.pair.from, scope.pair.to], |row| row.get(0))
                .map_err(named)?;
            let mut insert = transaction
                .prepare_cached(
                    "INSERT INTO translation (scope, source_hash, source, target, note)
                     VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT DO NOTHING",
                )
                .map_err(named)?;
            for (source, target, note) in answers {
                insert.execute(params![id, hash(source), source, target, note]).map_err(named)?;
            }
        }
        transaction.commit().map_err(named)
    }

    /// What was held when the work known by `key` began: `held` now, if this is its beginning. A run that
    /// goes on so makes the same requests as one that was never stopped.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn held_at_start(&mut self, key: &[u8; 32], held: &[u8]) -> Result<Vec<u8>, JournalError> {
        let named = |source| named(&self.path, source);
        self.connection
            .execute(
                "INSERT INTO plan (key, held) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
                params![key, held],
            )
            .map_err(named)?;
        self.connection
            .query_row("SELECT held FROM plan WHERE key = ?1", params![key], |row| row.get(0))
            .map_err(named)
    }

    /// Whose answers it holds.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn scopes(&self) -> Result<Vec<Scope>, JournalError> {
        let named = |source| named(&self.path, source);
        let sql = "SELECT engine, source_language, target_language FROM scope
                   WHERE EXISTS (SELECT 1 FROM translation WHERE scope = scope.id) ORDER BY id";
        let mut find = self.connection.prepare(sql).map_err(named)?;
        let scope = |row: &rusqlite::Row<'_>| {
            let pair = LanguagePair { from: row.get(1)?, to: row.get(2)? };
            Ok(Scope { engine: row.get(0)?, pair })
        };
        let scopes: Result<Vec<Scope>, _> = find.query_map([], scope).map_err(named)?.collect();
        scopes.map_err(named)
    }

    /// How many answers it holds, of all engines and languages.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn count(&self) -> Result<u64, JournalError> {
        self.connection
            .query_row("SELECT count(*) FROM translation", [], |row| row.get::<_, i64>(0))
            .map(i64::unsigned_abs)
            .map_err(|source| named(&self.path, source))
    }
}

/// Whether the file is new; an error if it is neither that nor a journal of ours.
fn check_identity(connection: &Connection, path: &Path) -> Result<bool, JournalError> {
    let pragma = |name| {
        connection
            .pragma_query_value(None, name, |row| row.get::<_, i64>(0))
            .map_err(|source| named(path, source))
    };
    let application = pragma("application_id")?;
    if application == 0 && pragma("schema_version")? == 0 {
        return Ok(true);
    }
    if application != APPLICATION_ID {
        let found = "it is an SQLite file of another program".to_string();
        return Err(JournalError::NotAJournal { path: path.to_path_buf(), found });
    }
    match pragma("user_version")? {
        found if found > SCHEMA_VERSION => Err(JournalError::Newer { path: path.to_path_buf(), found }),
        _ => Ok(false),
    }
}

fn hash(source: &str) -> [u8; 32] {
    *blake3::hash(source.as_bytes()).as_bytes()
}

fn named(path: &Path, source: rusqlite::Error) -> JournalError {
    let path = path.to_path_buf();
    match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => JournalError::InUse { path },
        Some(ErrorCode::NotADatabase) => {
            JournalError::NotAJournal { path, found: "it is no SQLite file".to_string() }
        }
        _ => JournalError::Sqlite { path, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(engine: &str, to: &str) -> Scope {
        Scope { engine: engine.to_string(), pair: LanguagePair::new("en", to).unwrap() }
    }

    #[test]
    fn an_answer_is_found_again_and_only_in_its_scope() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/j.sqlite");
        let mut journal = Journal::open(&path).unwrap();
        journal.store(&scope("x", "ru"), &[("a", "а", ""), ("b", "б", "asked twice")]).unwrap();
        journal.store(&scope("x", "ru"), &[("b", "another", ""), ("c", "ц", "")]).unwrap();
        drop(journal);
        let journal = Journal::open(&path).unwrap();
        let found = journal.targets(&scope("x", "ru"), &["c", "b", "d", "a"]).unwrap();
        let found: Vec<_> = found.iter().map(Option::as_deref).collect();
        assert_eq!(found, [Some("ц"), Some("б"), None, Some("а")], "the first answer stays");
        assert_eq!(
            journal.answers(&scope("x", "ru"), &["b"]).unwrap()[0].as_ref().unwrap().note,
            "asked twice"
        );
        assert_eq!(journal.targets(&scope("x", "de"), &["a"]).unwrap(), [None]);
        assert_eq!(journal.targets(&scope("y", "ru"), &["a"]).unwrap(), [None]);
        assert_eq!(journal.count().unwrap(), 3);
    }

    #[test]
    fn a_second_user_is_refused_until_the_first_lets_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j.sqlite");
        let first = Journal::open(&path).unwrap();
        let error = Journal::open(&path).unwrap_err();
        assert!(matches!(error, JournalError::InUse { .. }), "{error}");
        assert!(error.to_string().contains("j.sqlite"));
        drop(first);
        Journal::open(&path).unwrap();
    }

    #[test]
    fn a_newer_journal_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j.sqlite");
        drop(Journal::open(&path).unwrap());
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "user_version", SCHEMA_VERSION + 1).unwrap();
        drop(connection);
        let error = Journal::open(&path).unwrap_err();
        assert!(matches!(error, JournalError::Newer { found, .. } if found == SCHEMA_VERSION + 1), "{error}");
        let connection = Connection::open(&path).unwrap();
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert_eq!(version, SCHEMA_VERSION + 1);
    }

    #[test]
    fn a_journal_of_the_first_version_is_brought_up_to_date() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j.sqlite");
        let old = SCHEMA.replace("note        TEXT NOT NULL DEFAULT '',", "");
        let old = old.split("CREATE TABLE plan").next().unwrap();
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch(old).unwrap();
        connection.execute_batch("INSERT INTO scope VALUES (1, 'x', 'en', 'ru')").unwrap();
        connection
            .execute(
                "INSERT INTO translation (scope, source_hash, source, target) VALUES (1, ?1, 'a', 'а')",
                params![hash("a")],
            )
            .unwrap();
        connection.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
        connection.pragma_update(None, "user_version", 1).unwrap();
        drop(connection);
        for _ in 0..2 {
            let mut journal = Journal::open(&path).unwrap();
            let found = journal.answers(&scope("x", "ru"), &["a"]).unwrap();
            assert_eq!(found[0], Some(Stored { target: "а".to_string(), note: String::new() }));
            assert_eq!(journal.held_at_start(&[7; 32], b"first").unwrap(), b"first");
            assert_eq!(journal.held_at_start(&[7; 32], b"other").unwrap(), b"first");
        }
    }

    #[test]
    fn other_files_are_refused_untouched() {
        let dir = tempfile::tempdir().unwrap();
        let text = dir.path().join("notes.txt");
        std::fs::write(&text, "not a database, but long enough to be looked at as one ".repeat(20)).unwrap();
        assert!(matches!(Journal::open(&text).unwrap_err(), JournalError::NotAJournal { .. }));
        let other = dir.path().join("other.sqlite");
        Connection::open(&other).unwrap().execute_batch("CREATE TABLE mine (x)").unwrap();
        let before = std::fs::read(&other).unwrap();
        assert!(matches!(Journal::open(&other).unwrap_err(), JournalError::NotAJournal { .. }));
        assert_eq!(std::fs::read(&other).unwrap(), before);
        assert!(matches!(Journal::open(dir.path()).unwrap_err(), JournalError::Sqlite { .. }));
    }
}
