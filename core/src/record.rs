//! The record of a decision: everything that was looked at, from which the verdict can be computed again, bit by bit.
//!
//! One entry opens it, one follows per block. Each entry is written under its number before the status moves on, so
//! that a crash writes the same entry again and never another one.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::counters::Witness;
use crate::judge::{Arm, Beside, Block, Health, Late, Look, Run, Settings, SettingsError};

/// One line of a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Entry {
    /// The run begins.
    Began(Box<Began>),
    /// One block was looked at.
    Looked(Box<Looked>),
}

impl Entry {
    /// Its place in the record: 0 for the beginning, then the number of the block.
    pub fn number(&self) -> u64 {
        match self {
            Self::Began(_) => 0,
            Self::Looked(looked) => looked.look.block,
        }
    }
}

/// What a run begins with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Began {
    /// Version on trial.
    pub canary: String,
    /// Its revision.
    pub revision: String,
    /// Digest of its artifact.
    pub digest: String,
    /// Version beside it.
    pub stable: String,
    /// When the first block begins.
    pub at: Timestamp,
    /// What it is judged by, frozen.
    pub settings: Settings,
    /// Blocks of stable from before, oldest first.
    pub earlier: Vec<Arm>,
}

/// One block and what followed from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Looked {
    /// When the block began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// What it holds.
    pub block: Block,
    /// What became known of the time before.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub late: Late,
    /// Why it is a gap, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
    /// Who counted its requests.
    #[serde(default)]
    pub witness: Witness,
    /// What else is known of it.
    #[serde(default)]
    pub beside: Beside,
    /// What followed from it.
    pub look: Look,
}

fn is_nothing(late: &Late) -> bool {
    *late == Late::default()
}

/// Why a record cannot be read or judged again.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// See the message.
    #[error("line {line} is no entry of a decision record")]
    Line {
        /// Number of the line, from 1.
        line: usize,
        /// The parser's words.
        source: serde_json::Error,
    },
    /// See the message.
    #[error("the record does not begin with the settings of its run: give the whole file")]
    NoBeginning,
    /// See the message.
    #[error("the record cannot be judged by these settings")]
    Settings(#[source] SettingsError),
}

/// A whole record.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// What it begins with.
    pub began: Began,
    /// Its blocks, in order.
    pub looked: Vec<Looked>,
}

impl Record {
    /// Reads JSON Lines. Empty lines are nothing; a block told twice counts once.
    pub fn parse(text: &str) -> Result<Self, RecordError> {
        let lines = text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty());
        let entries = lines.map(|(index, line)| {
            serde_json::from_str(line).map_err(|source| RecordError::Line {
                line: index.saturating_add(1),
                source,
            })
        });
        Self::of(entries.collect::<Result<Vec<Entry>, _>>()?)
    }

    /// Puts entries together, in their order.
    pub fn of(entries: impl IntoIterator<Item = Entry>) -> Result<Self, RecordError> {
        let mut began = None;
        let mut looked: Vec<Looked> = Vec::new();
        for entry in entries {
            match entry {
                Entry::Began(first) => began = Some(*first),
                Entry::Looked(one) if looked.last().is_none_or(|last| last.end < one.end) => {
                    looked.push(*one);
                }
                Entry::Looked(_) => {}
            }
        }
        let began = began.ok_or(RecordError::NoBeginning)?;
        Ok(Self { began, looked })
    }

    /// Judges the same blocks again, by `settings`: those of the record itself give the same looks, bit by bit; others
    /// tell what would have happened.
    pub fn judge(&self, settings: Settings) -> Result<Vec<Look>, RecordError> {
        let mut run = Run::new(settings).map_err(RecordError::Settings)?;
        for arm in &self.began.earlier {
            run.expect(arm);
        }
        let mut looks = Vec::with_capacity(self.looked.len());
        for one in &self.looked {
            let look = run.follow(&one.block, &one.late, &one.beside, Health::Fine);
            let is_final = look.verdict.is_final();
            looks.push(look);
            if is_final {
                break;
            }
        }
        Ok(looks)
    }
}
