//! What becomes of a record: it is kept where it was restored from, else in a file, and remembered here.
//!
//! On purpose not here: what it says.

use super::super::scratch::Scratch;
use super::begin::ACCESS;
use super::{Case, Chosen, Conducted};
use crate::catalog::Catalog;
use crate::evidence::Record;
use crate::hands::Said;
use holdfast_engine::proof::Finding;
use jiff::Timestamp;
use serde_json::json;
use std::path::{Path, PathBuf};

impl Case<'_> {
    /// Stores the record where it was restored from, and remembers it here.
    pub(super) async fn keep(&self, catalog: Option<&Catalog>, record: Record) -> Conducted {
        let mut done = Conducted { record, stored: None, file: None, not_stored: None };
        let text = match serde_json::to_string(&done.record) {
            Ok(text) => text,
            Err(error) => {
                done.not_stored = Some(error.to_string());
                return done;
            }
        };
        match self.hands.record(&self.from, "drill", &text).await {
            Ok(name) => done.stored = Some(name),
            Err(why) => {
                let said = format!("{} does not take the record of the drill: {why}", self.from.name);
                self.hands.say(Said::Lacking(&said));
                done.not_stored = Some(why);
                done.file = self.to_file(&text);
            }
        }
        if let Some(catalog) = catalog
            && let Err(error) = catalog.remember_drill(&text).await
        {
            self.hands.say(Said::Note(&format!("the catalog does not remember it: {error}")));
        }
        done
    }

    /// Keeps scratch, which holds what production holds: that is recorded as an access of its own.
    pub(super) async fn kept(
        &self,
        scratch: Scratch,
        until: Timestamp,
        chosen: &[Chosen<'_>],
    ) -> Result<Vec<String>, Finding> {
        // Recorded first: whoever ends the run in between leaves no scratch that nobody knows of.
        let more = [
            ("step", json!("kept")),
            ("until", json!(until)),
            ("reason", json!("the drill failed and its scratch is kept")),
        ];
        let text = self.access(scratch.path(), chosen, more);
        if let Err(why) = self.hands.record(&self.from, ACCESS, &text).await {
            let said = format!("{} does not take the record that scratch is kept: {why}", self.from.name);
            self.hands.say(Said::Lacking(&said));
        }
        scratch.keep(until)
    }

    /// Writes the record into the folder that is stated for that.
    fn to_file(&self, text: &str) -> Option<PathBuf> {
        let folder = self.here.evidence.as_ref()?;
        let path = folder.join(format!("{}-{}.json", self.policy.name.replace('/', "-"), self.id));
        match write(folder, &path, text) {
            Ok(()) => {
                self.hands.say(Said::Note(&format!("the record is in {}", path.display())));
                Some(path)
            }
            Err(error) => {
                let said = format!("the record cannot be written to {}: {error}", path.display());
                self.hands.say(Said::Failed(&said));
                None
            }
        }
    }
}

fn write(folder: &Path, path: &Path, text: &str) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(path, format!("{text}\n"))
}
