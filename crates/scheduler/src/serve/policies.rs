//! The policies that are served: as their files say, or as they last said something that could be read.
//!
//! On purpose not here: reading files.

use super::timers::{self, Timer};
use super::told::Told;
use crate::policy::Policy;
use crate::policy::read::parse;
use crate::status::{Known, Unreadable};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A policy's file, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its absolute path.
    pub path: PathBuf,
    /// What it says, or why that cannot be read.
    pub text: Result<String, String>,
}

/// A policy that is served.
#[derive(Debug)]
pub struct Served {
    /// Its file.
    pub file: PathBuf,
    /// The text that it was read from.
    pub text: String,
    /// The policy, its paths made absolute.
    pub policy: Policy,
    /// What of it has times of its own.
    pub timers: Vec<Timer>,
}

impl Served {
    /// BLAKE3 of its text, hexadecimal.
    #[must_use]
    pub fn hash(&self) -> String {
        blake3::hash(self.text.as_bytes()).to_hex().to_string()
    }

    fn read(file: &Path, text: &str, home: Option<&Path>) -> Result<Self, String> {
        let mut policy = parse(text, &file.display().to_string()).map_err(|wrong| {
            let first = wrong.first().map(ToString::to_string).unwrap_or_default();
            let more = wrong.len().saturating_sub(1);
            if more == 0 { first } else { format!("{first} (and {more} more)") }
        })?;
        policy.settle(file.parent().unwrap_or(Path::new("/")), home);
        let timers = timers::timers(&policy)?;
        Ok(Self { file: file.to_owned(), text: text.to_owned(), policy, timers })
    }
}

/// One file, and what is made of it.
#[derive(Debug)]
struct Shelf {
    file: File,
    /// The last version that could be read.
    good: Option<Arc<Served>>,
    /// What is wrong with the file as it is now.
    trouble: Option<String>,
}

/// All policies that are served.
#[derive(Debug, Default)]
pub struct Policies {
    shelves: Vec<Shelf>,
    home: Option<PathBuf>,
}

impl Policies {
    /// None yet; `~/` in policies counts from this home.
    #[must_use]
    pub fn new(home: Option<PathBuf>) -> Self {
        Self { shelves: Vec::new(), home }
    }

    /// Takes files as they are now; what changed is told. One that is not there any more is served no longer, one
    /// that cannot be read is served as it was.
    pub fn take(&mut self, files: Vec<File>) -> Vec<Told> {
        let mut told = Vec::new();
        self.shelves.retain(|shelf| {
            let stays = files.iter().any(|file| file.path == shelf.file.path);
            if let Some(gone) = shelf.good.as_ref().filter(|_| !stays) {
                told.push(Told::policy_gone(&gone.policy.name, &shelf.file.path));
            }
            stays
        });
        for file in files {
            let known = self.shelves.iter().position(|shelf| shelf.file.path == file.path);
            match known {
                Some(at) if self.shelves[at].file == file && !self.is_waiting(at) => {}
                Some(at) => self.renew(at, file, &mut told),
                None => {
                    let at = self.shelves.len();
                    let path = file.path.clone();
                    let text = Err(String::new());
                    self.shelves.push(Shelf { file: File { path, text }, good: None, trouble: None });
                    self.renew(at, file, &mut told);
                }
            }
        }
        told
    }

    /// Whether a file waits for another to give its name up.
    fn is_waiting(&self, at: usize) -> bool {
        let shelf = &self.shelves[at];
        let taken = shelf.trouble.as_ref().is_some_and(|why| why.starts_with(TAKEN));
        taken && shelf.file.text.is_ok()
    }

    fn renew(&mut self, at: usize, file: File, told: &mut Vec<Told>) {
        let read = file.text.clone().and_then(|text| Served::read(&file.path, &text, self.home.as_deref()));
        let read = read.and_then(|served| self.unique(at, served));
        let shelf = &mut self.shelves[at];
        shelf.file = file;
        match read {
            Ok(served) => {
                let before = shelf.good.replace(Arc::new(served));
                shelf.trouble = None;
                let Some(now) = &shelf.good else { return };
                if let Some(gone) = before.as_ref().filter(|before| before.policy.name != now.policy.name) {
                    told.push(Told::policy_gone(&gone.policy.name, &shelf.file.path));
                }
                told.push(Told::policy_read(&now.policy.name, &shelf.file.path, before.is_some()));
            }
            Err(why) if shelf.trouble.as_ref() == Some(&why) => {}
            Err(why) => {
                let name = shelf.good.as_ref().map(|good| good.policy.name.clone());
                told.push(Told::policy_wrong(name.as_deref(), &shelf.file.path, &why));
                shelf.trouble = Some(why);
            }
        }
    }

    /// Two policies of one name would be one to the catalog and to the repository.
    fn unique(&self, at: usize, served: Served) -> Result<Served, String> {
        let name = &served.policy.name;
        let others = self.shelves.iter().enumerate().filter(|(number, _)| *number != at);
        let mut same =
            others.filter(|(_, shelf)| shelf.good.as_ref().is_some_and(|good| good.policy.name == *name));
        match same.next() {
            None => Ok(served),
            Some((_, other)) => Err(format!("{TAKEN} `{name}` in {}", other.file.path.display())),
        }
    }

    /// Those that are served.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Served>> {
        self.shelves.iter().filter_map(|shelf| shelf.good.as_ref())
    }

    /// The variables that all others take secrets from, and this one does not.
    #[must_use]
    pub fn secrets_of_others(&self, served: &Served) -> BTreeSet<String> {
        let mut all: BTreeSet<String> =
            self.all().flat_map(|served| served.policy.secret_variables()).collect();
        served.policy.secret_variables().iter().for_each(|own| _ = all.remove(own));
        all
    }

    /// The one with a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Served>> {
        self.all().find(|served| served.policy.name == name)
    }

    /// Those that are served, for who says how they stand.
    #[must_use]
    pub fn known(&self, since: impl Fn(&str) -> Option<Timestamp>) -> Vec<Known> {
        let known = |served: &Arc<Served>| Known {
            policy: served.policy.clone(),
            file: served.file.display().to_string(),
            since: since(&served.policy.name),
        };
        self.all().map(known).collect()
    }

    /// Files that cannot be read as they are now.
    #[must_use]
    pub fn unreadable(&self) -> Vec<Unreadable> {
        let wrong = self.shelves.iter().filter_map(|shelf| Some((shelf, shelf.trouble.as_ref()?)));
        let wrong = wrong.map(|(shelf, why)| Unreadable {
            name: shelf.good.as_ref().map_or_else(|| stem(&shelf.file.path), |good| good.policy.name.clone()),
            file: shelf.file.path.display().to_string(),
            why: why.clone(),
        });
        wrong.collect()
    }
}

/// How it is told that a name is taken.
const TAKEN: &str = "there is a policy";

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    fn text(name: &str, path: &str) -> String {
        format!(
            "name: {name}\nrepository: {{ url: repo, password: {{ env: X }} }}\n\
             sources: {{ tree: {{ files: {{ paths: [ {path} ] }} }} }}\nschedule: {{ cron: '0 * * * *' }}\n"
        )
    }

    fn file(path: &str, text: impl Into<String>) -> File {
        File { path: path.into(), text: Ok(text.into()) }
    }

    fn names(policies: &Policies) -> Vec<&str> {
        policies.all().map(|served| served.policy.name.as_str()).collect()
    }

    fn told(policies: &mut Policies, files: Vec<File>) -> String {
        policies.take(files).iter().map(|told| told.to_string()).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_file_that_changes_is_read_anew_and_one_that_goes_is_served_no_longer() {
        let mut policies = Policies::new(None);
        let first = file("/etc/a.yaml", text("shop", "/srv"));
        assert!(told(&mut policies, vec![first.clone()]).contains("shop"));
        assert_eq!(told(&mut policies, vec![first]), "");
        assert_eq!(policies.get("shop").unwrap().policy.repository.url, "/etc/repo");
        assert!(told(&mut policies, vec![file("/etc/a.yaml", text("shop", "/other"))]).contains("shop"));
        let tree = policies.get("shop").unwrap().policy.sources.get("tree").unwrap().clone();
        assert_eq!(tree.files.unwrap().paths, [PathBuf::from("/other")]);
        assert!(told(&mut policies, vec![file("/etc/a.yaml", text("store", "/srv"))]).contains("shop"));
        assert_eq!(names(&policies), ["store"]);
        assert!(told(&mut policies, Vec::new()).contains("store"));
        assert_eq!(policies.all().count(), 0);
    }

    #[test]
    fn what_cannot_be_read_is_served_as_it_was_and_told_once() {
        let mut policies = Policies::new(None);
        told(&mut policies, vec![file("/etc/a.yaml", text("shop", "/srv"))]);
        let wrong = file("/etc/a.yaml", "name: shop\nsorces: {}\n");
        let said = told(&mut policies, vec![wrong.clone()]);
        assert!(said.contains("/etc/a.yaml:2") && said.contains("as it was"), "{said}");
        assert_eq!(told(&mut policies, vec![wrong]), "");
        assert_eq!((names(&policies), policies.unreadable().len()), (vec!["shop"], 1));
        let denied = File { path: "/etc/a.yaml".into(), text: Err("permission denied".into()) };
        assert!(told(&mut policies, vec![denied]).contains("permission denied"));
        assert_eq!(names(&policies), ["shop"]);
        told(&mut policies, vec![file("/etc/a.yaml", text("shop", "/srv"))]);
        assert!(policies.unreadable().is_empty());
    }

    #[test]
    fn one_name_is_one_policy_and_the_other_takes_over_when_it_goes() {
        let mut policies = Policies::new(None);
        let (one, two) = (file("/etc/a.yaml", text("shop", "/a")), file("/etc/b.yaml", text("shop", "/b")));
        let said = told(&mut policies, vec![one, two.clone()]);
        assert!(said.contains("/etc/a.yaml") && policies.all().count() == 1, "{said}");
        assert_eq!(policies.get("shop").unwrap().file, PathBuf::from("/etc/a.yaml"));
        told(&mut policies, vec![two]);
        assert_eq!(policies.get("shop").unwrap().file, PathBuf::from("/etc/b.yaml"));
    }
}
